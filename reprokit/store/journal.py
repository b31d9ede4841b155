"""The append-only file of one run: one writer, one line for each patch, each line with its own checksum.

Knows lines; it does not know what a patch means (``assemble`` does). A line is
``<16 hex digits> <canonical JSON>\\n`` and is written by one call, so that a kill at any instant
leaves whole lines and at most one torn tail, which readers cut.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from time import time  # as it is now: a user may replace `time.time`
from typing import Any

from reprokit.digest import canonical_json, checksum

__all__ = ["Journal", "read", "scan"]


_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class Journal:
    """The one writer of one journal file.

    A child made by ``fork`` inherits the object and writes nothing with it.

    Args:
        path: the file to create.

    Raises:
        FileExistsError: the file is there, so it has a writer already.
        OSError: the file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._fd = os.open(self.path, os.O_CREAT | os.O_EXCL | _APPEND, 0o666)
        self._identity = _identity(os.fstat(self._fd))
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._whole: int | None = None  # where whole lines end, when a torn one could not be cut at once
        self._anchored = False

    def append(self, patch: dict[str, Any]) -> None:
        """Add one patch with the present time as ``t``; on return the operating system has the whole line.

        Raises:
            OSError: the line could not be written; nothing of it is left in the file.
            ValueError: the journal is closed.
            TypeError: the patch is not JSON.
        """
        if os.getpid() != self._pid:  # before the lock: another thread may have held it at the fork
            return
        text = canonical_json({"t": time(), **patch})
        line = b"%s %s\n" % (checksum(text).encode("ascii"), text)
        with self._lock:
            self._require_open()
            self._cut_torn()
            self._write(line)

    def sync(self) -> None:
        """Make every line so far survive a power cut.

        Raises:
            OSError: the disk did not take them.
        """
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._require_open()
            self._size()
            os.fsync(self._fd)
            if not self._anchored:  # the names of the file and of its folder must survive as well
                for folder in (self.path.parent, self.path.parent.parent):
                    _sync_folder(folder)
                self._anchored = True

    def close(self) -> None:
        """End writing; closing twice is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._status(fd) is not None:
            os.close(fd)

    def _require_open(self) -> None:
        if self._fd < 0:
            raise ValueError(f"the journal {self.path} is closed")

    def _cut_torn(self) -> None:
        if self._whole is not None:
            self._size()
            os.ftruncate(self._fd, self._whole)
            self._whole = None

    def _write(self, line: bytes) -> None:
        """Write all of ``line`` or none of it: a torn line in the middle would hide the lines after it."""
        start = self._size()
        try:
            done = os.write(self._fd, line)
            while done < len(line):
                done += os.write(self._fd, line[done:])
        except BaseException:
            self._whole = start
            self._cut_torn()
            raise

    def _size(self) -> int:
        """Return the file's size; open it again when somebody closed it: its number may be another file's now."""
        status = self._status(self._fd)
        if status is None:
            self._fd = os.open(self.path, _APPEND)
            status = os.fstat(self._fd)
            self._identity = _identity(status)
        return status.st_size

    def _status(self, fd: int) -> os.stat_result | None:
        try:
            status = os.fstat(fd)
        except OSError:
            return None
        return status if _identity(status) == self._identity else None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def read(path: Path) -> list[dict[str, Any]]:
    """Return the patches of a journal up to its first torn or damaged line; none when there is no file."""
    return scan(path)[0]


def scan(path: Path) -> tuple[list[dict[str, Any]], int | None]:
    """Return the patches, and the number (from 1) of a damaged line where reading had to stop.

    A torn tail is not damage: it is what a kill leaves, and was never acknowledged.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return [], None
    patches: list[dict[str, Any]] = []
    *lines, _tail = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        patch = _patch(line)
        if patch is None:
            return patches, number
        patches.append(patch)
    return patches, None


def _patch(line: bytes) -> dict[str, Any] | None:
    mark, _, text = line.partition(b" ")
    if mark != checksum(text).encode("ascii"):
        return None
    try:
        patch = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return patch if isinstance(patch, dict) else None


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

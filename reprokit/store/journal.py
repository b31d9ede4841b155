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

from reprokit.descriptor import Descriptor
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
        self._file = Descriptor(os.open(self.path, os.O_CREAT | os.O_EXCL | _APPEND, 0o666))
        self._closed = False
        self._pid = os.getpid()
        self._lock = threading.RLock()  # garbage of the user's that is collected meanwhile may bring a line of its own
        self._end = 0  # where whole lines end
        self._torn = False  # whether there is more, that could not be cut at once
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
            self._require_ours()
            if self._torn:
                self._cut()
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
            self._require_ours()
            os.fsync(self._file.fd)
            if not self._anchored:  # the names of the file and of its folder must survive as well
                for folder in (self.path.parent, self.path.parent.parent):
                    _sync_folder(folder)
                self._anchored = True

    def close(self) -> None:
        """End writing; closing twice is fine."""
        self._closed = True
        self._file.close()

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"the journal {self.path} is closed")

    def _require_ours(self) -> None:
        """Open the file again when somebody closed it: its number may be another file's now."""
        if not self._file.is_ours():
            self._file = Descriptor(os.open(self.path, _APPEND))

    def _write(self, line: bytes) -> None:
        """Write all of ``line`` or none of it: a torn line in the middle would hide the lines after it."""
        try:
            done = os.write(self._file.fd, line)
            while done < len(line):
                done += os.write(self._file.fd, line[done:])
            self._end += len(line)
        except BaseException:
            self._torn = True
            self._cut()
            raise

    def _cut(self) -> None:
        os.ftruncate(self._file.fd, self._end)
        self._torn = False


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

"""Watches a folder tree with inotify: it sees every process and every C library, on Linux only.

Events are queued by the kernel inside the system call, so what ``drain`` returns after a cell is
complete. A thread empties the queue meanwhile, because it holds only 16,384 events.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import select
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Seen", "Watch"]

_MODIFY, _CLOSE_WRITE, _CLOSE_NOWRITE, _OPEN = 0x2, 0x8, 0x10, 0x20
_MOVED_TO, _CREATE, _OVERFLOW, _IGNORED, _ISDIR = 0x80, 0x100, 0x4000, 0x8000, 0x40000000
_MASK = _MODIFY | _CLOSE_WRITE | _CLOSE_NOWRITE | _OPEN | _MOVED_TO | _CREATE
_HEADER = struct.Struct("iIII")
_SKIPPED = frozenset(
    {".git", ".hg", "node_modules", "__pycache__", ".ipynb_checkpoints", ".venv", "venv", ".tox"}
)
_LIMIT = 20_000  # folders: beyond it the tree is not a project but a home or a file server


@dataclass(slots=True)
class Seen:
    """What happened to one file since the last drain; ``own`` counts this module's user's own reads."""

    opened: int = 0
    read: bool = False
    written: bool = False
    first_written: bool = False


class Watch:
    """Watches every folder below ``root``.

    Args:
        root: an absolute path.
        skipped: absolute folders that are not watched.

    Raises:
        OSError: the system has no inotify, or its limit is reached.
    """

    def __init__(self, root: str, skipped: frozenset[str] = frozenset()) -> None:
        if not sys.platform.startswith("linux"):
            raise OSError("inotify exists on Linux only")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1 failed")
        self._skipped = skipped
        self._folders: dict[int, str] = {}
        self._chunks: list[bytes] = []
        self._lock = threading.Lock()
        self._own: dict[str, int] = {}
        self.overflowed = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pid = os.getpid()
        try:
            self._add_tree(root)
        except OSError:
            self._close()
            raise
        self._thread = threading.Thread(target=self._empty_often, name="reprokit-watch", daemon=True)
        self._thread.start()

    def folders(self) -> set[str]:
        """Return the folders that are watched, by absolute path."""
        return set(self._folders.values())

    def expect(self, path: str) -> None:
        """Announce that the caller itself is about to read ``path`` once: that is not the user's doing."""
        with self._lock:
            self._own[path] = self._own.get(path, 0) + 1

    def settle(self) -> None:
        """Forget announced reads; to be called when none is under way and the queue was drained."""
        with self._lock:
            self._own.clear()

    def drain(self) -> dict[str, Seen]:
        """Return what happened since the last call, by absolute path."""
        if os.getpid() != self._pid:
            return {}
        seen: dict[str, Seen] = {}
        with self._lock:
            self._read()
            chunks, self._chunks = self._chunks, []
        for folder, name, mask in self._events(b"".join(chunks)):
            self._note(seen, folder, name, mask)
        return seen

    def stop(self) -> None:
        """Stop watching."""
        if os.getpid() == self._pid:
            os.write(self._wake_write, b"x")
            self._thread.join()
            self._close()

    def _close(self) -> None:
        for fd in (self._fd, self._wake_read, self._wake_write):
            os.close(fd)

    def _note(self, seen: dict[str, Seen], folder: str, name: str, mask: int) -> None:
        path = os.path.join(folder, name)
        if mask & _ISDIR:
            if mask & (_CREATE | _MOVED_TO):
                self._enter(path, seen)
            return
        if mask & (_OPEN | _CLOSE_NOWRITE) and self._is_own(path, bool(mask & _OPEN)):
            return
        file = seen.setdefault(path, Seen())
        if mask & (_MODIFY | _CREATE | _MOVED_TO):
            file.first_written = file.first_written or not file.read
            file.written = True
        if mask & _CLOSE_NOWRITE:
            file.read = True
        file.opened += bool(mask & _OPEN) - bool(mask & (_CLOSE_WRITE | _CLOSE_NOWRITE))

    def _is_own(self, path: str, opening: bool) -> bool:
        key = path if opening else path + "\0closed"
        with self._lock:
            count = self._own.get(key, 0)
            if count:
                self._own[key] = count - 1
                if opening:
                    self._own[path + "\0closed"] = self._own.get(path + "\0closed", 0) + 1
            return bool(count)

    def _enter(self, path: str, seen: dict[str, Seen]) -> None:
        """A folder appeared: watch it, and take the files already in it as written."""
        try:
            self._add_tree(path)
        except OSError:
            self.overflowed = True
        for folder, _, names in os.walk(path):
            for name in names:
                file = seen.setdefault(os.path.join(folder, name), Seen())
                file.written = file.first_written = True

    def _add_tree(self, root: str) -> None:
        for folder, names, _ in os.walk(root):
            names[:] = [
                n for n in names if n not in _SKIPPED and os.path.join(folder, n) not in self._skipped
            ]
            if len(self._folders) >= _LIMIT:
                raise OSError(f"more than {_LIMIT} folders below {root}")
            watch = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK)
            if watch < 0:
                error = ctypes.get_errno()
                raise OSError(error, f"inotify cannot watch {folder} ({os.strerror(error)})")
            self._folders[watch] = folder

    def _events(self, data: bytes) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at + _HEADER.size <= len(data):
            watch, mask, _, size = _HEADER.unpack_from(data, at)
            name = data[at + _HEADER.size : at + _HEADER.size + size].rstrip(b"\0")
            at += _HEADER.size + size
            if mask & _OVERFLOW:
                self.overflowed = True
            elif name and not mask & _IGNORED and (folder := self._folders.get(watch)) is not None:
                yield folder, os.fsdecode(name), mask

    def _read(self) -> None:
        while True:
            try:
                self._chunks.append(os.read(self._fd, 1 << 20))
            except BlockingIOError:
                return

    def _empty_often(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._wake_read in ready:
                return
            with self._lock:
                self._read()
            # Let events gather: a busy cell must not be slowed down by a thread that wakes for each.
            if select.select([self._wake_read], [], [], 0.02)[0]:
                return

"""Watches a folder tree with inotify: it sees every process and every C library, on Linux only.

Events are queued by the kernel inside the system call, so what ``drain`` returns after a cell is
complete. A thread empties the queue meanwhile, because it holds only 16,384 events.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Seen", "Watch"]

_MODIFY, _CLOSE_WRITE, _CLOSE_NOWRITE, _OPEN, _MOVED_TO, _CREATE = 0x2, 0x8, 0x10, 0x20, 0x80, 0x100
_OVERFLOW, _IGNORED, _ISDIR = 0x4000, 0x8000, 0x40000000
_WRITTEN = _MODIFY | _MOVED_TO | _CREATE
_CLOSED = _CLOSE_WRITE | _CLOSE_NOWRITE
_MASK = _OPEN | _CLOSED | _WRITTEN
_ONLYDIR = 0x1000000
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES})  # or not ours: nothing can be seen there
_GATHER_MS = 20
_HEADER = struct.Struct("iIII")
_SKIPPED = frozenset({".git", ".hg", "node_modules", "__pycache__", ".ipynb_checkpoints", ".venv", "venv", ".tox"})
_LIMIT = 20_000  # folders: beyond it the tree is not a project but a home or a file server


@dataclass(slots=True)
class Seen:
    """What happened to one file since the last drain.

    A file that is opened and then changed by the same opening counts as written only: whether its old
    bytes were cut off first cannot be told from the events (their order depends on the kernel).

    Attributes:
        used: it was opened and closed before anything was written to it: its old bytes may have been used.
        opened: how often it was opened and not closed yet.
        written: it was created, changed or replaced.
    """

    used: bool = False
    opened: int = 0
    written: bool = False

    @property
    def read(self) -> bool:
        """Whether its bytes as they were at the start may have been used."""
        return self.used or (self.opened > 0 and not self.written)

    @property
    def fresh(self) -> bool:
        """Whether the first thing that happened to it was a write."""
        return self.written and not self.used


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
        self._overflowed = False
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

    def take_overflow(self) -> bool:
        """Return whether events were lost since the last call."""
        lost, self._overflowed = self._overflowed, False
        return lost

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
            if mask & (_CREATE | _MOVED_TO) and self._is_watched(folder, name):
                self._enter(path, seen)
            return
        if mask & (_OPEN | _CLOSE_NOWRITE) and self._is_own(path, closing=not mask & _OPEN):
            return
        file = seen.setdefault(path, Seen())
        if mask & _OPEN:
            file.opened += 1
        elif mask & _WRITTEN:
            file.written = True
        elif file.opened:  # else it was opened in an earlier cell
            file.opened -= 1
            file.used = file.used or not file.written

    def _is_own(self, path: str, *, closing: bool) -> bool:
        closed = path + "\0"
        key = closed if closing else path
        with self._lock:
            count = self._own.get(key, 0)
            if count:
                self._own[key] = count - 1
                if not closing:
                    self._own[closed] = self._own.get(closed, 0) + 1
            return bool(count)

    def _enter(self, path: str, seen: dict[str, Seen]) -> None:
        """A folder appeared: watch it, and take the files already in it as written."""
        try:
            files = self._add_tree(path)
        except OSError:
            self._overflowed = True
            return
        for name in files:
            seen.setdefault(name, Seen()).written = True

    def _is_watched(self, folder: str, name: str) -> bool:
        return name not in _SKIPPED and os.path.join(folder, name) not in self._skipped

    def _add_tree(self, root: str) -> list[str]:
        """Watch a folder and all below it; return the files found."""
        files: list[str] = []
        folders = [root]
        while folders:
            folder = folders.pop()
            # Watched first, listed then: what appears in between is seen twice, and never missed.
            if not self._add(folder):
                continue
            for entry in _entries(folder):
                if not entry.is_dir(follow_symlinks=False):
                    files.append(entry.path)
                elif self._is_watched(folder, entry.name):
                    folders.append(entry.path)
        return files

    def _add(self, folder: str) -> bool:
        if len(self._folders) >= _LIMIT:
            raise OSError(f"there are more than {_LIMIT} folders")
        watch = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK | _ONLYDIR)
        if watch < 0:
            error = ctypes.get_errno()
            if error in _GONE:
                return False
            raise OSError(error, f"inotify cannot watch {folder} ({os.strerror(error)})")
        self._folders[watch] = folder
        return True

    def _events(self, data: bytes) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at + _HEADER.size <= len(data):
            watch, mask, _, size = _HEADER.unpack_from(data, at)
            name = data[at + _HEADER.size : at + _HEADER.size + size].rstrip(b"\0")
            at += _HEADER.size + size
            if mask & _OVERFLOW:
                self._overflowed = True
            elif mask & _IGNORED:  # the folder is gone
                self._folders.pop(watch, None)
            elif name and (folder := self._folders.get(watch)) is not None:
                yield folder, os.fsdecode(name), mask

    def _read(self) -> None:
        while True:
            try:
                self._chunks.append(os.read(self._fd, 1 << 20))
            except BlockingIOError:
                return

    def _empty_often(self) -> None:
        # Not select(): it cannot take the high numbers that a process with many files gives out.
        both, wake = select.poll(), select.poll()
        both.register(self._fd, select.POLLIN)
        for poll in (both, wake):
            poll.register(self._wake_read, select.POLLIN)
        while True:
            if any(fd == self._wake_read for fd, _ in both.poll()):
                return
            with self._lock:
                self._read()
            # Let events gather: a busy cell must not be slowed down by a thread that wakes for each.
            if wake.poll(_GATHER_MS):
                return


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # gone already, or not ours to list
        return []

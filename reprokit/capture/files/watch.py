"""Watches a folder tree with inotify: it sees every process and every C library, on Linux only.

Events are queued by the kernel inside the system call, so what ``drain`` returns after a cell is
complete. A thread empties the queue meanwhile, because it holds only 16,384 events.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from reprokit.capture.swallowed import guarded
from reprokit.descriptor import Descriptor

__all__ = ["Seen", "Watch"]

_MODIFY, _CLOSE_WRITE, _CLOSE_NOWRITE, _OPEN, _MOVED_FROM, _MOVED_TO, _CREATE = 0x2, 0x8, 0x10, 0x20, 0x40, 0x80, 0x100
_OVERFLOW, _IGNORED, _ISDIR = 0x4000, 0x8000, 0x40000000
_WRITTEN = _MODIFY | _MOVED_TO | _CREATE
_CLOSED = _CLOSE_WRITE | _CLOSE_NOWRITE
_MASK = _OPEN | _CLOSED | _WRITTEN | _MOVED_FROM
_ONLYDIR = 0x1000000
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES})  # or not ours: nothing can be seen there
_GATHER_MS = 20
_ANNOUNCED_S = 30.0  # after which an announced read is not waited for any more
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
        made: it was created, or moved there, before anything else happened to it.
        moved_to: its new name, if it got one before anything was written to it.
    """

    used: bool = False
    opened: int = 0
    written: bool = False
    made: bool = False
    moved_to: str | None = None

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
        fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1 failed")
        self._queue = Descriptor(fd)
        self._skipped = skipped
        self._folders: dict[int, str] = {}
        self._more: set[str] = set()  # folders outside the tree
        self._only: dict[str, set[str]] = {}  # folders of which only some files are of interest
        self._chunks: list[bytes] = []
        self._lock = threading.RLock()  # as in `Tap`
        self._own: dict[str, tuple[int, float]] = {}  # what the agent itself opens: how often, and since when
        self._overflowed = False
        self._woken, self._wake = map(Descriptor, os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        self._pid = os.getpid()
        try:
            self._add_tree(root)
        except BaseException:
            self._close()
            raise
        empty = guarded("files", self._empty_often, self._lose)
        self._thread = threading.Thread(target=empty, name="reprokit-watch", daemon=True)
        self._thread.start()

    def folders(self) -> set[str]:
        """Return the folders that are watched, by absolute path."""
        return set(self._folders.values())

    def also(self, folder: str, name: str | None = None) -> None:
        """Watch one more folder, or one file in it, from now on; one that cannot be watched is left out."""
        known = folder in self._more
        if name is None:
            self._only.pop(folder, None)
        elif folder in self._only:
            self._only[folder].add(name)
        elif not known:
            self._only[folder] = {name}
        if not known:
            self._more.add(folder)
            with contextlib.suppress(OSError):
                self._add(folder)

    def expect(self, path: str) -> None:
        """Announce that the caller itself is about to read ``path`` once: that is not the user's doing."""
        with self._lock:
            self._announce(path)

    def settle(self) -> None:
        """Forget reads that were announced long ago and never seen."""
        if not self._own:
            return
        with self._lock:
            old = monotonic() - _ANNOUNCED_S
            while self._own and (first := next(iter(self._own.items())))[1][1] < old:
                del self._own[first[0]]

    def drain(self, *, reads: bool = True) -> dict[str, Seen]:
        """Return what happened since the last call, by absolute path; without ``reads`` only changes."""
        if os.getpid() != self._pid:
            return {}
        seen: dict[str, Seen] = {}
        with self._lock:
            self._read()
            if not self._chunks:
                return seen
            chunks, self._chunks = self._chunks, []
        moved: dict[int, str] = {}
        for folder, name, mask, cookie in self._events(b"".join(chunks), _MASK if reads else _WRITTEN | _MOVED_FROM):
            if mask & _MOVED_FROM:
                moved[cookie] = os.path.join(folder, name)
                continue
            origin = moved.pop(cookie, None) if mask & _MOVED_TO else None
            self._note(seen, folder, name, mask, origin)
        return seen

    def take_overflow(self) -> bool:
        """Return whether events were lost since the last call."""
        lost, self._overflowed = self._overflowed, False
        return lost

    def stop(self) -> None:
        """Stop watching."""
        if os.getpid() != self._pid:
            return
        try:
            if self._wake.is_ours():
                os.write(self._wake.fd, b"x")
                self._thread.join()
        finally:
            self._close()

    def _close(self) -> None:
        for descriptor in (self._queue, self._woken, self._wake):
            descriptor.close()

    def _note(self, seen: dict[str, Seen], folder: str, name: str, mask: int, origin: str | None) -> None:
        only = self._only.get(folder)
        if name not in only if only is not None else name[0] == "." and folder in self._more:
            return
        path = os.path.join(folder, name)
        if mask & _ISDIR:
            if mask & (_CREATE | _MOVED_TO) and self._is_watched(folder, name):
                self._enter(path, seen, origin)
            return
        if origin is not None:
            _move(seen, origin, path)
        if mask & (_OPEN | _CLOSE_NOWRITE) and self._is_own(path, closing=not mask & _OPEN):
            return
        file = seen.setdefault(path, Seen())
        if mask & _OPEN:
            file.opened += 1
        elif mask & _WRITTEN:
            file.made = file.made or bool(mask & (_CREATE | _MOVED_TO) and not file.used)
            file.written = True
        elif file.opened:  # else it was opened in an earlier cell
            file.opened -= 1
            file.used = file.used or not file.written

    def _is_own(self, path: str, *, closing: bool) -> bool:
        closed = path + "\0"
        key = closed if closing else path
        with self._lock:
            count, at = self._own.get(key, (0, 0.0))
            if count > 1:
                self._own[key] = (count - 1, at)
            elif count:
                del self._own[key]
            if count and not closing:
                self._announce(closed)
            return bool(count)

    def _announce(self, key: str) -> None:
        count, _ = self._own.pop(key, (0, 0.0))  # so that the order is that of time
        self._own[key] = (count + 1, monotonic())

    def _enter(self, path: str, seen: dict[str, Seen], origin: str | None) -> None:
        """A folder appeared: watch it, and take the files already in it as written, or moved there."""
        try:
            files = self._add_tree(path)
        except OSError:
            self._overflowed = True
            return
        for name in files:
            if origin is not None:
                _move(seen, origin + name[len(path) :], name)
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
        watch = self._libc.inotify_add_watch(self._queue.fd, os.fsencode(folder), _MASK | _ONLYDIR)
        if watch < 0:
            error = ctypes.get_errno()
            if error in _GONE:
                return False
            raise OSError(error, f"inotify cannot watch {folder} ({os.strerror(error)})")
        self._folders[watch] = folder
        return True

    def _events(self, data: bytes, wanted: int) -> Iterator[tuple[str, str, int, int]]:
        at = 0
        while at + _HEADER.size <= len(data):
            watch, mask, cookie, size = _HEADER.unpack_from(data, at)
            start = at + _HEADER.size
            at = start + size
            if mask & _OVERFLOW:
                self._overflowed = True
            elif mask & _IGNORED:  # the folder is gone
                self._folders.pop(watch, None)
            elif mask & wanted and size and (folder := self._folders.get(watch)) is not None:
                yield folder, os.fsdecode(data[start:at].rstrip(b"\0")), mask, cookie

    def _read(self) -> None:
        while chunk := self._queue.read():
            self._chunks.append(chunk)
        if chunk is None:
            self._lose()

    def _lose(self) -> None:
        self._overflowed = True  # from now on events may be lost, which is told

    def _empty_often(self) -> None:
        """Empty the queue from time to time, in a thread whose troubles nobody is shown."""
        # Not select(): it cannot take the high numbers that a process with many files gives out.
        both, wake = select.poll(), select.poll()
        both.register(self._queue.fd, select.POLLIN)
        for poll in (both, wake):
            poll.register(self._woken.fd, select.POLLIN)
        while True:
            if any(fd == self._woken.fd for fd, _ in both.poll()):
                return
            with self._lock:
                self._read()
                if not self._queue.is_ours():
                    return
            # Let events gather: a busy cell must not be slowed down by a thread that wakes for each.
            if wake.poll(_GATHER_MS):
                return


def _move(seen: dict[str, Seen], origin: str, path: str) -> None:
    """Note that a file has a new name, unless it was itself made just before."""
    file = seen.setdefault(origin, Seen())
    if not file.written:
        file.moved_to = path
    file.written = True


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # gone already, or not ours to list
        return []

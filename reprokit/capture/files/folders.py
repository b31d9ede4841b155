"""Notices changed files in a few folders by inotify: no thread, and one system call to see that nothing happened.

On Linux only. Subfolders are not watched unless they are added; ``watch`` is for whole trees and for reads.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from dataclasses import dataclass, field

from reprokit.descriptor import Descriptor

__all__ = ["Changes", "Folders"]

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _ISDIR, _ONLYDIR = 0x4000, 0x8000, 0x40000000, 0x1000000
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLYDIR
_HEADER = struct.Struct("iIII")
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES})


@dataclass(slots=True)
class Changes:
    """What happened since the last look: ``files`` by absolute path, ``folders`` that are new, ``lost`` events."""

    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    lost: bool = False

    def __bool__(self) -> bool:
        return bool(self.files or self.folders or self.lost)


_NOTHING = Changes()


class Folders:
    """The folders that are watched.

    Raises:
        OSError: the system has no inotify, or its limit is reached.
    """

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise OSError("inotify exists on Linux only")
        self._libc = ctypes.CDLL(None, use_errno=True)
        fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        self._queue = Descriptor(fd)
        self._names: dict[int, str] = {}
        self._pid = os.getpid()

    def add(self, folder: str) -> bool:
        """Watch a folder; return whether it is there.

        Raises:
            OSError: there are too many.
        """
        number = self._libc.inotify_add_watch(self._queue.fd, os.fsencode(folder), _MASK)
        if number >= 0:
            self._names[number] = folder
            return True
        error = ctypes.get_errno()
        if error in _GONE:
            return False
        raise OSError(error, os.strerror(error), folder)

    def changes(self) -> Changes:
        """Return what happened since the last call (2 µs when nothing did)."""
        if os.getpid() != self._pid:  # a fork shares the queue: reading it would take events from the parent
            return _NOTHING
        data = self._queue.read()
        if data == b"":
            return _NOTHING
        found = Changes(lost=data is None)
        while data:
            self._note(data, found)
            data = self._queue.read()
        return found

    @property
    def is_lost(self) -> bool:
        """Whether somebody closed the queue: nothing more will be heard."""
        return not self._queue.is_ours()

    def close(self) -> None:
        """Stop watching."""
        if os.getpid() == self._pid:
            self._queue.close()

    def _note(self, data: bytes, found: Changes) -> None:
        at = 0
        while at + _HEADER.size <= len(data):
            number, mask, _, size = _HEADER.unpack_from(data, at)
            name = data[at + _HEADER.size : at + _HEADER.size + size].rstrip(b"\0")
            at += _HEADER.size + size
            if mask & _OVERFLOW:
                found.lost = True
            elif mask & _IGNORED:
                self._names.pop(number, None)
            elif name and (folder := self._names.get(number)) is not None:
                path = os.path.join(folder, os.fsdecode(name))
                if not mask & _ISDIR:
                    found.files.add(path)
                elif mask & (_CREATE | _MOVED_TO):
                    found.folders.add(path)

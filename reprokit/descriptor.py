"""Descriptors of ours in a process that is the user's.

They may close any number, and open another file under it: what is read or written through a number that was lost
would be theirs. So it is looked, each time, whether a number still leads to our file. And they may hold a lock on
a file that we read, which the system drops as soon as any descriptor of that file is closed in the process. So one
is not closed while there is such a lock. Knows descriptors; it does not know what is in the files.

On Linux this is done without letting go of the interpreter's lock, as Python's own functions do: at each letting go
a thread of the kernel's that waits takes its turn, and the user's cell waits for that.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading

__all__ = ["Descriptor", "borrow", "give_back", "release"]

_ROOM = 1 << 16  # bytes of one read
_STATUS = 256  # bytes: more than any system's ``struct stat``
_IDENTITY = 16  # bytes at its beginning: device and inode


def _libc() -> ctypes.PyDLL | None:
    """Return the C library where a 64-bit Linux has the calls in it, None elsewhere."""
    if not sys.platform.startswith("linux") or sys.maxsize < 2**32:
        return None
    try:
        libc = ctypes.PyDLL(None)
        libc.fstat.argtypes = [ctypes.c_int, ctypes.c_char_p]
        libc.read.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
        libc.read.restype = ctypes.c_ssize_t
    except (OSError, AttributeError):  # a C library that has ``fstat`` as a macro only
        return None
    return libc


_LIBC = _libc()


class Descriptor:
    """An open descriptor, and the file that it leads to.

    One thread at a time may use it.

    Args:
        fd: its number.

    Raises:
        OSError: it is not open.

    >>> file = Descriptor(os.open(__file__, os.O_RDONLY))
    >>> file.is_ours()
    True
    >>> other = os.open(os.devnull, os.O_RDONLY)
    >>> os.dup2(other, file.fd) and file.is_ours()
    False
    >>> os.close(other), os.close(file.fd)
    (None, None)
    """

    __slots__ = ("_file", "_room", "_status", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._status = ctypes.create_string_buffer(_STATUS)
        self._room: ctypes.Array[ctypes.c_char] | None = None
        self._file: object = None
        self._file = self._look()
        if self._file is None:
            os.fstat(fd)  # says what is wrong

    def is_ours(self) -> bool:
        """Return whether the number still leads to the file that it led to at first."""
        return self.fd >= 0 and self._look() == self._file

    def read(self) -> bytes | None:
        """Return what there is to read now, up to 64 KiB, of one that never blocks; None when the number is lost."""
        if not self.is_ours():
            return None
        if _LIBC is None:
            try:
                return os.read(self.fd, _ROOM)
            except BlockingIOError:
                return b""
        # Taken, not shared: code of the user's that runs in between (a finalizer) may come back here.
        room, self._room = self._room or ctypes.create_string_buffer(_ROOM), None
        size = _LIBC.read(self.fd, room, _ROOM)
        data = ctypes.string_at(room, size) if size > 0 else b""
        self._room = room
        return data

    def close(self) -> None:
        """Close it, unless it is another file's by now."""
        if self.is_ours():
            os.close(self.fd)
        self.fd = -1

    def _look(self) -> object:
        """Return what tells the file from any other, None when the number is not open."""
        if _LIBC is not None:
            return None if _LIBC.fstat(self.fd, self._status) else self._status[:_IDENTITY]
        try:
            status = os.fstat(self.fd)
        except OSError:
            return None
        return status.st_dev, status.st_ino


_LOCKS = "/proc/locks"
_open = open  # whatever the user's code puts in its place, they see no call of ours
_kept: dict[tuple[int, int], list[Descriptor]] = {}  # device and inode → descriptors that may not be closed yet
_keeping = threading.RLock()


def borrow(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file of the user's, or take a descriptor of it that could not be given back.

    Raises:
        OSError: it cannot be opened.
    """
    if _kept:
        status = os.stat(path)  # noqa: PTH116
        with _keeping:
            for descriptor in _kept.pop((status.st_dev, status.st_ino), []):
                if descriptor.is_ours():
                    return descriptor.fd  # the others are the user's by now, or closed
    return os.open(path, flags)


def give_back(fd: int) -> None:
    """Close a descriptor that was borrowed, as soon as this process holds no lock on its file.

    Raises:
        OSError: it is not open.
    """
    status = os.fstat(fd)
    with _keeping:
        _kept.setdefault((status.st_dev, status.st_ino), []).append(Descriptor(fd))
    release()


def release() -> None:
    """Close what was given back and could not be closed then, as far as no lock is left."""
    if not _kept:
        return
    with _keeping:
        locked = _locked_inodes()
        for key in [key for key in _kept if key[1] not in locked]:
            for descriptor in _kept.pop(key):
                descriptor.close()


def _locked_inodes() -> set[int]:
    """Return the inodes of the files that this process holds POSIX locks on."""
    try:
        with _open(_LOCKS, "rb", buffering=0) as file:
            lines = file.readall().splitlines()
    except OSError:  # another system
        return set()
    # ``5: POSIX  ADVISORY  WRITE 3548 fd:01:1234567 0 EOF``; a waiting one has ``->`` before its kind.
    own = str(os.getpid()).encode()
    fields = (line.split() for line in lines if b"POSIX" in line)
    return {int(parts[5].rpartition(b":")[2]) for parts in fields if len(parts) == 8 and parts[4] == own}

"""Hashes and keeps the bytes of files, in the background, once for each state of a file.

A file's state is its device, inode, size, mtime and ctime. A cached digest is believed only when the
file had been left alone for a moment before it was hashed: within the clock's tick a second write
leaves no trace in the times (git calls such an entry racily clean). It is not believed either while
the process can write to the file through memory, which need not change the times.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, time_ns
from typing import Protocol

from reprokit.capture import redact, swallowed
from reprokit.capture.files import lfs
from reprokit.capture.files.scan import Key, key_of
from reprokit.descriptor import borrow, give_back
from reprokit.store.objects import Objects

__all__ = ["Content", "Contents"]

_open = open  # as it is now: a user may replace `builtins.open`
_TICK_NS = 10_000_000  # kernels before 6.13 stamp files with a clock of about 4 ms
_REMEMBERED = 20_000  # files whose digest is cached, about 0.3 kB each
_PACKED = struct.Struct("<QQqqqqqB")
_STORED = ("none", "object", "git", "dvc", "lfs")
_START = 4_096  # bytes that tell whether a file goes on from what it was
_MAPS_S = 0.2  # how long a look at the process's memory is believed


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes a file had: ``stored`` is "git", "dvc", "lfs", "object" or "none"; ``state`` as in ``FileUse``."""

    key: Key | None
    size: int | None
    digest: str | None
    stored: str
    state: str
    at_ns: int = 0

    def holds_for(self, key: Key) -> bool:
        """Return whether this is certainly still what a file with ``key`` holds."""
        return self.key == key and self.digest is not None and max(key[3], key[4]) < self.at_ns - _TICK_NS

    def packed(self) -> bytes | None:
        """Return the same in a fraction of the memory; None when there is nothing worth remembering."""
        if self.key is None or self.size is None or self.digest is None or self.state != "stable":
            return None
        numbers = (*self.key, self.size, self.at_ns, _STORED.index(self.stored))
        return _PACKED.pack(*numbers) + bytes.fromhex(self.digest.removeprefix("sha256:"))

    @classmethod
    def unpacked(cls, data: bytes) -> Content:
        """Return what ``packed`` made small."""
        *key, size, at_ns, stored = _PACKED.unpack_from(data)
        digest = "sha256:" + data[_PACKED.size :].hex()
        device, inode, length, changed, status = key
        return cls((device, inode, length, changed, status), size, digest, _STORED[stored], "stable", at_ns)


class Tracker(Protocol):
    """Tells what keeps a file's bytes already."""

    def blob(self, path: str) -> str | None:
        """Return the git blob that the code snapshot has for a path."""

    def md5(self, path: str, size: int) -> str | None:
        """Return the MD5 of what DVC keeps for a path, when it has this size and can be had again."""


class Contents:
    """Remembers what was hashed, by absolute path.

    Args:
        objects: where bytes are kept.
        limit: largest file kept, in bytes.
        announce: called with a path just before it is read here.
        tracker: tells what need not be kept.
        hushed: returns a context in which this thread's opens are not recorded.
    """

    def __init__(
        self,
        objects: Objects,
        limit: int,
        announce: Callable[[str], None],
        tracker: Tracker,
        hushed: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self._objects = objects
        self._limit = limit
        self._announce = announce
        self._tracker = tracker
        self._hushed = hushed
        self._known: dict[str, bytes] = {}  # packed
        self._always: set[str] = set()  # files that the user wants kept, whatever their size
        self._reading = threading.local()
        self._mapped: tuple[float, frozenset[int]] = (0.0, frozenset())

    @property
    def reading(self) -> bool:
        """Whether this thread is reading a file here, so that its opens are not the user's."""
        return getattr(self._reading, "now", False)

    def keep(self, path: str) -> None:
        """Keep the bytes of a file whenever it is looked at from now on, whatever its size."""
        self._always.add(path)
        self._known.pop(path, None)

    def sync(self) -> None:
        """Make what was kept so far survive a power cut: before a line is written that names it."""
        self._objects.sync()

    def of(self, path: str, expected: Key | None = None) -> Content:
        """Return the content of a file, hashing it when that is not known.

        Args:
            path: an absolute path.
            expected: the state the file had when it was used; another one now makes it "unstable".
        """
        try:
            status = os.stat(path)
        except OSError:
            return Content(None, None, None, "none", "missing")
        key = key_of(status)
        packed = self._known.get(path)
        known = None if packed is None else Content.unpacked(packed)
        if expected is not None and key != expected:
            if known is not None and known.key == expected and known.digest is not None:
                return known
            return Content(expected, expected[2], None, "none", "unstable")
        if known is not None and known.holds_for(key) and not self._is_mapped(key):
            return known
        return self._remember(path, key)

    def of_bytes(self, data: bytes) -> Content:
        """Return the content of a file whose bytes came from the code snapshot."""
        return Content(None, len(data), self._objects.put_bytes(data, durable=False), "git", "stable")

    def begins_as(self, path: str, content: Content) -> bool:
        """Return whether a file is not shorter than bytes that are kept here, and begins with them."""
        if not content.size or content.digest is None:
            return False
        self._reading.now = True
        try:
            with self._hushed():
                start = _start(self._objects.path(content.digest))
                if not start or os.path.getsize(path) < content.size:
                    return False
                self._announce(path)
                return _start(path)[: len(start)] == start
        except OSError:
            return False
        finally:
            self._reading.now = False

    def of_copy(self, copy: str, path: str, key: Key | None) -> Content | None:
        """Return the content of a kept copy of what ``path`` held, and remove it; None when it is not that."""
        try:
            size = os.stat(copy).st_size
            if key is not None and key[2] != size:
                return None
            content = self._hash(copy, path, key or (0, 0, size, 0, 0))
        except OSError:
            return None
        finally:
            with contextlib.suppress(OSError):
                os.unlink(copy)
        return dataclasses.replace(content, key=key)

    def _remember(self, path: str, key: Key) -> Content:
        try:
            content = self._hash(path, path, key)
            if key_of(os.stat(path)) != key:  # replaced or changed since its state was looked at
                content = Content(key, key[2], None, "none", "unstable")
            elif self._is_mapped(key):  # what is written through memory later need not change the times
                content = dataclasses.replace(content, at_ns=0)
        except OSError as error:
            if not isinstance(error, (FileNotFoundError, PermissionError)):  # a full disk, say: told as what it is
                swallowed.keep("files", error)
            content = Content(key, key[2], None, "none", "missing")
        self._known.pop(path, None)  # so that the order is that of last use
        if (packed := content.packed()) is not None:
            self._known[path] = packed
        if len(self._known) > _REMEMBERED:
            for old in list(self._known)[: _REMEMBERED // 4]:
                self._known.pop(old, None)
        return content

    def _hash(self, place: str, path: str, key: Key) -> Content:
        self._reading.now = True
        try:
            with self._hushed():
                return self._read(place, path, key)
        finally:
            self._reading.now = False

    def _read(self, place: str, path: str, key: Key) -> Content:
        """Read the bytes at ``place``, which are those that ``path`` has or had."""
        at = time_ns()
        if redact.is_secret_file(path):
            self._announce(place)
            stored = self._objects.put_file(place, limit=-1)
            return Content(key, stored.size, stored.digest, "none", stored.state, at)
        blob = self._tracker.blob(path)
        md5 = None if blob is not None else self._tracker.md5(path, key[2])
        if (blob is not None or md5 is not None) and path not in self._always:
            self._announce(place)
            stored = self._objects.put_file(place, limit=-1, git=blob is not None, md5=md5 is not None)
            if blob is not None and stored.git_blob == blob:
                return Content(key, stored.size, stored.digest, "git", stored.state, at)
            if md5 is not None and stored.md5 == md5:
                return Content(key, stored.size, stored.digest, "dvc", stored.state, at)
        self._announce(place)
        limit = None if path in self._always else self._limit
        stored = self._objects.put_file(place, limit=limit, durable=False)
        where = "object" if stored.kept else "lfs" if lfs.holds(path, stored.digest, stored.size) else "none"
        return Content(key, stored.size, stored.digest, where, stored.state, at)

    def _is_mapped(self, key: Key) -> bool:
        """Return whether this process can write to the file through memory at the moment."""
        now = monotonic()
        if now - self._mapped[0] > _MAPS_S:
            self._mapped = (now, _mapped_inodes())
        return key[1] in self._mapped[1]


def _start(path: str | os.PathLike[str]) -> bytes:
    fd = borrow(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, _START, 0)
    finally:
        give_back(fd)


def _mapped_inodes() -> frozenset[int]:
    """Return the inodes of the files that are mapped to be written, from lines ``7f…-7f… rw-s … inode /path``."""
    try:
        with _open("/proc/self/maps", "rb", buffering=1 << 16) as lines:
            return frozenset(int(line.split(None, 5)[4]) for line in lines if b" rw-s " in line and b" /" in line)
    except (OSError, ValueError, IndexError):  # another system
        return frozenset()

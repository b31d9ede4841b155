"""Hashes and keeps the bytes of files, in the background, once for each state of a file.

A file's state is its device, inode, size, mtime and ctime. A cached digest is believed only when the
file had been left alone for a moment before it was hashed: within the clock's tick a second write
leaves no trace in the times (git calls such an entry racily clean).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reprokit.capture import redact
from reprokit.capture.scan import Key, key_of
from reprokit.store.objects import Objects

__all__ = ["Content", "Contents"]

_TICK_NS = 10_000_000  # kernels before 6.13 stamp files with a clock of about 4 ms


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes a file had: ``stored`` is "git", "object" or "none"; ``state`` as in ``FileUse``."""

    key: Key | None
    size: int | None
    digest: str | None
    stored: str
    state: str
    at_ns: int = 0

    def holds_for(self, key: Key) -> bool:
        """Return whether this is certainly still what a file with ``key`` holds."""
        return self.key == key and self.digest is not None and max(key[3], key[4]) < self.at_ns - _TICK_NS


class Contents:
    """Remembers what was hashed, by absolute path.

    Args:
        objects: where bytes are kept.
        limit: largest file kept, in bytes.
        announce: called with a path just before it is read here.
        tracked: absolute path → git blob id of what the code snapshot already holds.
    """

    def __init__(
        self,
        objects: Objects,
        limit: int,
        announce: Callable[[str], None],
        tracked: Callable[[], Mapping[str, str]],
    ) -> None:
        self._objects = objects
        self._limit = limit
        self._announce = announce
        self._tracked = tracked
        self._known: dict[str, Content] = {}
        self._reading = threading.local()

    @property
    def reading(self) -> bool:
        """Whether this thread is reading a file here, so that its opens are not the user's."""
        return getattr(self._reading, "now", False)

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
        if expected is not None and key != expected:
            known = self._known.get(path)
            if known is not None and known.key == expected and known.digest is not None:
                return known
            return Content(expected, expected[2], None, "none", "unstable")
        known = self._known.get(path)
        if known is not None and known.holds_for(key):
            return known
        return self._remember(path, key)

    def of_bytes(self, data: bytes) -> Content:
        """Return the content of a file whose bytes came from the code snapshot."""
        return Content(None, len(data), self._objects.put_bytes(data), "git", "stable")

    def _remember(self, path: str, key: Key) -> Content:
        self._reading.now = True
        try:
            content = self._read(path, key)
            if key_of(os.stat(path)) != key:  # replaced or changed since its state was looked at
                content = Content(key, key[2], None, "none", "unstable")
        except OSError:
            content = Content(key, key[2], None, "none", "missing")
        finally:
            self._reading.now = False
        self._known[path] = content
        return content

    def _read(self, path: str, key: Key) -> Content:
        at = time.time_ns()
        if redact.is_secret_file(path):
            self._announce(path)
            stored = self._objects.put_file(path, limit=-1)
            return Content(key, stored.size, stored.digest, "none", stored.state, at)
        blob = self._tracked().get(path)
        if blob is not None:
            self._announce(path)
            stored = self._objects.put_file(path, limit=-1, git=True)
            if stored.git_blob == blob:
                return Content(key, stored.size, stored.digest, "git", stored.state, at)
        self._announce(path)
        stored = self._objects.put_file(path, limit=self._limit)
        where = "object" if stored.kept else "none"
        return Content(key, stored.size, stored.digest, where, stored.state, at)

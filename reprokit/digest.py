"""SHA-256 of bytes, files and canonical JSON: the only module that hashes.

A digest is written ``sha256:<64 hex digits>``, so that anyone can check it with ``sha256sum``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
    "BLOCK",
    "PREFIX",
    "Hasher",
    "canonical_json",
    "checksum",
    "derived",
    "git_blob",
    "hex_of",
    "is_file_named",
    "of_bytes",
    "of_file",
    "of_json",
]

PREFIX = "sha256:"
BLOCK = 1 << 20  # bytes read at a time: large enough that hashlib releases the GIL, small enough for the cache


def of_bytes(data: bytes) -> str:
    """Return the digest of ``data``.

    >>> of_bytes(b"")[:19]
    'sha256:e3b0c44298fc'
    """
    return PREFIX + hashlib.sha256(data).hexdigest()


def of_file(path: str | os.PathLike[str]) -> str:
    """Return the digest of a file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    hasher = Hasher()
    with open(path, "rb", buffering=0) as stream:
        hasher.feed(stream.read)
    return hasher.digest()


def canonical_json(value: Any) -> bytes:
    """Return ``value`` as JSON that is the same for equal values: sorted keys, no spaces, ASCII.

    ASCII escapes keep lone surrogates (from file names that are not UTF-8) exact.

    >>> canonical_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    return _ENCODE(value).encode("ascii")


def _encoder() -> Callable[[Any], str]:
    """Return the encoder, made once: ``JSONEncoder.encode`` makes its inner one anew each time, at twice the cost."""
    plain = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # another Python than CPython
        return plain.encode
    quote = json.encoder.encode_basestring_ascii
    chunks = make(None, plain.default, quote, None, ":", ",", True, False, True)
    return lambda value: "".join(chunks(value, 0))


_ENCODE = _encoder()


def of_json(value: Any) -> str:
    """Return the digest of ``canonical_json(value)``."""
    return of_bytes(canonical_json(value))


def checksum(data: bytes) -> str:
    """Return 16 hex digits that tell a whole journal line from a torn or damaged one."""
    return hashlib.sha256(data).hexdigest()[:16]


def git_blob(data: bytes, kind: str = "sha1") -> str:
    """Return the id that git gives to ``data`` in a repository of this object format ("sha1" or "sha256").

    >>> git_blob(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    name = hashlib.new(kind, b"blob %d\0" % len(data), usedforsecurity=False)
    name.update(data)
    return name.hexdigest()


def hex_of(digest: str) -> str:
    """Return the hexadecimal part of a digest.

    Raises:
        ValueError: ``digest`` is not of the form ``sha256:<64 hex digits>``.
    """
    name = digest.removeprefix(PREFIX)
    if len(name) != 64 or not digest.startswith(PREFIX) or not set(name) <= set("0123456789abcdef"):
        raise ValueError(f"not a SHA-256 digest: {digest!r}")
    return name


class Hasher:
    """Hashes one stream of bytes, and in the same pass names it as git would.

    Args:
        git_size: the stream's size in bytes when its git blob id is wanted too.
        md5: whether its MD5 is wanted too, by which DVC names it.
    """

    def __init__(self, git_size: int | None = None, *, md5: bool = False) -> None:
        self._sha256 = hashlib.sha256()
        self._git = None if git_size is None else hashlib.sha1(b"blob %d\0" % git_size, usedforsecurity=False)
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self.size = 0

    def update(self, block: bytes | memoryview) -> None:
        """Add a block of bytes."""
        self._sha256.update(block)
        if self._git is not None:
            self._git.update(block)
        if self._md5 is not None:
            self._md5.update(block)
        self.size += len(block)

    def feed(self, read: Callable[[int], bytes | None], write: Callable[[bytes], object] | None = None) -> None:
        """Read to the end with ``read(size)``, passing each block on to ``write``."""
        while block := read(BLOCK):
            self.update(block)
            if write is not None:
                write(block)

    def digest(self) -> str:
        """Return the digest of what was read so far."""
        return PREFIX + self._sha256.hexdigest()

    def git_blob(self) -> str | None:
        """Return the id that git gives to these bytes, or None when it was not asked for."""
        return None if self._git is None else self._git.hexdigest()

    def md5(self) -> str | None:
        """Return the MD5 of what was read so far, or None when it was not asked for."""
        return None if self._md5 is None else self._md5.hexdigest()


def is_file_named(path: Path, digest: str) -> bool:
    """Return whether the bytes at ``path`` have this digest; False when there is no such file."""
    try:
        return of_file(path) == digest
    except OSError:
        return False


def derived(root: str, label: str, size: int) -> bytes:
    """Return ``size`` bytes that follow from a root and a label alone (SHAKE-256).

    >>> derived("00ff", "draw 1", 4) == derived("00ff", "draw 1", 4)
    True
    """
    return hashlib.shake_256(f"{root}/{label}".encode()).digest(size)

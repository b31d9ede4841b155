"""One lock file for everyone who writes: held by the operating system, so that no death leaves it locked."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["exclusive", "opened"]

_held: set[int] = set()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``, waiting for it as long as another process or thread has it.

    Raises:
        OSError: the lock file cannot be made.
    """
    with opened(path) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Yield the descriptor of a lock file that is not locked yet; what is locked by it is free in the end.

    A process that is given the descriptor holds the lock as well. A child that is merely forked does not.

    Raises:
        OSError: the lock file cannot be made.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _held.add(fd)
    try:
        yield fd
    finally:
        _held.discard(fd)
        os.close(fd)


def _release_inherited() -> None:
    """Close what a forked child inherited: the lock would stay held for as long as the child lives."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_release_inherited)

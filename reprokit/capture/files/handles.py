"""Files of the user's that this process holds open for writing: they can change in a later cell without a call.

A database, a log or a mapped array is opened in one cell and written in the next. Nobody hears of that, so at
the end of each cell the states of the files that are held are compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from time import monotonic

from reprokit.capture.files.scan import Key

__all__ = ["Handles"]

_HELD = 64  # files: looking at them must not be felt
_LOOK_S = 1.0  # how often it is looked whether they are still held


class Handles:
    """The files that are held.

    Args:
        state_of: returns the state of a file.
    """

    def __init__(self, state_of: Callable[[str], Key | None]) -> None:
        self._state_of = state_of
        self._held: dict[str, Key | None] = {}
        self._looked = 0.0

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._held))

    def changed(self) -> list[str]:
        """Return the held files that are not as they were when last looked at."""
        found = []
        for path, known in self._held.items():
            now = self._state_of(path)
            if now != known:
                self._held[path] = now
                found.append(path)
        return found

    def look(self, opened: Iterable[str]) -> None:
        """Look which files are held.

        Args:
            opened: files that were opened for writing since the last call.
        """
        fresh = [path for path in opened if path not in self._held]
        now = monotonic()
        if not fresh and (not self._held or now - self._looked < _LOOK_S):
            return
        self._looked = now
        held = _open_files()
        for path in [path for path in self._held if path not in held]:
            del self._held[path]
        for path in fresh:
            if os.path.realpath(path) in held and len(self._held) < _HELD:
                self._held[path] = self._state_of(path)


def _open_files() -> set[str]:
    found: set[str] = set()
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:  # another system
        return found
    for number in numbers:
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return found

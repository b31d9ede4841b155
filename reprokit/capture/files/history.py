"""What this run knows of the files that it used: which it wrote itself, and how it last saw them.

Values only, and few of them: a run may go on for weeks and touch a hundred thousand files.
"""

from __future__ import annotations

from collections.abc import Iterable

from reprokit.capture.files.scan import Key
from reprokit.capture.files.uses import Debt

__all__ = ["History"]

_REMEMBERED = 5_000  # files whose last bytes are known: those that a library may read and overwrite unseen
_OWN = 500_000  # files that the run wrote, two numbers each


class History:
    """Remembers, by absolute path, what the run did with files."""

    def __init__(self) -> None:
        self._products: dict[int, int] = {}  # hash of the path → hash of the state
        self._states: dict[str, Debt] = {}
        self._foreign: set[int] = set()
        self._forgot = False

    def is_product(self, path: str, key: Key | None) -> bool:
        """Return whether a file in this state is as the run itself left it."""
        return key is not None and self._products.get(hash(path)) == hash(key)

    def was_written(self, path: str) -> bool:
        """Return whether the run ever wrote the file."""
        return hash(path) in self._products

    def wrote(self, path: str, debt: Debt) -> None:
        """Note how the run left a file."""
        if len(self._products) >= _OWN:
            self._products.clear()
            self._forgot = True
        self._products[hash(path)] = hash(debt.key)
        self.saw(path, debt)

    def owns(self, path: str, key: Key) -> None:
        """Note that the run left a file in this state, in the process before this one."""
        self._products[hash(path)] = hash(key)

    def saw(self, path: str, debt: Debt) -> None:
        """Note the bytes that a file has now."""
        self._states.pop(path, None)  # so that the order is that of last use
        self._states[path] = debt
        if len(self._states) > _REMEMBERED:
            self.changed_by_others(list(self._states)[: _REMEMBERED // 4])

    def last(self, path: str) -> Debt | None:
        """Return the bytes that the run last saw in a file, as far as nobody else changed it since."""
        return self._states.get(path)

    def twin(self, links: tuple[int, int]) -> Debt | None:
        """Return the bytes that the run last saw in a file by any of its names, by device and inode."""
        found = (debt for debt in self._states.values() if debt.key is not None and debt.key[:2] == links)
        return max(found, key=lambda debt: debt.key[3:] if debt.key is not None else (), default=None)

    def is_foreign(self, path: str) -> bool:
        """Return whether the file may be another than the code snapshot saw, for all that is known."""
        return self._forgot or hash(path) in self._foreign or self.was_written(path)

    def changed_by_others(self, paths: Iterable[str]) -> None:
        """Note that these files were changed between cells, or that nothing is known of them any more."""
        for path in paths:
            self._states.pop(path, None)
            if not self.was_written(path):  # that says the same
                self._foreign.add(hash(path))
        if len(self._foreign) > 40 * _REMEMBERED:
            self._foreign.clear()
            self._forgot = True

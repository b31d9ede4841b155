"""What one cell did with one file, and the bytes of it that still have to be hashed.

Values only: ``files`` decides what happens to them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from reprokit.capture.contents import Content
from reprokit.capture.scan import Key

__all__ = ["Debt", "Debts", "Use"]


@dataclass(slots=True, eq=False)
class Debt:
    """The bytes a file has in one state: ``content`` once they are hashed."""

    key: Key
    content: Content | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True, eq=False)
class Use:
    """What one cell did with one file so far.

    Attributes:
        before: the file's state when the cell first touched it; None when it was not there.
        own: whether what is read is what this run itself wrote.
        source: who saw it: "python", "tree" (C libraries and other processes).
        old: the bytes that were read.
        new: the bytes that the cell left.
        snapshot: whether what was read is what the code snapshot holds, as nobody changed it since.
    """

    before: Key | None
    read: bool = False
    own: bool = False
    written: bool = False
    source: str = "python"
    old: Debt | None = None
    new: Debt | None = None
    snapshot: bool = False

    @property
    def accesses(self) -> list[str]:
        """Return "read" and "write", as far as they happened."""
        return ["read"] * self.read + ["write"] * self.written


class Debts:
    """The bytes that are not hashed yet, by absolute path.

    Args:
        hash_now: returns the content that a path has in a state, reading the file if need be.
    """

    def __init__(self, hash_now: Callable[[str, Key], Content]) -> None:
        self._hash_now = hash_now
        self._owed: dict[str, Debt] = {}

    def __bool__(self) -> bool:
        return bool(self._owed)

    def owe(self, path: str, key: Key) -> Debt:
        """Return the debt for a file in a state, the same one as long as it is not settled."""
        debt = self._owed.get(path)
        if debt is None or debt.key != key:
            debt = self._owed[path] = Debt(key)
        return debt

    def settle(self, path: str, debt: Debt) -> Content:
        """Hash what is owed, once, whichever thread comes first."""
        with debt.lock:
            if debt.content is None:
                debt.content = self._hash_now(path, debt.key)
        if self._owed.get(path) is debt:
            self._owed.pop(path, None)
        return debt.content

    def settle_path(self, path: str, limit: int) -> None:
        """Hash what is owed for a path now, if it has at most ``limit`` bytes: its bytes are about to go."""
        debt = self._owed.get(path)
        if debt is not None and debt.key[2] <= limit:
            self.settle(path, debt)

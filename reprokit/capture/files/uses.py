"""What one cell did with one file, and the bytes of it that still have to be hashed.

Values only: ``merge`` decides what happened, and ``files`` what becomes of it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from reprokit.capture.files.contents import Content
from reprokit.capture.files.scan import Key

__all__ = ["Debt", "Debts", "Use"]


@dataclass(slots=True, eq=False)
class Debt:
    """The bytes a file has in one state.

    Attributes:
        path: where they are.
        key: the state; None when nobody saw the file while it was in it: then only a copy tells.
        content: what is known of them, once they are hashed.
        copy: where they were kept before the file was changed.
        moved: where they are since the file was renamed.
    """

    path: str
    key: Key | None
    content: Content | None = None
    copy: str | None = None
    moved: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_lost(self) -> bool:
        """Whether the bytes are not known yet, or could not be."""
        return self.content is None or self.content.digest is None


@dataclass(slots=True, eq=False)
class Use:
    """What one cell did with one file so far.

    Attributes:
        before: the file's state when the cell first touched it; None when it was not there.
        own: whether what is read is what this run itself wrote.
        source: who saw it: "python", "process" (C libraries and other processes of the user's) or "tree"
            (somebody, by what became of the project's tree).
        old: the bytes that were read.
        new: the bytes that the cell left.
        snapshot: whether what was read is what the code snapshot holds, as nobody changed it since.
        grown: whether it was changed by somebody who may have gone on from the bytes in ``old``.
        doubtful: whether it was opened to be changed and has other times since, but perhaps the same bytes.
        exact: whether the order of all that happened to it is known, so that nothing need be concluded.
        blind: whether what is read is only that its old bytes may have stayed: it could be changed, and not be read.
        told: how somebody nobody sees was told of it: "told" (it may be used), "used" (it is), "output" or "".
    """

    before: Key | None
    read: bool = False
    own: bool = False
    written: bool = False
    source: str = "python"
    old: Debt | None = None
    new: Debt | None = None
    snapshot: bool = False
    grown: bool = False
    doubtful: bool = False
    exact: bool = False
    blind: bool = False
    told: str = ""

    @property
    def accesses(self) -> list[str]:
        """Return "read" and "write", as far as they happened."""
        return ["read"] * self.read + ["write"] * self.written

    def is_in_doubt(self, access: str) -> bool:
        """Return whether only its bytes tell that it happened."""
        return self.doubtful and (access == "write" or self.blind)


class Debts:
    """The bytes that are not hashed yet, by absolute path.

    Args:
        hash_now: returns the content that a path has in a state, reading the file if need be.
        rescue: returns the content of bytes that are not at their path any more, as far as they were kept.
        guard: told a path whose bytes are owed, and again when they are not any more.
    """

    def __init__(
        self,
        hash_now: Callable[[str, Key], Content],
        rescue: Callable[[Debt], Content | None] = lambda debt: None,
        guard: Callable[[str, bool], None] = lambda path, on: None,
    ) -> None:
        self._hash_now = hash_now
        self._rescue = rescue
        self._guard = guard
        self._owed: dict[str, Debt] = {}
        self._places: dict[tuple[int, int], str] = {}  # device and inode → the path that is owed for

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, path: str, key: Key, *, guard: bool = False) -> Debt:
        """Return the debt for a file in a state, the same one as long as it is not settled.

        Args:
            path: an absolute path.
            key: its state.
            guard: nobody has read the file yet, which alone would have it guarded.
        """
        debt = self._owed.get(path)
        if debt is None or debt.key != key:
            debt = self._owed[path] = Debt(path, key)
            self._places[key[:2]] = path
            if guard:
                self._guard(path, True)
        return debt

    def owed(self, path: str) -> Debt | None:
        """Return what is owed for a path, if anything is."""
        return self._owed.get(path)

    def twin(self, path: str, key: Key | None) -> Debt | None:
        """Return what is owed for another name of a file: who changes it by this one changes both."""
        other = None if key is None else self._places.get(key[:2])
        return None if other is None or other == path else self._owed.get(other)

    def settle(self, debt: Debt) -> Content:
        """Hash what is owed, once, whichever thread comes first."""
        with debt.lock:
            if debt.content is None or (debt.copy is not None and debt.is_lost):
                debt.content = self._hashed(debt)
            if debt.copy is not None and not debt.is_lost:  # the bytes were still in their place
                with contextlib.suppress(OSError):
                    os.unlink(debt.copy)
                debt.copy = None
        if self._owed.get(debt.path) is debt:
            self._owed.pop(debt.path, None)
            if debt.key is not None and self._places.get(debt.key[:2]) == debt.path:
                self._places.pop(debt.key[:2], None)
            self._guard(debt.path, False)
        return debt.content

    def settle_path(self, path: str, limit: int) -> None:
        """Hash what is owed for a path now, if it has at most ``limit`` bytes: its bytes are about to go."""
        debt = self._owed.get(path)
        if debt is not None and debt.key is not None and debt.key[2] <= limit:
            self.settle(debt)

    def _hashed(self, debt: Debt) -> Content:
        content = Content(None, None, None, "none", "unstable")
        if debt.key is not None:
            content = self._hash_now(debt.path, debt.key)
        return content if content.digest is not None else self._rescue(debt) or content

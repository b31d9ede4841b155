"""What was found where two runs are not plainly equal, and what it takes to find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reprokit.digest import PREFIX
from reprokit.records import Cell, Difference
from reprokit.replay.typed import kinds, text
from reprokit.replay.typed.outcome import How, Outcome

__all__ = ["Context", "Finding", "Pair", "Read", "brief", "changed", "states_of", "told"]

Read = Callable[[str], bytes]
Pair = tuple[Cell | None, Cell | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One comparison that was not plain equality; ``texts`` are the two contents, for finding the cause."""

    difference: Difference | None = None
    diverges: bool = True
    rules: tuple[str, ...] = ()
    texts: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every comparison needs: the objects, how strict to be, and each run's own folders."""

    read: Read
    how: How

    @property
    def exact(self) -> bool:
        """Whether no rule applies."""
        return self.how.comparison.exact

    def same_text(self, left: str, right: str) -> tuple[str, ...] | None:
        """Return the rules that make two short texts the same, or None."""
        if left == right or self.exact:
            return () if left == right else None
        return text.same_text(left, right, how=self.how)

    def contrast(self, left: bytes, right: bytes, kind: str | None) -> Outcome:
        """Compare two contents of a kind."""
        return kinds.compare(left, right, kind, self.how)

    def essence(self, left: str, right: str, kind: str | None) -> tuple[str, str]:
        """Return two texts of a kind without what the rules see past."""
        return text.essence(left, right, kind, self.how)


def told(what: str, where: str, before: str, after: str, detail: str = "", *, diverges: bool = True) -> Finding:
    """Return that something differs."""
    difference = Difference(what=what, where=where, before=before, after=after, detail=detail)
    return Finding(difference=difference, diverges=diverges)


def changed(what: str, where: str, left: str, right: str) -> Finding:
    """Return that a text differs: its first line that does, and how it goes on."""
    shown = text.told(left, right)
    difference = Difference(what=what, where=where, before=shown.before, after=shown.after, detail=shown.detail)
    return Finding(difference=difference, texts=(left, right))


def brief(digest: str) -> str:
    """Return the beginning of a digest, and what stands behind it."""
    digest, _, more = digest.partition(" ")
    return f"{digest.removeprefix(PREFIX)[:12]} {more}".strip()


def states_of(cell: Cell | None) -> dict[tuple[str, str], str]:
    """Return the states of a cell's generators by (when, generator)."""
    random = cell.random if cell else ()
    return {(state.at, name): state.of(name) for state in random for name in state.states}

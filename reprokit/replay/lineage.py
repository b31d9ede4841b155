"""Which statements, of a cell and of those before it, what the cell shows may follow from.

Followed back are names, statement by statement, and the files that the run wrote itself. What acts through neither
(a library's global state, a server) is not seen. Pure: knows cells and their sources alone.
"""

from __future__ import annotations

import builtins
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from reprokit.records import Cell
from reprokit.replay.statements import Statement, statements

__all__ = ["Entry", "Lineage", "Link", "Sources", "lineage"]

# Of IPython's, in every namespace.
_ALWAYS = frozenset(dir(builtins)) | {"display", "get_ipython", "exit", "quit", "In", "Out", "__name__", "__file__"}


@dataclass(frozen=True, slots=True)
class Link:
    """A statement of the cell at ``position``, ``depth`` cells before the one in question.

    What is imported or defined counts as where it is used.
    """

    position: int
    depth: int
    statement: Statement


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a difference came in: by a statement, if that is known, and the names whose values then differ."""

    link: Link | None = None
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Lineage:
    """All links, nearest first.

    ``free`` are names that none of the cells made, each with the depth of its use; ``made`` those that one of them
    made otherwise than by an import.
    """

    links: tuple[Link, ...] = ()
    free: dict[str, int] = field(default_factory=dict)
    made: frozenset[str] = frozenset()


class Sources:
    """The cells of a run, by what their statements make: made once, asked for each cell that diverged."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = cells
        self._makers: dict[str, list[int]] = {}  # name → the cells that make or change it, in order
        self._writers: dict[str, list[int]] = {}
        self._opaque: list[int] = []
        self._first: dict[str, int] = {}  # name → the first cell that makes it
        self._imported: set[str] = set()
        for position, cell in enumerate(cells):
            self._add(position, cell)
        self._made = frozenset(self._first.keys() - self._imported)

    def _add(self, position: int, cell: Cell) -> None:
        for statement in statements(cell.source):
            if statement.opaque:
                self._opaque.append(position)
            if statement.imports and statement.carrier:
                self._imported |= statement.made
            for name in statement.made:
                self._first.setdefault(name, position)
            for name in statement.made | statement.changed:
                self._makers.setdefault(name, []).append(position)
        for use in cell.writes:
            self._writers.setdefault(use.path, []).append(position)

    def lineage(self, index: int) -> Lineage:
        """Return what the cell at a position may follow from."""
        search, before = _Search(self._imported), index
        while before >= 0:
            unmade = self._unmade(search.wanted, index)
            search.look(before, self._cells[before], index - before, unmade)
            before = self._next(search, before, unmade or self._unmade(search.wanted, index))
        free = {name: search.wanted[name] for name in self._unmade(search.wanted, index)}
        opaque = bool(self._opaque) and self._opaque[0] <= index
        links = tuple(sorted(search.links, key=lambda link: link.depth))
        return Lineage(links, {} if opaque else free, self._made)

    def _unmade(self, wanted: Iterable[str], index: int) -> set[str]:
        return {name for name in wanted if self._first.get(name, index + 1) > index and not _is_known(name)}

    def _next(self, search: _Search, before: int, unmade: set[str]) -> int:
        """Return the last cell before one that may have made what is wanted; -1 when there is none."""
        lists = [self._makers.get(name, ()) for name in search.wanted]
        lists += [self._writers.get(path, ()) for path in search.files]
        lists += [self._opaque] if unmade else []
        return max((found[at - 1] for found in lists if (at := bisect_left(found, before))), default=-1)


def lineage(cells: Sequence[Cell]) -> Lineage:
    """Return what the last of these cells may follow from.

    >>> cells = [Cell(seq=n, source=s) for n, s in enumerate(["x = f()", "y = 1", "print(x)"], start=1)]
    >>> [(link.position, link.statement.text) for link in lineage(cells).links]
    [(2, 'print(x)'), (0, 'x = f()')]
    """
    return Sources(cells).lineage(len(cells) - 1)


def _is_known(name: str) -> bool:
    return name in _ALWAYS or name.startswith("_")


@dataclass(slots=True)
class _Search:
    """The way back: the names still ``wanted``, each with the depth of its nearest use, and the files."""

    imported: set[str]
    wanted: dict[str, int] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    links: list[Link] = field(default_factory=list)

    def look(self, position: int, cell: Cell, depth: int, unmade: set[str]) -> None:
        """Find the statements of a cell that count, the last one first."""
        whole = depth == 0 or any(use.path in self.files for use in cell.writes)
        counts = False
        for statement in reversed(statements(cell.source)):
            # A module is not changed by what is called in its name.
            touched = self.wanted.keys() & (statement.made | (statement.changed - self.imported))
            if statement.opaque:  # it may have made what nothing else did
                touched |= unmade
            if touched or (whole and not (statement.carrier and depth)):
                at = min((self.wanted[name] for name in touched), default=depth) if statement.carrier else depth
                self._follow(Link(position, at, statement))
                counts = True
        if counts:
            self.files |= {use.path for use in cell.reads if use.own}

    def _follow(self, link: Link) -> None:
        statement = link.statement
        self.links.append(link)
        for name in statement.certain - statement.needed - statement.changed:  # what it may leave, it may follow from
            self.wanted.pop(name, None)
        for name in statement.needed:
            self.wanted[name] = min(link.depth, self.wanted.get(name, link.depth))

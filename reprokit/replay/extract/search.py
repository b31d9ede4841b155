"""Which cells to run, to find a small set of them that gives the same result. Pure: running them is asked of another.

It knows numbers of cells, what needs what, and outcomes. First the cells that are likely to be needed are run, then
more, until the result is the same; then, what nothing proves to be needed is left out on trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from reprokit.records.extraction import Attempt
from reprokit.replay.extract.known import Level
from reprokit.replay.extract.needs import Needs
from reprokit.replay.extract.slice import chosen, soft

__all__ = ["Found", "NoTime", "Run", "search"]

Run = Callable[[tuple[int, ...], bool], Attempt]
"""Runs some cells, plainly or with states put back, and says whether the result is the same; may raise ``NoTime``."""


class NoTime(Exception):
    """There is no time for another attempt."""


@dataclass(slots=True)
class Found:
    """What was found.

    Attributes:
        cells: the smallest set of cells that gave the same; those of the last attempt when none did.
        same: whether it gave the same.
        plain: whether it does so with nothing put back; None when that was not tried.
        minimal: whether every other cell was left out on trial, or has to be there.
        complete: whether there was time for all that could be tried.
        best: the attempt that shows it.
        attempts: all of them, in their order.
    """

    cells: tuple[int, ...] = ()
    same: bool = False
    plain: bool | None = None
    minimal: bool = False
    complete: bool = True
    best: Attempt | None = None
    attempts: list[Attempt] = field(default_factory=list)


def search(needs: Needs, wanted: Sequence[int], run: Run, *, plain_first: bool = True) -> Found:
    """Find a small set of cells that gives the same result.

    Args:
        needs: what the cells need of one another.
        wanted: cells that are always taken: those that make the result.
        run: runs cells, and says whether the result was the same.
        plain_first: whether a run in which nothing is put back may be expected to give the same.
    """
    looking = _Search(needs, tuple(wanted), run)
    try:
        if looking.climb(plain_first):
            looking.shrink()
            looking.ask_plainly()
    except NoTime:
        looking.found.complete = False
    return looking.found


class _Search:
    """One search: what was tried, and the best so far."""

    def __init__(self, needs: Needs, wanted: tuple[int, ...], run: Run) -> None:
        self._needs, self._wanted, self._run = needs, wanted, run
        self._known: dict[tuple[tuple[int, ...], bool], Attempt] = {}
        self._plain = False
        self._level: Level | None = None  # None: all cells up to the result
        self._without: set[int] = set()
        self.found = Found()

    def _try(self, cells: tuple[int, ...], plain: bool) -> bool:
        if (cells, plain) not in self._known:
            attempt = self._run(cells, plain)
            self._known[cells, plain] = attempt
            self.found.attempts.append(attempt)
        attempt = self._known[cells, plain]
        if attempt.outcome == "same":
            self.found.cells, self.found.best, self.found.same = cells, attempt, True
        elif not self.found.same:
            self.found.cells, self.found.best = cells, attempt
        return attempt.outcome == "same"

    def climb(self, plain_first: bool) -> bool:
        """Run what is likely to be needed, then what is possibly needed, then everything, until it is the same."""
        for level in (Level.LIKELY, Level.POSSIBLE, None):
            self._level = level
            cells = self._cells(set())
            if plain_first and level is Level.LIKELY and self._try(cells, True):
                self._plain = True
                self.found.plain = True
                return True
            if self._try(cells, False):
                return True
        return False

    def _cells(self, without: set[int]) -> tuple[int, ...]:
        if self._level is not None:
            return chosen(self._needs, self._wanted, level=self._level, without=without)
        last = max(self._wanted, default=0)
        return tuple(seq for seq in self._needs.cells if seq <= last and seq not in without)

    def shrink(self) -> None:
        """Leave out what can be left out, until nothing more can."""
        while True:
            before = self.found.cells
            for level in (Level.POSSIBLE, Level.LIKELY, Level.SURE):
                held = soft(self._needs, self.found.cells, self._wanted)
                self._leave_out([seq for seq, how_sure in held.items() if how_sure == level])
            if self.found.cells == before:
                self.found.minimal = True
                return

    def _leave_out(self, group: list[int]) -> None:
        """Leave out a group of cells if the result stays; else each half of it."""
        group = [seq for seq in group if seq in self.found.cells]
        if not group:
            return
        cells = self._cells(self._without | set(group))
        if self._try(cells, self._plain):
            self._without |= set(group)
        elif len(group) > 1:
            half = len(group) // 2
            self._leave_out(group[half:])
            self._leave_out(group[:half])

    def ask_plainly(self) -> None:
        """Find out whether the cells alone give the same, with nothing put back."""
        if not self._plain:
            best = self.found.best
            self.found.plain = self._try(self.found.cells, True)
            self.found.best = best

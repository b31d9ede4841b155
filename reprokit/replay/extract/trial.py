"""Runs some cells of a run as a replay of their own, and says whether the results that are asked for are the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from math import isfinite
from time import monotonic

from reprokit.errors import EnvironmentBuildError, StoreError, Unreplayable
from reprokit.records import Cell, FileUse, Run, Verdict
from reprokit.records.extraction import Attempt
from reprokit.replay.compare import compare
from reprokit.replay.comparison import Comparison
from reprokit.replay.conditions import Conditions
from reprokit.replay.contents import reader
from reprokit.replay.execute import replay
from reprokit.replay.extract.goals import Goal, only
from reprokit.replay.extract.search import NoTime
from reprokit.store.store import Store

__all__ = ["Trials", "part"]

_REFUSED = (Unreplayable, EnvironmentBuildError, StoreError, RuntimeError)  # the last: a kernel that died as it began
_LEAST_S = 120  # what a cell gets at least: one that was left out may make another wait for ever
_TIMES = 10  # and how much longer than recorded it may take


class Trials:
    """Runs sets of cells of one run.

    Args:
        store: holds the run and its replays.
        run: the cells are of this one.
        goals: what is compared.
        conditions: what each trial is run under, as far as it is not a plain one.
        comparison: how strict the comparison is.
        budget_s: seconds after which no new trial is begun; the first one is always made.
        timeout: seconds that one cell may take.
        progress: told of each trial in words.
    """

    def __init__(
        self,
        store: Store,
        run: Run,
        goals: Sequence[Goal],
        *,
        conditions: Conditions,
        comparison: Comparison,
        budget_s: float,
        timeout: int | None = None,
        progress: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._store, self._run, self._goals = store, run, list(goals)
        self._conditions, self._comparison = conditions, comparison
        self._until = monotonic() + budget_s
        self._timeout = timeout or max(_LEAST_S, _longest(run.cells))
        self._progress = progress
        self._named = ", ".join(goal.words for goal in goals)  # so that these replays are known among the others
        self._made = 0
        self.verdicts: dict[str, Verdict] = {}
        self.whole: dict[str, Verdict] = {}

    def __call__(self, cells: tuple[int, ...], plain: bool) -> Attempt:
        """Run some cells.

        Raises:
            NoTime: there is no time for it.
            Unreplayable: none of it can be repeated exactly.
        """
        if self._made and monotonic() > self._until:
            raise NoTime
        self._made += 1
        self._progress(f"running {len(cells)} of {len(self._run.cells)} cells" + (", nothing put back" * plain))
        began = monotonic()
        try:
            attempt = self._repeat(cells, plain)
        except _REFUSED as error:
            if self._made == 1:
                raise
            attempt = Attempt(cells=cells, plain=plain, difference=str(error))
        return replace(attempt, seconds=round(monotonic() - began, 1))

    def _repeat(self, cells: tuple[int, ...], plain: bool) -> Attempt:
        conditions = replace(self._conditions, random="fresh", hash_seed="random") if plain else self._conditions
        some = replace(part(self._run, cells), tags={**self._run.tags, "extract": self._named})
        result = replay(self._store, some, conditions=conditions, comparison=self._comparison, timeout=self._timeout)
        replayed = self._store.load(result.replay)
        self.whole[result.replay] = result.verdict
        verdict = self._compare(replayed)
        self.verdicts[result.replay] = verdict
        difference = _unlike(some, replayed) or _told(verdict)
        outcome = "different" if difference else "same"
        return Attempt(cells=cells, plain=plain, outcome=outcome, difference=difference, replay=result.replay)

    def _compare(self, replayed: Run) -> Verdict:
        ours, theirs = only(self._run, self._goals), only(replayed, self._goals)
        return compare(ours, theirs, reader(self._store.objects, self._run, replayed), self._comparison)


def _unlike(some: Run, replayed: Run) -> str:
    """Return which cell did not end as it had: a notebook that stops in the middle yields nothing."""
    ended = {cell.seq: cell for cell in replayed.cells}
    for cell in some.cells:
        now = ended.get(cell.seq)
        if now is None or now.status != cell.status:
            how = "did not run" if now is None else f"is {now.status}" + (f": {now.error}" if now.error else "")
            return f"cell {cell.seq} {how.splitlines()[0][:120]}"
    return ""


def _told(verdict: Verdict) -> str:
    if verdict.first_divergence is not None:
        return verdict.first_divergence.difference
    return ""


def _longest(cells: Sequence[Cell]) -> int:
    took = (cell.duration_s for cell in cells if cell.duration_s is not None and isfinite(cell.duration_s))
    return int(_TIMES * max(took, default=0))


def part(run: Run, cells: Collection[int]) -> Run:
    """Return the run with these cells alone, and what the others left taken out."""
    kept = tuple(_kept(run.cells, cells))
    last = max(cells, default=0)
    written = {use.path for cell in kept for use in cell.writes}
    return replace(
        run,
        cells=kept,
        gaps=tuple(gap for gap in run.gaps if gap.cell is None or gap.cell in cells),
        metrics=tuple(metric for metric in run.metrics if metric.cell is None or metric.cell in cells),
        assumptions=tuple(one for one in run.assumptions if one.cell is None or one.cell in cells),
        artifacts=tuple(use for use in run.artifacts if use.path in written),
        modules=tuple(module for module in run.modules if module.cell is None or module.cell <= last),
    )


def _kept(run: Sequence[Cell], cells: Collection[int]) -> Iterator[Cell]:
    """Yield the cells that are kept; code that was edited before one that is not, was so before the next that is."""
    edits: dict[str, FileUse] = {}
    head: tuple[str, ...] = ()
    for cell in run:
        edits.update((use.path, use) for use in cell.edits)
        head = cell.head or head
        if cell.seq in cells:
            yield replace(cell, edits=tuple(edits.values()), head=head)
            edits, head = {}, ()

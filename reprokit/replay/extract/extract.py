"""Takes the cells of a run that make a result: reads them, runs them, and says what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from reprokit.errors import Unreplayable, UsageError
from reprokit.notebook.compose import executable
from reprokit.records import Cell, Run, Verdict
from reprokit.records.extraction import Extraction, KeptCell, Reason
from reprokit.replay.comparison import Comparison
from reprokit.replay.conditions import Conditions
from reprokit.replay.extract import goals as asked_for
from reprokit.replay.extract import slice as sliced
from reprokit.replay.extract.goals import Goal
from reprokit.replay.extract.known import Level
from reprokit.replay.extract.needs import Need, Needs, needs_of
from reprokit.replay.extract.search import Found, search
from reprokit.replay.extract.tags import tags_of
from reprokit.replay.extract.trial import Trials
from reprokit.store.store import Store

__all__ = ["Request", "extract", "planned", "unverified"]


class Request:
    """What is asked for of one run, and what reading its cells says of it.

    Args:
        run: the run that has the results.
        asked: each a path, a metric or "cell N".
        here: the folder that relative paths may be meant from.

    Raises:
        UsageError: the run has no such result, or none that can be repeated.
    """

    def __init__(self, run: Run, asked: Sequence[str], here: Path) -> None:
        _require_cells(run)
        self.run = run
        self.goals: list[Goal] = list(dict.fromkeys(asked_for.find(run, one, here) for one in asked))
        self.tags = tags_of(run)
        self.needs: Needs = needs_of(executable(run))
        last = max(goal.cell for goal in self.goals)
        makes = {goal.cell for goal in self.goals}
        given = {seq for seq, tags in self.tags.items() if tags and seq <= last and seq in self.needs.cells}
        self.wanted = tuple(sorted(makes | given))

    def unseeded(self, cells: Sequence[int]) -> tuple[str, ...]:
        """Return the generators that these cells draw from, and that no cell seeded."""
        return tuple(sorted({name for seq in cells for name in self.needs.unseeded.get(seq, ())}))

    def likely(self) -> tuple[int, ...]:
        """Return the cells that are needed, as far as reading them says."""
        return sliced.chosen(self.needs, self.wanted, level=Level.LIKELY)

    def kept(self, cells: Sequence[int]) -> tuple[KeptCell, ...]:
        """Return what is told of the cells that are kept."""
        why = sliced.reasons(self.needs, cells)
        return tuple(self._kept(cell, why[cell.seq]) for cell in self.run.cells if cell.seq in why)

    def _kept(self, cell: Cell, found: Sequence[Need]) -> KeptCell:
        told = [Reason(what=need.what, by=need.cell, certain=need.level == Level.HARD) for need in found]
        makes = [goal.words for goal in self.goals if goal.cell == cell.seq]
        makes += [", ".join(tag.replace("-", " ") for tag in self.tags.get(cell.seq, ()))]
        raises = (cell.error or "an error").partition("\n")[0] if cell.status == "failed" else ""
        made = tuple(words for words in makes if words)
        return KeptCell(cell=cell.seq, title=_title(cell), makes=made, reasons=tuple(told), raises=raises)


def _require_cells(run: Run) -> None:
    if run.replay_of is not None:
        remedy = f"`reprokit extract {run.replay_of}` takes the run that it repeats"
        raise UsageError(f"run {run.id} is a replay", remedy=remedy)
    if run.front == "script":
        remedy = "only a session, or a notebook that was run, has cells to choose from"
        raise UsageError(f"run {run.id} is that of a script", remedy=remedy)
    if run.status == "running":
        raise UsageError(f"run {run.id} is still open", remedy="`%repro stop` ends it")
    if not executable(run):
        raise UsageError(f"run {run.id} has no cell that ran to its end", remedy="capture the run again")


def _title(cell: Cell) -> str:
    """Return the line of a cell that tells it from others: the first that is no comment and no import."""
    lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("#", "import ", "from "))]
    return (telling or lines or [""])[0]


def planned(request: Request) -> Extraction:
    """Return what would be run first."""
    return _told(request, Found(cells=request.likely()), "planned", None)


def extract(
    store: Store,
    request: Request,
    *,
    conditions: Conditions,
    comparison: Comparison,
    budget_s: float,
    timeout: int | None = None,
    progress: Callable[[str], None] = lambda words: None,
) -> Extraction:
    """Find the smallest set of cells that gives the results, and show it by running them.

    Args:
        store: holds the run, and will hold the replays.
        request: what is asked for.
        conditions: what the cells are run under.
        comparison: how strict the comparison is.
        budget_s: seconds after which no new attempt is begun.
        timeout: seconds that one cell may take.
        progress: told of each attempt in words.

    Raises:
        Unreplayable: the run could not be repeated exactly; nothing was run.
    """
    trials = Trials(
        store,
        request.run,
        request.goals,
        conditions=conditions,
        comparison=comparison,
        budget_s=budget_s,
        timeout=timeout,
        progress=progress,
    )
    plain_first = not request.unseeded(request.likely())
    found = search(request.needs, request.wanted, trials, plain_first=plain_first)
    replayed = found.best.replay if found.best else None
    verdict = trials.verdicts.get(replayed or "")
    if not found.same:
        verdict = _with_cause(verdict, trials.whole.get(replayed or ""))
    return _told(request, found, "certified" if found.same else "different", verdict)


def _with_cause(verdict: Verdict | None, whole: Verdict | None) -> Verdict | None:
    """Return the verdict that knows where it began to differ: that on all cells that ran."""
    return whole if whole is not None and whole.first_divergence is not None else verdict


def unverified(request: Request, error: Unreplayable) -> Extraction:
    """Return the cells as far as reading them says, of a run that cannot be repeated."""
    reasons = tuple(f"{why}: {fix}" if fix else why for why, fix in error.reasons)
    verdict = Verdict(verdict="unreplayable", run=request.run.id, reasons=reasons)
    return _told(request, Found(cells=request.likely()), "unreplayable", verdict)


def _told(request: Request, found: Found, verdict: str, comparison: Verdict | None) -> Extraction:
    cells = found.cells if found.same else request.likely()
    return Extraction(
        run=request.run.id,
        wanted=tuple(goal.words for goal in request.goals),
        verdict=verdict,
        comparison=comparison,
        total=len(request.run.cells),
        cells=request.kept(cells),
        plain=found.plain,
        minimal=found.minimal,
        complete=found.complete,
        unseeded=request.unseeded(cells),
        replay=found.best.replay if found.best else None,
        attempts=tuple(found.attempts),
    )

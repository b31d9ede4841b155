"""What is asked for: a file that a run wrote, a metric, or what a cell shows; found in a run, and set apart to compare.

It knows one run at a time, and turns words into results of that run. Whether two results are the same is for
``compare`` to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reprokit.digest import of_json
from reprokit.errors import UsageError
from reprokit.records import Cell, FileUse, Metric, Run

__all__ = ["Goal", "find", "only"]

_SHOWN = 12
_NOTHING = (None, of_json([]))  # the outputs of a cell that shows nothing
_CELL = re.compile(r"(?:cell|c)\s*[:#]?\s*(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Goal:
    """One result: ``kind`` is "file", "metric" or "cell"; ``name`` the path or key; ``cell`` the cell that made it."""

    kind: str
    name: str
    cell: int

    @property
    def words(self) -> str:
        """What it is called when it is told."""
        return {"file": self.name, "metric": f"metric {self.name}", "cell": f"cell {self.cell}"}[self.kind]


def find(run: Run, asked: str, here: Path) -> Goal:
    """Return the result that a user asks for.

    Args:
        run: the run that has it.
        asked: a path, a metric's key, "cell N" or a number.
        here: the folder that a relative path may be meant from.

    Raises:
        UsageError: the run has no such result, or it cannot be repeated.
    """
    path = _file(run, asked, here)
    if path is not None:
        return _written(run, path)
    for metric in reversed(run.metrics):
        if metric.key == asked:
            return _recorded(run, metric)
    match = _CELL.fullmatch(asked.strip())
    number = match[1] if match else asked.strip()
    if number.isdecimal():
        return _shown(run, int(number))
    raise UsageError(f"run {run.id} has no result {asked!r}", remedy=_results(run))


def _results(run: Run) -> str:
    """Return what can be asked for."""
    parts = []
    if files := list(dict.fromkeys(use.path for cell in run.cells for use in cell.writes)):
        parts.append(f"it wrote {_listed(files)}")
    if metrics := list(dict.fromkeys(metric.key for metric in run.metrics)):
        parts.append(f"its metrics are {_listed(metrics)}")
    showing = [str(cell.seq) for cell in run.cells if cell.outputs not in _NOTHING and cell.status == "done"]
    if showing:
        parts.append(f"cells that show something are {_listed(showing)} (`--for 'cell {showing[-1]}'`)")
    return "; ".join(parts) or "it wrote no file, recorded no metric and showed nothing"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# -- files ---------------------------------------------------------------------------------------


def _file(run: Run, asked: str, here: Path) -> str | None:
    """Return the recorded path that is meant: from the project, from here, from where the run was, or its end."""
    written = dict.fromkeys(use.path for cell in run.cells for use in cell.writes)
    for base in (None, here, Path(run.cwd or run.root)):
        path = os.path.normpath(asked if base is None else base / asked)
        inside = os.path.relpath(path, run.root) if Path(path).is_absolute() and run.root else path
        for known in (path, inside, f"{inside}/"):
            if known in written:
                return known
    end = f"/{asked.removeprefix('./')}"
    ending = [path for path in written if path.endswith(end)]
    if len(ending) > 1:
        raise UsageError(f"{asked!r} could be {len(ending)} files", remedy=f"name one of {_listed(ending)}")
    return ending[0] if ending else None


def _written(run: Run, path: str) -> Goal:
    cell, use = _last_write(run, path)
    if use.digest is None:
        raise UsageError(
            f"{path} was not kept as cell {cell.seq} left it ({use.state})",
            remedy="ask for another result, or capture the run again",
        )
    _require_finished(cell, f"wrote {path}")
    return Goal("file", path, cell.seq)


def _last_write(run: Run, path: str) -> tuple[Cell, FileUse]:
    return next((cell, use) for cell in reversed(run.cells) for use in reversed(cell.writes) if use.path == path)


def _require_finished(cell: Cell, did: str) -> None:
    if cell.status == "failed":
        remedy = "ask for a result of a cell that did not raise"
        raise UsageError(f"cell {cell.seq}, which {did}, raised {_error(cell)}", remedy=remedy)
    if cell.status != "done":
        remedy = "what it did until then cannot be repeated: ask for a result of another cell"
        raise UsageError(f"cell {cell.seq}, which {did}, was interrupted", remedy=remedy)


def _error(cell: Cell) -> str:
    return (cell.error or "an error").partition("\n")[0][:80]


# -- metrics and cells ---------------------------------------------------------------------------


def _recorded(run: Run, metric: Metric) -> Goal:
    cell = next((cell for cell in run.cells if cell.seq == metric.cell), None)
    if cell is None:
        raise UsageError(f"no cell recorded the metric {metric.key}", remedy="ask for a file, or for what a cell shows")
    _require_finished(cell, f"recorded {metric.key}")
    return Goal("metric", metric.key, cell.seq)


def _shown(run: Run, number: int) -> Goal:
    cell = next((cell for cell in run.cells if cell.seq == number), None)
    if cell is None:
        seqs = [cell.seq for cell in run.cells]
        remedy = f"its cells have the numbers {min(seqs)} to {max(seqs)}" if seqs else "it has no cells"
        raise UsageError(f"run {run.id} has no cell {number}", remedy=remedy)
    _require_finished(cell, "is asked for")
    if cell.outputs in _NOTHING:
        wrote = [use.path for use in cell.writes]
        remedy = f"ask for what it wrote: {_listed(wrote)}" if wrote else _results(run)
        raise UsageError(f"cell {number} shows nothing that could be compared", remedy=remedy)
    return Goal("cell", "", number)


# -- set apart -----------------------------------------------------------------------------------


def only(run: Run, goals: Iterable[Goal]) -> Run:
    """Return a run that has nothing but these results, to compare with another such run."""
    goals = list(goals)
    wanted = {goal.cell for goal in goals}
    bare = {
        cell.seq: replace(cell, reads=(), writes=(), random=(), remote=(), network=(), outputs=None, edits=())
        for cell in run.cells
        if cell.seq in wanted
    }
    metrics: list[Metric] = []
    for goal in goals:
        if goal.kind == "metric":
            metrics += _last_metric(run, goal)
        elif goal.cell in bare:
            bare[goal.cell] = _with_result(run, goal, bare[goal.cell])
    return replace(
        run, cells=tuple(bare.values()), metrics=tuple(metrics), assumptions=(), artifacts=(), gaps=(), status="done"
    )


def _with_result(run: Run, goal: Goal, bare: Cell) -> Cell:
    if goal.kind == "cell":
        shown = next(cell for cell in run.cells if cell.seq == goal.cell)
        return replace(bare, outputs=shown.outputs)
    return replace(bare, writes=(*bare.writes, *_last_writes(run, goal.name)))


def _last_writes(run: Run, path: str) -> Iterator[FileUse]:
    found = [use for cell in run.cells for use in cell.writes if use.path == path]
    yield from found[-1:]


def _last_metric(run: Run, goal: Goal) -> list[Metric]:
    found = [metric for metric in run.metrics if metric.key == goal.name]
    return [replace(metric, cell=goal.cell) for metric in found[-1:]]

"""The beginning of a run: the record as it would be if the run had ended after one of its cells."""

from __future__ import annotations

from dataclasses import replace

from reprokit.errors import UsageError
from reprokit.records import Run

__all__ = ["prefix"]


def prefix(run: Run, until: int | None) -> Run:
    """Return the run with its cells up to number ``until``, and what the others left taken out; all for None.

    Raises:
        UsageError: no cell of the run has a number up to that.
    """
    if until is None:
        return run
    cells = tuple(cell for cell in run.cells if cell.seq <= until)
    if not cells:
        numbers = [cell.seq for cell in run.cells]
        remedy = f"its cells have the numbers {min(numbers)} to {max(numbers)}" if numbers else "it has no cells"
        raise UsageError(f"run {run.id} has no cell up to number {until}", remedy=remedy)
    written = {use.path for cell in cells for use in cell.writes}
    return replace(
        run,
        cells=cells,
        gaps=tuple(gap for gap in run.gaps if gap.cell is None or gap.cell <= until),
        metrics=tuple(metric for metric in run.metrics if metric.cell is None or metric.cell <= until),
        assumptions=tuple(one for one in run.assumptions if one.cell is None or one.cell <= until),
        artifacts=tuple(use for use in run.artifacts if use.path in written),
        modules=tuple(module for module in run.modules if module.cell is None or module.cell <= until),
    )

"""A run's record becomes a notebook: its cells as they were executed, in the order in which they were."""

from __future__ import annotations

from collections.abc import Sequence

import nbformat
from nbformat import NotebookNode

from reprokit.records import Cell, Run

__all__ = ["compose", "executable"]


def executable(run: Run) -> tuple[Cell, ...]:
    """Return the cells that a replay runs: all but empty ones and those that were interrupted.

    What an interrupted cell did until it was interrupted cannot be repeated.
    """
    return tuple(cell for cell in run.cells if cell.source.strip() and cell.status not in ("interrupted", "running"))


def compose(cells: Sequence[Cell], *, kernel: str = "python3") -> NotebookNode:
    """Return a linear notebook of recorded cells.

    Args:
        cells: the cells, in the order to run them.
        kernel: the kernel's name.
    """
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    )
    notebook.cells = [_code_cell(cell) for cell in cells]
    return notebook


def _code_cell(cell: Cell) -> NotebookNode:
    composed = nbformat.v4.new_code_cell(cell.source, metadata={"reprokit": {"cell": cell.seq}})
    # The same cell may have run many times; a notebook wants a new id for each.
    composed.id = f"run-{cell.seq}"
    return composed

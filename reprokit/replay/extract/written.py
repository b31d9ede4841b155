"""Writes the notebook of the cells that make a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reprokit.notebook.clean import clean, save
from reprokit.records import Cell, Run
from reprokit.records.extraction import Extraction
from reprokit.views.extracted import heading

__all__ = ["write"]

_RAISES = "raises-exception"  # what Jupyter goes on after


def write(extraction: Extraction, run: Run, tags: Mapping[int, Sequence[str]], path: Path) -> None:
    """Write the cells that were found as a linear notebook.

    Args:
        extraction: what was found.
        run: the run that the cells are of.
        tags: number of a cell → the tags that it had.
        path: the file, which is replaced.
    """
    kept = {cell.cell for cell in extraction.cells}
    cells = [cell for cell in run.cells if cell.seq in kept]
    about = {
        "run": run.id,
        "for": list(extraction.wanted),
        "verdict": extraction.verdict,
        "cells": [cell.seq for cell in cells],
        "replay": extraction.replay,
    }
    tagged = {cell.seq: _tags(cell, cells, tags) for cell in cells}
    save(clean(cells, heading=heading(extraction, run), about=about, tags=tagged), path)


def _tags(cell: Cell, cells: Sequence[Cell], tags: Mapping[int, Sequence[str]]) -> list[str]:
    found = list(tags.get(cell.seq, ()))
    if found == ["injected-parameters"] and not any("parameters" in tags.get(one.seq, ()) for one in cells):
        found = ["parameters"]  # given from outside then, and so it can be again
    return found + ([_RAISES] if cell.status == "failed" else [])

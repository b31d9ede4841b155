"""Executed notebooks as runs, so that reprokit's comparison judges them as it judges a run and its replay.

A notebook tells sources and outputs only: what its cells read, wrote and drew is not compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat

from reprokit.records import Cell, Run
from reprokit.replay.compare import compare

__all__ = ["differing", "executed_run", "judged"]


def executed_run(notebook: Path, project: Path, objects: dict[str, bytes]) -> Run:
    """Return a notebook's code cells as a run in a project; their outputs are put into ``objects``."""
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    recorded = [_cell(number, cell, objects) for number, cell in enumerate(cells, start=1) if cell.source.strip()]
    return Run(id=notebook.stem, root=str(project), cells=tuple(recorded))


def _cell(number: int, cell: Any, objects: dict[str, bytes]) -> Cell:
    error = next((output for output in cell.outputs if output.output_type == "error"), None)
    return Cell(
        seq=number,
        source=cell.source,
        status="failed" if error else "done",
        error=f"{error.ename}: {error.evalue}" if error else None,
        outputs=_kept(cell.outputs, objects) if cell.outputs else None,
    )


def _kept(outputs: Any, objects: dict[str, bytes]) -> str:
    content = json.dumps(outputs, sort_keys=True).encode()
    name = f"sha256:{hashlib.sha256(content).hexdigest()}"
    objects[name] = content
    return name


def judged(a: Run, b: Run, objects: dict[str, bytes]) -> dict[str, Any]:
    """Return how two executed notebooks compare, as a line of the results says it."""
    verdict = compare(a, b, objects.__getitem__)
    first = verdict.first_divergence
    return {
        "kind": verdict.verdict,
        "first": first.to_dict() if first else None,
        "not_identical": differing([cell.to_dict() for cell in verdict.cells]),
        "rules": list(verdict.rules),
    }


def differing(cells: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cells of a verdict that are not identical, without the names of what their contents are kept as."""
    return [{**cell, "differences": [_short(one) for one in cell["differences"]]} for cell in cells if _differs(cell)]


def _differs(cell: dict[str, Any]) -> bool:
    return bool(cell["verdict"] != "identical")


def _short(difference: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value)[:1500] for key, value in difference.items() if key != "objects"}

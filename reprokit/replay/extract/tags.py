"""Which executed cells were the notebook's parameters: a record has no tags, so the notebook is looked into.

It knows the notebook as it was in the snapshot of the code, else as it lies there now; a cell is known by its source.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reprokit.capture.code.git import git
from reprokit.errors import GitError
from reprokit.records import CodeState, Run

__all__ = ["tags_of"]

_INJECTED = "# Parameters"  # what begins the cell that gives a notebook its parameters


def tags_of(run: Run) -> dict[int, tuple[str, ...]]:
    """Return the tags of the run's parameter cells, by their numbers."""
    tagged = _tagged(run)
    found: dict[int, tuple[str, ...]] = {}
    for cell in run.cells:
        if cell.source in tagged:
            found[cell.seq] = ("parameters",)
        elif run.params and cell.source.startswith(_INJECTED):
            found[cell.seq] = ("injected-parameters",)
    return found


def _tagged(run: Run) -> set[str]:
    for read in (_in_snapshot, _as_it_lies):
        try:
            cells = json.loads(read(run))["cells"]
            return {_text(cell) for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", ())}
        except (GitError, OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return set()


def _text(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _in_snapshot(run: Run) -> bytes:
    code = _known(run)
    name = f"{code.prefix}/{run.notebook}" if code.prefix else f"{run.notebook}"
    quiet = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
    return git("cat-file", "blob", f"{code.snapshot}:{name}", cwd=Path("/"), env={"GIT_DIR": code.repository, **quiet})


def _known(run: Run) -> CodeState:
    if run.code is None or run.notebook is None:
        raise ValueError("the run has no notebook")
    return run.code


def _as_it_lies(run: Run) -> bytes:
    if run.notebook is None:
        raise ValueError("the run has no notebook")
    path = Path(run.root) / run.notebook
    if not path.is_file():  # a record from elsewhere may name a device, or a pipe
        raise ValueError(f"{path} is no file")
    return path.read_bytes()

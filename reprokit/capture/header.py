"""What is known of a run when it begins: what was asked for, where it runs and on what machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from reprokit import version
from reprokit.capture import redact
from reprokit.capture.conditions import time
from reprokit.capture.environment import machine
from reprokit.capture.request import Request

__all__ = ["of"]


def of(request: Request, project: Path, config: dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields of ``Run`` that are known at the start."""
    header = {
        "name": request.name,
        "kind": request.kind,
        "front": request.front,
        "reprokit": version.VERSION,
        "started": time(),
        "notebook": None if request.notebook is None else _from_root(request.notebook, project),
        "script": request.script,
        "root": str(project),
        "cwd": str(Path.cwd()),
        "argv": list(redact.argv(sys.argv)),
        "seed": request.seed,
        "params": {key: redact.value(key, item) for key, item in request.params.items()},
        "tags": dict(request.tags),
        "machine": machine.observe().to_dict(),
        "config": config or {},
    }
    if request.drive is not None:  # the parent's journal says what it knows better
        header = {key: item for key, item in header.items() if item not in (None, {}, [])}
    return header


def _from_root(notebook: str, project: Path) -> str:
    """Return a path relative to the project, as a batch run has it; outside of the project it stays absolute."""
    path, root = Path(notebook).resolve(), project.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

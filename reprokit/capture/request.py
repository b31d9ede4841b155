"""What is asked for when a run is started, and what can be told of the cells that ran before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprokit.capture.drive import Drive
from reprokit.records import Gap

__all__ = ["Request", "hidden_state", "only_starts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user, or a parent process, asked for when the run was started.

    Attributes:
        kind: "session", "block", "batch" or "replay".
        front: "kernel", "terminal" or "script".
        before: the cells that ran before the run began, each with its source and status.
        drive: the parent's order, when there is a parent.
    """

    name: str | None = None
    kind: str = "session"
    front: str = "kernel"
    seed: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    configs: tuple[Path, ...] = ()
    notebook: str | None = None
    script: str | None = None
    before: tuple[tuple[str, str], ...] = ()
    drive: Drive | None = None


def only_starts(source: str) -> bool:
    """Return whether a cell does nothing but start a run, so that the tree cannot change in it."""
    return all(line.startswith(("%load_ext", "%repro start")) or not line.strip() for line in source.splitlines())


def hidden_state(count: int) -> Gap:
    """Return the gap of a run that began when ``count`` cells had run already."""
    cells = "1 cell" if count == 1 else f"{count} cells"
    return Gap(
        aspect="hidden-state",
        message=f"{cells} ran before the run was started: a replay repeats them, but they were not observed",
        remedy="put `%repro start` into the first cell",
    )

"""What is asked for when a run is started: values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprokit.capture.drive import Drive

__all__ = ["Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user, or a parent process, asked for when the run was started.

    Attributes:
        kind: "session", "block", "batch" or "replay".
        front: "kernel", "terminal" or "script".
        before: sources of the cells that ran before the run began.
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
    before: tuple[str, ...] = ()
    drive: Drive | None = None

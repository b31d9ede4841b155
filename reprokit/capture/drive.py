"""What a parent process tells the agent in a kernel that it started: the seam between the two.

The parent writes a small JSON file and names it in one environment variable, which the agent takes
away before the user's code can see it. So nothing is injected into the notebook or its parameters.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reprokit.capture.probe import Replayed
from reprokit.errors import UsageError
from reprokit.records import Cell, CodeState
from reprokit.settings import project_table

__all__ = ["VARIABLE", "Drive", "peek", "take", "write"]

VARIABLE = "REPROKIT_DRIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """A run that a parent process has opened and a kernel is to capture.

    Attributes:
        run_id: the run; its folder exists already.
        store: the store's folder.
        project: the project root (in a replay: the workspace).
        kind: "batch" or "replay".
        code: the code state, when the parent knows it; no snapshot is then made.
        order: in a replay, the numbers of the recorded cells in the order they will run.
        cells: in a replay, the recorded cells.
        seed: what everything is to be seeded with, in a batch run; None: nothing is seeded.
        front: what the recorded session sat at; a replay displays as that did.
        clock: "recorded" when each cell is to begin at its recorded time; see ``conditions``.
        network: "closed" when cells are to have none.
        restored: in a run that goes on from a checkpoint, the lines of the journal that are known by then.
        settings: the project's settings as the parent read them; the kernel's Python may know no TOML.
        hash_secret: in a replay, the key that string hashes are to follow from; see ``hash_secret``.
        places: in a replay, where modules from outside the project were put back, by name.
    """

    run_id: str
    store: Path
    project: Path
    kind: str
    seed: int | None = None
    front: str = "kernel"
    code: CodeState | None = None
    order: tuple[int, ...] = ()
    cells: tuple[Cell, ...] = field(default=())
    places: Mapping[str, str] = field(default_factory=dict)
    hash_secret: str | None = None
    clock: str = "real"
    network: str = "open"
    restored: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, Any] | None = None

    def replayed(self) -> Replayed | None:
        """Return what a replay gives back to its cells; None when this is none."""
        if self.kind != "replay":
            return None
        cells = {cell.seq: cell for cell in self.cells}
        return Replayed(cells, self.order, self.places, self.clock, self.network)

    def to_dict(self) -> dict[str, Any]:
        """Return the order as JSON-ready values."""
        return {
            "run_id": self.run_id,
            "store": str(self.store),
            "project": str(self.project),
            "kind": self.kind,
            "seed": self.seed,
            "front": self.front,
            "code": None if self.code is None else self.code.to_dict(),
            "order": list(self.order),
            "cells": [cell.to_dict() for cell in self.cells],
            "places": dict(self.places),
            "hash_secret": self.hash_secret,
            "clock": self.clock,
            "network": self.network,
            "restored": [dict(line) for line in self.restored],
            "settings": self.settings,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Drive:
        """Build the order from ``to_dict()``'s form."""
        return cls(
            run_id=data["run_id"],
            store=Path(data["store"]),
            project=Path(data["project"]),
            kind=data["kind"],
            seed=data.get("seed"),
            front=data["front"],
            code=None if data["code"] is None else CodeState.from_dict(data["code"]),
            order=tuple(data["order"]),
            cells=tuple(Cell.from_dict(cell) for cell in data["cells"]),
            places=data.get("places", {}),
            hash_secret=data.get("hash_secret"),
            clock=data.get("clock", "real"),
            network=data.get("network", "open"),
            restored=tuple(data.get("restored", ())),
            settings=data.get("settings"),
        )


def write(drive: Drive, path: Path) -> None:
    """Write the order for the agent to take."""
    with suppress(UsageError):  # the agent says so
        drive = replace(drive, settings=project_table(drive.project))
    path.write_text(json.dumps(drive.to_dict(), default=str), "utf-8")


def peek() -> Drive | None:
    """Return the order this process was started with, and leave it for another to take."""
    path = os.environ.get(VARIABLE)
    return None if path is None else Drive.from_dict(json.loads(Path(path).read_text("utf-8")))


def take() -> Drive | None:
    """Return the order this process was started with, and take it out of the environment."""
    try:
        return peek()
    finally:
        os.environ.pop(VARIABLE, None)

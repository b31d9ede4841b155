"""A context for one probe alone: what it emits is kept, what it puts off is done when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from reprokit.capture.probe import Context, Patch, Replayed
from reprokit.records import Gap
from reprokit.settings import Settings
from reprokit.store.objects import Objects


class Observed:
    """What a probe said in ``project``.

    Attributes:
        cells: cell → field → what was set or added; None is the run.
    """

    def __init__(self, project: Path, store: Path, replayed: Replayed | None = None) -> None:
        self.objects = Objects(store / "objects")
        self.objects.root.mkdir(parents=True, exist_ok=True)
        self.cells: dict[int | None, dict[str, Any]] = {}
        self.gaps: list[Gap] = []
        self._owed: list[Callable[[], None]] = []
        self.context = Context(
            run_id="run",
            project=project,
            objects=self.objects,
            settings=Settings(),
            namespace=dict,
            emit=self.take,
            later=self._owed.append,
            gap=self.gaps.append,
            replayed=replayed,
        )

    def take(self, seq: int | None, patch: Patch | None) -> None:
        """Take a patch in; None is nothing."""
        known = self.cells.setdefault(seq, {})
        if patch is None:
            return
        known.update(patch.set)
        for key, items in patch.add.items():
            known.setdefault(key, []).extend(items)

    def settle(self) -> None:
        """Do what was put off."""
        while self._owed:
            self._owed.pop(0)()

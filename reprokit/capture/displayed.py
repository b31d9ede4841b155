"""The outputs of a run's cells as they are recorded: one object for each cell that displayed something."""

from __future__ import annotations

import json
from typing import Any

from reprokit.capture.outputs import OutputArea
from reprokit.capture.probe import Context, Patch
from reprokit.digest import canonical_json
from reprokit.records import Gap

__all__ = ["Displayed"]


class Displayed:
    """Keeps outputs, and gives them back when more of a cell's come later."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._digests: dict[int, str] = {}  # cell → the object that is its outputs, when there are any
        self._cut: set[int] = set()  # cells of which it was told that not all outputs are kept
        self.silence: str | None = None  # the object that is the outputs of a cell without any, once it is kept

    def start(self) -> None:
        """Keep, in the background, what most cells display: nothing."""
        self._context.later(self._keep_silence)

    def _keep_silence(self) -> None:
        self.silence = self._context.objects.put_bytes(canonical_json([]), durable=False)

    def put(self, seq: int, area: OutputArea) -> Patch:
        """Keep the outputs of a cell as they are now."""
        data = canonical_json(area.outputs)
        digest = self._digests[seq] = self._context.objects.put_bytes(data, durable=False)
        if area.cut and seq not in self._cut:
            self._cut.add(seq)
            message = "the cell displayed more than is kept of its outputs"
            self._context.gap(Gap(aspect="outputs", message=message, remedy="print less, or write a file", cell=seq))
        return Patch(set={"outputs": digest})

    def recall(self, seq: int) -> list[dict[str, Any]]:
        """Return the outputs of a cell that were kept so far."""
        digest = self._digests.get(seq)
        return [] if digest is None else json.loads(self._context.objects.get_bytes(digest))

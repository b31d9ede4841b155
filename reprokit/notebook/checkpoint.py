"""When a kernel is asked to keep its state, and how a notebook goes on from a state that was kept.

The kernel does it between two cells, by a request that is no cell; so its time is in no cell's, and nothing of it is in
the notebook. What a checkpoint is, and what cannot be kept, is known to ``capture.checkpoint``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat

from reprokit.errors import ReprokitError
from reprokit.notebook.parent import Order

__all__ = ["AFTER_S", "TAG", "Checkpoints", "NotRestored"]

TAG = "checkpoint"  # of cells after which one is kept in any case
AFTER_S = 60.0  # by default, this much work may be lost

_CALL = "__import__('reprokit.capture.checkpoint.keeping', fromlist=['keeping']).{}"


class NotRestored(ReprokitError):
    """A kernel could not be made what it was; the run is to begin at its first cell, in a new one."""


class Checkpoints:
    """The checkpoints of one execution of a notebook.

    Args:
        order: says when they are kept, and what is gone on from.
        ask: has the kernel run code that is no cell; returns why it failed.
    """

    def __init__(self, order: Order, ask: Callable[[str], str | None]) -> None:
        self._after = order.checkpoint
        self._restored = order.restored
        self._progress = order.progress
        self._ask = ask
        self._worked = 0.0  # seconds since the last one

    def begin(self) -> None:
        """Prepare the kernel, in which no cell ran yet.

        Raises:
            NotRestored: it cannot be made what it was.
        """
        if self._after is not None:
            self._ask(_CALL.format("begin()"))
        restored = self._restored
        if restored is not None:
            given = (str(restored.path), restored.digest, restored.python, restored.dill)
            failure = self._ask(_CALL.format(f"restore{given!r}"))
            if failure is not None:
                raise NotRestored(f"the checkpoint after cell {restored.cell} could not be used: {failure}")

    def stands_for(self, number: int) -> bool:
        """Return whether a cell, by its number from 1, need not run."""
        return self._restored is not None and number <= self._restored.cell

    def fill(self, cell: Any, number: int) -> Any:
        """Give a cell that need not run what it gave when it ran."""
        restored = self._restored
        if restored is not None:
            outputs, count = restored.outputs[number - 1]
            cell.outputs = [nbformat.from_dict(output) for output in outputs]
            cell.execution_count = count
            cell.metadata["reprokit"] = {**cell.metadata.get("reprokit", {}), "restored_from": restored.run}
        return cell

    def after(self, cell: Any, seq: int, took: float) -> None:
        """Keep one after a cell, when it is time."""
        if self._after is None:
            return
        self._worked += took
        if self._worked >= self._after or TAG in cell.metadata.get("tags", ()):
            self._worked = 0.0
            self._progress("keeping the kernel's state", 0, 0)
            self._ask(_CALL.format(f"keep({seq})"))

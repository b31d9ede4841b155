"""Notices worker processes whose random numbers cannot be controlled.

A child made by ``fork`` draws from a branch of its parent's root, and torch seeds the workers of its data
loaders itself. A fresh interpreter (spawn, loky, Dask, Ray) has generators of its own that nobody sees, and of
several workers of one pool it is chance which of them takes which task.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from reprokit.capture.randomness.recode import divert
from reprokit.capture.swallowed import guarded

__all__ = ["MODULE", "Workers"]

#: The module after whose import ``watch`` is to be called.
MODULE = "multiprocessing.process"

_POOLS = ("multiprocessing.pool", "concurrent.futures.process", "loky.process_executor")
_CONTROLLED = ("torch.utils.data._utils", "multiprocessing.managers", "multiprocessing.resource")
_REUSED = "joblib.externals.loky.reusable_executor"
_ELSEWHERE = (_REUSED, "distributed.client", "ray")  # modules with workers that are started by other means


class Workers:
    """The workers that were started, or given work, since the last ``take``."""

    def __init__(self) -> None:
        self._undo: Callable[[], None] | None = None
        self._pid = os.getpid()
        self._fresh: set[str] = set()  # ways in which fresh interpreters were started
        self._pooled = 0  # forked workers of pools
        self._tasks: tuple[int, int] | None = None  # joblib's executor, and how much work it was given

    def watch(self) -> None:
        """Begin to notice, as soon as ``multiprocessing`` is there."""
        if self._undo is None and (module := sys.modules.get(MODULE)) is not None:
            self._undo = divert(module.BaseProcess.start, self._noticing)

    def unwatch(self) -> None:
        """Undo what ``watch`` did."""
        if self._undo is not None:
            self._undo()
            self._undo = None

    def take(self) -> list[str]:
        """Return what kinds of workers were used that cannot be controlled, in words."""
        if not self._fresh and self._pooled < 2 and sys.modules.keys().isdisjoint(_ELSEWHERE):
            self._pooled = 0
            return []
        used = [*self._fresh, *self._elsewhere()]
        if self._pooled > 1:
            used.append("a pool of forked processes")
        self._fresh, self._pooled = set(), 0
        return sorted(dict.fromkeys(used))

    def _noticing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        notice = guarded("randomness", self._notice)

        def start(process: Any) -> Any:
            if os.getpid() == self._pid:
                notice(process)
            return original(process)

        return start

    def _notice(self, process: Any) -> None:
        target = str(getattr(getattr(process, "_target", None), "__module__", ""))
        if target.startswith(_CONTROLLED):
            return
        method = _method(process)
        if method != "fork":
            self._fresh.add(f"{method} processes")
        elif target.endswith(_POOLS):
            self._pooled += 1

    def _elsewhere(self) -> Iterator[str]:
        executor = getattr(sys.modules.get(_REUSED), "_executor", None)
        tasks = None if executor is None else (id(executor), int(getattr(executor, "_queue_count", 0)))
        if tasks is not None and tasks[1] and tasks != self._tasks:
            yield "loky processes"
        self._tasks = tasks
        if len(getattr(getattr(sys.modules.get("distributed.client"), "Client", None), "_instances", ())):
            yield "Dask workers"
        if (ray := sys.modules.get("ray")) is not None and getattr(ray, "is_initialized", bool)():
            yield "Ray workers"


def _method(process: Any) -> str:
    method = getattr(type(process), "_start_method", None)
    if method is None:
        method = sys.modules["multiprocessing"].get_start_method(allow_none=True)
    return str(method or "fork")

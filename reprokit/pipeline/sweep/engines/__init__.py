"""Engines: what places the points of a sweep. Each is an executor of the standard library's kind.

``local`` is processes on this machine, ``dask`` workers of a Dask cluster, ``slurm`` jobs of Slurm; any other executor
is an engine as it is. What cannot work is refused before anything runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprokit.errors import UsageError
from reprokit.pipeline.sweep import place

__all__ = ["NAMES", "Engine", "open"]

NAMES = ("local", "dask", "slurm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What is open.

    Attributes:
        executor: takes ``submit(place, document)``.
        slots: how many points run at the same time, as far as is known.
        stop: interrupts the steps that run: each closes its record, and its future ends.
    """

    executor: Executor
    slots: int
    stop: Callable[[], None]


def open(  # noqa: A001
    engine: str | Executor, *, workers: int | None = None, book: Path | None = None, **options: Any
) -> AbstractContextManager[Engine]:
    """Open an engine for a block; when the block is left by an exception the steps that run are interrupted.

    Args:
        engine: one of ``NAMES``, or an executor, which stays open.
        workers: how many points may run at the same time; what the machine or the cluster has by default.
        book: the sweep's folder, which every worker has to see; None: they need not.
        options: those of the engine: ``scheduler`` and ``resources`` of ``dask``; of ``slurm`` those of submitit, such
            as ``slurm_partition`` and ``timeout_min``.

    Raises:
        UsageError: it cannot work like this.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers can do nothing", remedy="give 1 or more")
    if isinstance(engine, Executor):
        _take_none("an executor of your own", options)
        return _own(engine, workers)
    if engine == "local":
        from reprokit.pipeline.sweep.engines import local

        _take_none("the engine local", options)
        return local.opened(workers or os.cpu_count() or 1)
    if engine == "dask":
        from reprokit.pipeline.sweep.engines import dask

        return dask.opened(workers, book, **options)
    if engine == "slurm":
        from reprokit.pipeline.sweep.engines import slurm

        return slurm.opened(workers, book, **options)
    raise UsageError(f"there is no engine {engine!r}", remedy=f"use one of: {', '.join(NAMES)}")


def _take_none(what: str, options: dict[str, Any]) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        shown = ", ".join(f"--{name}" for name in given)
        raise UsageError(f"{what} takes no {shown}", remedy="`--engine dask` or `--engine slurm` has options")


@contextmanager
def _own(executor: Executor, workers: int | None) -> Iterator[Engine]:
    """Use an executor as it is; of the steps that it runs those of this process can be interrupted."""
    known = getattr(executor, "_max_workers", None)
    slots = workers or (known if isinstance(known, int) else None) or os.cpu_count() or 1
    try:
        yield Engine(executor=executor, slots=slots, stop=place.interrupt)
    except BaseException:
        place.interrupt()
        raise

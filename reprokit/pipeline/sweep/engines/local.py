"""The engine ``local``: threads of this process, each of which waits for the process of a step."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from reprokit.pipeline.sweep import place
from reprokit.pipeline.sweep.engines import Engine

__all__ = ["opened"]


@contextmanager
def opened(workers: int) -> Iterator[Engine]:
    """Open so many slots on this machine."""
    executor = ThreadPoolExecutor(workers, thread_name_prefix="point")
    try:
        yield Engine(executor=executor, slots=workers, stop=place.interrupt)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        place.interrupt()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)

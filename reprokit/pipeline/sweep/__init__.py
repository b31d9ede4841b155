"""Sweeps: many runs of one step over parameter points, on an engine.

From Python, with any executor of the standard library's kind:

    from concurrent.futures import ProcessPoolExecutor
    from reprokit.pipeline.sweep import combinations, sweep

    with ProcessPoolExecutor(4) as pool:
        done = sweep("train.ipynb", combinations(lr=[0.1, 0.01], depth=[3, 5]), engine=pool)
    print(done.best("accuracy").params)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reprokit.pipeline.sweep.api import Done, combinations, resume, sweep

__all__ = ["Done", "combinations", "resume", "sweep"]


def __getattr__(name: str) -> Any:
    """Import what is public when it is asked for: workers need little of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from reprokit.pipeline.sweep import api

    return getattr(api, name)

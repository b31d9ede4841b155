"""What is to be done for one point, and what became of it: the two values that travel between driver and worker.

Both go as plain dictionaries, so that any executor can carry them. They know nothing of files or processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from reprokit.capture.environment.machine import THREADS
from reprokit.errors import ReprokitError
from reprokit.pipeline.result import DIED, DONE, FAILED, NOT_MADE, REFUSED, TIMED_OUT
from reprokit.pipeline.surroundings import DEVICES
from reprokit.records import Record
from reprokit.replay.process import THREAD_LIMITS

__all__ = ["COUNTED", "KILLED", "Ended", "Task", "lost", "variables_here"]

#: Exit codes that say what became of a point; after any other it can be run again as if it had never begun.
COUNTED = frozenset({DONE, FAILED, REFUSED, DIED, TIMED_OUT, NOT_MADE})
KILLED = 137  # as a shell tells it: 128 + SIGKILL

# What engines set in their workers, and no run of the user's would have: it would change results, or only the record.
_SET_BY_ENGINES = ("PYTHONHASHSEED", "MALLOC_TRIM_THRESHOLD_", "__DASK_PARENT_PID")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Record):
    """One attempt at one point of a sweep.

    Attributes:
        sweep: the sweep's id; empty for a step that is none of a sweep.
        point: the point's number in it, and ``attempt`` the number of this attempt, both from 1.
        book: the sweep's folder.
        store: the store's folder.
        project: the project root.
        spec: the step (see ``pipeline.spec``).
        variables: environment variables as the driver has them, with None for those that it has not.
        apart: whether what the point writes in the project is to be its own.
        remote: what a worker needs that does not see the project (see ``sweep.offer``); None: it sees it.
    """

    sweep: str
    point: int
    attempt: int = 1
    book: str
    store: str
    project: str
    spec: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)
    apart: bool = False
    remote: dict[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """The folder of the point."""
        return Path(self.book) / "points" / str(self.point)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Record):
    """What became of an attempt.

    ``execution`` is its number among all executions of the point; ``status`` and the fields from ``metrics`` on are
    those of the step's result (see ``pipeline.result``), ``host`` is where it ran.
    """

    point: int
    attempt: int
    exit_code: int
    run: str | None = None
    status: str = "interrupted"
    reason: str | None = None
    execution: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None
    reused: str | None = None
    host: str | None = None

    @property
    def counts(self) -> bool:
        """Whether this says what became of the point."""
        return self.exit_code in COUNTED


def lost(document: Mapping[str, Any], error: BaseException) -> dict[str, Any]:
    """Return what became of a task whose future has an exception: it was lost on the engine's side."""
    said = " ".join(str(error).split())
    if not isinstance(error, ReprokitError):
        said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    ended = Ended(
        point=document["point"],
        attempt=document["attempt"],
        exit_code=KILLED,
        reason=f"the engine lost it ({said})",
    )
    return ended.to_dict()


def variables_here(recorded: Iterable[str], environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Return the variables that are to be the same wherever a point runs, with None for those that are not set here.

    Args:
        recorded: patterns of the variables that runs record (the project's setting).
        environ: the variables here; this process's by default.

    >>> variables_here(["LANG"], {"LANG": "C", "OMP_NUM_THREADS": "4", "HOME": "/me"})["OMP_NUM_THREADS"]
    '4'
    """
    there = os.environ if environ is None else environ
    fixed = (*THREADS, *THREAD_LIMITS, *_SET_BY_ENGINES)
    patterns = [pattern for pattern in recorded if pattern not in DEVICES]
    found: dict[str, str | None] = {name: there.get(name) for name in fixed}
    return found | {
        name: value for name, value in there.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
    }

"""A whole notebook, ``reprokit run`` against ``papermill``: processes from their start to their end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from measure import (
    BIN,
    NOTEBOOKS,
    Options,
    Row,
    at_most,
    interleaved,
    median,
    notebook_project,
    paired_ratio,
    run,
    told,
    workspace,
)

_LOCKING_S = 300  # how long the background process that makes a lock is waited for


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    with workspace() as folder:
        place = notebook_project(folder / "project")
        ratios = []
        for name in NOTEBOOKS:
            times = interleaved(actions(place, name), options.repeats)
            ratios.append(paired_ratio(times["reprokit run"], times["papermill"]))
            yield at_most(f"notebook {name}.ipynb", ratios[-1], 1.05, "×", told(times))
        yield at_most("notebook, median of the three", median(ratios), 1.05, "×")
        yield from _with_lock(place, options.repeats)


def actions(place: Path, name: str) -> dict[str, Callable[[], None]]:
    """Return the two processes that execute a notebook in its own folder and write what it gave."""
    output = place.parent.parent / f"{name}-out.ipynb"
    return {
        "papermill": partial(run, [BIN / "papermill", f"{name}.ipynb", output], place),
        "reprokit run": partial(run, [BIN / "reprokit", "run", f"{name}.ipynb", "-o", output], place),
    }


def _with_lock(place: Path, repeats: int) -> Iterator[Row]:
    """What the lock costs while it is made in the background; once for each environment, not for each run."""
    command = [BIN / "reprokit", "run", "explore.ipynb"]
    locks = place.parent / ".reprokit" / "locks"

    def settled() -> None:
        _wait_for_lock(locks)
        for lock in locks.glob("*.json"):
            lock.unlink()

    locking = {
        "without": partial(run, command, place),
        "while the lock is made": partial(run, command, place, REPROKIT_LOCK="background"),
    }
    times = interleaved(locking, repeats, before=settled)
    settled()
    ratio = paired_ratio(times["while the lock is made"], times["without"])
    yield Row(what="notebook, first run in an environment", measured=f"{ratio:.2f} ×", peers=told(times))


def _wait_for_lock(locks: Path) -> None:
    """Wait until no background process works for this store: it would disturb the next timing."""
    deadline = time.monotonic() + _LOCKING_S
    while _is_locking(str(locks.parent)) and time.monotonic() < deadline:
        time.sleep(0.1)


def _is_locking(store: str) -> bool:
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"reprokit.replay.lock" in arguments and os.fsencode(store) in arguments:
            return True
    return False

"""Which run of a stage made what lies in the project now.

DVC may put results of an earlier run back without running anything, so that is not always the newest run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reprokit.digest import is_file_named
from reprokit.errors import RunNotFound, StoreError
from reprokit.records import Run
from reprokit.replay.modules import moved
from reprokit.store.store import Store

__all__ = ["original", "standing"]

_LOOKED_AT = 50  # runs of one name


def standing(
    store: Store, name: str, fits: Callable[[Run], bool] = lambda run: True, status: str = "done"
) -> Run | None:
    """Return the run of a name whose results lie in the project; the newest one when none's do.

    Args:
        store: holds the runs.
        name: the runs' name, which is the stage's.
        fits: whether a run may be it.
        status: how it ended; "" for any way.
    """
    query = f"name={name}" + (f" status={status}" if status else "")
    newest: Run | None = None
    for summary in store.runs(query=query, limit=_LOOKED_AT):
        run = original(store, summary.id) if summary.kind != "replay" else None
        if run is None or not fits(run):
            continue
        if _is_there(run):
            return run
        newest = newest or run
    return newest


def original(store: Store, run_id: str) -> Run | None:
    """Return a run, or the one whose results it took over, in the project as it lies now; None when there is none."""
    try:
        run = store.load(run_id)
        run = store.load(run.reuse_of) if run.reuse_of is not None else run
    except (RunNotFound, StoreError):
        return None
    return moved(run, store.layout.project)


def _is_there(run: Run) -> bool:
    written = {use.path: use.digest for cell in run.cells for use in cell.writes if use.state != "missing"}
    known = {path: digest for path, digest in written.items() if digest is not None and not path.endswith("/")}
    return bool(known) and all(is_file_named(Path(run.root) / path, digest) for path, digest in known.items())

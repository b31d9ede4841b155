"""What is said of a run after it ended: that it is pinned, and more tags.

Each statement is a small journal of its own, ``marks/RUN/TIME-RANDOM.jsonl``, that is written once and never
changed: several processes may speak at the same time, and the marks of two stores are merged by copying files.
They lie beside the runs, not in them, so that a pin is still there to be missed when its run is gone. They are pulled
from remotes, also for runs that were made here, and nobody is asked: so they can say nothing else of a run, least of
all what it executes. Knows files and patches; it does not know what is replayed.
"""

from __future__ import annotations

import os
import time
from typing import Any

from reprokit.errors import StoreError
from reprokit.store import journal
from reprokit.store.layout import Layout, is_run_id

__all__ = ["add", "pins", "read"]


def add(layout: Layout, run_id: str, patch: dict[str, Any]) -> None:
    """Say something of a run; on return it survives a power cut.

    Args:
        layout: the store.
        run_id: the run.
        patch: the fields to set, as in a journal.

    Raises:
        StoreError: it cannot be written.
    """
    folder = layout.marks / run_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = journal.Journal(folder / f"{time.time_ns():020d}-{os.urandom(4).hex()}.jsonl")
        try:
            written.append(patch)
            written.sync()
        finally:
            written.close()
    except OSError as error:
        remedy = "see that the store may be written, and that the disk has room"
        raise StoreError(f"nothing can be noted for run {run_id} ({error})", path=folder, remedy=remedy) from error


def read(layout: Layout, run_id: str) -> list[dict[str, Any]]:
    """Return the patches that were made to a run after it ended, in the order of their times.

    They carry no time of their own: what is said of a run later is not when it ended.

    Raises:
        OSError: one is there and cannot be read.
    """
    folder = layout.marks / run_id
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".jsonl"))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [_mark(patch) for name in names for patch in journal.read(folder / name)]


def _mark(patch: dict[str, Any]) -> dict[str, Any]:
    """Return of a patch what may be said of a run later."""
    told = patch.get("set")
    told = told if isinstance(told, dict) else {}
    pin, tags = told.get("pin", ""), told.get("tags")
    said: dict[str, Any] = {"pin": pin} if pin is None or (isinstance(pin, str) and pin) else {}
    if isinstance(tags, dict):
        said["tags"] = {key: value for key, value in tags.items() if isinstance(value, str)}
    return {"set": said}


def pins(layout: Layout) -> dict[str, str]:
    """Return the pinned runs, oldest first, with the names they are pinned under; some may be gone.

    Raises:
        StoreError: the marks cannot be read.
    """
    try:
        known = sorted(filter(is_run_id, os.listdir(layout.marks)))  # noqa: PTH208
        found = {run_id: _pin(read(layout, run_id)) for run_id in known}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError(f"the pins cannot be read ({error})", path=layout.marks) from error
    return {run_id: name for run_id, name in found.items() if name is not None}


def _pin(patches: list[dict[str, Any]]) -> str | None:
    """Return the last name that a run was pinned under, None when it was released since, or never pinned."""
    said = [patch["set"]["pin"] for patch in patches if "pin" in patch["set"]]
    return said[-1] if said else None

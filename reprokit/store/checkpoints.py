"""The checkpoints of runs: a note for each beside the run's record, which alone names the object that holds it.

So a checkpoint stays no longer than it is of use, is not pulled or pushed, and is never read here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprokit.store.layout import Layout
from reprokit.store.objects import Objects

__all__ = ["Note", "drop", "notes", "obsolete", "remove"]

_FOLDER = "checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is known of a checkpoint without reading it.

    Attributes:
        path: the note itself.
        cell: the cell after which it was kept.
        digest: the object.
        size: of that, in bytes.
        took_s: how long it took, in seconds.
        lines: how many lines the kernel's journal had by then.
        python: the version of Python that wrote it.
        dill: likewise.
        environment: fingerprint of what was installed.
        modules: the project's own modules that were imported: file → digest.
    """

    path: Path
    cell: int
    digest: str
    size: int
    took_s: float = 0.0
    lines: int
    python: str
    dill: str
    environment: str | None = None
    modules: dict[str, str] = field(default_factory=dict)


def notes(layout: Layout, run_id: str) -> list[Note]:
    """Return the checkpoints of a run, the newest first; what is no note is passed over."""
    found = []
    for path in (layout.run_folder(run_id) / _FOLDER).glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            told: dict[str, Any] = json.loads(path.read_bytes())
            found.append(Note(path=path, **told))
    return sorted(found, key=lambda note: -note.cell)


def drop(layout: Layout, objects: Objects, run_id: str) -> int:
    """Remove the checkpoints of a run that need not be resumed any more; return their bytes."""
    size = 0
    for note in notes(layout, run_id):
        size += note.size if remove(objects, note.path) else 0
    with contextlib.suppress(OSError):
        (layout.run_folder(run_id) / _FOLDER).rmdir()
    return size


def remove(objects: Objects, path: Path) -> bool:
    """Remove a checkpoint by its note; return whether it was there.

    Its object has no other name: what is in it says which run it is of.
    """
    try:
        digest = str(json.loads(path.read_bytes())["digest"])
        path.unlink()
        objects.path(digest).unlink(missing_ok=True)
    except (OSError, ValueError, KeyError):
        return False
    return True


def obsolete(layout: Layout, resumable: Iterable[str], keep: int) -> Iterator[tuple[Note, str]]:
    """Yield the checkpoints that are of no use any more, each with why.

    Args:
        layout: the store.
        resumable: the runs that can be resumed.
        keep: how many of each are kept.
    """
    useful = set(resumable)
    for run_id in sorted(layout.run_names()):
        if not (layout.runs / run_id / _FOLDER).is_dir():
            continue
        for number, note in enumerate(notes(layout, run_id)):
            if run_id not in useful:
                yield note, f"run {run_id} need not be resumed"
            elif number >= keep:
                yield note, f"{keep} newer ones are kept"

"""Folders that a cell used as one dataset, taken apart: the record names the folder, its manifest the files.

Knows manifests; it does not know what becomes of the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from reprokit.records import FileUse, Run
from reprokit.store.reachable import Read, members

__all__ = ["changed", "expanded", "levelled", "members"]


def expanded(run: Run, read: Read) -> Run:
    """Return the run with every file of its datasets named, as far as their manifests are there."""
    if not any(use.files for cell in run.cells for use in (*cell.reads, *cell.writes)):
        return run
    cells = [
        replace(cell, reads=tuple(_named(cell.reads, read)), writes=tuple(_named(cell.writes, read)))
        for cell in run.cells
    ]
    return replace(run, cells=tuple(cells))


def _named(uses: Iterable[FileUse], read: Read) -> Iterator[FileUse]:
    for use in uses:
        files = members(use, read) if use.files else None
        yield from [use] if files is None else files


def levelled(ours: Sequence[FileUse], theirs: Sequence[FileUse], read: Read) -> tuple[list[FileUse], list[FileUse]]:
    """Return the uses of two cells with a folder that is a dataset for one of them only taken apart."""
    both = {use.path for use in ours if use.files} & {use.path for use in theirs if use.files}

    def level(uses: Sequence[FileUse]) -> list[FileUse]:
        return [one for use in uses for one in ([use] if use.path in both else _named([use], read))]

    return level(ours), level(theirs)


def changed(left: FileUse, right: FileUse, read: Read) -> list[tuple[FileUse | None, FileUse | None]] | None:
    """Return the files of a dataset that are not the same in two runs; None when that cannot be told."""
    mine, yours = members(left, read), members(right, read)
    if mine is None or yours is None:
        return None
    ours, theirs = {use.path: use for use in mine}, {use.path: use for use in yours}
    pairs = [(ours.get(path), theirs.get(path)) for path in sorted(ours.keys() | theirs.keys())]
    return [(one, other) for one, other in pairs if not (one and other and one.digest == other.digest)]

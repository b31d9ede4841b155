"""Folders used as one dataset: when a cell uses very many files, its record names folders and not files.

Pure but for the manifest, which lists the files of such a folder and is kept as an object.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from reprokit.digest import canonical_json
from reprokit.records import FileUse

__all__ = ["FEW", "folder_use", "gather", "manifest"]

FEW = 256  # files that are each named in a cell's record


def gather(paths: Iterable[str], top: str) -> dict[str, list[str]]:
    """Return the folders that are each one dataset, with the paths used of it: the deepest that gather very many.

    Args:
        paths: absolute paths of files below ``top``.
        top: the folder that is a dataset only when it must be.

    >>> list(gather([f"/p/images/train/{n % 9}/{n}.png" for n in range(999)] + ["/p/a.csv"], "/p"))
    ['/p/images/train']
    >>> gather([f"/p/{n}.png" for n in range(256)], "/p")
    {}
    """
    ordered = sorted(paths)
    if len(ordered) <= FEW:
        return {}
    heavy, rest = _split(ordered, top)
    found = {folder: below for child, inside in heavy.items() for folder, below in _deepest(child, inside)}
    return {**found, top: rest} if len(rest) > FEW else found


def _deepest(folder: str, paths: list[str]) -> Iterable[tuple[str, list[str]]]:
    """Yield the deepest folder that holds all of the paths but a few."""
    while True:
        heavy, rest = _split(paths, folder)
        if len(heavy) != 1 or len(rest) > FEW:
            yield folder, paths
            return
        folder, paths = next(iter(heavy.items()))


def _split(paths: Iterable[str], folder: str) -> tuple[dict[str, list[str]], list[str]]:
    """Return the folders right below one that hold very many of the paths, and the paths in none of them."""
    start = len(folder.rstrip(os.sep)) + 1
    children: dict[str, list[str]] = {}
    for path in paths:
        end = path.find(os.sep, start)
        children.setdefault(path[:end] if end >= 0 else "", []).append(path)
    heavy = {child: inside for child, inside in children.items() if child and len(inside) > FEW}
    return heavy, [path for child, inside in children.items() if child not in heavy for path in inside]


def manifest(uses: Sequence[FileUse]) -> bytes:
    """Return the list of a dataset's files, as it is kept: the same for the same files."""
    return canonical_json([use.to_dict() for use in sorted(uses, key=lambda use: use.path)])


def folder_use(folder: str, access: str, uses: Sequence[FileUse], digest: str | None) -> FileUse:
    """Return the record of a folder used as one dataset.

    Args:
        folder: its name in a record, without a ``/`` at its end.
        access: "read" or "write".
        uses: what was used of it.
        digest: of its manifest; None while the files are not hashed.
    """
    states = {use.state for use in uses}
    kept = {use.stored for use in uses}
    return FileUse(
        path=f"{folder.rstrip('/')}/",
        access=access,
        size=None if digest is None else sum(use.size or 0 for use in uses),
        digest=digest,
        stored="none" if "none" in kept or digest is None else "object",
        state=next((state for state in _WORST if state in states), "stable"),
        source=min((use.source for use in uses), default=""),
        own=all(use.own for use in uses),
        files=len(uses),
    )


_WORST = ("pending", "unstable", "missing")

"""Fetches what a point of a sweep wrote: from the store, or from beside it where the store does not keep such bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

from reprokit.errors import ObjectMissing, StoreError, UsageError
from reprokit.pipeline.result import made
from reprokit.pipeline.sweep.book import Book
from reprokit.pipeline.sweep.results import Point
from reprokit.replay import folders

__all__ = ["take"]


def take(book: Book, point: Point, to: Path) -> list[str]:
    """Put a point's files into a folder that is new or empty, and return their paths in it.

    Raises:
        UsageError: the point has no run, or the folder holds something.
        StoreError: bytes are gone, or cannot be written.
    """
    if point.run is None:
        raise UsageError(f"point {point.number} has no run", remedy=f"`reprokit sweep --resume {book.sweep.id}`")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"{to} holds something", remedy="name a new folder with --to")
    store = book.store
    run = folders.expanded(store.load(point.reused or point.run), store.objects.get_bytes)
    found = []
    for path, use in made(run).items():
        beside = book.point(point.number).folder / "files" / path
        if path.startswith("/"):  # outside the project: it is where it was written
            continue
        if use.digest is not None and store.objects.has(use.digest):
            _put(lambda target, digest=use.digest: store.objects.restore(digest, target), to / path)
        elif beside.is_file():
            _put(lambda target, source=beside: shutil.copy2(source, target), to / path)
        elif use.digest is not None and book.sweep.apart:
            raise ObjectMissing(use.digest)
        else:
            continue
        found.append(path)
    return found


def _put(write: object, target: Path) -> None:
    assert callable(write)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error})", path=target) from error

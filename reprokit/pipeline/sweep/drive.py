"""Drives a sweep: gives an engine the points that are not done, a few at a time, until all are or it is stopped.

It keeps no more than what runs at the moment: what became of a point is in the sweep's folder before it is told here.
So it can be killed at any time, and driven again. Knows the book and executors; it shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from pathlib import Path
from typing import Any

from reprokit.errors import ReprokitError, UsageError
from reprokit.pipeline.sweep import clashes, remote
from reprokit.pipeline.sweep.book import Book
from reprokit.pipeline.sweep.engines import Engine
from reprokit.pipeline.sweep.place import place
from reprokit.pipeline.sweep.task import Ended, Task, lost
from reprokit.replay.leftovers import remove_workspaces

__all__ = ["ATTEMPTS", "Told", "drive", "left", "prepare"]

ATTEMPTS = 3  # at a point in one go, while it is lost on the way: a worker or its machine died
_WAITING = 2  # tasks that an engine has for each slot: the next is there when one ends

Told = Callable[[int, Ended | None], None]  # a point was given to the engine (None), or ended


def drive(book: Book, engine: Engine, *, told: Told) -> list[Ended]:
    """Run all points that have no result yet.

    Args:
        book: the sweep, ``driven`` by this process.
        engine: runs them.
        told: called as points are given to it and as they end.

    Returns:
        What became of the points that could not be run: each was lost as often as it may be.

    Raises:
        ReprokitError: the engine does not work any more, or the code changed where a point would see that.
    """
    driving = _Driving(book, engine, told)
    try:
        driving.run()
    except BaseException:
        driving.stop()
        raise
    return driving.lost


def left(book: Book) -> Iterator[int]:
    """Yield the numbers of the points that have no result, in their order."""
    for number in range(1, len(book.sweep.points) + 1):
        if book.point(number).result() is None:
            yield number


def prepare(book: Book) -> None:
    """Let the points that were not done be tried again, by the code that the others ran with.

    Raises:
        UsageError: that has changed.
    """
    changed = book.changed()
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        remedy = f"put it back (it lies in {book.frozen}), or start a new sweep, with --reuse for what is the same"
        raise UsageError(f"{changed[0]}{more} changed since sweep {book.sweep.id} began", remedy=remedy)
    remove_workspaces()  # those of points whose driver was killed
    for number in range(1, len(book.sweep.points) + 1):
        clashes.forget(book, number)
        book.point(number).retry()


class _Driving:
    """One sweep on its way."""

    def __init__(self, book: Book, engine: Engine, told: Told) -> None:
        self.book = book
        self.engine = engine
        self.told = told
        self.running: dict[Future[dict[str, Any]], dict[str, Any]] = {}
        self.lost: list[Ended] = []
        self.seen = clashes.Seen(book)
        self.sees_edits = not book.sweep.apart and book.sweep.remote is None
        self.waiting = engine.slots * (1 if self.sees_edits else _WAITING)
        self.stamps = _stamps(book)

    def run(self) -> None:
        """Keep the engine busy until nothing is left."""
        points = left(self.book)
        while True:
            while len(self.running) < self.waiting and (number := next(points, None)) is not None:
                self._submit(number, 1)
            if not self.running:
                return
            done, _ = wait(self.running, return_when=FIRST_COMPLETED)
            for future in done:
                self._take(future)

    def stop(self) -> None:
        """Begin nothing more, interrupt what runs, and wait until it has closed its records."""
        for future in self.running:
            future.cancel()
        self.engine.stop()
        wait([future for future in self.running if not future.cancelled()], _TIDY_S)

    def _submit(self, number: int, tries: int) -> None:
        self._require_same_code()
        document = self._task(number).to_dict()
        known = remote.collect(self.book.store, document) if document["remote"] is not None else None
        if known is not None:  # a worker had done it when the driver before this one was gone
            self.told(number, Ended.from_dict(known))
            return
        try:
            future = self.engine.executor.submit(place, document)
        except (RuntimeError, BrokenExecutor) as error:
            remedy = f"`reprokit sweep --resume {self.book.sweep.id}` goes on"
            raise ReprokitError(f"the engine takes no more points ({error})", remedy=remedy) from error
        self.running[future] = {**document, "tries": tries}
        self.told(number, None)

    def _task(self, number: int) -> Task:
        book = self.book
        return Task(
            sweep=book.sweep.id,
            point=number,
            attempt=book.point(number).attempts() + 1,
            book=str(book.folder),
            store=str(book.store.layout.root),
            project=str(book.store.layout.project),
            spec=book.sweep.spec(number),
            variables=book.sweep.variables,
            apart=book.sweep.apart,
            remote=book.sweep.remote,
        )

    def _take(self, future: Future[dict[str, Any]]) -> None:
        """Take note of how a task ended; one that was lost is given again."""
        document = self.running.pop(future)
        tries = document.pop("tries")
        ended = Ended.from_dict(self._settled(document, future))
        if ended.counts:
            self.told(ended.point, self.seen.judged(ended))
        elif tries < ATTEMPTS:
            self._submit(ended.point, tries + 1)
        else:
            self.lost.append(ended)
            self.told(ended.point, ended)

    def _settled(self, document: dict[str, Any], future: Future[dict[str, Any]]) -> dict[str, Any]:
        try:
            return remote.accept(self.book.store, document, future.result())
        except (CancelledError, Exception) as error:
            return self.book.point(document["point"]).result() or lost(document, error)

    def _require_same_code(self) -> None:
        """Pass unless a point would run other code than those before it."""
        if self.sees_edits and self.stamps != (now := _stamps(self.book)):
            changed = self.book.changed()
            if changed:
                remedy = f"put it back (it lies in {self.book.frozen}), and `--resume {self.book.sweep.id}`"
                raise UsageError(f"{changed[0]} changed while the sweep ran", remedy=remedy)
            self.stamps = now


_TIDY_S = 90.0


def _stamps(book: Book) -> list[tuple[int, int, int]]:
    """Return what changes when a file of the code does."""
    return [_stamp(book.store.layout.project / path) for path in book.sweep.code]


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_size, found.st_mtime_ns, found.st_ino)

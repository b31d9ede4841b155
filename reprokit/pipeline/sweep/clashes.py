"""Points that ran in the project itself and wrote the same file: at the same time, none of them counts.

Only where points cannot have the project to themselves (see ``apart``). It reads what their steps say that they made.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from pathlib import Path

from reprokit.pipeline.result import FAILED
from reprokit.pipeline.sweep.apart import TOGETHER
from reprokit.pipeline.sweep.book import Book
from reprokit.pipeline.sweep.task import Ended

__all__ = ["Seen", "clash", "forget", "ran_together"]

_REMEMBERED = 256  # points; those before them ended long before the next began


class Seen:
    """What the points that ended lately wrote.

    Args:
        book: their sweep.
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self._lately: deque[tuple[Ended, frozenset[str]]] = deque(maxlen=_REMEMBERED)

    def judged(self, ended: Ended) -> Ended:
        """Return what became of a point, now that it is known what others wrote while it ran."""
        wrote = self._wrote(ended)
        for other, theirs in self._lately:
            both = wrote & theirs
            if both and _overlap(ended, other):
                path = min(both)
                _note(self._book, other.point, ended.point, path)
                _note(self._book, ended.point, other.point, path)
        if wrote:
            self._lately.append((ended, wrote))
        reason = clash(self._book, ended.point)
        return ended if reason is None else replace(ended, exit_code=FAILED, status="failed", reason=reason)

    def _wrote(self, ended: Ended) -> frozenset[str]:
        if ended.execution is None or not ran_together(self._book, ended.point):
            return frozenset()
        try:
            told = json.loads(self._book.point(ended.point).step_file(ended.execution).read_bytes())
            return frozenset(one["path"] for one in told.get("outputs", ()))
        except (OSError, ValueError):
            return frozenset()


def ran_together(book: Book, number: int) -> bool:
    """Return whether a point ran in the project itself: in such a sweep, or on a worker that could not do otherwise."""
    return not book.sweep.apart or (book.point(number).folder / TOGETHER).exists()


def clash(book: Book, number: int) -> str | None:
    """Return why the result of a point does not count, if another wrote the same file meanwhile."""
    try:
        told = json.loads(_file(book, number).read_bytes())
    except (OSError, ValueError):
        return None
    return f"point {told['with']} wrote {told['path']} at the same time: run one at a time with --workers 1"


def forget(book: Book, number: int) -> None:
    """Let a point be tried again whose result did not count."""
    if not _file(book, number).exists():
        return
    point = book.point(number)
    told = point.result()
    if told is not None:
        k = told["execution"]
        point.step_file(k).rename(point.folder / f"clashed-step-{k}.json")
        (point.folder / "result.json").rename(point.folder / f"clashed-{k}.json")
    _file(book, number).unlink()


def _overlap(one: Ended, other: Ended) -> bool:
    if None in (one.started, one.ended, other.started, other.ended):
        return True
    assert one.started is not None and one.ended is not None  # noqa: PT018
    assert other.started is not None and other.ended is not None  # noqa: PT018
    return one.started < other.ended and other.started < one.ended


def _file(book: Book, number: int) -> Path:
    return book.point(number).folder / "clash.json"


def _note(book: Book, number: int, other: int, path: str) -> None:
    _file(book, number).write_text(json.dumps({"with": other, "path": path}), "utf-8")

"""What became of the points of a sweep, as rows of one table; read from its folder, in one look at each point."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reprokit.errors import ReprokitError, UsageError
from reprokit.pipeline.sweep import clashes
from reprokit.pipeline.sweep.book import Book
from reprokit.pipeline.sweep.task import Ended
from reprokit.records import Record
from reprokit.store.store import Store

__all__ = ["Point", "best", "failures", "metrics", "parse_metric", "point", "rows", "sort"]

_SMALL_IS_GOOD = ("loss", "error", "err", "rmse", "mae", "mse", "time", "seconds", "latency", "perplexity", "deviance")
_EXPLAINED = 50  # failed points whose runs are opened to name the cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Point(Record):
    """One point of a sweep.

    ``status`` is "done", "failed", "interrupted", "refused" or, when nothing became of it yet, "missing". ``cell``
    is the first cell that failed. ``reused`` is the run whose results it took over.
    """

    number: int
    params: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    status: str = "missing"
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    run: str | None = None
    reused: str | None = None
    reason: str | None = None
    cell: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether it need not be run again."""
        return self.status == "done"


def rows(book: Book) -> list[Point]:
    """Return all points in their order, with the first cell that failed of the first failures."""
    found = []
    opened = 0
    for number in range(1, len(book.sweep.points) + 1):
        told = book.point(number).result()
        row = point(book, number, None if told is None else Ended.from_dict(told))
        if row.status not in ("done", "missing") and row.run is not None and opened < _EXPLAINED:
            opened += 1
            row = explained(book.store, row)
        found.append(row)
    return found


def point(book: Book, number: int, ended: Ended | None) -> Point:
    """Return a point, given what became of it."""
    params, seed = book.sweep.points[number - 1], book.sweep.seed_of(number)
    if ended is None:
        return Point(number=number, params=params, seed=seed)
    status, reason = ended.status, ended.reason
    if ended.exit_code and status == "done":  # it ran to its end, and did not make what it was to make
        status = "failed"
    if (clash := clashes.clash(book, number)) is not None:
        status, reason = "failed", clash
    took = None if ended.started is None or ended.ended is None else ended.ended - ended.started
    return Point(
        number=number,
        params=params,
        seed=seed,
        status=status if ended.counts else "missing",
        metrics=ended.metrics,
        seconds=took,
        run=ended.run,
        reused=ended.reused,
        reason=reason,
    )


def explained(store: Store, row: Point) -> Point:
    """Return a point that failed with the first cell that did."""
    import dataclasses

    try:
        run = store.load(row.run or "")
    except ReprokitError:
        return row
    cell = next((cell for cell in run.cells if cell.status != "done"), None)
    if cell is None or run.front == "script":
        return row
    return dataclasses.replace(row, cell=cell.seq)


def failures(points: Iterable[Point]) -> list[Point]:
    """Return the points that ran and were not done."""
    return [row for row in points if row.status not in ("done", "missing")]


def parse_metric(text: str) -> tuple[str, str]:
    """Return a metric and whether "max" or "min" of it is best; by its name where that is not said.

    Raises:
        UsageError: it is neither.

    >>> parse_metric("accuracy"), parse_metric("val_loss"), parse_metric("score:min")
    (('accuracy', 'max'), ('val_loss', 'min'), ('score', 'min'))
    """
    name, colon, which = text.rpartition(":")
    if not colon:
        words = text.lower().replace("-", "_").split("_")
        return text, "min" if any(word in _SMALL_IS_GOOD for word in words) else "max"
    if which not in ("min", "max") or not name:
        raise UsageError(f"{text!r} names no metric", remedy="write METRIC, METRIC:max or METRIC:min")
    return name, which


def metrics(points: Iterable[Point]) -> list[str]:
    """Return the metrics that points have, in the order in which they come up."""
    return list(dict.fromkeys(name for row in points for name in row.metrics))


def number_of(row: Point, name: str) -> float | None:
    """Return a metric, or parameter, as a number; None when it is none."""
    value = row.metrics.get(name, row.params.get(name))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def best(points: Sequence[Point], name: str, which: str) -> Point | None:
    """Return the point that is done and has the largest, or smallest, value of a metric; the first of equal ones."""
    known = [(value, row) for row in points if row.is_done and (value := number_of(row, name)) is not None]
    if not known:
        return None
    sign = -1 if which == "max" else 1
    return min(known, key=lambda pair: sign * pair[0])[1]


def sort(points: Sequence[Point], text: str) -> list[Point]:
    """Return points by a metric, the best first, or by a parameter, the smallest first; those without it last.

    Raises:
        UsageError: no point has it.
    """
    name, which = parse_metric(text)
    if all(name not in row.metrics and name not in row.params for row in points):
        have = [*metrics(points), *dict.fromkeys(one for row in points for one in row.params)]
        raise UsageError(f"no point has {name!r}", remedy=f"they have {', '.join(have)}" if have else "they have none")
    is_metric = any(name in row.metrics for row in points)
    sign = -1 if which == "max" and (is_metric or ":" in text) else 1

    def order(row: Point) -> tuple[bool, float, str]:
        value = number_of(row, name)
        return (value is None, sign * (value or 0.0), str(row.params.get(name, "")) if value is None else "")

    return sorted(points, key=order)

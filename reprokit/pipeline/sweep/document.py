"""A sweep as the one JSON document that all its views are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reprokit.pipeline.sweep import clashes, results
from reprokit.pipeline.sweep.book import Book
from reprokit.pipeline.sweep.results import Point

__all__ = ["of"]


def of(
    book: Book, points: Sequence[Point], best: str | None = None, *, lost: Mapping[int, str | None] | None = None
) -> dict[str, Any]:
    """Return what ``--json`` prints of a sweep.

    Args:
        book: the sweep.
        points: its points, in the order in which they are shown.
        best: the metric that the best one is chosen by; the sweep's own by default.
        lost: number → reason of points that could not be run.
    """
    told = book.sweep
    chosen = best or told.best
    found: dict[str, Any] | None = None
    if chosen is not None:
        metric, which = results.parse_metric(chosen)
        point = results.best(points, metric, which)
        found = {"metric": metric, "which": which, "point": None if point is None else point.number}
    done = sum(point.is_done for point in points)
    missing = sum(point.status == "missing" for point in points)
    counts = {"done": done, "failed": len(points) - done - missing, "missing": missing, "total": len(points)}
    together = sum(clashes.ran_together(book, point.number) for point in points if point.run is not None)
    words = f"{together} points" if together > 1 else "1 point"
    notes = [f"{words} ran in the project itself: no room of its own could be made there"] if together else []
    notes += [f"point {number}: {reason}" for number, reason in list((lost or {}).items())[:5]]
    return {
        "id": told.id,
        "name": told.name,
        "what": told.what,
        "engine": told.engine,
        "created": told.created,
        "seed": told.seed,
        "seed_each": told.seed_each,
        "sample_seed": told.sample_seed,
        "apart": told.apart,
        "counts": counts,
        "best": found,
        "notes": notes,
        "points": [point.to_dict() for point in points],
    }

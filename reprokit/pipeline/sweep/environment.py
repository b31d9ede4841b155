"""Has the environment of a sweep's points looked at and locked: once, not once for each of them."""

from __future__ import annotations

from contextlib import suppress

from reprokit.capture.environment.environment import start_in_background, write_order
from reprokit.errors import ReprokitError
from reprokit.pipeline.sweep.book import Book

__all__ = ["lock"]


def lock(book: Book) -> None:
    """Start the process that locks the environment of the points and tells each run what was found; return at once."""
    store = book.store
    if store.settings.lock != "background":
        return
    told = (book.point(number).result() for number in range(1, len(book.sweep.points) + 1))
    runs = [one["run"] for one in told if one is not None and one["run"] is not None and one["reused"] is None]
    for run_id in runs:
        try:
            run = store.load(run_id)
        except ReprokitError:
            continue
        if run.environment is not None:
            with suppress(OSError):  # the disk is full, say: a replay makes the lock as well
                order = write_order(store.layout, run_id, run.environment)
                order.with_suffix(".runs").write_text("\n".join(runs), "ascii")
                start_in_background(store.layout, order)
            return

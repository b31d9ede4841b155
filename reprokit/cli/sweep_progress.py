"""How a sweep is shown while it runs, on stderr: a table that is kept up to date on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from reprokit.pipeline.sweep.book import Book
    from reprokit.pipeline.sweep.results import Point
    from reprokit.pipeline.sweep.task import Ended

__all__ = ["Watch", "watching"]

_ROWS = 12


class Watch:
    """Shows how a sweep comes on.

    Args:
        stream: where.

    Attributes:
        book: the sweep, once it has begun.
    """

    def __init__(self, stream: TextIO) -> None:
        self.book: Book | None = None
        self._stream = stream
        self._done = self._failed = self._total = 0
        self._known = 0  # points that were done before
        self._open: set[int] = set()
        self._began = time.monotonic()

    def __call__(self, book: Book) -> Callable[[int, Ended | None], None]:
        """Begin with a sweep; what is returned is told of its points."""
        from reprokit.pipeline.sweep.drive import left

        self.book = book
        self._total = len(book.sweep.points)
        self._known = self._done = self._total - sum(1 for _ in left(book))
        self._begin()
        return self._told

    def _told(self, number: int, ended: Ended | None) -> None:
        from reprokit.pipeline.sweep import results

        if ended is None:
            self._open.add(number)
            return
        assert self.book is not None
        self._open.discard(number)
        point = results.point(self.book, number, ended)
        self._done += point.is_done
        self._failed += not point.is_done
        if not point.is_done and point.run is not None:
            point = results.explained(self.book.store, point)
        self._show(point)

    def _begin(self) -> None:
        from reprokit.views.plain import count

        assert self.book is not None
        again = f", {self._known:,} of them are done" if self._known else ""
        line = f"reprokit: sweep {self.book.sweep.id}: {count(self._total, 'point')}{again}"
        print(line, file=self._stream, flush=True)

    def _show(self, point: Point) -> None:
        from reprokit.views.plain import plain, seconds, value
        from reprokit.views.sweep import failed_line, point_words

        shown = point.to_dict()
        if point.is_done:
            metrics = "".join(f" {plain(name)}={value(item)}" for name, item in point.metrics.items())
            how = f"reused {plain(point.reused)}" if point.reused else f"done in {seconds(point.seconds)}"
            words = f"point {point.number} ({point_words(shown)}) {how}{metrics}"
        else:
            words = failed_line(shown)
        print(f"[{self._done + self._failed}/{self._total}] {words}", file=self._stream, flush=True)


class _Table(Watch):
    """Shows it as a table that stays in its place."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lately: deque[Point] = deque(maxlen=_ROWS)
        self._best: Point | None = None
        self._live: Live | None = None

    def _begin(self) -> None:
        from rich.console import Console
        from rich.live import Live

        super()._begin()
        self._live = Live(
            get_renderable=self._table,
            console=Console(file=self._stream),
            refresh_per_second=2,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def close(self) -> None:
        """Take the table away."""
        if self._live is not None:
            self._live.stop()

    def _show(self, point: Point) -> None:
        from reprokit.pipeline.sweep import results

        self._lately.append(point)
        wanted = self.book.sweep.best if self.book is not None else None
        if wanted is not None:
            known = [one for one in (self._best, point) if one is not None]
            self._best = results.best(known, *results.parse_metric(wanted))

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        from reprokit.views.plain import clip, plain, seconds, value
        from reprokit.views.sweep import point_words

        lately = list(self._lately)
        table = Table(
            title=Text(self._head()), caption=Text(self._foot()), title_justify="left", caption_justify="left"
        )
        for head in ("point", "parameters", "status", "metrics", "took"):
            table.add_column(head, no_wrap=True)
        for point in lately:
            metrics = "  ".join(f"{plain(name)}={value(item)}" for name, item in point.metrics.items())
            status = "reused" if point.reused else point.status
            words = [point.number, point_words(point.to_dict()), status, metrics or point.reason or ""]
            cells = [Text(clip(plain(word), 60)) for word in (*words, seconds(point.seconds))]
            table.add_row(*cells)
        return table

    def _head(self) -> str:
        from reprokit.views.plain import seconds

        took = time.monotonic() - self._began
        ended = self._done + self._failed
        new = ended - self._known
        rest = f", about {seconds(took / new * (self._total - ended))} left" if new else ""
        failed = f", {self._failed:,} failed" if self._failed else ""
        return f"{ended:,} of {self._total:,} points{failed}, {len(self._open)} in work, {seconds(took)}{rest}"

    def _foot(self) -> str:
        from reprokit.views.sweep import point_words

        if self._best is None:
            return ""
        return f"best so far: point {self._best.number} ({point_words(self._best.to_dict())})"


@contextmanager
def watching(stream: TextIO | None = None) -> Iterator[Any]:
    """Yield what shows a sweep while the block runs."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield Watch(stream)
        return
    table = _Table(stream)
    try:
        yield table
    finally:
        table.close()

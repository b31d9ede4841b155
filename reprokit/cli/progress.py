"""How the progress of long work is shown: on stderr, a bar for a terminal, plain lines with ``--verbose``.

It knows streams and terminals; what is being done is told by the work itself. Nothing is shown of
work that takes less than a second.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import rich.progress

__all__ = ["Progress", "reporter"]

Progress = Callable[[str, int, int], None]

DELAY_S = 1.0


@contextmanager
def reporter(verbose: bool, *, stream: TextIO | None = None, delay_s: float = DELAY_S) -> Iterator[Progress]:
    """Give work a function ``(what is being done, done, total)`` to tell its progress with.

    Args:
        verbose: whether to print lines where there is no terminal.
        stream: where to show it; stderr by default.
        delay_s: how long work may take before it is shown on a terminal, in seconds.
    """
    stream = sys.stderr if stream is None else stream
    if stream.isatty():
        bar = _Bar(stream, delay_s)
        try:
            yield bar.report
        finally:
            bar.close()
    else:
        yield _Lines(stream).report if verbose else _ignore


def _ignore(what: str, done: int, total: int) -> None:
    """Show nothing."""


class _Lines:
    """Prints a line for each new thing that is done, and then at most one a second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._what = ""
        self._next = 0.0  # seconds of the monotonic clock

    def report(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what == self._what and now < self._next and done != total:
            return
        self._what, self._next = what, now + 1.0
        count = f" ({done}/{total})" if total else ""
        print(f"reprokit: {what}{count}", file=self._stream, flush=True)


class _Bar:
    """A bar that a timer brings up, because the work may tell nothing while it waits."""

    def __init__(self, stream: TextIO, delay_s: float) -> None:
        self._stream = stream
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._latest = ("", 0, 0)
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._closed = False

    def report(self, what: str, done: int, total: int) -> None:
        with self._lock:
            self._latest = (what, done, total)
            if self._bar is not None:
                self._update()
            elif self._timer is None:
                self._timer = threading.Timer(self._delay_s, self._show)
                self._timer.daemon = True
                self._timer.start()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        with self._lock:
            if self._closed:
                return
            self._bar = Progress(
                *columns,
                TimeElapsedColumn(),
                console=Console(file=self._stream),
                transient=True,
                redirect_stdout=False,  # what the command prints is not part of the bar
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", total=None)
            self._update()
            self._bar.start()

    def _update(self) -> None:
        what, done, total = self._latest
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what, completed=done, total=total or None)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()  # it may be bringing the bar up just now
        if self._bar is not None:
            self._bar.stop()

"""Ends a step early in good order: what asks it to end becomes one exception, and the rest is ignored.

The exception is a ``KeyboardInterrupt``: whatever runs a kernel or a script already ends it in good order for that.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stopped", "hear", "ignore_all", "stoppable"]

_ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The step is to end: ``signal`` says what asked for it, SIGALRM that its time is over."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)

    @property
    def reason(self) -> str:
        """Why, in words."""
        return "took longer than it was allowed" if self.signal == signal.SIGALRM else f"stopped by {self.signal.name}"

    def __str__(self) -> str:
        return self.reason


def hear() -> None:
    """Let what asks this process to end reach it, also where the process that started it was kept from hearing."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKS)


def ignore_all() -> None:
    """Ignore what asks this process to end, until the ``stoppable`` block that this is called in ends."""
    if threading.current_thread() is threading.main_thread():
        for one in _ASKS:
            signal.signal(one, signal.SIG_IGN)


@contextmanager
def stoppable(timeout: float | None = None) -> Iterator[None]:
    """Raise ``Stopped`` in the block, once, when this process is asked to end or the time is over.

    In another thread than the main one, which signals do not reach, nothing is changed.

    Args:
        timeout: seconds that the block may take.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watched = (*_ASKS, signal.SIGALRM) if timeout is not None else _ASKS

    def stop(number: int, frame: FrameType | None) -> None:
        for one in watched:  # tidying up is not to be interrupted
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(number)

    before = {one: signal.signal(one, stop) for one in watched}
    timer = None if timeout is None else signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        yield
    finally:
        if timer is not None:
            signal.setitimer(signal.ITIMER_REAL, *timer)  # as it was, for whoever had set it
        for one, handler in before.items():
            signal.signal(one, handler if handler is not None else signal.SIG_DFL)

"""Keeps Ctrl-C out of the middle of a capture, without losing it.

A KeyboardInterrupt inside an IPython event callback is printed and forgotten by IPython: the record
would be torn and the user's wish ignored. So it waits until the callback is over.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["deferred"]

_AFTER_S = 0.005  # long enough for the callback to return, too short for anyone to notice


@contextmanager
def deferred() -> Iterator[None]:
    """Hold back SIGINT while the block runs; deliver it a moment later, to the user's own code."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    held: list[int] = []

    def hold(number: int, frame: Any) -> None:
        held.append(number)

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if held:
            # To the main thread itself, so that a system call it is waiting in is interrupted too.
            main = threading.main_thread().ident or 0
            timer = threading.Timer(_AFTER_S, signal.pthread_kill, (main, signal.SIGINT))
            timer.daemon = True
            timer.start()

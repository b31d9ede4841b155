"""One background thread that does what must not happen on the user's path.

It knows nothing of what the work is. After a fork the child has no such thread, and whatever it
hands over is dropped: the parent's record is the parent's.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

__all__ = ["Worker"]


class Worker:
    """Runs pieces of work one after another in a daemon thread.

    Args:
        failed: called in the thread with an exception that a piece of work raised.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._pid = os.getpid()
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="reprokit", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], None]) -> None:
        """Add a piece of work to the queue."""
        if os.getpid() == self._pid:
            self._queue.put(work)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all work submitted so far is done; return whether it was in time (seconds)."""
        if os.getpid() != self._pid or not self._thread.is_alive():
            return True
        done = threading.Event()
        self._queue.put(done.set)
        return done.wait(timeout)

    def stop(self, timeout: float | None = None) -> None:
        """Finish the work in the queue, then end the thread."""
        if os.getpid() == self._pid and self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception as error:
                self._tell(error)

    def _tell(self, error: Exception) -> None:
        try:
            self._failed(error)
        except Exception:  # without this thread nothing more would be hashed or written
            pass

"""One background thread that does what must not happen on the user's path.

It knows nothing of what the work is. After a fork the child has no such thread, and whatever it
hands over is dropped: the parent's record is the parent's.
"""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Callable

__all__ = ["Worker"]

# A fork in the middle of our work would give the user's child our pipes and locks that nobody opens.
# So it waits for the end of a piece of work, but not for that of a long one: hashing a large file
# holds no lock that a child may want.
_PATIENCE_S = 0.05


class Worker:
    """Runs pieces of work one after another in a daemon thread.

    Args:
        failed: called in the thread with an exception that a piece of work raised.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._pid = os.getpid()
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._working = threading.RLock()
        _workers.add(self)
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
            with self._working:
                self._do(work)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        try:
            self._failed(error)
        except Exception:  # without this thread nothing more would be hashed or written
            pass

    def pause(self) -> Callable[[], None] | None:
        """Keep the next piece of work from beginning; return what ends the pause, None if it took too long."""
        return self._working.release if self._working.acquire(timeout=_PATIENCE_S) else None


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()
_paused: list[Callable[[], None]] = []


def _before_fork() -> None:
    _paused.extend(resume for worker in list(_workers) if (resume := worker.pause()) is not None)


def _after_fork() -> None:
    while _paused:
        _paused.pop()()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)

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
from contextlib import suppress

__all__ = ["Worker"]

# A fork in the middle of our work would give the user's child our pipes and locks that nobody opens.
# So it waits for the end of a piece of work, but not for that of a long one: hashing a large file
# holds no lock that a child may want.
_PATIENCE_S = 0.05
# What is patient is done this much later, together with what comes meanwhile: the thread that it wakes would take
# Python's lock from a kernel that is sending the user their answer.
_NAP_S = 0.01


class Worker:
    """Runs pieces of work one after another in a daemon thread.

    Args:
        failed: called in the thread with an exception that a piece of work raised.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._pid = os.getpid()
        self._queue: queue.SimpleQueue[tuple[Callable[[], None] | None, bool]] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._working = threading.RLock()
        _workers.add(self)
        self._thread = threading.Thread(target=self._serve, name="reprokit", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether work is still being done."""
        return self._thread.is_alive()

    def submit(self, work: Callable[[], None], patient: bool = False) -> None:
        """Add a piece of work to the queue.

        Args:
            patient: it may wait a moment, until the user has their answer.
        """
        if os.getpid() == self._pid:
            self._put(work, patient)

    def _put(self, work: Callable[[], None] | None, patient: bool = False) -> None:
        self._queue.put((work, patient))
        if not patient:
            self._hurry.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all work submitted so far is done; return whether it was in time (seconds)."""
        if os.getpid() != self._pid or not self._thread.is_alive():
            return True
        done = threading.Event()
        self._put(done.set)
        left = float("inf") if timeout is None else timeout
        while not done.wait(min(left, _PATIENCE_S)):
            left -= _PATIENCE_S
            if left <= 0 or not self._thread.is_alive():
                return False
        return True

    def stop(self, timeout: float | None = None) -> None:
        """Finish the work in the queue, then end the thread."""
        if os.getpid() == self._pid and self._thread.is_alive():
            self._put(None)
            self._thread.join(timeout)

    def _serve(self) -> None:
        while True:
            was_idle = self._queue.empty()
            work, patient = self._queue.get()
            if work is None:
                return
            try:
                if was_idle and patient:  # what comes meanwhile is done with it
                    self._hurry.wait(_NAP_S)
                self._hurry.clear()
                with self._working:
                    work()
            except Exception as error:
                with suppress(Exception):  # without this thread nothing more would be hashed or written
                    self._failed(error)
            del work  # it may hold an object of the user's, and the next piece may be long in coming

    def pause(self) -> Callable[[], None] | None:
        """Keep the next piece of work from beginning; return what ends the pause, None if it took too long."""
        return self._working.release if self._working.acquire(timeout=_PATIENCE_S) else None


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()
_paused: list[Callable[[], None]] = []


def _before_fork() -> None:
    try:
        _paused.extend(resume for worker in list(_workers) if (resume := worker.pause()) is not None)
    except Exception:  # Python would print it into the user's cell
        pass


def _after_fork() -> None:
    while _paused:
        try:
            _paused.pop()()
        except Exception:  # as above
            pass


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)

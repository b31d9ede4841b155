"""The tasks that are given to a Dask cluster, as futures of the standard library.

A future is done when a worker said so, and its few values were fetched; the cluster then lets go of them, so that it
does not do the task again when that worker dies. Knows a client by what it does; it imports nothing of Dask.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Executor, Future, wait
from contextlib import suppress
from typing import Any

from reprokit.errors import ReprokitError
from reprokit.pipeline.sweep import place

__all__ = ["DaskExecutor", "line"]

_END_S = 90.0  # what interrupted steps get to close their records


def line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


class _Given(Future[Any]):
    """A future that cannot be cancelled once a worker has begun: then there is a record to be closed."""

    def __init__(self, has_begun: Callable[[], bool]) -> None:
        super().__init__()
        self._has_begun = has_begun

    def cancel(self) -> bool:
        """Cancel it, if no worker has begun; return whether it is."""
        return self.cancelled() or (not self.done() and not self._has_begun() and super().cancel())


class DaskExecutor(Executor):
    """Gives tasks to the workers of a cluster.

    Args:
        client: knows the cluster.
        resources: what each task takes of its worker's.
        workers: those that can do it; new ones that come later are taken as well.
    """

    def __init__(self, client: Any, resources: Mapping[str, float], workers: list[str]) -> None:
        self._client = client
        self._resources = dict(resources) or None
        self._workers = workers
        self._lock = threading.Lock()
        self._open: dict[str, tuple[Future[Any], Any, Mapping[str, Any]]] = {}
        self._sweeps: set[str] = set()
        self._numbers = itertools.count(1)
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Give a task to the cluster; its one argument is the task's document."""
        if self._closed:
            raise RuntimeError("the executor is closed")
        if self._client.status != "running":  # it would take tasks, and never give them to anybody
            raise RuntimeError("the scheduler was lost")
        (document,) = args
        key = "reprokit-{sweep}-{point}-{attempt}-{number}".format(**document, number=next(self._numbers))
        mine = _Given(lambda: (document["sweep"], document["point"]) in self._running())
        theirs = self._client.submit(fn, document, key=key, pure=False, resources=self._resources, **kwargs)
        with self._lock:
            self._open[key] = (mine, theirs, document)
            self._sweeps.add(document["sweep"])
        mine.add_done_callback(lambda future: self._dropped(key) if future.cancelled() else None)
        theirs.add_done_callback(lambda future: self._finish(key, future))
        return mine

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; those that no worker has begun can be dropped."""
        self._closed = True
        if cancel_futures:
            for mine, _, _ in self._all():
                mine.cancel()
        if wait:
            self.settle(None)

    def stop(self) -> None:
        """Interrupt the steps that run."""
        for sweep in self._sweeps:
            self._ask(place.interrupt, sweep)

    def settle(self, seconds: float | None = _END_S) -> None:
        """Wait until all tasks that were given have ended."""
        wait([mine for mine, _, _ in self._all()], seconds)

    def _all(self) -> list[tuple[Future[Any], Any, Mapping[str, Any]]]:
        with self._lock:
            return list(self._open.values())

    def _running(self) -> set[tuple[str, int]]:
        told = self._ask(place.running) if self._all() else {}
        return {(sweep, point) for points in told.values() for sweep, point in points}

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """Call a function in every worker; one that is gone has nothing to say, and its steps end by themselves."""
        if self._client.status == "running":
            with suppress(Exception):
                found = self._client.run(function, *arguments, on_error="ignore")
                return dict(found)
        return {}

    def _dropped(self, key: str) -> None:
        with self._lock:
            _, theirs, _ = self._open.pop(key, (None, None, None))
        if theirs is not None:
            with suppress(Exception):  # the cluster may be gone
                theirs.cancel()

    def _finish(self, key: str, theirs: Any) -> None:
        """Take over how a task ended; in a thread of the client's."""
        with self._lock:
            mine, _, _ = self._open.pop(key, (None, None, None))
        if mine is None or not mine.set_running_or_notify_cancel():
            return
        try:
            mine.set_result(theirs.result())
        except BaseException as error:
            mine.set_exception(_told(error))
        finally:
            theirs.release()


def _told(error: BaseException) -> BaseException:
    """Return an error of the cluster's in words of ours; one of the task's as it is."""
    name = type(error).__name__
    if isinstance(error, ReprokitError):
        return error
    if name == "KilledWorker":
        return ReprokitError("every worker that ran it died", remedy="see what uses up their memory, and resume")
    if isinstance(error, CancelledError) or "Cancelled" in name:
        return ReprokitError("the scheduler was lost, or dropped it", remedy="resume the sweep when it is back")
    return error if isinstance(error, Exception) else ReprokitError(line(error) or name)

"""The engine ``slurm``: each point is a job of its own, with its own log; jobs that wait together make one array.

Made with submitit, whose pickles of tasks and results lie in the sweep's folder, which nodes must see. A job that is
preempted is put into the queue again by it, and does its point anew. Knows submitit; it does not know what a task does.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reprokit.errors import ReprokitError, UsageError
from reprokit.pipeline.sweep.engines import Engine

__all__ = ["opened"]

_AT_A_TIME = 100  # jobs in the queue, unless the user says
_MINUTES = 60  # what a job may take, unless the user says: submitit's own 5 are few
_LOOK_S = 0.5  # how often is looked for what has ended
_END_S = 90.0  # what interrupted steps get to close their records


@contextmanager
def opened(workers: int | None, book: Path | None, *, cluster: str = "slurm", **options: Any) -> Iterator[Engine]:
    """Open the queue.

    Args:
        workers: how many jobs at most are in it at a time; 100 by default.
        book: a folder that all nodes see. What jobs need, and what they say, lies in the sweep's folder ``jobs``.
        cluster: "slurm", or "local": processes of this machine, with which it can be tried.
        options: of the jobs: submitit's own (``timeout_min``, ``mem_gb``, ``cpus_per_task``, ``gpus_per_node``, …), and
            those of sbatch (``partition``, ``account``, ``qos``, ``constraint``, …).

    Raises:
        UsageError: there is no Slurm here, or it has no such option.
    """
    submitit = _library()
    if book is None:
        raise UsageError("the engine slurm needs a folder that all nodes see", remedy="leave --remote out")
    if cluster == "slurm" and shutil.which("sbatch") is None:
        remedy = "run the sweep on a login node, or use another engine"
        raise UsageError("there is no Slurm here: sbatch is not on the PATH", remedy=remedy)
    limit = workers or _AT_A_TIME
    with tempfile.TemporaryDirectory(prefix="reprokit-jobs-") as folder:
        _queue(submitit, Path(folder), cluster, options)  # to see whether it takes them
    executor = _SlurmExecutor(lambda folder: _queue(submitit, folder, cluster, options), limit)
    try:
        yield Engine(executor=executor, slots=limit, stop=executor.stop)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        executor.stop()
        executor.settle(_END_S)
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        executor.tidy()


def _library() -> Any:
    try:
        import submitit
    except ImportError as error:
        remedy = "`pip install 'reprokit[slurm]'`"
        raise UsageError(f"the engine slurm needs the library submitit ({error})", remedy=remedy) from error
    return submitit


def _queue(submitit: Any, folder: Path, cluster: str, options: dict[str, Any]) -> Any:
    made = submitit.AutoExecutor(folder=folder, cluster=cluster)
    common = made._valid_parameters()
    chosen = {"timeout_min": _MINUTES, "name": "reprokit", **{name: _value(value) for name, value in options.items()}}
    if "time" in chosen:
        chosen["timeout_min"] = chosen.pop("time")
    named = {name if name in common or name.startswith("slurm_") else f"slurm_{name}": chosen[name] for name in chosen}
    try:
        made.update_parameters(**named)
    except (NameError, ValueError, TypeError, AssertionError) as error:
        said = str(error).partition("\n")[0]
        remedy = "give options as submitit or sbatch name them: partition=gpu timeout_min=120 mem_gb=8"
        raise UsageError(f"Slurm does not take these options ({said})", remedy=remedy) from error
    return made


def _value(told: Any) -> Any:
    """Return an option's value: digits are a number.

    >>> _value("120"), _value("gpu"), _value("7.5")
    (120, 'gpu', 7.5)
    """
    for kind in (int, float) if isinstance(told, str) else ():
        with suppress(ValueError):
            return kind(told)
    return told


class _SlurmExecutor(Executor):
    """Puts tasks into a queue of jobs, at most so many at a time, and looks what became of them.

    Args:
        make: makes submitit's executor, given the folder for its files.
        limit: how many jobs at a time.
    """

    def __init__(self, make: Callable[[Path], Any], limit: int) -> None:
        self._make = make
        self._queue: Any = None
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._jobs: dict[Future[Any], Any] = {}
        self._watcher: threading.Thread | None = None
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a task; it becomes a job when there is room for it."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the executor is closed")
            if self._queue is None:
                self._queue = self._make(Path(args[0]["book"]) / "jobs")
            self._waiting.append((future, fn, args))
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="jobs", daemon=True)
                self._watcher.start()
            self._changed.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; those that are no jobs yet can be dropped."""
        with self._changed:
            self._closed = True
            dropped = [future for future, _, _ in self._waiting] if cancel_futures else []
            self._changed.notify()
        for future in dropped:
            future.cancel()
        if wait and self._watcher is not None:
            self._watcher.join()

    def stop(self) -> None:
        """Cancel the jobs: Slurm asks their processes to end, and the steps close their records."""
        for job in list(self._jobs.values()):
            with suppress(Exception):  # it may have ended meanwhile
                job.cancel(check=False)

    def settle(self, seconds: float) -> None:
        """Wait for the jobs to end."""
        wait(list(self._jobs), seconds)

    def tidy(self) -> None:
        """Remove the folder for the jobs' files, if it is empty."""
        if self._queue is not None:
            with suppress(OSError):
                Path(self._queue.folder).rmdir()

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._jobs or self._closed):
                    self._changed.wait()
                if self._closed and not self._waiting and not self._jobs:
                    return
                batch = self._next()
            self._send(batch)
            for future, job in list(self._jobs.items()):
                if job.done():
                    del self._jobs[future]
                    _end(future, job)
            with self._changed:
                self._changed.wait(_LOOK_S)

    def _next(self) -> list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]]:
        """Take what there is room for."""
        found: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []
        while self._waiting and len(self._jobs) + len(found) < self._limit:
            item = self._waiting.popleft()
            if item[0].set_running_or_notify_cancel():
                found.append(item)
        return found

    def _send(self, batch: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]]) -> None:
        if not batch:
            return
        try:
            with self._queue.batch():  # one array
                jobs = [self._queue.submit(fn, *arguments) for _, fn, arguments in batch]
        except Exception as error:  # sbatch refused, in one of many ways
            said = " ".join(str(error).split())[:300] or type(error).__name__
            for future, _, _ in batch:
                future.set_exception(ReprokitError("the job could not be put into the queue", remedy=said))
            return
        self._jobs.update(zip((future for future, _, _ in batch), jobs, strict=True))


def _end(future: Future[Any], job: Any) -> None:
    """Take over what became of a job; the files of one that did its task are not needed any more."""
    try:
        future.set_result(job.result())
    except Exception as error:
        state = str(getattr(job, "state", "")).lower()
        said = f"job {job.job_id} ended without a result" + (f" ({state})" if state else "")
        future.set_exception(ReprokitError(said, remedy=f"see {job.paths.stderr}"))
        future.exception().__cause__ = error  # type: ignore[union-attr]
        return
    paths = job.paths
    for path in (paths.submitted_pickle, paths.result_pickle, paths.stdout, paths.stderr):
        with suppress(OSError):
            Path(path).unlink()

"""Does one task where an engine puts it: takes the point, lets one process perform the step, and says how it ended.

It may be called any number of times for the same task, at the same time and after any death: see ``claim``. The step
has a process, a session and a process group of its own; it ends when this process does, however that ends. What this
process was given by its engine (thread limits, hash seed) the step does not get. Knows processes; it does not know
engines.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from reprokit.errors import ReprokitError, StoreError
from reprokit.pipeline import result as results
from reprokit.pipeline.result import REFUSED, Result
from reprokit.pipeline.sweep import warm
from reprokit.pipeline.sweep.claim import Point
from reprokit.pipeline.sweep.task import Ended, Task
from reprokit.store.layout import Layout, is_run_id, new_run_id
from reprokit.store.store import Store

__all__ = ["environment", "interrupt", "perform", "place", "running"]

INTERRUPTED = 130
_PAUSE_S = 0.1  # how often is looked whether another execution of the point has ended
_TIDY_S = 60.0  # what an interrupted step gets to close its record
_OURS = ("REPROKIT_LIFELINE", "REPROKIT_NAMESPACE", "REPROKIT_DRIVE", "REPROKIT_PARENT")


def place(document: Mapping[str, Any]) -> dict[str, Any]:
    """Do one task, or say what became of it when it was done; both as plain dictionaries.

    Args:
        document: ``Task.to_dict()``.

    Returns:
        ``Ended.to_dict()``.

    Raises:
        ReprokitError: the point's folder cannot be used here.
    """
    task = Task.from_dict(dict(document))
    if task.remote is not None:
        from reprokit.pipeline.sweep import remote

        return remote.place(task).to_dict()
    return perform(task).to_dict()


def perform(task: Task) -> Ended:
    """Do a task in this machine's files."""
    if not Path(task.book).is_dir():
        remedy = "name a remote with --remote, so that workers without a shared disk get what they need"
        raise StoreError(f"{socket.gethostname()} does not see the sweep's folder {task.book}", remedy=remedy)
    with _Placed(task.sweep, task.point) as placed:
        return placed.perform(task)


def interrupt(sweep: str | None = None) -> None:
    """Interrupt the steps of a sweep that this process has started (None: of all); each closes its record and ends."""
    for placed in tuple(_placed):
        if sweep in (None, placed.sweep):
            placed.interrupt()


def running(sweep: str | None = None) -> list[tuple[str, int]]:
    """Return sweep and point of each task that this process works on."""
    return [(placed.sweep, placed.point) for placed in tuple(_placed) if sweep in (None, placed.sweep)]


class _Interrupted(Exception):
    """The task is to end, and its step has not begun."""


class _Placed(AbstractContextManager["_Placed"]):
    """One call of ``place``."""

    def __init__(self, sweep: str, point: int) -> None:
        self.sweep = sweep
        self.point = point
        self._asked = threading.Event()
        self._step: warm.Started | None = None

    def __enter__(self) -> _Placed:
        _placed.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _placed.discard(self)

    def interrupt(self) -> None:
        """End the step, or the waiting for its turn."""
        self._asked.set()
        if self._step is not None:
            self._step.send_signal(signal.SIGINT)

    def perform(self, task: Task) -> Ended:
        """Take the point and perform its step, unless it is known what became of it."""
        point = Point(task.folder)
        try:
            with point.alone(self._pause) as lock:
                known = point.known(task.attempt)
                if known is not None:
                    return known
                self._pause(0)
                k = point.claim(task.attempt)
                ended = point.ended(k, task.attempt, self._performed(task, point, k, lock))
                return point.commit(ended)
        except _Interrupted:
            return Ended(
                point=task.point, attempt=task.attempt, exit_code=INTERRUPTED, reason="stopped before it began"
            )

    def _pause(self, seconds: float = _PAUSE_S) -> None:
        if self._asked.wait(seconds):
            raise _Interrupted

    def _performed(self, task: Task, point: Point, k: int, lock: int | None) -> Result:
        """Return the result of the step, or what is known of one that was killed."""
        document = {**task.spec, "result": str(point.step_file(k))}
        if task.sweep:
            document |= {"sweep": task.sweep, "point": task.point}
        since = new_run_id()
        with _apart(task, point, k) as namespace, _lifeline() as lifeline:
            step = warm.start(
                document,
                environ=environment(task.variables),
                namespace=namespace,
                lifeline=lifeline,
                keep=() if lock is None else (lock,),
                log=point.log_file(k),
            )
            self._step = step
            if self._asked.is_set():  # asked for while it was started
                step.send_signal(signal.SIGINT)
            try:
                code = step.wait()
            except BaseException:  # Ctrl-C in a process pool's worker, say
                step.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    step.wait(_TIDY_S)
                step.send_signal(signal.SIGKILL)
                raise
            finally:
                self._step = None
        told = results.read(point.step_file(k))
        return told if told is not None else self._untold(task, point, k, code, since)

    def _untold(self, task: Task, point: Point, k: int, code: int, since: str) -> Result:
        """Return, and note, how a step ended that has not said so itself."""
        if code >= 0:
            said = _last_line(point.log_file(k)) or f"the step ended with status {code}"
            found = Result(exit_code=code or REFUSED, reason=said.removeprefix("reprokit: "))
        else:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            reason = f"the step's process was killed by {name}"
            run = _run_of(task, since)
            found = Result(exit_code=128 - code, status="interrupted", reason=reason, run=run)
        results.write(found, point.step_file(k))
        return found


_placed: set[_Placed] = set()


def environment(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Return the variables of a step: those of this process, but as the driver has them where that counts."""
    found = {name: value for name, value in os.environ.items() if variables.get(name, "") is not None}
    found |= {name: value for name, value in variables.items() if value is not None}
    return {name: value for name, value in found.items() if name not in _OURS}


@contextmanager
def _lifeline() -> Iterator[int]:
    """Yield the end of a pipe that a step watches; the other end is closed when this process is gone."""
    theirs, ours = os.pipe()
    try:
        yield theirs
    finally:
        os.close(ours)
        os.close(theirs)


def _apart(task: Task, point: Point, k: int) -> AbstractContextManager[Path | None]:
    if not task.apart:
        return nullcontext()
    from reprokit.pipeline.sweep import apart

    frozen = Path(task.book) / "frozen"
    return apart.around(Path(task.project), Path(task.store), frozen, point.folder / "files", point.step_file(k))


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _run_of(task: Task, since: str) -> str | None:
    """Return the run of a step that was killed: the newest of the point's since then."""
    layout = Layout(Path(task.project), Path(task.store))
    with suppress(ReprokitError):
        store = Store(layout, Store.open(layout.project).settings)
        for run_id in sorted((name for name in layout.run_names() if is_run_id(name)), reverse=True):
            if run_id[:15] < since[:15]:
                break
            run = store.load(run_id)
            if (run.sweep, run.point) == (task.sweep, task.point):
                return run_id
    return None

"""The folder of one point: who took it, how each execution ended, and the one result that counts.

Engines execute a task at least once. Here that becomes exactly one result: of all executions of a point one may work
at a time (a lock that the operating system lets go of when the worker and its step are dead), and the first to finish
makes ``result.json`` by a link, which only one can make, whatever the filesystem says about locks. Files here are
whole or not there. It knows files; it does not know processes or engines.

    lock             held by the worker and its step for as long as one of them lives
    claim-K.json     the K-th execution: for which attempt, by which process, since when
    step-K.json      how its step ended, written by the step
    result.json      what became of the point
    failed-K.json    what became of it before it was asked to be tried again
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprokit.digest import canonical_json
from reprokit.errors import StoreError
from reprokit.pipeline.result import DONE, LATER, Result
from reprokit.pipeline.sweep.task import Ended
from reprokit.store.liveness import this_process
from reprokit.store.lock import opened

__all__ = ["Point"]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # filesystems on which files cannot be locked


class Point:
    """The folder of one point; any number of processes may have one each.

    Args:
        folder: where it is; made when it is first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # -- what is known ---------------------------------------------------------------------------

    def result(self) -> dict[str, Any] | None:
        """Return what became of the point, as ``Ended.to_dict()``; None: nothing yet."""
        return _read(self.folder / "result.json")

    def attempts(self) -> int:
        """Return the number of the highest attempt that was begun; 0: none was."""
        return max((claim["attempt"] for claim in self._claims().values()), default=0)

    def executions(self) -> list[dict[str, Any]]:
        """Return each execution, oldest first: its claim, and as ``ended`` its step's result (None: it has none)."""
        return [{**claim, "ended": _read(self.step_file(k))} for k, claim in self._claims().items()]

    def known(self, attempt: int) -> Ended | None:
        """Return what became of the point, or of this attempt, if it need not be executed (again).

        A step that was done, and whose worker died before it could say so, counts as if it had.
        """
        told = self.result()
        if told is not None:
            return Ended.from_dict(told)
        for execution in reversed(self.executions()):
            same = execution["attempt"] >= attempt
            if execution["ended"] is None:
                continue
            ended = self.ended(execution["execution"], execution["attempt"], Result.from_dict(execution["ended"]))
            if ended.exit_code == DONE or (same and ended.counts):
                return self.commit(replace(ended, host=execution["process"]["host"]))
            if same and ended.exit_code == LATER:
                return ended
        return None

    # -- taking it, and saying what became of it -------------------------------------------------

    @contextmanager
    def alone(self, pause: Callable[[], None]) -> Iterator[int | None]:
        """Work on the point while nobody else does, after whoever does now.

        Args:
            pause: called again and again while another works on it; may raise.

        Yields:
            The lock's descriptor, for the step to have; None where files cannot be locked: then two may work, and
            the result of the first counts.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with opened(self.folder / "lock") as lock:
                yield lock if _locked(lock, pause) else None
        except OSError as error:
            raise self._trouble(error) from error

    def claim(self, attempt: int) -> int:
        """Take the point for an attempt; return the number of the execution."""
        claimed = {"attempt": attempt, "process": this_process().to_dict(), "began": time.time()}
        k = max(self._claims(), default=0) + 1
        while not _made(self.folder / f"claim-{k}.json", {**claimed, "execution": k}):
            k += 1
        return k

    def ended(self, k: int, attempt: int, result: Result) -> Ended:
        """Return what became of an execution whose step had a result."""
        return Ended(
            point=int(self.folder.name),
            attempt=attempt,
            execution=k,
            exit_code=result.exit_code,
            run=result.run,
            status=result.status,
            reason=result.reason,
            metrics=result.metrics,
            started=result.started,
            ended=result.ended,
            reused=result.reused,
            host=os.uname().nodename,
        )

    def commit(self, ended: Ended) -> Ended:
        """Make this what became of the point, if it counts and nothing does yet; return what does.

        Raises:
            StoreError: it cannot be written.
        """
        if not ended.counts:
            return ended
        try:
            _made(self.folder / "result.json", ended.to_dict())
        except OSError as error:
            raise self._trouble(error) from error
        told = self.result()
        return ended if told is None else Ended.from_dict(told)

    def retry(self) -> bool:
        """Let a point that was not done be tried again; return whether there was such a result."""
        told = self.result()
        if told is None or told["exit_code"] == DONE:
            return False
        (self.folder / "result.json").replace(self.folder / f"failed-{told['execution']}.json")
        return True

    def step_file(self, k: int) -> Path:
        """The file in which the step of an execution says how it ended."""
        return self.folder / f"step-{k}.json"

    def log_file(self, k: int) -> Path:
        """The file for what the step of an execution prints."""
        return self.folder / f"log-{k}.txt"

    def _claims(self) -> dict[int, dict[str, Any]]:
        found = {}
        for path in self.folder.glob("claim-*.json"):
            claim = _read(path)
            if claim is not None:
                found[int(path.stem.removeprefix("claim-"))] = claim
        return dict(sorted(found.items()))

    def _trouble(self, error: OSError) -> StoreError:
        remedy = "see that the sweep's folder is there, that you may write to it, and that the disk is not full"
        return StoreError(f"point {self.folder.name} cannot be written ({error})", path=self.folder, remedy=remedy)


def _locked(lock: int, pause: Callable[[], None]) -> bool:
    """Wait for the lock; return whether there are locks here."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            pause()
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:  # cut off by a crash of the machine: as if it were not there
        return None
    return found if isinstance(found, dict) else None


def _made(path: Path, told: dict[str, Any]) -> bool:
    """Make a file, whole; return False when there is one already."""
    draft = path.with_name(f".{path.name}-{os.urandom(6).hex()}")
    try:
        with draft.open("wb") as stream:
            stream.write(canonical_json(told))
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)
        return True
    except FileExistsError:
        return os.path.lexists(draft) and draft.stat().st_nlink == 2  # a network disk asked twice, and the first did it
    finally:
        draft.unlink(missing_ok=True)

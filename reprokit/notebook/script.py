"""Runs a script as one captured run, in a process of its own with the agent inside, and records how it ended.

The script is run as Python runs it: its arguments, its streams, its exit status. What it does is recorded in the
process; this side says how that ended, and ends it when it is to end before its time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from reprokit.capture import launch
from reprokit.notebook.parent import NO_AGENT, Order, ParentRecord, carrying

__all__ = ["Ended", "execute_script"]

_TIDY_S = 30.0  # what an interrupted script gets to end and to close its record
_SOON_S = 1.0  # when Ctrl-C has reached it as well as us, it ends by itself
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended: ``status`` as the run has it, and its exit ``code`` (None: it was ended by us)."""

    status: str
    reason: str | None
    code: int | None


def execute_script(
    script: str,
    arguments: Sequence[str],
    order: Order,
    *,
    timeout: float | None = None,
    stdin: int | IO[Any] | None = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = subprocess.DEVNULL,
    stderr: int | IO[Any] | None = subprocess.DEVNULL,
) -> Ended:
    """Run a script by an order; what it did is in the record.

    Args:
        script: its path, as it is to see it in ``sys.argv``.
        arguments: what follows it on its command line.
        order: what is to be recorded, and how.
        timeout: seconds that it may take.
        stdin: what it reads; nothing by default.
        stdout: where it writes; nowhere by default.
        stderr: as ``stdout``.
    """
    record = ParentRecord(order)
    command = [str(order.python or sys.executable), str(Path(launch.__file__).resolve()), "script"]
    ended = Ended("interrupted", "stopped before its end", None)
    try:
        process = subprocess.Popen(
            [*command, script, *arguments],
            cwd=order.cwd,
            env=_environ(order, record),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        ended = _wait(process, timeout, record)
    except KeyboardInterrupt as error:
        ended = Ended("interrupted", str(error) or ended.reason, None)
        raise
    finally:
        if order.kind == "batch" and not record.has_agent_record:
            record.gap(NO_AGENT)
        record.close(ended.status, ended.reason)
    return ended


def _environ(order: Order, record: ParentRecord) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if order.variables.get(name, "") is not None}
    environ |= {name: value for name, value in order.variables.items() if value is not None}
    return environ | carrying(environ, record.drive_path, record.namespace_path, imposes=order.imposes)


def _wait(process: subprocess.Popen[Any], timeout: float | None, record: ParentRecord) -> Ended:
    began = time.monotonic()
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        _end(process, soon=0)
        return Ended("interrupted", f"the script took longer than {timeout:g} s", None)
    except BaseException as error:
        _end(process, soon=_SOON_S if isinstance(error, KeyboardInterrupt) else 0)
        raise
    return _told(code, time.monotonic() - began, record)


def _told(code: int, took: float, record: ParentRecord) -> Ended:
    known = record.order.store.load(record.run_id)
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return Ended("interrupted", f"the script was killed by {name} after {took:.1f} s", code)
    if code == _INTERRUPTED and known.status == "interrupted":
        return Ended("interrupted", known.reason, code)
    if code != 0:
        said = f": {known.reason}" if known.reason else ""
        return Ended("failed", f"the script ended with status {code} after {took:.1f} s{said}", code)
    if known.status == "running" and known.cells:  # it never came to close its record
        return Ended("interrupted", "the script's process ended at once, without its exit handlers", code)
    return Ended("done", None, code)


def _end(process: subprocess.Popen[Any], *, soon: float) -> None:
    """Interrupt a script and let it close its record; kill it when it does not end."""
    try:
        process.wait(soon)
        return
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_TIDY_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""The process of one step: takes its spec, performs it, writes its result, and ends with its exit code."""

from __future__ import annotations

import json
import sys

from reprokit.errors import ReprokitError, StoreError
from reprokit.pipeline import lifeline
from reprokit.pipeline.result import LATER, REFUSED, Result, write
from reprokit.pipeline.spec import JSON_SCHEMA, Spec, read
from reprokit.pipeline.step import perform, refused
from reprokit.pipeline.stopping import Stopped, hear, ignore_all, stoppable

__all__ = ["main", "refuse", "schema"]


def schema() -> str:
    """Return the JSON schema of a spec as text."""
    return json.dumps(JSON_SCHEMA, indent=2) + "\n"


def refuse(message: str) -> int:
    """Say in one line why nothing was run, and return the exit code for it."""
    _say(f"reprokit: {' '.join(message.split())}")
    return REFUSED


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(word: str) -> int:
    """Perform the step of a spec and return its exit code; what is wrong is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    hear()
    try:
        with stoppable():
            lifeline.watch()
            return _main(word)
    except Stopped as stopped:  # before it began, or after it ended
        return 128 + stopped.signal


def _main(word: str) -> int:
    try:
        spec = read(word)
    except ReprokitError as error:
        return refuse(str(error))
    if spec.result is not None:
        spec.path(spec.result).unlink(missing_ok=True)  # that of an earlier one must not be taken for this one's
    result = _performed(spec)
    ignore_all()  # it ended, and is to say how: what asks it to end now comes too late
    if result.exit_code in (REFUSED, LATER):
        refuse(result.reason or "it could not run")
    elif result.run is not None:
        said = "reused" if result.reused else result.status
        _say(f"{result.run} {said}" + (f": {result.reason}" if result.reason else ""))
    if spec.result is not None:
        try:
            write(result, spec.path(spec.result))
        except ReprokitError as error:
            refuse(str(error))
            return result.exit_code or LATER
    return result.exit_code


def _performed(spec: Spec) -> Result:
    try:
        return perform(spec, told=_say)
    except ReprokitError as error:
        return refused(error)
    except OSError as error:
        return refused(StoreError(str(error), remedy="see that the path is there and that you may use it"))

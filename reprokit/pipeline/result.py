"""What became of a step, and the exit code that says it."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprokit.errors import UsageError
from reprokit.records import FileUse, Record, Run

__all__ = ["CODES", "VERSION", "Made", "Result", "made", "read", "write"]

VERSION = "reprokit.step-result/1"

#: Exit codes of a step.
DONE, FAILED, REFUSED, DIED, TIMED_OUT, NOT_MADE, LATER = 0, 1, 2, 3, 4, 5, 75
CODES = {
    DONE: "done, or the results of an unchanged run were taken over",
    FAILED: "a cell, or the script, failed",
    REFUSED: "could not run: the spec, a parameter or an input is wrong; nothing was run",
    DIED: "the kernel, or the script's process, died",
    TIMED_OUT: "a cell, or the whole step, took longer than it was allowed",
    NOT_MADE: "it ran to its end and did not make a declared output",
    LATER: "could not run now: an environment could not be built, or the store cannot be written; try again",
    130: "stopped by SIGINT; its record is closed, and it can be run again",
    143: "stopped by SIGTERM; its record is closed, and it can be run again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made(Record):
    """One file that a step made; ``path`` is relative to the project root where it lies in it."""

    path: str
    digest: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Record):
    """What became of a step.

    ``run`` is None when nothing could be run. ``status`` is "done", "failed", "interrupted" or "refused";
    ``reason`` says why it is not "done". ``reused`` is the run whose results were taken over, ``reuse`` what was
    found out about that, one line each.
    ``resumed_from`` is the run from whose checkpoint it went on. ``script_code`` is a script's own exit code.
    """

    schema: str = VERSION
    run: str | None = None
    status: str = "refused"
    exit_code: int = REFUSED
    reason: str | None = None
    reused: str | None = None
    reuse: tuple[str, ...] = ()
    resumed_from: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[Made, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None
    script_code: int | None = None


def made(run: Run) -> dict[str, FileUse]:
    """Return what a run had written in the end, by path; what it wrote and removed again is not there."""
    found: dict[str, FileUse] = {}
    for cell in run.cells:
        found |= {use.path: use for use in cell.writes}
    return {path: use for path, use in sorted(found.items()) if use.state != "missing"}


def write(result: Result, path: Path) -> None:
    """Write a result as JSON: whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8") as file:
            json.dump(result.to_dict(), file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"the result {path} cannot be written ({error})", remedy="name a file in a folder") from error


def read(path: Path) -> Result | None:
    """Return the result in a file; None when there is none, or nothing that could be one."""
    try:
        return Result.from_dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return None

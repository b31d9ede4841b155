"""Everything that can go wrong, drawn as one tree.

    ReprokitError              catch this one to catch them all
    ├── UsageError             the user asked for something that has no meaning
    │   ├── RunNotFound        no run has that name
    │   └── AmbiguousRun       several runs have that prefix
    ├── StoreError             the store cannot be read or written
    │   ├── ObjectMissing      a recorded object is not there
    │   ├── ObjectCorrupt      an object's bytes do not match its name
    │   └── SchemaError        a record was written by a newer reprokit
    ├── GitError               git refused a command
    ├── Unreplayable           a replay could not be exact; says why before anything runs
    ├── ConsentNeeded          a run came from elsewhere, and nobody said that it may be run here
    └── EnvironmentBuildError  the locked environment could not be built

Every error says what happened in one line and, as ``remedy``, what to do next.
Drift between two runs is never an error: it is a value, the verdict. Nor is a cell that raised or a
kernel that died: the run's status and reason say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "AmbiguousRun",
    "ConsentNeeded",
    "EnvironmentBuildError",
    "GitError",
    "ObjectCorrupt",
    "ObjectMissing",
    "ReprokitError",
    "RunNotFound",
    "SchemaError",
    "StoreError",
    "Unreplayable",
    "UsageError",
]


class ReprokitError(Exception):
    """Base of all errors raised by reprokit.

    Args:
        message: what happened, in one line.
        remedy: what the user can do next, in one line; empty when nothing can be done.

    >>> print(ReprokitError("no store here", remedy="run `reprokit run nb.ipynb` first"))
    no store here: run `reprokit run nb.ipynb` first
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}" if self.remedy else self.message


class UsageError(ReprokitError):
    """The user asked for something that has no meaning here."""


class RunNotFound(UsageError):
    """No run answers to ``name``."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no run is called {name!r}", remedy="`reprokit runs` lists the runs of this project")
        self.name = name


class AmbiguousRun(UsageError):
    """Several runs answer to ``name``; ``candidates`` are their ids."""

    def __init__(self, name: str, candidates: Sequence[str]) -> None:
        shown = ", ".join(candidates[:4]) + (", …" if len(candidates) > 4 else "")
        super().__init__(f"{name!r} could be {len(candidates)} runs ({shown})", remedy="give more of the id")
        self.name = name
        self.candidates = tuple(candidates)


class StoreError(ReprokitError):
    """The store at ``path`` cannot be read or written."""

    def __init__(self, message: str, *, path: Path | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.path = path


class ObjectMissing(StoreError):
    """A record names the object ``digest``, and the store does not hold it."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"object {digest} is not in the store", remedy="pull it, or capture the run again")
        self.digest = digest


class ObjectCorrupt(StoreError):
    """The bytes stored as ``digest`` have another digest."""

    def __init__(self, digest: str, found: str) -> None:
        super().__init__(f"object {digest} is damaged (its bytes are {found})", remedy="restore it from a copy")
        self.digest = digest


class SchemaError(StoreError):
    """A record was written with a schema that this version does not read."""

    def __init__(self, version: str) -> None:
        super().__init__(f"the record has schema {version}", remedy="upgrade reprokit to read it")
        self.version = version


class GitError(ReprokitError):
    """``git`` ended with a non-zero status for ``command``."""

    def __init__(self, command: Sequence[str], returncode: int, stderr: str) -> None:
        last = stderr.strip().splitlines()[-1:] or [f"status {returncode}"]
        super().__init__(f"git {' '.join(command[:2])} failed ({last[0]})", remedy="see `git status` in the project")
        self.command = tuple(command)
        self.returncode = returncode
        self.stderr = stderr


class Unreplayable(ReprokitError):
    """A replay of ``run`` could not be exact; ``reasons`` pairs each reason with its remedy."""

    def __init__(self, run: str, reasons: Sequence[tuple[str, str]]) -> None:
        text = "; ".join(why for why, _ in reasons)
        super().__init__(f"run {run} is unreplayable: {text}", remedy="; ".join(fix for _, fix in reasons if fix))
        self.run = run
        self.reasons = tuple(reasons)


class ConsentNeeded(ReprokitError):
    """A run came from ``origin``, and nobody has said yet that it, as ``digest`` names it, may be run here."""

    def __init__(self, run: str, origin: str, digest: str) -> None:
        message = f"run {run} came from {origin}: to replay it is to run its code here"
        super().__init__(message, remedy=f"look at it with `reprokit show {run}`, then `reprokit trust {run}`")
        self.run = run
        self.origin = origin
        self.digest = digest


class EnvironmentBuildError(ReprokitError):
    """The locked environment could not be built; ``log`` is what the installer printed."""

    def __init__(self, message: str, *, log: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.log = log

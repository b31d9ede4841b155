"""The recorded environment as what an export installs: every file locked, and checked by its hash.

It knows locks and the lines that install them; it does not know what else a target writes.
"""

from __future__ import annotations

import dataclasses

from reprokit.errors import UsageError
from reprokit.pipeline.export.work import Work
from reprokit.replay import exports
from reprokit.replay.exports import Export, Recorded

__all__ = ["beside", "lines", "prefix", "recorded"]

_FOLDER = "environment"
_OWN_NAME = "reprokit"


def lines(work: Work) -> list[str]:
    """Return the commands that put a job's Python in order: the user's own, or those that install the lock.

    Raises:
        UsageError: neither is there.
        EnvironmentBuildError: the lock is not complete.
    """
    if work.install:
        return [work.install]
    place = f"{prefix(work)}{_FOLDER}"
    pip = "python -m pip install --no-deps"
    return [
        f"{pip} {'' if name.endswith('-commits.txt') else '--require-hashes '}--requirement {place}/{name}"
        for name in _requirements(work).texts
    ]


def beside(work: Work, made: Export) -> Export:
    """Return an export with the files that its lines install, in a folder of their own."""
    if work.install:
        return made
    locked = _requirements(work)
    return dataclasses.replace(
        made,
        texts={**made.texts, **{f"{_FOLDER}/{name}": text for name, text in locked.texts.items()}},
        wheels={**made.wheels, **{f"{_FOLDER}/{name}": digest for name, digest in locked.wheels.items()}},
        notes=(*made.notes, *locked.notes),
    )


def recorded(work: Work) -> Recorded:
    """Return the environment that the runs had.

    Raises:
        UsageError: it is not known, or what runs the steps is not in it.
    """
    if work.recorded is None:
        raise UsageError("it is not known which environment the runs had", remedy="name a run with --environment RUN")
    if not any(one.name == _OWN_NAME for one in work.recorded.environment.distributions):
        remedy = "install it there and capture the run again, or name another run with --environment"
        raise UsageError("reprokit, which runs the steps, is not in the recorded environment", remedy=remedy)
    return work.recorded


def prefix(work: Work) -> str:
    """Return the way from the project root to the exported files: empty, or it ends with ``/``.

    Raises:
        UsageError: they lie outside of the project.
    """
    if work.down is None:
        problem = "what is installed is named from the project root, and these files would lie outside of the project"
        raise UsageError(problem, remedy="name a folder of the project with -o")
    return "" if work.down == "." else f"{work.down}/"


def _requirements(work: Work) -> Export:
    return exports.plan(recorded(work), "requirements")

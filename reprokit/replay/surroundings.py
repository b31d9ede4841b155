"""What a replay runs in: the environment of this process, or the recorded one, built from its lock."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reprokit.notebook.parent import Progress
from reprokit.records import Run
from reprokit.replay import environment, lock
from reprokit.replay.conditions import Conditions
from reprokit.replay.lock import Lock
from reprokit.replay.plan import Plan
from reprokit.store.store import Store

__all__ = ["Surroundings"]

_SHOWN = 6  # packages named that differ today


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """An interpreter to start: that of this process when there is no ``lock``. ``restored`` tells it in lines."""

    python: Path
    lock: Lock | None
    restored: tuple[str, ...]

    @classmethod
    def make(cls, store: Store, run: Run, planned: Plan, conditions: Conditions, progress: Progress) -> Surroundings:
        """Build the environment, or find it built.

        Raises:
            EnvironmentBuildError: it cannot be built.
        """
        if planned.environment == "current" or run.environment is None:
            same = "" if planned.changes else ", which is the recorded one"
            lines = [f"environment  the current one{same}", *_shown(planned.changes, "")]
            return cls(python=Path(sys.executable), lock=None, restored=tuple(lines))
        progress("building the environment", 0, 0)
        made = lock.of_run(store.layout, run, run.environment, store.objects)
        if conditions.packages:
            made = lock.with_versions(made, conditions.packages)
        built = environment.build(
            made,
            store.objects,
            progress=lambda what: progress(what, 0, 0),
            offline=conditions.offline,
            wheelhouse=None if conditions.wheelhouse is None else Path(conditions.wheelhouse),
        )
        count = len(run.environment.distributions)
        lines = [f"environment  {count} packages from the lock ({built.how})"]
        lines += [f"             {name} {version or 'left out'}" for name, version in conditions.packages.items()]
        lines += _shown(planned.changes, " today")
        lines += [f"             {note}" for note in built.notes]
        return cls(python=built.python, lock=made, restored=tuple(lines))


def _shown(changes: Sequence[str], when: str) -> list[str]:
    """Return the differences from the recorded environment, not more than can be read at once."""
    lines = [f"             {change}{when}" for change in changes[:_SHOWN]]
    return [*lines, f"             … and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else lines

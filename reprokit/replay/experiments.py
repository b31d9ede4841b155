"""Makes the experiments that ``explain`` asks for: replays of one run, kept so that a later search can go on.

What was tried lies beside the run, one line for each experiment; it knows replays and that file, and not what an
outcome shows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from reprokit.digest import canonical_json, of_json
from reprokit.errors import EnvironmentBuildError, ReprokitError, StoreError, Unreplayable
from reprokit.records import Divergence, Environment, Experiment, Run, Verdict
from reprokit.replay import environment
from reprokit.replay.compare import compare
from reprokit.replay.comparison import Comparison
from reprokit.replay.conditions import Conditions
from reprokit.replay.contents import reader
from reprokit.replay.execute import replay
from reprokit.replay.explain import BudgetSpent, Tried
from reprokit.store.store import Store

__all__ = ["Experiments", "is_as_recorded", "packages_today"]

_FILE = "experiments.jsonl"
_REFUSED = (Unreplayable, EnvironmentBuildError, StoreError)


class Experiments:
    """Makes experiments with one run.

    Args:
        store: holds the run and its replays.
        run: what is repeated.
        comparison: how strict the comparison is.
        budget_s: seconds after which no new experiment is begun; the first one is always made.
        resume: whether outcomes of an earlier search count; else they are forgotten.
        timeout: seconds that one cell may take.
        progress: told of each experiment in words.
    """

    def __init__(
        self,
        store: Store,
        run: Run,
        *,
        comparison: Comparison,
        budget_s: float,
        resume: bool = False,
        timeout: int | None = None,
        progress: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._store = store
        self._run = run
        self._comparison = comparison
        self._until = monotonic() + budget_s
        self._timeout = timeout
        self._progress = progress
        self._path = store.layout.run_folder(run.id) / _FILE
        self._kept = _kept(self._path) if resume else {}
        self._made = 0
        if not resume:
            self._path.unlink(missing_ok=True)

    def repeat(self, conditions: Conditions, again: int) -> Tried:
        """Replay the run under some conditions, or return what that gave before.

        Raises:
            BudgetSpent: there is no time for it.
        """
        key = self._key(conditions, again)
        if (known := self._kept.get(key)) is not None and self._is_there(known):
            return known
        if self._made and monotonic() > self._until:
            raise BudgetSpent
        self._made += 1
        left = max(0, round(self._until - monotonic()))
        self._progress(f"experiment {self._made}, {left:,} s left: {_words(conditions, again)}")
        tried = self._replay(conditions, again)
        self._keep(key, tried)
        return tried

    def know(self, conditions: Conditions, verdict: Verdict) -> None:
        """Take a replay as made that was made already."""
        told = {"changed": conditions.changed(), "replay": verdict.replay}
        self._kept[self._key(conditions, 0)] = _tried(verdict, told)

    def alike(self, one: str, other: str) -> bool:
        """Return whether two replays were the same as one another."""
        # What they ran under is no difference that matters here.
        a, b = (replace(self._store.load(run_id), conditions={}) for run_id in (one, other))
        verdict = compare(a, b, reader(self._store.objects, a, b), self._comparison)
        return _outcome(verdict) == "same"

    def refused(self, replay: str) -> bool:
        """Return whether the last cell of a replay wanted another machine."""
        cells = self._store.load(replay).cells
        return bool(cells and cells[-1].network)

    def _replay(self, conditions: Conditions, again: int) -> Tried:
        began = monotonic()
        told: dict[str, Any] = {"changed": conditions.changed(), "again": again}
        try:
            result = replay(
                self._store,
                self._run,
                conditions=conditions,
                comparison=self._comparison,
                timeout=self._timeout,
            )
        except _REFUSED as error:
            told |= {"outcome": "failed", "difference": _why(error), "seconds": round(monotonic() - began, 1)}
            return Tried(experiment=Experiment(**told))
        told |= {"replay": result.replay, "seconds": round(monotonic() - began, 1)}
        return _tried(result.verdict, told)

    def _key(self, conditions: Conditions, again: int) -> str:
        return of_json([conditions.to_dict(), self._comparison.to_dict(), again])

    def _is_there(self, tried: Tried) -> bool:
        replayed = tried.experiment.replay
        return replayed is None or self._store.layout.run_folder(replayed).is_dir()

    def _keep(self, key: str, tried: Tried) -> None:
        first = tried.divergence
        line = {
            "key": key,
            "experiment": tried.experiment.to_dict(),
            "divergence": None if first is None else first.to_dict(),
        }
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, canonical_json(line) + b"\n")
        finally:
            os.close(fd)


def _kept(path: Path) -> dict[str, Tried]:
    """Return the experiments of an earlier search; a line that was cut short is none."""
    kept: dict[str, Tried] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return kept
    for line in lines:
        try:
            told = json.loads(line)
            first = told["divergence"]
            kept[str(told["key"])] = Tried(
                experiment=Experiment.from_dict(told["experiment"]),
                divergence=None if first is None else Divergence.from_dict(first),
            )
        except (ValueError, KeyError, TypeError):
            continue
    return kept


def _tried(verdict: Verdict, told: dict[str, Any]) -> Tried:
    first = verdict.first_divergence
    found: dict[str, Any] = {"cell": first.cell, "difference": first.difference} if first else {}
    return Tried(experiment=Experiment(**told, **found, outcome=_outcome(verdict)), divergence=first)


def _outcome(verdict: Verdict) -> str:
    return "same" if verdict.verdict in ("identical", "equivalent") else "diverged"


def _why(error: ReprokitError) -> str:
    reasons = getattr(error, "reasons", None)
    return "; ".join(why for why, _ in reasons) if reasons else error.message


def _words(conditions: Conditions, again: int) -> str:
    changed = {name: value for name, value in conditions.changed().items() if name != "until"}
    told = ", ".join(f"{name} {_brief(value)}" for name, value in changed.items()) or "as recorded"
    return f"{told}, once more" if again else told


def _brief(value: object) -> str:
    return f"({len(value)})" if isinstance(value, dict) else str(value)


def is_as_recorded(recorded: Environment | None) -> bool:
    """Return whether the environment of this process is the recorded one."""
    return recorded is not None and environment.choose(recorded, environment.current(recorded), "auto").use == "current"


def packages_today(recorded: Environment | None) -> dict[str, str]:
    """Return the packages from an index whose versions differ today, by name; "" for one that is not there."""
    if recorded is None:
        return {}
    today = environment.current(recorded)
    versions = {dist.name: dist.version for dist in today.distributions}
    return {
        dist.name: versions.get(dist.name, "")
        for dist in recorded.distributions
        if dist.origin == "index" and dist.name != "reprokit" and versions.get(dist.name) != dist.version
    }

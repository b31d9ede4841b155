"""Finds the cause of a divergence by intervention: one factor at a time is changed, and the replay made again.

Pure but for the experiments, which somebody else makes (``experiments``): knows factors, what each outcome shows,
and how to narrow several factors down to those that matter. An experiment shows a cause in one of three ways: with
the factor as it was recorded the replay is the same; with the factor fixed two replays are the same as one another;
without the network the cell fails. What no experiment shows is left to the evidence in the two records, as far as
the experiments have not ruled it out; what is left then is told to be unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from reprokit.records import Divergence, Experiment, Explanation, Run
from reprokit.replay.conditions import Conditions

__all__ = ["FACTORS", "UNKNOWN", "BudgetSpent", "Factor", "Laboratory", "Tried", "explain", "smallest"]

UNKNOWN = "unknown"
"""The cause of what is the same each time it is repeated, is not as it was recorded, and that nothing explains."""

T = TypeVar("T")


class BudgetSpent(Exception):
    """There is no time for another experiment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An experiment, and the first divergence that its replay showed, if any."""

    experiment: Experiment
    divergence: Divergence | None = None

    @property
    def is_same(self) -> bool:
        """Whether the replay was the same as the run."""
        return self.experiment.outcome == "same"


class Laboratory(Protocol):
    """Makes the experiments."""

    def repeat(self, conditions: Conditions, again: int) -> Tried:
        """Replay the run under some conditions, for the ``again``-th time.

        Raises:
            BudgetSpent: there is no time for it.
        """

    def alike(self, one: str, other: str) -> bool:
        """Return whether two replays were the same as one another."""

    def refused(self, replay: str) -> bool:
        """Return whether the last cell of a replay wanted another machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One thing that a result may hang on.

    Attributes:
        cause: what it stands for, as in verdicts.
        words: what it is, in words.
        recorded: the conditions that make it as it was recorded.
        fixed: the conditions that hold it still, when it cannot be made as it was; none when it can.
    """

    cause: str
    words: str
    recorded: Mapping[str, Any]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)


FACTORS = (
    Factor(cause="data", words="the data as recorded", recorded={"data": "recorded"}),
    Factor(cause="code", words="the code as recorded", recorded={"code": "recorded"}),
    Factor(
        cause="environment",
        words="the recorded environment",
        recorded={"environment": "locked", "packages": {}},
    ),
    Factor(cause="randomness", words="the generators as recorded", recorded={"random": "recorded"}),
    Factor(cause="hash-order", words="one hash seed", recorded={"hash_seed": None}, fixed={"hash_seed": "0"}),
    Factor(cause="parallelism", words="one thread", recorded={"threads": None}, fixed={"threads": 1}),
    Factor(cause="network", words="the network", recorded={"network": "open"}),
    # Last: it is nobody's choice to let time pass, so that anything else that differs is more likely meant.
    Factor(cause="time", words="the recorded time", recorded={"clock": "recorded"}, fixed={"clock": "recorded"}),
)
# What may give another result each time; what is not here gives the same one once more.
_UNSTEADY = ("randomness", "time", "network", "parallelism", "hash-order", "nondeterminism", "hidden-state")


def explain(
    run: Run,
    base: Conditions,
    laboratory: Laboratory,
    *,
    packages: Mapping[str, str] | None = None,
    same_environment: bool = False,
) -> Explanation:
    """Find out why a replay under some conditions is not the same.

    Args:
        run: the recorded run.
        base: the conditions under which its replay diverged.
        laboratory: makes the experiments.
        packages: in which versions the current environment differs from the recorded one, by name; "" for a
            package that it lacks.
        same_environment: whether the current environment is the recorded one, so that to build it again would
            change nothing.
    """
    search = _Search(run, base, laboratory, packages or {}, same_environment)
    try:
        return search.result()
    except BudgetSpent:
        return search.so_far()


class _Search:
    """One search for a cause, step by step; what was found is kept for when time runs out."""

    def __init__(
        self, run: Run, base: Conditions, laboratory: Laboratory, packages: Mapping[str, str], same_environment: bool
    ) -> None:
        self._same_environment = same_environment
        self._run = run
        self._base = base
        self._laboratory = laboratory
        self._packages = dict(base.packages or (packages if base.environment == "current" else {}))
        self._tried: dict[tuple[str, int], tuple[Conditions, Tried]] = {}
        self._first: Divergence | None = None
        self._stable: bool | None = None

    def result(self) -> Explanation:
        """Make experiments until one shows the cause."""
        first = self._try(self._base)
        if first.is_same or first.divergence is None:
            return self._explanation(None, "", "" if first.is_same else first.experiment.difference)
        self._first = first.divergence
        if self._first.cell:
            self._base = dataclasses.replace(self._base, until=self._first.cell)
        return self._restored() or self._settled() or self._refused() or self.so_far(complete=True)

    def so_far(self, *, complete: bool = False) -> Explanation:
        """Return what the records make likely, seen by what the experiments have ruled out."""
        cause, how = self._likely(), "evidence"
        if self._stable is False and cause not in _UNSTEADY:
            cause = "nondeterminism"
        elif self._stable and cause == "nondeterminism":
            cause = UNKNOWN
        # What is unsteady may still be the time: of the recorded clock, too, a cell sees some milliseconds pass.
        if cause == "time" and self._stable and self._is_cleared("time"):
            cause = UNKNOWN
        if cause == "nondeterminism" and self._stable is False:
            how = "repeated"
        found = self._explanation(cause, "" if cause == UNKNOWN else how, "")
        return dataclasses.replace(found, complete=complete)

    def _likely(self) -> str | None:
        """Return what the records of that replay make likely in which the most was as recorded."""
        if self._first is None:
            return None
        there = [
            (self._as_recorded(conditions), tried.divergence.cause)
            for conditions, tried in self._tried.values()
            if tried.divergence is not None and tried.divergence.cell == self._first.cell
        ]
        return max(there, key=lambda one: one[0], default=(0, self._first.cause))[1]

    def _as_recorded(self, conditions: Conditions) -> int:
        return sum(_holds(conditions, factor.recorded) for factor in FACTORS)

    def _is_cleared(self, cause: str) -> bool:
        """Return whether with this factor as it was recorded the replay was not the same all the same."""
        factor = next(one for one in FACTORS if one.cause == cause)
        return any(
            tried.divergence is not None and _holds(conditions, factor.recorded)
            for conditions, tried in self._tried.values()
        )

    # -- the three ways in which an experiment shows a cause ---------------------------------------

    def _restored(self) -> Explanation | None:
        """With one factor as it was recorded, or the fewest of several, the replay is the same."""
        given = [factor for factor in self._likeliest() if self._changes(factor.recorded)]
        for factor in given:
            if self._same_with(factor.recorded):
                return self._shown(factor)
        if len(given) < 2 or not self._same_with(*(factor.recorded for factor in given)):
            return None
        needed = smallest(given, lambda some: self._same_with(*(factor.recorded for factor in some)))
        words = " and ".join(factor.words for factor in needed)
        return self._explanation(needed[0].cause, "restored", words)

    def _settled(self) -> Explanation | None:
        """Replays differ from one another, and do not with one factor held still."""
        self._stable = self._alike(self._base)
        if self._stable is not False:
            return None
        for factor in self._likeliest():
            fixed = self._with(factor.fixed)
            if self._changes(factor.fixed) and self._alike(fixed) and self._alike(fixed, again=2):  # and not by luck
                return self._explanation(factor.cause, "settled", factor.words)
        return None

    def _refused(self) -> Explanation | None:
        """Without the network a cell that used it does something else."""
        cells = [cell for cell in self._run.cells if cell.seq <= (self._base.until or cell.seq)]
        used = any(cell.network or cell.remote for cell in cells)
        if not used or self._base.network == "closed" or self._stable is not False:
            return None
        closed = self._try(self._with({"network": "closed"}))
        replay = closed.experiment.replay
        if closed.divergence is None or replay is None or not self._laboratory.refused(replay):
            return None
        return self._explanation("network", "refused", "the network")

    def _shown(self, factor: Factor) -> Explanation:
        # Configuration is put back with the data: which of the two it was is told by the files.
        config = factor.cause == "data" and self._first is not None and self._first.cause == "config"
        found = self._explanation("config" if config else factor.cause, "restored", factor.words)
        if factor.cause != "environment" or not self._packages:
            return found
        return dataclasses.replace(found, packages=self._versions(), experiments=self._experiments())

    def _versions(self) -> tuple[str, ...]:
        """Return the fewest packages whose current versions, put into the recorded environment, make the difference."""
        recorded = {"environment": "locked"}

        def differs(names: Sequence[str]) -> bool:
            versions = {name: self._packages[name] for name in names}
            outcome = self._try(self._with(recorded, {"packages": versions})).experiment.outcome
            return outcome == "diverged"

        names = sorted(self._packages)
        return tuple(map(self._change, smallest(names, differs))) if differs(names) else ()

    def _change(self, name: str) -> str:
        """Return how a package differs today, as ``numpy 1.26.4 → 2.1.0``."""
        environment = self._run.environment
        recorded = {dist.name: dist.version for dist in environment.distributions} if environment else {}
        return f"{name} {recorded.get(name, 'absent')} → {self._packages[name] or 'absent'}"

    # -- experiments ---------------------------------------------------------------------------------

    def _likeliest(self) -> list[Factor]:
        """Return the factors, those first that the records make likely."""
        likely = None if self._first is None else self._first.cause
        return sorted(FACTORS, key=lambda factor: factor.cause != likely)

    def _changes(self, to: Mapping[str, Any]) -> bool:
        return any(getattr(self._base, name) != value for name, value in to.items()) and not self._is_auto(to)

    def _is_auto(self, to: Mapping[str, Any]) -> bool:
        """Return whether that is the environment anyway."""
        is_so = self._base.environment == "auto" or (self._base.environment == "current" and self._same_environment)
        return to.get("environment") == "locked" and is_so and not self._base.packages

    def _with(self, *changes: Mapping[str, Any]) -> Conditions:
        together = {name: value for change in changes for name, value in change.items()}
        return dataclasses.replace(self._base, **together)

    def _same_with(self, *changes: Mapping[str, Any]) -> bool:
        """Return whether the replay is the same with these changes, and not by luck."""
        conditions = self._with(*changes)
        return self._try(conditions).is_same and self._try(conditions, again=1).is_same

    def _alike(self, conditions: Conditions, again: int = 1) -> bool | None:
        """Return whether two replays are the same as one another, None when they cannot be made."""
        one, other = (self._try(conditions, again=number).experiment.replay for number in (0, again))
        return None if one is None or other is None else self._laboratory.alike(one, other)

    def _try(self, conditions: Conditions, *, again: int = 0) -> Tried:
        key = (repr(sorted(conditions.changed().items())), again)
        if key not in self._tried:
            self._tried[key] = (conditions, self._laboratory.repeat(conditions, again))
        return self._tried[key][1]

    def _experiments(self) -> tuple[Experiment, ...]:
        return tuple(tried.experiment for _, tried in self._tried.values())

    def _explanation(self, cause: str | None, how: str, factor: str) -> Explanation:
        first = self._first
        return Explanation(
            run=self._run.id,
            conditions=dataclasses.replace(self._base, until=None).changed(),
            cell=None if first is None else first.cell,
            difference="" if first is None else first.difference,
            cause=cause,
            how=how if cause else "",
            factor=factor,
            stable=self._stable,
            experiments=self._experiments(),
        )


def _holds(conditions: Conditions, values: Mapping[str, Any]) -> bool:
    return all(getattr(conditions, name) == value for name, value in values.items())


def smallest(items: Sequence[T], matters: Callable[[Sequence[T]], bool]) -> list[T]:
    """Return a part of ``items`` that matters, and none of which can be left out (delta debugging).

    Args:
        items: all of which together matter.
        matters: tells it of a part.

    >>> smallest(["a", "b", "c", "d", "e"], lambda some: "b" in some and "d" in some)
    ['b', 'd']
    """
    left, pieces = list(items), 2
    while len(left) > 1:
        size = -(-len(left) // pieces)
        parts = [left[at : at + size] for at in range(0, len(left), size)]
        others = [[item for item in left if item not in part] for part in parts] if len(parts) > 2 else []
        found = next((part for part in [*parts, *others] if matters(part)), None)
        if found is not None:
            pieces = 2 if found in parts else max(pieces - 1, 2)
            left = found
        elif pieces >= len(left):
            break
        else:
            pieces = min(pieces * 2, len(left))
    return left

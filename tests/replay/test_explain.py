"""What experiments show: in worlds whose cause is known, the search finds it, with the fewest factors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprokit.records import Cell, Divergence, Experiment, Run
from reprokit.replay.conditions import Conditions
from reprokit.replay.explain import BudgetSpent, Tried, explain, smallest

RUN = Run(id="20260503-140211-abcd2345", cells=(Cell(seq=1, source="x", status="done"), Cell(seq=2, source="y")))
OTHER = Conditions(
    environment="current", data="current", code="current", random="fresh", hash_seed="7", threads=3, network="closed"
)


@dataclass
class World:
    """Replays are the same where ``same`` says so, and like one another where ``steady`` does."""

    same: Callable[[Conditions], bool]
    steady: Callable[[Conditions], bool] = lambda conditions: True
    cause: str = "nondeterminism"
    room: int = 1000
    wanted: bool = True
    asked: list[Conditions] = field(default_factory=list)
    _made: dict[str, Conditions] = field(default_factory=dict)

    def repeat(self, conditions: Conditions, again: int) -> Tried:
        if len(self.asked) >= self.room:
            raise BudgetSpent
        self.asked.append(conditions)
        name = f"replay-{len(self.asked)}"
        self._made[name] = conditions
        told: dict[str, Any] = {"changed": conditions.changed(), "again": again, "replay": name}
        if self.same(conditions):
            return Tried(experiment=Experiment(**told, outcome="same"))
        first = Divergence(cell=2, cause=self.cause, difference="output: 1 → 2")
        return Tried(experiment=Experiment(**told, outcome="diverged", cell=2), divergence=first)

    def refused(self, replay: str) -> bool:
        return self.wanted

    def alike(self, one: str, other: str) -> bool:
        return one == other or all(self.steady(self._made[name]) for name in (one, other))


RESTORING = {
    "data": {"data": "recorded"},
    "code": {"code": "recorded"},
    "randomness": {"random": "recorded"},
    "hash-order": {"hash_seed": None},
    "parallelism": {"threads": None},
    "network": {"network": "open"},
    "time": {"clock": "recorded"},
}


def holds(conditions: Conditions, wanted: dict[str, Any]) -> bool:
    return all(getattr(conditions, name) == value for name, value in wanted.items())


@pytest.mark.parametrize("cause", RESTORING)
def test_the_one_factor_that_restores_is_the_cause(cause: str) -> None:
    world = World(lambda conditions: holds(conditions, RESTORING[cause]))
    found = explain(RUN, OTHER, world)
    assert (found.cause, found.how, found.cell) == (cause, "restored", 2)
    assert all(conditions.until == 2 for conditions in world.asked[1:])


@given(st.sets(st.sampled_from(sorted(RESTORING)), min_size=2, max_size=4))
def test_of_several_factors_the_fewest_are_named(causes: set[str]) -> None:
    wanted = {name: value for cause in causes for name, value in RESTORING[cause].items()}
    found = explain(RUN, OTHER, World(lambda conditions: holds(conditions, wanted)))
    assert found.how == "restored"
    assert found.cause in causes
    assert found.factor.count(" and ") == len(causes) - 1


def test_a_replay_that_is_the_same_has_no_cause() -> None:
    found = explain(RUN, Conditions(), World(lambda conditions: True))
    assert (found.cause, found.cell, len(found.experiments)) == (None, None, 1)


def test_what_is_right_once_by_luck_is_no_cause() -> None:
    answers = iter([False, *[True, False] * 50])
    found = explain(RUN, Conditions(), World(lambda conditions: next(answers), steady=lambda conditions: False))
    assert found.how != "restored"


@pytest.mark.parametrize(("cause", "fixed"), [("parallelism", {"threads": 1}), ("hash-order", {"hash_seed": "0"})])
def test_what_stills_replays_is_the_cause(cause: str, fixed: dict[str, Any]) -> None:
    found = explain(RUN, Conditions(), World(lambda conditions: False, lambda conditions: holds(conditions, fixed)))
    assert (found.cause, found.how, found.stable) == (cause, "settled", False)


def test_what_nothing_stills_is_nondeterminism_unless_the_records_say_more() -> None:
    restless = World(lambda conditions: False, lambda conditions: False, cause="code")
    assert explain(RUN, Conditions(), restless).cause == "nondeterminism"
    tokens = World(lambda conditions: False, lambda conditions: False, cause="randomness")
    found = explain(RUN, Conditions(), tokens)
    assert (found.cause, found.how) == ("randomness", "evidence")


def test_what_is_steady_and_not_restored_is_left_to_the_records() -> None:
    found = explain(RUN, Conditions(), World(lambda conditions: False, cause="hardware"))
    assert (found.cause, found.how, found.stable) == ("hardware", "evidence", True)
    found = explain(RUN, Conditions(), World(lambda conditions: False))
    assert (found.cause, found.how, found.stable) == ("unknown", "", True)


def test_two_that_are_alike_by_luck_show_nothing() -> None:
    lucky = World(lambda conditions: False)
    answers = iter([False, True, False, *[False] * 20])  # the same again, then one thread, and that once more
    lucky.alike = lambda one, other: next(answers)  # type: ignore[method-assign]
    found = explain(RUN, Conditions(), lucky)
    assert (found.cause, found.how) == ("nondeterminism", "repeated")


@pytest.mark.parametrize(("wanted", "how"), [(True, "refused"), (False, "evidence")])
def test_the_network_is_shown_by_what_is_refused(wanted: bool, how: str) -> None:
    asked = Run(id=RUN.id, cells=(Cell(seq=1, source="x"), Cell(seq=2, source="y", network=("example.org",))))
    restless = World(lambda conditions: False, lambda conditions: False, cause="network", wanted=wanted)
    found = explain(asked, Conditions(), restless)
    assert (found.cause, found.how) == ("network", how)


def test_what_is_ruled_out_is_not_blamed() -> None:
    def repeat(conditions: Conditions, again: int) -> Tried:
        cause = "environment" if conditions.environment == "current" else "hardware"
        told: dict[str, Any] = {"changed": conditions.changed(), "again": again, "replay": repr(conditions)}
        experiment = Experiment(**told, outcome="diverged", cell=2)
        return Tried(experiment=experiment, divergence=Divergence(cell=2, cause=cause, difference="output: 1 → 2"))

    world = World(lambda conditions: False)
    world.repeat = repeat  # type: ignore[method-assign]
    world.alike = lambda one, other: True  # type: ignore[method-assign]
    found = explain(RUN, Conditions(environment="current"), world)
    assert (found.cause, found.how) == ("hardware", "evidence")


def test_a_clock_that_is_put_back_in_vain_is_no_cause() -> None:
    found = explain(RUN, Conditions(), World(lambda conditions: False, cause="time"))
    assert (found.cause, found.stable) == ("unknown", True)
    found = explain(RUN, Conditions(), World(lambda conditions: False, lambda conditions: False, cause="time"))
    assert (found.cause, found.how) == ("time", "evidence")  # the milliseconds since a cell began


def test_configuration_that_comes_back_with_the_data_is_told_as_such() -> None:
    world = World(lambda conditions: conditions.data == "recorded", cause="config")
    found = explain(RUN, Conditions(data="current"), world)
    assert (found.cause, found.how) == ("config", "restored")


def test_versions_that_were_asked_for_are_narrowed_down() -> None:
    asked = Conditions(environment="locked", packages={"six": "1.15.0", "numpy": "2.1.0", "pandas": "2.0.0"})
    world = World(lambda conditions: "numpy" not in conditions.packages, cause="environment")
    assert explain(RUN, asked, world).packages == ("numpy absent → 2.1.0",)


def test_versions_are_narrowed_down_to_those_that_matter() -> None:
    today = {"numpy": "2.1.0", "pandas": "2.3.0", "scipy": "1.15.0", "six": ""}

    def same(conditions: Conditions) -> bool:
        return conditions.environment == "locked" and "numpy" not in conditions.packages

    found = explain(RUN, Conditions(environment="current"), World(same, cause="environment"), packages=today)
    assert (found.cause, found.packages) == ("environment", ("numpy absent → 2.1.0",))


def test_when_time_runs_out_what_is_known_is_told() -> None:
    world = World(lambda conditions: holds(conditions, {"clock": "recorded"}), room=1)
    found = explain(RUN, Conditions(), world)
    assert (found.complete, found.how, len(found.experiments)) == (False, "evidence", 1)


@given(st.sets(st.integers(0, 30), min_size=1), st.data())
def test_the_smallest_part_has_nothing_to_spare(items: set[int], data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.sampled_from(sorted(items)), min_size=1))
    assert set(smallest(sorted(items), lambda some: needed <= set(some))) == needed

"""The whole table of planted differences: what it must hold, and how much of it must be told right."""

from __future__ import annotations

from collections import Counter

import pytest
from planted_table import CASES, rows, text

CAUSES = (
    "code", "data", "environment", "config", "randomness", "time", "network", "parallelism", "hash-order", "hardware",
    "hidden-state", "nondeterminism",
)  # fmt: skip


def test_every_cause_is_planted_more_than_once() -> None:
    planted = [case for case in CASES if case.cause]
    assert len(planted) >= 40
    assert len(CASES) - len(planted) >= 8
    assert len({case.name for case in CASES}) == len(CASES)
    assert Counter(case.cause for case in planted).keys() == set(CAUSES)
    assert min(Counter(case.cause for case in planted).values()) >= 2
    assert sum(bool(case.folded) for case in planted) >= 8
    assert sum(bool(case.others) for case in planted) >= 3


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_nearly_all_are_told_right_and_no_control_is_blamed() -> None:
    found = rows(CASES)
    planted = [row for row in found if row.cause]
    told = text(found)
    assert sum(row.is_right for row in planted) >= 0.95 * len(planted), told
    assert [row.name for row in found if not row.cause and not row.is_right] == [], told

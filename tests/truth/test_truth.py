"""What each tier of capture sees of real cells, against strace: the bars of the design, kept."""

from __future__ import annotations

import sys

import pytest
import strace
from kernel_runs import TIERS
from known_cells import possible
from measuring import Measured, measure
from score import Score
from table import table

# By the tier that a record claims: the least share of uses that it names, and of what it names that happened.
BARS = {"complete": (0.99, 0.95), "watch": (0.97, 0.95), "basic": (0.92, 0.95)}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """All cells, run once under strace and once under each tier."""
    if not sys.platform.startswith("linux"):
        pytest.skip("strace exists on Linux only")
    try:
        forbidden = strace.why_not()
    except FileNotFoundError as error:
        pytest.fail(str(error))
    if forbidden:
        pytest.skip(f"processes cannot be traced here: {forbidden}")
    # The cells' temporary files are scratch; what lies outside the project must not lie among those.
    return measure(tmp_path_factory.mktemp("truth"), possible())


def test_there_are_cells_of_every_kind(measured: Measured) -> None:
    uses = [(len(truth.reads), len(truth.writes)) for truth in measured.truths]
    assert len(measured.cells) >= 300
    assert len({cell.library for cell in measured.cells}) >= 40
    assert sum(reads for reads, _ in uses) >= 280
    assert sum(writes for _, writes in uses) >= 180


def test_strace_saw_what_the_cells_are_known_to_do(measured: Measured) -> None:
    surprises = {}
    for cell, truth in zip(measured.cells, measured.truths, strict=True):
        seen = (frozenset(truth.reads), frozenset(truth.writes))
        if seen != (cell.reads, cell.writes):
            surprises[f"{cell.library}: {cell.name}"] = seen
    assert surprises == {}


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_sees_what_it_must(tier: str, measured: Measured) -> None:
    score = measured.scores[tier]
    recall, precision = BARS[score.said.tier]
    total = score.total
    assert (total.recall() or 0) >= recall, _told(score)
    assert (total.precision() or 0) >= precision, _told(score)


@pytest.mark.parametrize("tier", TIERS)
def test_digests_are_of_the_bytes_that_were_used(tier: str, measured: Measured) -> None:
    score = measured.scores[tier]
    assert [str(fault) for fault in score.faults if fault.what == "digest"] == []


def test_a_forced_tier_is_what_the_record_says(measured: Measured) -> None:
    said = {tier: score.said.tier for tier, score in measured.scores.items()}
    assert (said["watch"], said["basic"]) == ("watch", "basic")
    assert said["patched"] != "complete"  # what a library looked up before it was patched is not seen


def test_a_record_that_calls_itself_complete_names_every_file(measured: Measured) -> None:
    for score in measured.scores.values():
        # What is read through a handle of an earlier cell is named where it was opened.
        named = {use for uses in score.by_cell for use in uses}
        unknown = [str(f) for f in score.faults if f.what == "missed" and (f.file, f.access) not in named]
        assert not (score.said.complete and unknown), unknown


def test_the_table_has_a_row_for_each_library(measured: Measured) -> None:
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table(measured).splitlines() if line.startswith("| ")]
    libraries = list(dict.fromkeys(cell.library for cell in measured.cells))
    assert rows == ["library", *libraries, "**all**"]


def _told(score: Score) -> str:
    return "\n".join([f"{score.said.tier}: {score.total}", *map(str, score.faults)])

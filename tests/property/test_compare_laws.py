"""Laws of compare: reflexive, symmetric, deterministic, complete, and strict about numbers."""

from __future__ import annotations

import dataclasses
import json

from hypothesis import assume, given
from hypothesis import strategies as st
from strategies_runs import Case, cases, pairs

from reprokit import digest
from reprokit.records import Assumption, Difference, FileUse, Metric, Run, Verdict
from reprokit.replay.compare import compare
from reprokit.replay.comparison import Comparison
from reprokit.replay.typed import kinds
from reprokit.replay.typed.outcome import How
from reprokit.replay.typed.shown import first_change, line_diff
from reprokit.replay.typed.text import same_text

LABELS = {"identical", "equivalent", "diverged"}


def differences(verdict: Verdict) -> list[Difference]:
    return [difference for cell in verdict.cells for difference in cell.differences]


def observed(case: Case, index: int) -> Case:
    return Case(run=case.with_cell(index, observed=True), objects=case.objects)


@given(cases(), st.booleans())
def test_a_run_is_identical_to_itself(case: Case, exact: bool) -> None:
    verdict = compare(case.run, case.run, case.read, Comparison(exact=exact))
    assert verdict.verdict == "identical"
    assert (differences(verdict), verdict.rules, verdict.environment) == ([], (), ())
    assert verdict.first_divergence is None
    assert all(file.verdict == "identical" for file in verdict.files)


@given(pairs(), st.booleans())
def test_the_verdict_is_symmetric(pair: tuple[Case, Case], exact: bool) -> None:
    a, b = pair
    there = compare(a.run, b.run, a.read, Comparison(exact=exact))
    back = compare(b.run, a.run, a.read, Comparison(exact=exact))
    assert there.verdict == back.verdict
    assert there.rules == back.rules or there.verdict == "diverged"


@given(pairs())
def test_the_verdict_is_a_valid_record_and_always_the_same(pair: tuple[Case, Case]) -> None:
    a, b = pair
    verdict = compare(a.run, b.run, a.read)
    assert verdict == compare(a.run, b.run, a.read)
    assert verdict.validate() == verdict
    assert {verdict.verdict} | {cell.verdict for cell in verdict.cells} <= LABELS
    assert (verdict.first_divergence is None) == (verdict.verdict != "diverged")


@given(pairs())
def test_exact_never_forgives_what_typed_does_not(pair: tuple[Case, Case]) -> None:
    a, b = pair
    if compare(a.run, b.run, a.read).verdict == "diverged":
        assert compare(a.run, b.run, a.read, Comparison(exact=True)).verdict == "diverged"


def reported(case: Case, changed: Run, what: str) -> None:
    verdict = compare(case.run, changed, case.read)
    assert verdict.verdict == "diverged"
    assert what in {difference.what for difference in differences(verdict)}


@given(cases(min_cells=1), st.data())
def test_a_changed_output_is_reported(case: Case, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(case.run.cells) - 1))
    case = observed(case, index)
    before = case.put(json.dumps([{"output_type": "stream", "name": "stdout", "text": "x = 1"}]).encode())
    after = case.put(json.dumps([{"output_type": "stream", "name": "stdout", "text": "x = 2"}]).encode())
    left = Case(run=case.with_cell(index, outputs=before), objects=case.objects)
    reported(left, case.with_cell(index, outputs=after), "output")


@given(cases(min_cells=1), st.data())
def test_a_changed_write_is_reported(case: Case, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(case.run.cells) - 1))
    case = observed(case, index)
    path = data.draw(st.sampled_from(["out.pkl", "out.txt", "out.png"]))
    before, after = (
        FileUse(path=path, access="write", size=1, digest=digest.of_bytes(content)) for content in (b"1", b"2")
    )
    left = Case(run=case.with_cell(index, writes=(before,)), objects=case.objects)
    reported(left, case.with_cell(index, writes=(after,)), "write")
    reported(left, case.with_cell(index, writes=()), "write")


@given(cases(min_cells=1), st.data())
def test_a_changed_status_is_reported(case: Case, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(case.run.cells) - 1))
    case = observed(case, index)
    other = "failed" if case.run.cells[index].status != "failed" else "done"
    reported(case, case.with_cell(index, status=other), "status")


@given(cases(), st.data())
def test_a_changed_metric_is_reported(case: Case, data: st.DataObject) -> None:
    left, right = data.draw(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)))
    assume(repr(left) != repr(right))
    a, b = (
        dataclasses.replace(case.run, metrics=(*case.run.metrics, Metric(key="score", value=value)))
        for value in (left, right)
    )
    reported(Case(run=a, objects=case.objects), b, "metric")


@given(cases(min_cells=1))
def test_a_missing_cell_is_reported(case: Case) -> None:
    reported(case, dataclasses.replace(case.run, cells=case.run.cells[:-1]), "missing")


CHANGES: dict[str, tuple[str, object, object]] = {  # what is told → the field of the cell, and two values of it
    "source": ("source", "f(1)", "f(2)"),
    "status": ("error", "KeyError: 1", "KeyError: 2"),
    "read": (
        "reads",
        (FileUse(path="a.bin", access="read", size=1, digest=digest.of_bytes(b"1")),),
        (FileUse(path="a.bin", access="read", size=1, digest=digest.of_bytes(b"2")),),
    ),
}


@given(cases(min_cells=1), st.sampled_from(sorted(CHANGES)), st.data())
def test_a_changed_field_of_a_cell_is_reported(case: Case, what: str, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(case.run.cells) - 1))
    name, before, after = CHANGES[what]
    left = Case(run=observed(case, index).with_cell(index, **{name: before}), objects=case.objects)
    left = observed(left, index)
    reported(left, left.with_cell(index, **{name: after}), what)


@given(cases(), st.sampled_from(["params", "assumptions", "artifacts"]))
def test_a_changed_field_of_a_run_is_reported(case: Case, name: str) -> None:
    sides: dict[str, tuple[object, object, str]] = {
        "params": ({"lr": 0.1}, {"lr": 0.2}, "param"),
        "assumptions": ((Assumption(text="x", holds=True),), (Assumption(text="x", holds=False),), "assumption"),
        "artifacts": (
            (FileUse(path="m.bin", access="write", size=1, digest=digest.of_bytes(b"1")),),
            (FileUse(path="m.bin", access="write", size=1, digest=digest.of_bytes(b"2")),),
            "write",
        ),
    }
    before, after, what = sides[name]
    left = Case(run=dataclasses.replace(case.run, **{name: before}), objects=case.objects)
    reported(left, dataclasses.replace(case.run, **{name: after}), what)


@given(pairs())
def test_every_divergence_is_an_origin_or_follows_from_an_earlier_one(pair: tuple[Case, Case]) -> None:
    a, b = pair
    verdict = compare(a.run, b.run, a.read)
    origins: set[int] = set()
    for cell in verdict.cells:
        if cell.verdict != "diverged":
            assert (cell.cause, cell.consequence_of) == (None, None)
        elif cell.consequence_of is None:
            assert cell.cause is not None
            origins.add(cell.cell)
        else:
            assert cell.cause is None
            assert cell.consequence_of in origins
    first = verdict.first_divergence
    assert first is None or first.cell == next(cell.cell for cell in verdict.cells if cell.verdict == "diverged")


@given(pairs(), st.floats(0, 1), st.floats(0, 1))
def test_tolerance_only_widens(pair: tuple[Case, Case], one: float, other: float) -> None:
    a, b = pair
    if compare(a.run, b.run, a.read, Comparison(rtol=min(one, other))).verdict != "diverged":
        assert compare(a.run, b.run, a.read, Comparison(rtol=max(one, other))).verdict != "diverged"


prose = st.text(alphabet="abc xyz.,:=()[]{}'\n\r<>/_-|%e", max_size=15)


@given(prose, st.decimals(allow_nan=False, allow_infinity=False, places=3), prose, st.data())
def test_another_digit_is_never_forgiven(before: str, number: object, after: str, data: st.DataObject) -> None:
    # A space and a word set the number apart from what merely looks like a duration or an address.
    left = f"{before} value {number} end {after}"
    digits = [at for at, character in enumerate(left) if character.isdigit()]
    at = data.draw(st.sampled_from(digits))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != left[at]]))
    right = left[:at] + other + left[at + 1 :]
    for kind in ("text", "html", "svg", "widget"):
        assert same_text(left, right, kind) is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_rules_are_symmetric_and_plain_equality_needs_none(left: str, right: str) -> None:
    there, back = same_text(left, right), same_text(right, left)
    assert there == back
    assert (there == ()) == (left == right)


@given(
    st.binary(max_size=80),
    st.binary(max_size=80),
    st.sampled_from(sorted({*kinds.FILE_KINDS.values(), "gzip csv", "gzip tar", "bzip2", "xz"})),
)
def test_no_bytes_break_a_rule(left: bytes, right: bytes, kind: str) -> None:
    assert kinds.compare(left, left, kind, How()).rules == ()
    assert kinds.compare(left, right, kind, How()).rules == kinds.compare(right, left, kind, How()).rules


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_difference_is_shown_short(left: str, right: str) -> None:
    assert all(len(side) <= 60 for side in first_change(left, right))
    assert len(line_diff(left, right).split("\n")) <= 41

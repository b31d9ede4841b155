"""The judge itself: what it must find wrong with a record, and what it must not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from ground import Truth
from kernel_runs import Recorded, Use
from known_cells import CELLS, KnownCell
from score import Score, judge

from reprokit.records import FileUse

CELL = KnownCell("open", "a cell", "", frozenset({"in.csv"}), frozenset({"out.csv"}), ())
TRUTH = Truth({"in.csv": "sha256:in"}, {"out.csv": "sha256:out"}, {("brief.txt", "write")})
RIGHT = {("in.csv", "read"): "sha256:in", ("out.csv", "write"): "sha256:out"}


def judged(tmp_path: Path, named: Mapping[Use, str | None], left: dict[str, str] | None = None) -> Score:
    """Judge a record that names these files with these digests."""
    (tmp_path / "project").mkdir(exist_ok=True)
    uses = {
        (path, access): FileUse(path=path, access=access, digest=digest) for (path, access), digest in named.items()
    }
    return judge([CELL], [TRUTH], Recorded("watch", False, (), [uses]), tmp_path, left or {})


def test_a_right_record_has_no_fault(tmp_path: Path) -> None:
    score = judged(tmp_path, {**RIGHT, ("brief.txt", "write"): None})
    assert score.faults == []
    assert (score.total.recall(), score.total.precision(), score.total.digests()) == (1, 1, 1)


@pytest.mark.parametrize("use", RIGHT)
def test_what_is_not_named_is_missed(use: tuple[str, str], tmp_path: Path) -> None:
    score = judged(tmp_path, {name: digest for name, digest in RIGHT.items() if name != use})
    assert [(fault.what, fault.file, fault.access) for fault in score.faults] == [("missed", *use)]
    assert score.total.recall() == 0.5
    assert score.total.recall(use[1]) == 0


@pytest.mark.parametrize("use", [("other.csv", "read"), ("in.csv", "write"), ("/etc/hostname", "read")])
def test_what_did_not_happen_is_false(use: tuple[str, str], tmp_path: Path) -> None:
    score = judged(tmp_path, {**RIGHT, use: None})
    assert [(fault.what, fault.access) for fault in score.faults] == [("false", use[1])]
    assert score.total.precision() == pytest.approx(2 / 3)


@pytest.mark.parametrize("digest", ["sha256:other", None])
@pytest.mark.parametrize("use", RIGHT)
def test_a_digest_of_other_bytes_is_wrong(use: tuple[str, str], digest: str | None, tmp_path: Path) -> None:
    score = judged(tmp_path, {**RIGHT, use: digest})
    assert [(fault.what, fault.file) for fault in score.faults] == [("digest", use[0])]
    assert score.total.digests() == 0.5


def test_a_written_file_that_differs_from_run_to_run_is_held_against_what_lies_there(tmp_path: Path) -> None:
    named = {**RIGHT, ("out.csv", "write"): "sha256:this run's"}
    assert judged(tmp_path, named, {"out.csv": "sha256:this run's"}).faults == []
    assert len(judged(tmp_path, named, {"out.csv": "sha256:another"}).faults) == 1


def test_a_file_is_known_by_any_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "in.csv").touch()
    (tmp_path / "project" / "link.csv").symlink_to("in.csv")
    assert judged(tmp_path, {("link.csv", "read"): "sha256:in", ("out.csv", "write"): "sha256:out"}).faults == []


def test_no_two_cells_have_one_name() -> None:
    names = [(cell.library, cell.name) for cell in CELLS]
    assert [name for name in set(names) if names.count(name) > 1] == []

"""Data from elsewhere is the same when its bytes are, or, unseen, its version; else the cell that read it diverged."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reprokit.records import Cell, RemoteUse, Run
from reprokit.replay.compare import compare
from reprokit.replay.fetched import compare_remote

URL = "https://example.org/prices.csv"
READ = RemoteUse(kind="http", access="read", url=URL, version='ETag "1"', size=5, digest="sha256:" + "1" * 64)


def changed(**fields: Any) -> RemoteUse:
    return dataclasses.replace(READ, **fields)


def run(*uses: RemoteUse) -> Run:
    return Run(id="20260503-140211-abcd2345", cells=(Cell(seq=1, source="read()", status="done", remote=uses),))


def nothing(digest: str) -> bytes:
    raise AssertionError(digest)


@pytest.mark.parametrize(
    "other",
    [
        changed(version='ETag "2"'),
        changed(digest=None),
        changed(digest=None, version=None),
    ],
)
def test_the_same_bytes_or_the_same_version_are_the_same(other: RemoteUse) -> None:
    assert compare_remote([READ], [other]) == []


@pytest.mark.parametrize(
    "other",
    [
        changed(digest="sha256:" + "2" * 64),
        changed(digest=None, version='ETag "2"'),
    ],
)
def test_other_data_diverges_and_the_network_is_the_cause(other: RemoteUse) -> None:
    verdict = compare(run(READ), run(other), nothing)
    assert verdict.verdict == "diverged"
    assert verdict.first_divergence is not None
    assert (verdict.first_divergence.cause, verdict.first_divergence.difference) == ("network", f"{URL} changed")


def test_order_does_not_matter_and_what_only_one_side_asked_for_is_told_alone() -> None:
    other = changed(digest="sha256:" + "2" * 64)
    assert compare_remote([READ, other], [other, READ]) == []
    verdict = compare(run(READ), run(READ, changed(url=URL + "2")), nothing)
    assert verdict.verdict == "identical"
    assert [difference.before for difference in verdict.cells[0].differences] == ["absent"]


def test_a_query_is_named_by_its_text() -> None:
    query = RemoteUse(kind="sql", access="read", url="postgresql://h/db", query="SELECT 1", rows=1, digest="sha256:1")
    (finding,) = compare_remote([query], [dataclasses.replace(query, rows=2, digest="sha256:2")])
    assert finding.difference is not None
    assert finding.difference.where == "postgresql://h/db: SELECT 1"
    assert (finding.difference.before, finding.difference.after) == ("1 rows, 1", "2 rows, 2")


def test_writes_get_new_versions_and_are_compared_by_bytes() -> None:
    write = changed(access="write")
    assert compare_remote([write], [dataclasses.replace(write, version='ETag "2"', digest=None)]) == []
    (finding,) = compare_remote([dataclasses.replace(write, kind="sql")], [])
    assert finding.diverges

"""What would keep a run from being replayed: each thing once, with its cells and what to do, in every view."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reprokit.records import Capture, Cell, FileUse, Gap, RemoteUse, Resources, Run
from reprokit.records.replayable import replayable
from reprokit.store.summary import summarize
from reprokit.views.data import data_text
from reprokit.views.html import show_html, status_html
from reprokit.views.json import run_json, summary
from reprokit.views.status import status_text, stopped_line
from reprokit.views.text import show_run

A, B = "sha256:" + "a1" * 32, "sha256:" + "b2" * 32
BIG = FileUse(path="data/big.bin", access="read", size=12 * 10**9, digest=A)
LIMIT = Gap(
    aspect="files",
    message="data/big.bin (12.0 GB) is above the storing limit: only its digest is kept",
    remedy="`%repro data data/big.bin --store` or track it with DVC",
    cell=3,
    path="data/big.bin",
    digest=A,
)
SECRETS = Gap(aspect="randomness", message="the cell used `secrets`", remedy="use a seeded generator", blocks=True)
URL = Gap(aspect="remote", message="read https://example.org/x.csv without a version", remedy="keep a copy")
WHEEL = Gap(aspect="environment", message="mylib is editable with uncommitted changes", settled="stored as a wheel")


def run_with(*gaps: Gap, cells: tuple[Cell, ...] = (), **fields: Any) -> Run:
    """Return a run of twelve cells that all went well."""
    rest = tuple(Cell(seq=n, source=f"x{n}", status="done") for n in range(1, 13) if n not in {c.seq for c in cells})
    every = tuple(sorted((*cells, *rest), key=lambda cell: cell.seq))
    capture = Capture(tier="complete", complete=True)
    return Run(**{"id": "r1", "status": "done", "gaps": gaps, "cells": every, "capture": capture, **fields})


def reading(seq: int, *uses: FileUse) -> Cell:
    return Cell(seq=seq, source=f"read {seq}", status="done", reads=uses)


def in_cells(gap: Gap, *cells: int) -> list[Gap]:
    return [dataclasses.replace(gap, cell=cell) for cell in cells]


def test_the_whole_answer() -> None:
    run = run_with(
        *in_cells(SECRETS, 9),
        *in_cells(LIMIT, 3, 5, 6, 7),
        *in_cells(URL, 12),
        WHEEL,
        cells=tuple(reading(seq, BIG) for seq in (3, 5, 6, 7)),
    )
    assert status_text(run).split("\n\nrun ")[0] == (
        """\
Would this run replay? Not exactly: 1 thing prevents it.
  - cell 9: the cell used `secrets`
    → use a seeded generator

These files must stay as they are:
  - cells 3, 5–7: data/big.bin (12.0 GB) is above the storing limit: only its digest is kept
    → `%repro data data/big.bin --store` or track it with DVC

Good to know:
  - cell 12: read https://example.org/x.csv without a version
    → keep a copy

Secured:
  ✓ mylib is editable with uncommitted changes: stored as a wheel"""
    )
    text = show_run(run)
    assert "replay    would not be exact (see gaps)" in text
    assert "secured\n  ✓ mylib is editable with uncommitted changes: stored as a wheel" in text
    for html in (status_html(run), show_html(run)):
        assert "cells 3, 5–7: data/big.bin" in html
        assert "✓ mylib" in html
    assert [gap["open"] for gap in run_json(run, lambda digest: [])["gaps"]] == [True] * 6 + [False]


def test_a_file_that_is_kept_later_is_settled_for_every_cell() -> None:
    kept = dataclasses.replace(BIG, stored="object")
    run = run_with(*in_cells(LIMIT, 3, 5), cells=(reading(3, kept), reading(5, BIG)))
    assert replayable(run)
    text = status_text(run)
    assert text.startswith("Would this run replay? Yes.\n")
    assert "✓ cells 3, 5: data/big.bin is stored as a1a1a1a1a1a1" in text
    assert "storing limit" not in text


def test_another_version_that_is_kept_settles_nothing() -> None:
    other = dataclasses.replace(BIG, digest=B, stored="object")
    run = run_with(*in_cells(LIMIT, 3), cells=(reading(3, BIG), reading(5, other)))
    assert not replayable(run)
    assert "as long as 1 file stays as it is" in status_text(run)


@pytest.mark.parametrize(
    ("use", "answer"),
    [
        ({}, "Yes, as long as 1 file stays as it is."),
        ({"own": True}, "Yes."),
        ({"stored": "git"}, "Yes."),
        ({"state": "pending", "digest": None}, "Not exactly: 1 thing prevents it."),
        ({"state": "unstable", "digest": None}, "Not exactly: 1 thing prevents it."),
        ({"state": "missing", "digest": None, "own": True}, "Yes."),
        ({"path": "/data/x.csv", "stored": "object"}, "Yes, as long as 1 file stays as it is."),
    ],
)
def test_what_a_file_means_for_the_answer(use: dict[str, Any], answer: str) -> None:
    run = run_with(cells=(reading(2, dataclasses.replace(BIG, **use)),))
    assert status_text(run).splitlines()[0] == f"Would this run replay? {answer}"
    assert summarize(run).replayable == summary(run)["replayable"] == replayable(run)


def test_what_prevents_a_replay_is_said_once() -> None:
    lost = dataclasses.replace(BIG, state="unstable", digest=None)
    gap = Gap(aspect="files", message="data/big.bin changed while in use", cell=2, blocks=True)
    text = status_text(run_with(gap, cells=(reading(2, lost),)))
    assert text.count("data/big.bin") == 1
    assert "1 thing prevents it" in text
    assert "1 thing would keep" in stopped_line(run_with(gap, cells=(reading(2, lost),)))


def test_many_files_are_told_as_one_thing() -> None:
    uses = [dataclasses.replace(BIG, path=f"d/{n}.bin", digest=f"sha256:{n:064d}") for n in range(300)]
    text = status_text(run_with(cells=(reading(2, *uses),)))
    assert "as long as 300 files stay as they are" in text
    assert "300 files (3.6 TB) are not kept: d/0.bin, d/1.bin and 298 more" in text
    assert len(text.splitlines()) < 20


def test_very_many_gaps_do_not_bury_the_answer() -> None:
    gaps = [Gap(aspect="code", message=f"thing {n}") for n in range(100)]
    run = run_with(*gaps)
    assert "… and 88 more (`reprokit show`)" in status_text(run)
    assert "thing 99" in show_run(run)


def test_resources_remote_data_and_configuration_are_told() -> None:
    use = RemoteUse(kind="http", access="read", url="https://example.org/a.csv", size=10)
    cell = Cell(seq=1, source="x", status="done", remote=(use, use), resources=Resources(cpu_s=2.0))
    run = run_with(cells=(cell,), config=None)
    text = status_text(run)
    assert "remote    2 reads from 1 host, 2 without a version" in text
    assert "used      2.0 s of processor time" in text
    assert "read  https://example.org/a.csv  10 B  no version  not kept" in show_run(run)
    assert "2.0 s of processor time" in show_run(run, cell=1)
    assert run_json(run, lambda digest: [])["resources"]["cpu_s"] == 2.0
    assert "https://example.org/a.csv" in show_html(run)


def test_the_tier_is_explained() -> None:
    assert "complete: every file that this kernel and its children opened" in status_text(run_with())
    lower = run_with(capture=Capture(tier="watch", reasons=("no recorder",)))
    assert "watch (no recorder)\n" in status_text(lower) + "\n"
    torn = run_with(capture=Capture(tier="complete", reasons=("12 events were lost",)))
    assert "complete (12 events were lost)" in status_text(torn)


# -- one file -----------------------------------------------------------------------------------------


def test_what_is_known_of_a_file() -> None:
    run = run_with(cells=(reading(3, BIG), reading(4, BIG), reading(7, dataclasses.replace(BIG, digest=B, size=5))))
    assert (
        data_text(run, "data/big.bin")
        == """\
data/big.bin

  size   12.0 GB
  sha256 a1a1a1a1a1a1
  used   read by cell 3–4
  kept   no, only its digest: a replay uses the file as it lies there, while it is the same

  size   5 B
  sha256 b2b2b2b2b2b2
  used   read by cell 7
  kept   no, only its digest: a replay uses the file as it lies there, while it is the same
→ `%repro data data/big.bin --store` keeps its bytes"""
    )


def test_a_file_that_was_stored_just_now() -> None:
    kept = dataclasses.replace(BIG, stored="object")
    run = run_with(cells=(reading(3, kept),))
    assert data_text(run, "data/big.bin", kept).endswith("kept   in the store\n✓ stored, 12.0 GB, a1a1a1a1a1a1")
    other = dataclasses.replace(kept, digest=B)
    assert "another version than the cells used" in data_text(run, "data/big.bin", other)


def test_a_file_that_no_cell_used() -> None:
    assert data_text(run_with(), "x.csv") == "x.csv\n  no cell of this run has used it"

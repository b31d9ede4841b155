"""Pins and tags that are given to a run after it ended."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from reprokit.settings import Settings
from reprokit.store import marks
from reprokit.store.layout import Layout
from reprokit.store.store import Store

FIRST, SECOND = "20240101-000000-aaaaaaaa", "20240102-000000-bbbbbbbb"


def made(folder: Path, *run_ids: str) -> Store:
    """Return a store with runs that are done."""
    (folder / ".git").mkdir(parents=True)
    store = Store(Layout(folder, folder / ".reprokit"), Settings())
    for run_id in run_ids:
        _, journal = store.new_run(run_id=run_id)
        journal.append({"t": 1.0, "set": {"name": f"run {run_id[:8]}", "started": 1.0}})
        journal.append({"t": 2.0, "set": {"status": "done", "ended": 2.0, "tags": {"team": "ml"}}})
        journal.close()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two runs."""
    return made(tmp_path / "one", FIRST, SECOND)


def test_a_pin_is_part_of_the_run_and_of_lists(store: Store) -> None:
    assert [one.pin for one in store.runs()] == [None, None]
    store.pin(FIRST, "base line")
    assert store.load(FIRST).pin == "base line"
    assert {one.id: one.pin for one in store.runs()} == {FIRST: "base line", SECOND: None}
    assert [one.id for one in store.runs(query="'pin=base line'")] == [FIRST]
    assert [one.id for one in store.runs(query="line")] == [FIRST]
    assert store.pins() == {FIRST: "base line"}


def test_the_last_word_counts(store: Store) -> None:
    for name in ("one", None, "two"):
        store.pin(SECOND, name)
    assert (store.load(SECOND).pin, store.pins()) == ("two", {SECOND: "two"})
    store.pin(SECOND, None)
    assert (store.load(SECOND).pin, store.pins()) == (None, {})


def test_tags_are_added_and_found(store: Store) -> None:
    store.tag(FIRST, {"owner": "Ann"})
    store.tag(FIRST, {"team": "ops"})
    assert store.load(FIRST).tags == {"team": "ops", "owner": "Ann"}
    assert [one.id for one in store.runs(query="owner=Ann")] == [FIRST]
    assert [one.id for one in store.runs(query="team=ml")] == [SECOND]


def test_a_mark_does_not_change_when_a_run_ended(store: Store) -> None:
    before = store.load(FIRST)
    store.pin(FIRST, "x")
    after = store.load(FIRST)
    assert (after.started, after.ended, after.status) == (before.started, before.ended, before.status)


def test_marks_survive_a_new_index_and_the_loss_of_their_run(store: Store) -> None:
    store.pin(FIRST, "x")
    store.pin(SECOND, "y")
    shutil.rmtree(store.layout.run_folder(SECOND))
    assert store.reindex() == 1
    assert [(one.id, one.pin) for one in store.runs()] == [(FIRST, "x")]
    assert store.pins() == {FIRST: "x", SECOND: "y"}


def test_another_store_that_looks_later_sees_the_mark(store: Store) -> None:
    other = Store(store.layout, Settings())
    assert len(other.runs()) == 2
    store.pin(FIRST, "x")
    assert [one.pin for one in other.runs()] == [None, "x"]


def test_the_marks_of_two_stores_are_merged_by_copying(store: Store, tmp_path: Path) -> None:
    other = made(tmp_path / "two", FIRST)
    store.tag(FIRST, {"here": "1"})
    other.tag(FIRST, {"there": "2"})
    other.pin(FIRST, "x")
    shutil.copytree(other.layout.marks, store.layout.marks, dirs_exist_ok=True)
    assert store.load(FIRST).tags == {"team": "ml", "here": "1", "there": "2"}
    assert store.pins() == {FIRST: "x"}


def test_a_torn_mark_was_never_made(store: Store) -> None:
    store.pin(FIRST, "x")
    whole = next((store.layout.marks / FIRST).iterdir())
    (whole.parent / "99999999999999999999-torn.jsonl").write_bytes(whole.read_bytes()[:-3])
    (whole.parent / "a note of the user's").write_text("hm")
    assert store.load(FIRST).pin == "x"


@pytest.mark.parametrize(
    "patch",
    [
        {"cell": 1, "set": {"source": "import os"}},
        {"cell": 1, "fill": {"source": "import os"}},
        {"set": {"root": "/", "argv": ["rm"], "status": "failed", "notebook": "other.ipynb"}},
        {"add": {"cells": [{"seq": 1, "source": "import os"}], "gaps": [1]}},
        {"set": {"pin": ["a"], "tags": ["b"]}},
        {"set": {"pin": 1, "tags": {"team": {"a": 1}}}},
        {"set": 1, "t": "soon", "cell": "one"},
    ],
)
def test_a_mark_says_nothing_of_what_a_run_did(patch: dict[str, Any], store: Store) -> None:
    """Marks come from remotes, for runs of one's own as well, and no consent is bound to them."""
    before = store.load(FIRST)
    marks.add(store.layout, FIRST, patch)
    assert store.load(FIRST) == before
    assert store.pins() == {}

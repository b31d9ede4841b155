"""Lists and search, and an index that may be lost at any time."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from reprokit.errors import UsageError
from reprokit.store.index import Index
from reprokit.store.liveness import this_process
from reprokit.store.store import Store


def _add(store: Store, *patches: dict[str, Any], **fields: Any) -> str:
    run_id, journal = store.new_run()
    journal.append({"set": {"status": "done", **fields}})
    for patch in patches:
        journal.append(patch)
    journal.close()
    return run_id


@pytest.fixture
def store(project: Path) -> Store:
    """An empty store."""
    return Store.open(project)


@pytest.fixture
def three(store: Store) -> list[str]:
    """Three runs, oldest first."""
    shared = {"tags": {"owner": "Ann"}, "kind": "batch"}
    return [
        _add(
            store,
            {"add": {"metrics": [{"key": "acc", "value": value}]}},
            started=when,
            params=params,
            **shared,
        )
        for when, value, params in (
            (1.0, 0.5, {"lr": 0.1, "model": "tree"}),
            (2.0, 0.7, {"lr": 1e-3, "model": "forest"}),
            (3.0, math.nan, {"lr": "0.1", "deep": True}),
        )
    ]


def test_an_empty_project_has_no_runs_and_stays_empty(store: Store, project: Path) -> None:
    assert store.runs() == []
    assert not (project / ".reprokit").exists()
    run_id = _add(store)
    assert [run.id for run in store.runs()] == [run_id]


def test_the_newest_come_first(store: Store, three: list[str]) -> None:
    assert [run.id for run in store.runs()] == three[::-1]
    assert [run.id for run in store.runs(limit=2)] == three[:0:-1]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("lr=0.1", [0, 2]),
        ("lr=1E-3", [1]),
        ("params.lr=0.001", [1]),
        ("metrics.lr=0.1", []),
        ("acc>0.5", [1]),
        ("acc>=0.5 acc<0.6", [0]),
        ("model=tree", [0]),
        ("model!=tree", [1, 2]),
        ("deep=true", [2]),
        ("owner=Ann FOREST", [1]),
        ("'owner=ann'", []),
        ("ann", [0, 1, 2]),
        ("kind=batch status=done", [0, 1, 2]),
        ("status!=done", []),
        ("kind=replay", []),
        ("started>=1969-01-01", [0, 1, 2]),
        ("started<1969-01-01", []),
        ("\udc80", []),
    ],
)
def test_search(store: Store, three: list[str], query: str, found: list[int]) -> None:
    assert [run.id for run in store.runs(query=query)] == [three[number] for number in reversed(found)]


@pytest.mark.parametrize("query", ["'open", "started>soon"])
def test_a_query_that_means_nothing_is_told(store: Store, query: str) -> None:
    with pytest.raises(UsageError):
        store.runs(query=query)


def test_odd_values_survive(store: Store) -> None:
    params = {"nan": math.nan, "inf": -math.inf, "big": 10**400, "sur\udc80": ["\udc80", {"a": None}]}
    run_id = _add(store, name="\udcff", notebook="n\udc80.ipynb", params=params, started=math.nan)
    (run,) = store.runs()
    assert (run.name, run.notebook, run.params.keys()) == ("\udcff", "n\udc80.ipynb", params.keys())
    assert math.isnan(run.params["nan"])
    assert {**run.params, "nan": 0} == {**params, "nan": 0}
    assert store.resolve("n\udc80@latest") == run_id


def test_a_summary_says_what_would_stop_a_replay(store: Store) -> None:
    def answer(**use: Any) -> bool:
        read = {"path": "d.csv", "access": "read", "stored": "object", **use}
        run_id = _add(store, {"cell": 1, "add": {"reads": [read]}})
        return next(run.replayable for run in store.runs() if run.id == run_id)

    assert answer()
    assert not answer(stored="none")
    for state in ("unstable", "missing", "pending"):
        assert not answer(state=state)
    _add(store, {"add": {"gaps": [{"aspect": "code", "message": "m", "blocks": True}]}}, name="blocked")
    assert not store.runs(query="name=blocked")[0].replayable


def test_a_run_in_progress_is_followed_and_seen_to_die(store: Store) -> None:
    run_id, journal = store.new_run()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as writer:
        code = "import sys; from reprokit.store.liveness import _look; print(_look(int(sys.argv[1]))[1])"
        asked = [sys.executable, "-c", code, str(writer.pid)]
        started = int(subprocess.run(asked, capture_output=True, check=True).stdout)
        process = {**this_process().to_dict(), "pid": writer.pid, "started": started}
        journal.append({"add": {"writers": [process]}})
        assert store.runs()[0].status == "running"
        journal.append({"set": {"name": "so far"}})
        assert store.runs()[0].name == "so far"
        writer.kill()
        os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)
        assert store.runs()[0].status == "interrupted"  # no journal has changed
    journal.append({"set": {"status": "done"}})
    journal.close()
    assert store.runs()[0].status == "done"
    assert store.load(run_id).status == "done"


def test_a_finished_run_that_is_written_to_again_is_shown_anew(store: Store) -> None:
    run_id, journal = store.new_run()
    journal.append({"set": {"status": "done"}})
    assert store.runs()[0].tags == {}
    journal.append({"set": {"tags": {"late": "yes"}}})
    journal.close()
    assert store.runs(limit=5)[0].tags == {"late": "yes"}
    assert store.runs(query="late=yes")[0].id == run_id


def test_a_removed_run_leaves_the_list(store: Store, three: list[str]) -> None:
    assert len(store.runs()) == 3
    for path in store.layout.run_folder(three[1]).iterdir():
        path.unlink()
    store.layout.run_folder(three[1]).rmdir()
    assert [run.id for run in store.runs()] == [three[2], three[0]]


def test_a_run_removed_while_another_comes_is_noticed(store: Store, three: list[str]) -> None:
    assert len(store.runs()) == 3
    store.layout.run_folder(three[2]).rename(store.layout.run_folder("20990101-000000-aaaaaaaa"))
    assert {run.id for run in store.runs()} == {three[0], three[1], "20990101-000000-aaaaaaaa"}
    shutil.rmtree(store.layout.runs)
    assert store.runs() == []


def test_what_is_no_run_is_not_listed(store: Store, three: list[str]) -> None:
    (store.layout.runs / ".hidden").mkdir()
    (store.layout.runs / "lost found").mkdir()
    assert [run.id for run in store.runs()] == three[::-1]


def _garble(index: Path) -> None:
    index.write_bytes(os.urandom(20_000))


def _tear_a_page(index: Path) -> None:
    content = bytearray(index.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    index.write_bytes(content)


def _empty(index: Path) -> None:
    index.write_bytes(b"")


def _older(index: Path) -> None:
    index.unlink()
    connection = sqlite3.connect(index)
    connection.executescript("CREATE TABLE runs (id, x); INSERT INTO runs VALUES (1, 2); PRAGMA user_version = 77")
    connection.close()


def _drop_a_table(index: Path) -> None:
    connection = sqlite3.connect(index)
    connection.executescript("DROP TABLE facts")
    connection.close()


@pytest.mark.parametrize("harm", [Path.unlink, _garble, _tear_a_page, _empty, _older, _drop_a_table])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_harmed_index_is_built_again(store: Store, three: list[str], harm: Any, fresh: bool) -> None:
    before = repr(store.runs())
    harm(store.layout.index)
    store = Store.open(store.layout.project) if fresh else store
    assert [run.id for run in store.runs(query="acc>0.6")] == [three[1]]
    assert repr(store.runs()) == before
    assert repr(Store.open(store.layout.project).runs()) == before


def test_the_index_never_uses_a_write_ahead_log(store: Store, three: list[str]) -> None:
    store.runs()
    connection = sqlite3.connect(store.layout.index)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_reindex_counts_the_runs(store: Store, three: list[str]) -> None:
    assert store.reindex() == 3


def test_a_run_that_cannot_be_read_hides_no_other(store: Store, three: list[str]) -> None:
    bad = _add(store, {"set": {"name": 7}})
    newer = _add(store, schema="9.0")
    found = {run.id: run for run in store.runs()}
    assert found.keys() == {*three, bad, newer}
    assert not found[bad].replayable
    assert "9.0" in str(found[newer].reason)


def test_a_forked_child_and_its_parent_both_list(store: Store, three: list[str]) -> None:
    expected = [run.id for run in store.runs()]
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            same = [run.id for run in store.runs()] == expected
            os._exit(0 if same else 1)
        children.append(child)
    assert [run.id for run in store.runs()] == expected
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def test_threads_may_list_while_runs_come(store: Store) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                _add(Store.open(store.layout.project))
                Store.open(store.layout.project).runs(limit=3)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.runs()) == 40


def test_a_database_in_memory_says_the_same(store: Store, three: list[str], project: Path) -> None:
    on_disk = store.runs()
    index = Index(store.layout, store.load)
    index._in_memory, index._seeded = True, False
    assert repr(index.runs()) == repr(on_disk)
    seeded = Index(store.layout, store.load)
    seeded._in_memory = True
    assert repr(seeded.runs(query="lr=0.1")) == repr(store.runs(query="lr=0.1"))


def test_dates_are_local(store: Store) -> None:
    run_id = _add(store, started=datetime(2025, 5, 5, 0, 30).timestamp())
    assert [run.id for run in store.runs(query="started>=2025-05-05 started<2025-05-05T01:00")] == [run_id]
    assert store.runs(query="started>=2025-05-06") == []

"""What the patches mean."""

from __future__ import annotations

from typing import Any

import pytest

from reprokit.errors import SchemaError
from reprokit.records import Process
from reprokit.store.assemble import assemble

ID = "20250102-030405-abcdefgh"
WRITER = {"host": "h", "boot": "b", "pid": 1, "started": 2}


def _dead(process: Process) -> bool:
    return False


def _use(path: str, **fields: Any) -> dict[str, Any]:
    return {"path": path, "access": "read", **fields}


def test_later_values_win_and_tables_merge() -> None:
    run = assemble(
        ID,
        [
            {"t": 5.0, "set": {"name": "a", "params": {"x": 1, "y": 1}}},
            {"t": 6.0, "set": {"name": "b", "params": {"y": 2}, "tags": {"k": "v"}, "id": "forged"}},
        ],
    )
    assert (run.id, run.name, run.params, run.tags, run.started) == (
        ID,
        "b",
        {"x": 1, "y": 2},
        {"k": "v"},
        5.0,
    )


def test_cells_come_in_order_and_once_each() -> None:
    run = assemble(ID, [{"cell": 2, "set": {"source": "b"}}, {"cell": 1}, {"cell": 2, "set": {"status": "done"}}])
    assert [(cell.seq, cell.source, cell.status) for cell in run.cells] == [
        (1, "", "running"),
        (2, "b", "done"),
    ]


def test_a_hashed_file_replaces_a_pending_one_at_its_place() -> None:
    first = [_use("a", state="pending"), _use("b"), {**_use("a"), "access": "write"}]
    run = assemble(ID, [{"cell": 1, "add": {"reads": first}}, {"cell": 1, "add": {"reads": [_use("a", size=3)]}}])
    assert [(use.path, use.access, use.state) for use in run.cells[0].reads] == [
        ("a", "read", "stable"),
        ("b", "read", "stable"),
        ("a", "write", "stable"),
    ]


def test_the_parent_has_the_last_word_on_the_status() -> None:
    agent = [{"set": {"status": "done", "ended": 1.0, "reason": "old"}}]
    batch = [
        {"set": {"status": "failed", "ended": 2.0, "reason": "cell 3 failed"}},
        {"set": {"status": "running"}},
    ]
    run = assemble(ID, agent, batch, _dead)
    assert (run.status, run.ended, run.reason) == ("failed", 2.0, "cell 3 failed")
    assert assemble(ID, agent).reason is None


def test_fill_gives_way_to_what_was_told_and_yields_nothing_known() -> None:
    agent = [{"cell": 1, "set": {"status": "done", "error": None}}, {"cell": 2, "set": {"status": "running"}}]
    fills = [{"cell": seq, "fill": {"status": "interrupted", "error": "died"}} for seq in (1, 2, 3)]
    for batch in (fills, [*reversed(fills)]):
        cells = assemble(ID, agent, batch).cells
        assert [cell.status for cell in cells] == ["done", "interrupted", "interrupted"]
    assert assemble(ID, fills, agent).cells[0].status == "done"


def test_a_run_whose_writers_died_is_interrupted_where_it_was() -> None:
    lines = [{"t": 1.0, "add": {"writers": [WRITER, WRITER]}}, {"t": 2.0, "cell": 7, "set": {"source": "x"}}]
    run = assemble(ID, lines, (), _dead)
    assert (run.status, run.reason) == ("interrupted", "the kernel ended in the middle of cell 7")
    assert (run.ended, run.cells[0].status, len(run.writers)) == (2.0, "interrupted", 1)
    idle = assemble(ID, [*lines, {"t": 3.0, "cell": 7, "set": {"status": "done"}}], (), _dead)
    assert (idle.reason, idle.cells[0].status) == ("the kernel ended before the run was stopped", "done")


@pytest.mark.parametrize("answer", [True, None])
def test_a_run_with_a_writer_that_may_live_is_running(answer: bool | None) -> None:
    dead = {**WRITER, "pid": 99}
    run = assemble(
        ID,
        [{"add": {"writers": [dead, WRITER]}}, {"cell": 1}],
        (),
        lambda process: answer if process.pid == 1 else False,
    )
    assert (run.status, run.cells[0].status) == ("running", "running")


def test_a_run_without_a_line_is_there_with_the_time_in_its_id() -> None:
    run = assemble("19700101-000100-aaaaaaaa", [], (), _dead)
    assert (run.started, run.status) == (60.0, "interrupted")


@pytest.mark.parametrize(
    "patch",
    [
        {"set": []},
        {"add": {"notes": "text"}},
        {"cell": "one"},
        {"set": {"name": 3}},
        {"add": {"writers": [{"host": "h"}]}},
        {"fill": 1},
    ],
)
def test_patches_of_the_wrong_form_are_refused(patch: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        assemble(ID, [patch], (), _dead)


def test_a_newer_schema_is_refused_and_unknown_fields_are_not() -> None:
    assert assemble(ID, [{"set": {"schema": "1.9", "colour": "red"}}]).schema == "1.9"
    with pytest.raises(SchemaError):
        assemble(ID, [{"set": {"schema": "2.0"}}])

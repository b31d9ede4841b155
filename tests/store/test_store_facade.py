"""The parts together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reprokit.errors import RunNotFound, StoreError
from reprokit.store.store import Store


def test_kernel_and_parent_write_one_run(project: Path) -> None:
    store = Store.open(project / ".")
    run_id, batch = store.new_run("batch")
    same, agent = store.new_run(run_id=run_id)
    assert same == run_id
    agent.append({"cell": 1, "set": {"source": "1/0"}})
    batch.append({"cell": 1, "fill": {"status": "failed"}})
    batch.append({"set": {"status": "failed", "reason": "cell 1 failed"}})
    agent.close()
    batch.close()
    run = store.load(run_id)
    assert (run.status, run.cells[0].status, run.reason) == ("failed", "failed", "cell 1 failed")
    with pytest.raises(StoreError):
        store.new_run(run_id=run_id)


def test_no_such_run(project: Path) -> None:
    for name in ("20250101-000000-aaaaaaaa", "../..", ""):
        with pytest.raises(RunNotFound):
            Store.open(project).load(name)


def test_a_damaged_line_is_told_with_the_run(project: Path) -> None:
    store = Store.open(project)
    run_id, journal = store.new_run()
    for number in (1, 2, 3):
        journal.append({"cell": number, "set": {"source": "x", "status": "done"}})
    journal.close()
    content = journal.path.read_bytes()
    journal.path.write_bytes(content.replace(b'"cell":2', b'"cell":9'))
    run = store.load(run_id)
    assert [cell.seq for cell in run.cells] == [1]
    assert run.reason == "line 2 of journal.jsonl is damaged"
    assert [gap.blocks for gap in run.gaps] == [True]
    assert not store.runs()[0].replayable


def test_the_kernel_side_imports_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "from reprokit.store import layout, journal, objects, liveness\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before} - {'reprokit'}\n"
        "print(sorted(names - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_one_run_needs_no_database(project: Path) -> None:
    code = "import sys; from reprokit.store.store import Store; Store.open(); print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

"""Folders, run ids and the project root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reprokit.errors import RunNotFound, SchemaError, StoreError
from reprokit.settings import Settings
from reprokit.store.layout import Layout, is_run_id, new_run_id, project_root, started_at
from reprokit.store.store import Store


def test_the_git_top_level_is_the_project(project: Path) -> None:
    inner = project / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").touch()
    assert project_root(inner) == project


def test_without_git_the_nearest_mark_is_the_project(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    assert project_root(inner) == inner
    (tmp_path / "outer" / "pyproject.toml").touch()
    assert project_root(inner) == tmp_path / "outer"


def test_run_ids_sort_by_time_and_never_touch_random() -> None:
    assert new_run_id(1e9) < new_run_id(1e9 + 1)
    assert started_at(new_run_id(1e9)) == 1e9
    assert len({new_run_id(0) for _ in range(1000)}) == 1000
    assert started_at("mine") == 0.0


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a\n"])
def test_a_run_id_cannot_leave_the_store(tmp_path: Path, name: str) -> None:
    assert not is_run_id(name)
    with pytest.raises(RunNotFound):
        Layout(tmp_path, tmp_path / "s").run_folder(name)


def test_finding_writes_nothing(project: Path) -> None:
    before = sorted(project.rglob("*"))
    layout = Layout.find(project)
    assert (layout.project, layout.root) == (project, project / ".reprokit")
    assert not layout.exists()
    assert sorted(project.rglob("*")) == before


def test_creating_twice_is_creating_once_and_git_does_not_see_it(project: Path) -> None:
    layout, gap = Layout.find(project).create()
    assert gap is None
    assert layout.create() == (layout, None)
    status = subprocess.run(["git", "status", "--porcelain"], cwd=project, capture_output=True, check=True)
    assert status.stdout == b""
    assert sorted(path.name for path in layout.root.iterdir()) == [
        ".gitignore",
        "VERSION",
        "locks",
        "objects",
        "runs",
    ]


def test_the_store_folder_is_a_setting(project: Path) -> None:
    assert Layout.find(project, Settings(store="kept/here")).create()[0].root == project / "kept" / "here"


def test_an_empty_version_left_by_a_power_cut_is_written_anew(project: Path) -> None:
    layout, _ = Layout.find(project).create()
    (layout.root / "VERSION").write_text("")
    layout.create()
    assert (layout.root / "VERSION").read_text() == "1\n"


def test_a_newer_store_is_refused(project: Path) -> None:
    layout, _ = Layout.find(project).create()
    (layout.root / "VERSION").write_text("2\n")
    with pytest.raises(SchemaError):
        layout.create()
    with pytest.raises(SchemaError):
        Store.open(project)


def test_a_file_in_the_place_of_the_store_is_told(project: Path) -> None:
    (project / ".reprokit").write_text("not a folder")
    with pytest.raises(StoreError, match="no store can be made"):
        Layout.find(project).create()


_AS_NOBODY = """
import json, os, sys, tempfile
from pathlib import Path
from reprokit.store.store import Store

with tempfile.TemporaryDirectory() as folder:  # a rehearsal: what is imported later may not be readable then
    rehearsal = Store.open(Path(folder))
    rehearsal.new_run()[1].close()
    rehearsal.runs(query="x=1")
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
project = Path(sys.argv[1])
store = Store.open(project)
before = [run.id for run in store.runs()]
run_id, journal = store.new_run()
journal.append({"set": {"status": "done"}})
journal.close()
again = Store.open(project)
print(json.dumps({
    "before": before, "root": str(store.layout.root), "gap": store.gap and store.gap.message,
    "found": [run.id for run in again.runs()], "run": run_id,
}))
"""


@pytest.fixture
def nobody(project: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a user who may write a data folder and nothing else."""
    if os.getuid() == 0:
        for folder in (tmp_path, *tmp_path.parents[:3]):  # of the test, of its worker, of this session, of all
            if folder.stat().st_mode & 0o055 == 0:
                os.chmod(folder, 0o755)
    data = tmp_path / "data"
    data.mkdir()
    os.chmod(data, 0o777)
    return {**os.environ, "REPROKIT_DATA": str(data)}


def _as_nobody(project: Path, environment: dict[str, str]) -> dict[str, object]:
    command = [sys.executable, "-c", _AS_NOBODY, str(project)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_read_only_project_has_its_store_in_the_data_folder(project: Path, nobody: dict[str, str]) -> None:
    os.chmod(project, 0o555)
    try:
        told = _as_nobody(project, nobody)
    finally:
        os.chmod(project, 0o755)
    assert str(told["root"]).startswith(nobody["REPROKIT_DATA"])
    assert "read-only" in str(told["gap"])
    assert told["found"] == [told["run"]]
    assert not (project / ".reprokit").exists()


def test_a_read_only_store_is_still_read(project: Path, nobody: dict[str, str]) -> None:
    run_id, journal = Store.open(project).new_run()
    journal.append({"set": {"status": "done"}})
    journal.close()
    folders = [path for path in (project, *(project / ".reprokit").rglob("*")) if path.is_dir()]
    for folder in (*folders, project / ".reprokit"):
        os.chmod(folder, 0o555)
    try:
        told = _as_nobody(project, nobody)
    finally:
        for folder in (*folders, project / ".reprokit"):
            os.chmod(folder, 0o755)
    assert told["before"] == [run_id]
    assert not (project / ".reprokit" / "index.sqlite").exists()

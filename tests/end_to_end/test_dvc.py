"""Data above the storing limit that the user tracks with DVC comes back from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workbench import Bench

READ = "text = open('data/big.txt').read()\nprint(len(text), text[:3])"


def dvc(bench: Bench, *arguments: str) -> None:
    environ = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(Path.home() / "site")}
    command = [sys.executable, "-m", "dvc", *arguments, "--quiet"]
    subprocess.run(command, cwd=bench.project, env=environ, check=True, capture_output=True)


def contents(project: Path) -> dict[str, bytes]:
    """Return the user's own files: without the store, and what git and DVC note for themselves."""
    files = (path for path in project.rglob("*") if path.is_file())
    named = {path.relative_to(project): path for path in files}
    return {str(name): path.read_bytes() for name, path in named.items() if name.parts[0] not in (".reprokit", ".git")}


@pytest.fixture
def captured(bench: Bench) -> Bench:
    """A project with a run that read a file which only DVC keeps, and that has another content today."""
    (bench.project / "pyproject.toml").write_text('[tool.reprokit]\nstore_limit = "1 kB"\n')
    (bench.project / "data").mkdir()
    (bench.project / "data" / "big.txt").write_text("abc" * 2000)
    dvc(bench, "init")
    dvc(bench, "add", "data/big.txt")
    bench.notebook("work.ipynb", READ)
    bench.commit()
    bench.reprokit("run", "work.ipynb")
    run = bench.latest()
    assert [use.stored for use in run.cells[0].reads if use.path == "data/big.txt"] == ["dvc"]
    assert not any("data/big.txt" in gap.message for gap in run.gaps)
    (bench.project / "data" / "big.txt").write_text("something else")
    dvc(bench, "add", "data/big.txt")
    return bench


def test_data_in_the_cache_of_dvc_replays(captured: Bench) -> None:
    """Changed, or gone: the bytes come from the cache, and nothing of the user's changes."""
    before = contents(captured.project)
    assert "from DVC" in captured.reprokit("replay", "latest", "--dry-run")
    assert captured.verdict("latest")["verdict"] == "identical"
    assert contents(captured.project) == before
    (captured.project / "data" / "big.txt").unlink()
    assert captured.verdict("latest")["verdict"] == "identical"
    assert not (captured.project / "data" / "big.txt").exists()


def test_data_that_dvc_has_lost_is_unreplayable_before_anything_runs(captured: Bench) -> None:
    shutil.rmtree(captured.project / ".dvc" / "cache")
    count = len(json.loads(captured.reprokit("runs", "--json")))
    verdict = captured.verdict("latest", code=2)
    assert verdict["verdict"] == "unreplayable"
    assert "dvc pull data/big.txt" in verdict["reasons"][0]
    assert len(json.loads(captured.reprokit("runs", "--json"))) == count, "nothing was run"


def test_a_remote_that_does_not_keep_its_promise_is_unreplayable(captured: Bench, tmp_path: Path) -> None:
    """Only asking a remote shows that it lacks the bytes; that comes before the first cell."""
    dvc(captured, "remote", "add", "--default", "--local", "here", str(tmp_path / "remote"))
    count = len(json.loads(captured.reprokit("runs", "--json")))
    saved = captured.project / ".dvc" / "cache"
    saved.rename(tmp_path / "cache")
    verdict = captured.verdict("latest", code=2)
    assert verdict["verdict"] == "unreplayable"
    assert "dvc pull data/big.txt" in verdict["reasons"][0]
    assert len(json.loads(captured.reprokit("runs", "--json"))) == count, "nothing was run"
    (tmp_path / "cache").rename(saved)
    dvc(captured, "push", "--all-commits")
    shutil.rmtree(saved)
    assert captured.verdict("latest")["verdict"] == "identical"
    assert not saved.exists()

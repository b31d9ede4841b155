"""The environment of each cell: looked at when something may have been installed, listed when something was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reprokit.records import Run
from reprokit.store.store import Store

RECORDED = Path(__file__).with_name("recorded.py")
# A user's cells are not so quick that the environment is first looked at after some of them.
WAIT = "import gc; [one for one in gc.get_objects() if type(one).__name__ == 'Session'][0].catch_up()"


def record(project: Path, *sources: str) -> Run:
    """Run cells in a process of its own and return their run."""
    file = project.parent / "cells.json"
    file.write_text(json.dumps(sources))
    subprocess.run([sys.executable, str(RECORDED), "record", str(file)], cwd=project, check=True, capture_output=True)
    store = Store.open(project)
    return store.load(store.resolve("latest"))


@pytest.fixture(autouse=True)
def no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPROKIT_LOCK", "never")


def test_a_longer_path_is_no_other_environment(project: Path, tmp_path: Path) -> None:
    run = record(project, "x = 1", f"import sys; sys.path.append({str(tmp_path)!r})", "x = 2", "x = 3")
    assert len(run.environments) == 1
    assert {cell.environment for cell in run.cells} == {run.environments[0].fingerprint}


def test_what_is_installed_in_the_middle_is_another_environment(project: Path, tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    info = site / "rk_new-1.0.dist-info"
    install = f"""
import os, sys
os.makedirs({str(info)!r})
open({str(info / "METADATA")!r}, "w").write("Name: rk_new\\nVersion: 1.0\\n")
open({str(info / "RECORD")!r}, "w").write("")
sys.path.append({str(site)!r})
"""
    run = record(project, WAIT, install, WAIT, "x = 3")
    before, after = run.environments
    assert {d.name for d in after.distributions} - {d.name for d in before.distributions} == {"rk-new"}
    assert [cell.environment for cell in run.cells] == [before.fingerprint] * 2 + [after.fingerprint] * 2
    assert run.environment == after

"""Runs that never end: what the agent holds in memory does not grow with the cells, the files, or the output."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ENDLESS = Path(__file__).with_name("endless.py")
MiB = 2**20


def told(folder: Path, mode: str, *amounts: int) -> dict[str, Any]:
    """Run ``endless.py`` in a project of its own and return what it tells."""
    project = folder / mode
    project.mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("REPROKIT_", "GIT_", "XDG_"))}
    environ = {**kept, "HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "REPROKIT_LOCK": "never"}
    subprocess.run(["git", "init", "-q"], cwd=project, env=environ, check=True)
    done = subprocess.run(
        [sys.executable, str(ENDLESS), str(project), mode, *map(str, amounts)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_memory_is_bounded(tmp_path: Path) -> None:
    plain, watched = (told(tmp_path, mode, 300, 1_000, 20) for mode in ("plain", "watched"))
    assert watched["all"] - plain["all"] < 32 * MiB, {**watched, "took": []}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_memory_is_bounded_and_cells_cost_the_same_for_ever(tmp_path: Path) -> None:
    plain, watched = (told(tmp_path, mode, 10_000, 100_000, 1_000) for mode in ("plain", "watched"))
    assert watched["all"] - plain["all"] < 64 * MiB, {**watched, "took": []}
    first, last = (statistics.median(watched["took"][part]) for part in (slice(0, 1000), slice(-1000, None)))
    assert last < 1.5 * first
    assert watched["journal"] < 10_000 * 2_000 + 100_000 * 1_000  # bytes: for each cell and each file

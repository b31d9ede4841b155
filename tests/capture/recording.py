"""Records or replays cells under a real session, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from reprokit.records import Run
from reprokit.store.store import Store

RECORDED = Path(__file__).with_name("recorded.py")


def process(mode: str, cells: Sequence[str], project: Path, **environ: str) -> list[str]:
    """Run the cells in a process of its own, recorded or replayed, and return what each gave."""
    file = project.parent / "cells.json"
    file.write_text(json.dumps(list(cells)))
    done = subprocess.run(
        [sys.executable, str(RECORDED), mode, str(file)],
        cwd=project,
        env={**os.environ, "REPROKIT_LOCK": "never", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    results: list[str] = json.loads(done.stdout.splitlines()[-1])
    return results


def latest(project: Path) -> Run:
    """Return the newest run that is no replay."""
    store = Store.open(project)
    return store.load(store.resolve("latest"))

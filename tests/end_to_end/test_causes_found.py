"""``reprokit explain``: differences that were planted, and the cause that replays with one thing changed find."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from workbench import Bench, kernel_of, session, uv

from reprokit.records import Explanation
from reprokit.replay import environment
from reprokit.replay.comparison import Comparison
from reprokit.replay.conditions import Conditions
from reprokit.replay.experiments import Experiments, packages_today
from reprokit.replay.explain import explain
from reprokit.store.store import Store


def explained(bench: Bench, **conditions: Any) -> Explanation:
    """Return why the latest run's replay under some conditions is not the same."""
    store = Store.open(bench.project)
    run = bench.latest()
    laboratory = Experiments(store, run, comparison=Comparison(), budget_s=600)
    asked = Conditions(environment="current", **conditions)
    return explain(run, asked, laboratory, packages=packages_today(run.environment))


def test_the_clock_is_found_by_the_command(bench: Bench) -> None:
    bench.notebook("clock.ipynb", "import time", "x = 1", "print(int(time.time()) // 2)", "print('after')")
    bench.commit()
    bench.reprokit("run", "clock.ipynb")
    recorded = int(time.time()) // 2
    while int(time.time()) // 2 == recorded:  # until the notebook prints another number
        time.sleep(0.05)
    asked = ("explain", "latest", "--env", "current")
    hasty = json.loads(bench.reprokit(*asked, "--budget", "0", "--json", code=1))
    assert (hasty["cause"], hasty["how"], hasty["complete"]) == ("time", "evidence", False)
    assert len(hasty["experiments"]) == 1
    command = [sys.executable, "-m", "reprokit", *asked, "--resume", "--verbose"]
    done = subprocess.run(command, cwd=bench.project, env=bench.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "with the recorded time, the replay is the same" in done.stdout
    assert [line.rpartition(": ")[2] for line in done.stderr.splitlines()] == [
        "environment current, clock recorded",  # the first replay was made before
        "environment current, clock recorded, once more",
    ]
    found = json.loads(bench.reprokit(*asked, "--resume", "--json", code=1))
    assert (found["cause"], found["how"], found["cell"], found["complete"]) == ("time", "restored", 3, True)
    assert found["experiments"][0] == hasty["experiments"][0]
    assert len(found["experiments"]) == 3  # as asked, and twice with the recorded time, up to the cell alone
    assert [one["changed"].get("until") for one in found["experiments"]] == [None, 3, 3]
    page = bench.project / "verdict.html"
    said = bench.reprokit("replay", "latest", "--env", "current", "--explain", "--html", str(page), code=1)
    assert "diverged at cell 3" in said
    assert "with the recorded time, the replay is the same" in said
    assert "<html" in page.read_text()


def test_what_is_the_same_needs_no_explanation(bench: Bench) -> None:
    bench.notebook("calm.ipynb", "print(1 + 1)")
    bench.commit()
    bench.reprokit("run", "calm.ipynb")
    assert "nothing to explain" in bench.reprokit("explain", "latest", "--env", "current")
    bench.reprokit("explain", "absent", code=2)


def test_the_package_is_found_among_those_that_differ(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {"cycler": "0.11.0", "six": "1.15.0"}
    today = {dist.name: dist.version for dist in environment.current().distributions if dist.origin == "index"}
    kept = [f"{name}=={version}" for name, version in today.items() if name not in older]
    (tmp_path / "constraints.txt").write_text("\n".join(kept))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("REPROKIT_CACHE", str(bench.cache))
    python = tmp_path / "recorded" / "bin" / "python"
    uv("venv", "--quiet", "--no-project", "--python", sys.executable, tmp_path / "recorded")
    wanted = ["ipykernel", *(f"{name}=={version}" for name, version in older.items())]
    uv("pip", "install", "--quiet", "--python", python, "--constraint", tmp_path / "constraints.txt", *wanted)
    kernel_of(python, tmp_path / "jupyter" / "kernels" / "recorded")
    (bench.project / "readme.txt").write_text("x")
    bench.commit()
    session(bench, "recorded", ["%repro start", "import cycler, six", "print(cycler.__version__)", "%repro stop"])

    found = explained(bench)
    assert (found.cause, found.how) == ("environment", "restored")
    assert found.packages == (f"cycler 0.11.0 → {today['cycler']}",)

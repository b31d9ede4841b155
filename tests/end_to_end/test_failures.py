"""What goes wrong ends in a clear message or a recorded gap, and loses nothing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from workbench import Bench

from reprokit.notebook import engine
from reprokit.store.store import Store

READ = "text = open('data.txt').read()\nprint(text)"
DRAW = "import random\nprint(random.random())"


def git(bench: Bench, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=bench.project, check=True, capture_output=True)


def without_git(bench: Bench) -> None:
    shutil.rmtree(bench.project / ".git")


def empty_repository(bench: Bench) -> None:
    without_git(bench)
    git(bench, "init", "--quiet")


def detached(bench: Bench) -> None:
    git(bench, "checkout", "--quiet", "--detach")


@pytest.mark.parametrize("state", [without_git, empty_repository, detached])
def test_any_kind_of_project_replays(bench: Bench, state: object) -> None:
    """No git, a repository without a commit, a detached HEAD: code and data come back all the same."""
    (bench.project / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    (bench.project / "data.txt").write_text("21")
    bench.notebook("work.ipynb", "from helper import double", "print(double(int(open('data.txt').read())))", DRAW)
    state(bench)  # type: ignore[operator]
    bench.reprokit("run", "work.ipynb")
    (bench.project / "helper.py").write_text("def double(x):\n    return 0\n")
    (bench.project / "data.txt").write_text("1")
    assert bench.verdict("latest")["verdict"] == "identical"


def test_a_read_only_project_is_captured_elsewhere(bench: Bench) -> None:
    """Captured in the data folder, with a gap that says so, and replayed from there."""
    (bench.project / "data.txt").write_text("hello")
    bench.notebook("work.ipynb", READ, DRAW)
    reprokit = f"{shlex.quote(sys.executable)} -m reprokit"
    script = f"touch x 2>/dev/null && exit 3; {reprokit} run work.ipynb && {reprokit} replay latest && {reprokit} show"
    done = read_only(bench, script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout
    assert not (bench.project / ".reprokit").exists()
    assert (Path.home() / ".local" / "share" / "reprokit").exists()
    assert "read-only" in done.stdout or "cannot be written" in done.stdout


def read_only(bench: Bench, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in the project while it cannot be written; root ignores modes, so it gets a mount."""
    mounted = 'mount --bind "$PWD" "$PWD" && mount -o remount,ro,bind "$PWD" && cd "$PWD" && '
    command = ["unshare", "--mount", "sh", "-c", mounted + f"({script})"] if os.getuid() == 0 else ["sh", "-c", script]
    bench.project.chmod(0o555)
    try:
        return subprocess.run(
            command, cwd=bench.project, env=bench.environ, capture_output=True, text=True, check=False
        )
    finally:
        bench.project.chmod(0o755)


def test_a_kernel_that_does_not_start(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is told with the kernel's own words, and recorded as a run that was cut off."""
    folder = tmp_path / "kernels" / "broken"
    folder.mkdir(parents=True)
    argv = [sys.executable, "-c", "import sys; sys.exit('libfoo.so: cannot be opened')", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "broken", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    bench.notebook("work.ipynb", "1")
    said = bench.reprokit("run", "work.ipynb", "--kernel", "broken", code=1)
    assert "the kernel did not start: libfoo.so: cannot be opened" in said
    assert bench.latest().status == "interrupted"


def test_data_above_the_limit_is_a_gap_and_replays_while_it_is_there(bench: Bench) -> None:
    """Only the digest of a large file is kept; when the file is gone the replay says so before it runs anything."""
    (bench.project / "pyproject.toml").write_text('[tool.reprokit]\nstore_limit = "1 kB"\nsnapshot_limit = "1 kB"\n')
    (bench.project / "data.txt").write_text("x" * 5000)
    bench.notebook("work.ipynb", READ)
    bench.reprokit("run", "work.ipynb")
    run = bench.latest()
    assert [use.stored for use in run.cells[0].reads] == ["none"]
    assert any("storing limit" in gap.message and gap.remedy for gap in run.gaps)
    assert bench.verdict("latest")["verdict"] == "identical"
    (bench.project / "data.txt").write_text("changed")
    before = len(json.loads(bench.reprokit("runs", "--json")))
    verdict = bench.verdict("latest", code=2)
    assert verdict["verdict"] == "unreplayable"
    assert "data.txt" in verdict["reasons"][0]
    assert len(json.loads(bench.reprokit("runs", "--json"))) == before, "nothing was run"


def test_a_missing_object_is_unreplayable_before_anything_runs(bench: Bench) -> None:
    """Data that was kept as an object, which is gone, and the file as well."""
    (bench.project / ".gitignore").write_text("data.txt\n")
    (bench.project / "data.txt").write_text("precious")
    bench.notebook("work.ipynb", READ)
    bench.reprokit("run", "work.ipynb")
    run = bench.latest()
    (use,) = run.cells[0].reads
    assert use.stored == "object"
    (bench.project / "data.txt").unlink()
    assert bench.verdict("latest")["verdict"] == "identical"
    name = str(use.digest).removeprefix("sha256:")
    (bench.project / ".reprokit" / "objects" / name[:2] / name[2:]).unlink()
    text = bench.reprokit("replay", "latest", code=2)
    assert "unreplayable" in text
    assert "data.txt" in text


def test_a_file_outside_the_project_is_used_in_place_or_unreplayable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without mounts, an absolute path outside the project is used while it holds the same bytes."""
    monkeypatch.setenv("REPROKIT_MOUNTS", "never")
    outside = Path.home() / "elsewhere" / "shared.txt"
    outside.parent.mkdir()
    outside.write_text("shared")
    bench.notebook("work.ipynb", f"print(open({str(outside)!r}).read())")
    bench.reprokit("run", "work.ipynb")
    assert bench.verdict("latest")["verdict"] == "identical"
    outside.write_text("other")
    verdict = bench.verdict("latest", code=2)
    assert "shared.txt" in verdict["reasons"][0]


def test_a_link_out_of_the_project_is_never_written_through(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """``data`` is a link to a folder elsewhere; without mounts it is used while its file is the same."""
    monkeypatch.setenv("REPROKIT_MOUNTS", "never")
    elsewhere = Path.home() / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "shared.txt").write_text("shared")
    (bench.project / "data").symlink_to(elsewhere)
    bench.notebook("work.ipynb", "print(open('data/shared.txt').read())")
    bench.reprokit("run", "work.ipynb")
    assert bench.verdict("latest")["verdict"] == "identical"
    (elsewhere / "shared.txt").write_text("other")
    assert bench.verdict("latest", code=2)["verdict"] == "unreplayable"
    assert (elsewhere / "shared.txt").read_text() == "other"


def test_a_file_of_secrets_is_never_kept(bench: Bench) -> None:
    """Its digest is; a replay uses the file as it lies there."""
    (bench.project / ".env").write_text("API_TOKEN=correct-horse-battery-staple\n")
    bench.notebook("work.ipynb", "print(len(open('.env').read()))")
    bench.reprokit("run", "work.ipynb")
    assert any(".env" in gap.message for gap in bench.latest().gaps)
    assert bench.verdict("latest")["verdict"] == "identical"
    kept = [path for path in (bench.project / ".reprokit").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"correct-horse" in path.read_bytes()]
    found = subprocess.run(
        ["git", "grep", "-c", "correct-horse", bench.latest().code.tree],  # type: ignore[union-attr]
        cwd=bench.project, capture_output=True, check=False,
    )  # fmt: skip
    assert found.returncode == 1, "nor in the snapshot"


def test_a_notebook_without_a_kernelspec_runs(bench: Bench) -> None:
    """As some tools write them."""
    bench.notebook("bare.ipynb", "#: parameters\nn = 1", "print(n + 1)", kernelspec=False)
    bench.reprokit("run", "bare.ipynb", "-p", "n", "41")
    run = bench.latest()
    assert run.status == "done"
    assert run.params == {"n": 41}
    assert bench.verdict("latest")["verdict"] == "identical"


def test_an_unknown_kernel_is_one_line(bench: Bench) -> None:
    bench.notebook("work.ipynb", "1")
    done = bench.reprokit("run", "work.ipynb", "--kernel", "fortran", "--json", code=2)
    assert "fortran" in json.loads(done)["error"]


def test_a_cell_that_raises_fails_the_run_and_replays(bench: Bench) -> None:
    """The cells after it did not run, and a replay ends the same way."""
    bench.notebook("work.ipynb", DRAW, "1 / 0", "print('never')")
    bench.reprokit("run", "work.ipynb", "-o", "out.ipynb", code=1)
    run = bench.latest()
    assert (run.status, [cell.status for cell in run.cells]) == ("failed", ["done", "failed"])
    assert run.cells[1].error == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in (bench.project / "out.ipynb").read_text()
    assert bench.verdict("latest")["verdict"] == "identical"
    replay = json.loads(bench.reprokit("runs", "--json", "--limit", "1"))[0]
    assert (replay["replay_of"], replay["status"]) == (run.id, "failed")


@pytest.mark.parametrize("engine", ["reprokit", "papermill"])
def test_a_dead_kernel_is_recorded_as_dead(bench: Bench, engine: str) -> None:
    """With papermill's metadata put right: what never ran is not called completed."""
    bench.notebook("work.ipynb", DRAW, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "print('never')")
    if engine == "reprokit":
        bench.reprokit("run", "work.ipynb", "-o", "out.ipynb", code=1)
    else:
        command = [sys.executable, "-m", "papermill", "--engine", "reprokit", "work.ipynb", "out.ipynb"]
        done = subprocess.run(
            command, cwd=bench.project, env=bench.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
    run = bench.latest()
    assert run.status == "interrupted"
    assert "kernel died" in str(run.reason)
    assert [cell.status for cell in run.cells] == ["done", "interrupted"]
    assert run.cells[0].outputs is not None
    notebook = nbformat.read(bench.project / "out.ipynb", as_version=4)
    states = [cell.metadata["papermill"]["status"] for cell in notebook.cells]
    assert states == ["completed", "failed", "pending"]


def test_what_a_crashing_kernel_said_is_the_reason(bench: Bench) -> None:
    """The interpreter's own last words are kept."""
    bench.notebook("work.ipynb", "import ctypes, faulthandler\nfaulthandler.enable()\nctypes.string_at(0)")
    bench.reprokit("run", "work.ipynb", code=1)
    run = bench.latest()
    assert run.status == "interrupted"
    assert "Segmentation fault" in str(run.reason)


def test_a_cell_that_takes_too_long_is_recorded_as_such(bench: Bench) -> None:
    bench.notebook("work.ipynb", "x = 1", "import time\ntime.sleep(600)", "print('never')")
    bench.reprokit("run", "work.ipynb", "--timeout", "6", code=1)  # enough for the first cell
    run = bench.latest()
    assert run.status == "interrupted"
    assert "longer than" in str(run.reason)
    assert [cell.status for cell in run.cells] == ["done", "interrupted"]


def test_a_cell_that_cannot_be_interrupted_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel does not answer any more: the parent's record says how it ended."""
    deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(600)"
    path = bench.notebook("work.ipynb", "x = 1", deaf)
    monkeypatch.setattr(engine, "_AFTER_INTERRUPT_S", 1)
    run = engine.run_notebook(Store.open(bench.project), path, timeout=6)
    assert run.status == "interrupted"
    assert "longer than" in str(run.reason)
    assert [cell.status for cell in run.cells] == ["done", "interrupted"]


def test_a_lock_that_cannot_be_made_is_unreplayable_with_a_remedy(bench: Bench, tmp_path: Path) -> None:
    """Offline, and with an environment that is not today's: said before anything runs."""
    bench.notebook("work.ipynb", DRAW)
    bench.reprokit("run", "work.ipynb")
    command = [sys.executable, "-m", "reprokit", "replay", "latest", "--env", "locked", "--json"]
    nowhere = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_CACHE_DIR": str(tmp_path / "empty"),
        "UV_HTTP_RETRIES": "0",
    }
    done = subprocess.run(
        command, cwd=bench.project, env={**bench.environ, **nowhere}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["verdict"] == "unreplayable"
    assert "lock" in verdict["reasons"][0]
    assert bench.verdict("latest")["verdict"] == "identical", "today's environment is the recorded one"


def test_an_interrupted_cell_is_left_out_of_the_replay(bench: Bench) -> None:
    """What it did until Ctrl-C cannot be repeated; the rest can, and the plan says so."""
    stop = (
        "import os, signal, threading, time\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "time.sleep(60)"
    )
    errors = bench.run_cells(["%load_ext reprokit\n%repro start", "x = 1", stop, "print(x)", "%repro stop"])
    assert "KeyboardInterrupt" in errors
    run = bench.latest()
    assert [cell.status for cell in run.cells] == ["done", "done", "interrupted", "done", "done"]
    assert any("interrupted" in gap.message for gap in run.gaps)
    assert "interrupted" in bench.reprokit("replay", "latest", "--dry-run")
    assert bench.verdict("latest")["verdict"] == "identical"

"""What goes wrong while a replay is made or runs: one clear message, nothing left over, nothing damaged is used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workbench import Bench

from reprokit.replay.mounts import unavailable
from reprokit.store.store import Store

READ = "print(open('data.txt').read()[:9])"


def with_data(bench: Bench, *sources: str, size: int = 9) -> None:
    """Run a notebook that reads a file which git ignores: its bytes are an object of the store."""
    (bench.project / ".gitignore").write_text("data.txt\n")
    (bench.project / "data.txt").write_text("precious " * (size // 9))
    bench.notebook("work.ipynb", READ, *sources)
    bench.commit()
    bench.reprokit("run", "work.ipynb")


def stored(bench: Bench) -> Path:
    digest = bench.latest().cells[0].reads[0].digest or ""
    return Store.open(bench.project).objects.path(digest)


def replays(bench: Bench) -> int:
    return sum(run.startswith("20") for run in os.listdir(bench.project / ".reprokit" / "runs"))


def overwrite(path: Path, data: bytes) -> None:
    """Damage an object, which nobody is meant to write."""
    path.unlink()
    path.write_bytes(data)


@pytest.mark.skipif(bool(unavailable()), reason=unavailable())
def test_a_full_disk_is_one_message_and_nothing_is_left(bench: Bench, tmp_path: Path) -> None:
    with_data(bench, size=900_000)
    (bench.project / "data.txt").unlink()
    before, small = replays(bench), tmp_path / "small"
    small.mkdir()
    script = (
        'mount -t tmpfs -o size=400k none "$1" && cd "$2" || exit 77\n'
        '"$3" -m reprokit replay latest --env current --to "$1/there"; code=$?\n'
        'find "$1" -mindepth 1 -not -name there; exit $code'
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", small, bench.project, sys.executable],
        env=bench.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "there is no room to restore the run" in done.stderr
    assert "--to" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert replays(bench) == before
    assert not list((bench.cache / "workspaces").glob("*"))


def test_a_damaged_object_is_named_and_not_used(bench: Bench) -> None:
    with_data(bench)
    (bench.project / "data.txt").unlink()
    overwrite(stored(bench), b"something else")
    before = replays(bench)
    found = bench.verdict("latest", "--env", "current", code=2)
    (reason,) = found["reasons"]
    assert found["verdict"] == "unreplayable"
    assert "data.txt" in reason
    assert stored(bench).name in reason
    assert "damaged" in reason
    assert replays(bench) == before


def test_a_missing_object_is_told_by_the_plan(bench: Bench) -> None:
    with_data(bench)
    (bench.project / "data.txt").unlink()
    stored(bench).unlink()
    plan = bench.reprokit("replay", "latest", "--env", "current", "--dry-run", code=2)
    assert "unreplayable the bytes of data.txt were not kept" in plan


def test_a_replay_that_ends_earlier_diverges_where_it_ended(bench: Bench, tmp_path: Path) -> None:
    """The kernel dies, or leaves, in the middle: the cells before it count, the first without a record is named."""
    marker = tmp_path / "die"
    die = f"import os\nif os.path.exists({str(marker)!r}): os.kill(os.getpid(), 9)\nprint('alive')"
    bench.notebook("work.ipynb", "print(1)", die, "print(3)")
    bench.commit()
    bench.reprokit("run", "work.ipynb")
    marker.touch()
    found = bench.verdict("latest", "--env", "current", code=1)
    assert found["verdict"] == "diverged"
    assert found["first_divergence"]["cell"] == 2
    assert found["cells"][0]["verdict"] == "identical"
    again = Store.open(bench.project).load(found["replay"])
    assert (again.status, len(again.cells)) == ("interrupted", 2)
    assert "died" in str(again.reason)


def test_a_cell_that_takes_another_way_diverges_there(bench: Bench, tmp_path: Path) -> None:
    marker = tmp_path / "raise"
    bench.notebook(
        "work.ipynb",
        "print(1)",
        f"import os\nif os.path.exists({str(marker)!r}): raise SystemExit\nprint('on')",
        "print(3)",
    )
    bench.commit()
    bench.reprokit("run", "work.ipynb")
    marker.touch()
    found = bench.verdict("latest", "--env", "current", code=1)
    assert found["first_divergence"]["cell"] == 2


def until(what: object, seconds: float = 120) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_killed_replay_leaves_nothing_after_gc(bench: Bench, tmp_path: Path) -> None:
    marker, reached = tmp_path / "block", tmp_path / "reached"
    wait = (
        f"import os, time\nif os.path.exists({str(marker)!r}):\n"
        f"    open({str(reached) + '.new'!r}, 'w').write(str(os.getpid()))\n"
        f"    os.rename({str(reached) + '.new'!r}, {str(reached)!r})\n"
        "    time.sleep(600)\n"
    )
    bench.notebook("work.ipynb", wait, "print(2)")
    bench.commit()
    bench.reprokit("run", "work.ipynb")
    marker.touch()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environ = {**bench.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "reprokit", "replay", "latest", "--env", "current"]
    parent = subprocess.Popen(command, cwd=bench.project, env=environ, stdout=subprocess.DEVNULL)
    try:
        until(reached.exists)
        kernel = int(reached.read_text())
        workspaces = bench.cache / "workspaces"
        assert list(workspaces.iterdir())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        until(lambda: not lives(kernel))
    finally:
        parent.kill()
    found = subprocess.run(
        [sys.executable, "-m", "reprokit", "gc", "--json"],
        cwd=bench.project,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(found.stdout)["removed"]
    assert list(workspaces.iterdir()) == []
    assert list(temporary.glob("reprokit-*")) == []
    runs = bench.project / ".reprokit" / "runs"
    assert [
        str(path) for pattern in ("*/drive.json", "*/namespace.json", "*/*.ipynb") for path in runs.glob(pattern)
    ] == []
    refs = subprocess.run(
        ["git", "for-each-ref", "refs/reprokit"], cwd=bench.project, capture_output=True, text=True, check=True
    )
    assert len(refs.stdout.splitlines()) == 1, "that of the run"
    marker.unlink()
    assert bench.verdict("latest", "--env", "current")["verdict"] == "identical"
    shutil.rmtree(temporary)

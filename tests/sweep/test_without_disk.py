"""Points on workers that do not see the project: everything goes through a remote, and nothing counts twice."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster
from placing import PLACE, Bench, until

from reprokit.errors import ReprokitError, UsageError
from reprokit.pipeline.sweep import engines, remote
from reprokit.pipeline.sweep import place as placing
from reprokit.pipeline.sweep.claim import Point
from reprokit.pipeline.sweep.offer import known_inputs, offer
from reprokit.store import origin
from reprokit.store.lock import opened

# A script that reads what git does not have, and says where it ran.
READING = """\
import os, sys
text = open('data/in.txt').read()
import own
with open(f'out/there-{sys.argv[1]}.txt', 'w') as file:
    file.write(f'{own.doubled(text)} {os.getcwd()}')
"""


@dataclass
class Elsewhere:
    """A place that sees a remote and a home of its own, and not the project."""

    bench: Bench
    home: Path
    remote: Path

    def place(self, task: dict[str, Any]) -> dict[str, Any]:
        """Do a task in a process that finds nothing where the project is."""
        hide = ("unshare", "-m", sys.executable, "-c", HIDING, str(self.bench.root))
        command = [*hide, sys.executable, "-c", PLACE, json.dumps(task)]
        environ = {**os.environ, "HOME": str(self.home), "REPROKIT_CACHE": str(self.home / "cache")}
        done = subprocess.run(command, cwd=self.home, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


HIDING = """\
import os, subprocess, sys
subprocess.run(['mount', '-t', 'tmpfs', 'none', sys.argv[1]], check=True)
assert not os.listdir(sys.argv[1])
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Mounts an empty folder over the project, for this process alone, and runs a program."""


def can_hide() -> bool:
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return done.returncode == 0 and os.geteuid() == 0


@pytest.fixture(scope="module")
def elsewhere(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    if not can_hide():
        pytest.skip("needs the right to mount")
    (bench.root / "data").mkdir()
    (bench.root / "data" / "in.txt").write_text("ab")
    (bench.root / ".gitignore").write_text("out/\nhold\ndata/\n")
    (bench.root / "own.py").write_text("def doubled(text):\n    return text * 2\n")  # never committed
    (bench.root / "reading.py").write_text(READING)
    return Elsewhere(bench, tmp_path_factory.mktemp("elsewhere"), tmp_path_factory.mktemp("remote"))


@pytest.fixture(scope="module")
def offered(bench: Bench, elsewhere: Elsewhere) -> dict[str, Any]:
    return offer(bench.store, str(elsewhere.remote), "tried", ["data"])


def test_a_worker_without_the_project_does_a_point_and_it_counts_once(
    bench: Bench, elsewhere: Elsewhere, offered: dict[str, Any]
) -> None:
    """Code that was never committed and data that git ignores are there; the run comes back, whole, and once."""
    task = bench.task("reading.py", remote=offered)
    told = elsewhere.place(task)
    assert (told["exit_code"], told["status"]) == (0, "done"), told
    assert not (bench.root / f"out/there-{task['point']}.txt").exists(), "it ran elsewhere"
    assert bench.runs(task) == []

    store = bench.store
    ended = remote.accept(store, task, told)
    (run,) = bench.runs(task)
    assert (ended["run"], ended["exit_code"]) == (run.id, 0)
    assert bench.point(task).result() == ended
    assert run.origin == str(elsewhere.remote)
    written = {use.path: use.digest for cell in run.cells for use in cell.writes}
    text = store.objects.get_bytes(written[f"out/there-{task['point']}.txt"] or "").decode()
    assert text.split()[0] == "abab"
    assert str(elsewhere.home) in text.split()[1]
    assert "data/in.txt" in {use.path for cell in run.cells for use in cell.reads}
    assert not origin.is_trusted(store.layout, run), "to run it again here needs consent, as ever"

    assert remote.accept(store, task, told) == ended
    assert elsewhere.place(task)["run"] == run.id, "the worker knows it"
    assert len(bench.runs(task)) == 1


@pytest.mark.soak
def test_another_worker_and_another_driver_find_what_was_told_to_the_remote(
    bench: Bench, elsewhere: Elsewhere, offered: dict[str, Any], tmp_path: Path
) -> None:
    task = bench.task("reading.py", remote=offered, apart=True)
    told = elsewhere.place(task)  # and then the driver died
    assert not list(elsewhere.home.rglob(f"there-{task['point']}.txt")), "what it writes is its own there, too"
    other = Elsewhere(bench, tmp_path, elsewhere.remote)
    assert other.place({**task, "attempt": 2}) == told
    ended = remote.collect(bench.store, {**task, "attempt": 2})
    assert ended is not None
    assert (ended["run"], ended["attempt"]) == (told["run"], 1)
    assert [run.id for run in bench.runs(task)] == [told["run"]]
    assert remote.collect(bench.store, bench.task(remote=offered)) is None


@pytest.mark.soak
def test_a_point_that_failed_there_can_be_asked_for_again(
    bench: Bench, elsewhere: Elsewhere, offered: dict[str, Any]
) -> None:
    task = bench.task("nowhere.py", remote=offered)
    first = remote.accept(bench.store, task, elsewhere.place(task))
    assert (first["exit_code"], first["run"]) == (2, None)
    point = bench.point(task)
    assert point.retry()
    again = {**task, "attempt": point.attempts() + 1, "spec": {**task["spec"], "script": "reading.py"}}
    assert remote.collect(bench.store, again) is None
    second = remote.accept(bench.store, again, elsewhere.place(again))
    assert (second["exit_code"], second["attempt"]) == (0, 2)


def test_a_worker_runs_nothing_that_the_driver_did_not_offer(
    bench: Bench, elsewhere: Elsewhere, offered: dict[str, Any], tmp_path: Path
) -> None:
    """The remote has another run under the id than the one that the task tells the digest of."""
    task = bench.task("reading.py", remote={**offered, "digest": "sha256:" + "0" * 64})
    with pytest.raises(RuntimeError, match="ConsentNeeded"):
        Elsewhere(bench, tmp_path, elsewhere.remote).place(task)
    assert not list(tmp_path.rglob("reading.py"))


@pytest.mark.soak
def test_projects_of_earlier_sweeps_are_removed_unless_somebody_uses_them(
    bench: Bench, elsewhere: Elsewhere, offered: dict[str, Any], tmp_path: Path
) -> None:
    there = Elsewhere(bench, tmp_path, elsewhere.remote)
    homes = tmp_path / "cache" / "sweeps"
    for name in ("old", "used", "new"):
        (homes / name).mkdir(parents=True)
        (homes / name / "ready").touch()
        if name != "new":
            os.utime(homes / name / "ready", (0, 0))
    with opened(homes / "used" / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert there.place(bench.task("reading.py", remote=offered))["exit_code"] == 0
    left = sorted(path.name for path in homes.iterdir() if len(path.name) < 20)
    assert left == ["new", "used"]


@pytest.mark.soak
def test_a_run_of_another_point_is_not_taken(bench: Bench, elsewhere: Elsewhere, offered: dict[str, Any]) -> None:
    one, other = bench.task("reading.py", remote=offered), bench.task("reading.py", remote=offered)
    told = elsewhere.place(one)
    with pytest.raises(ReprokitError, match="is not of point"):
        remote.accept(bench.store, other, {**told, "point": other["point"]})
    assert Point(bench.book / "points" / str(other["point"])).result() is None


@pytest.mark.parametrize(("name", "message"), [("data/none.txt", "is not there"), ("/etc/hostname", "outside")])
def test_inputs_that_cannot_go_along_are_told(bench: Bench, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        offer(bench.store, str(tmp_path), "tried", [name])


def test_what_the_newest_run_read_goes_along(bench: Bench, elsewhere: Elsewhere) -> None:
    bench.store.reindex()
    assert known_inputs(bench.store, "never.ipynb") == []
    assert "data/in.txt" in known_inputs(bench.store, "reading.py")


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_on_dask_workers_that_see_nothing_of_the_project(
    bench: Bench, elsewhere: Elsewhere, offered: dict[str, Any], tmp_path: Path
) -> None:
    """Two of them, with a home of their own; one is killed in the middle of a point."""
    pytest.importorskip("distributed")
    (bench.root / "long.py").write_text(
        "import os, sys, time\n"
        f"flag = {str(tmp_path / 'go')!r}\n"
        "open(f'{flag}-{os.getpid()}', 'w').close()\n"
        "while not os.path.exists(flag):\n    time.sleep(0.02)\n"
        "open(f'out/long-{sys.argv[1]}.txt', 'w').write('x')\n"
    )
    given = offer(bench.store, str(elsewhere.remote), "tried", ["data"])
    tasks = [bench.task("long.py", remote=given) for _ in range(4)]
    hide = [*("unshare", "-m", sys.executable, "-c", HIDING), str(bench.root)]
    with cluster(tmp_path, workers=0) as made:
        for number in range(2):
            home = tmp_path / f"home-{number}"
            home.mkdir()
            made.worker(before=hide, HOME=str(home), REPROKIT_CACHE=str(home / "cache"))
        with (
            pytest.raises(UsageError, match="name a remote"),
            engines.open("dask", scheduler=made.address, book=bench.book),
        ):
            pytest.fail("its workers do not see the sweep")
        with engines.open("dask", scheduler=made.address) as engine:
            futures = [engine.executor.submit(placing.place, task) for task in tasks]
            until(lambda: len(list(tmp_path.glob("go-*"))) == 2, "two points")
            made.processes[1].kill()
            (tmp_path / "go").touch()
            ended = [
                remote.accept(bench.store, task, future.result(240))
                for task, future in zip(tasks, futures, strict=True)
            ]
    assert [one["exit_code"] for one in ended] == [0] * 4
    for task, one in zip(tasks, ended, strict=True):
        assert [run.id for run in bench.runs(task)] == [one["run"]]
        assert bench.point(task).result() == one

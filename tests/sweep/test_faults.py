"""Points on a Dask cluster whose processes are killed: every point has exactly one result, and none is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster
from placing import Bench, is_gone, kill, until

from reprokit.pipeline.sweep import engines
from reprokit.pipeline.sweep.engines import Engine
from reprokit.pipeline.sweep.place import place
from reprokit.pipeline.sweep.task import COUNTED, lost

pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
pytestmark = pytest.mark.filterwarnings("ignore")  # distributed, and tornado below it, warn of their own code

_PATIENCE_S = 240


def ended(task: dict[str, Any], future: Future[Any]) -> dict[str, Any]:
    """Return what became of a task, as the driver of a sweep has it."""
    try:
        found: dict[str, Any] = future.result(_PATIENCE_S)
    except Exception as error:
        found = lost(task, error)
    return found


def driven(
    bench: Bench,
    engine: Engine,
    tasks: list[dict[str, Any]],
    tries: int = 3,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Do tasks as the driver of a sweep has them done: one that was lost is asked for again."""
    waiting = {engine.executor.submit(place, task): (number, task, 1) for number, task in enumerate(tasks)}
    results: dict[int, dict[str, Any]] = {}
    while waiting:
        done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in done:
            number, task, count = waiting.pop(future)
            results[number] = ended(task, future)
            if results[number]["exit_code"] not in COUNTED and count < tries:
                again = {**task, "attempt": bench.point(task).attempts() + 1}
                waiting[engine.executor.submit(place, again)] = (number, again, count + 1)
        meanwhile()
    return [results[number] for number in range(len(tasks))]


def done_once(bench: Bench, task: dict[str, Any]) -> bool:
    """Return whether a point has one result, of a run that was done, and was done once."""
    result = bench.point(task).result()
    done = [run.id for run in bench.runs(task) if run.status == "done"]
    wrote = (bench.root / f"out/result-{task['point']}.txt").read_text()
    return result is not None and done == [result["run"]] and wrote == str(task["point"])


def worker_of(bench: Bench, task: dict[str, Any]) -> int:
    return int(bench.point(task).executions()[-1]["process"]["pid"])


@pytest.fixture(autouse=True)
def randomness(guards: None) -> Iterator[None]:
    """distributed draws from the generator of this process; that is no harm of ours."""
    state = random.getstate()
    yield
    random.setstate(state)


def limits() -> dict[str, str | None]:
    """Return the variables that a cluster sets, and leaves."""
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED")}


@pytest.fixture(scope="module")
def local(bench: Bench) -> Iterator[Engine]:
    """A cluster of two workers on this machine, as a sweep makes it; this process is as it was when it is gone."""
    before = limits()
    with engines.open("dask", workers=2, book=bench.book) as engine:
        yield engine
    assert limits() == before


def test_a_worker_killed_in_the_middle_of_a_point(bench: Bench, local: Engine) -> None:
    """The step ends with it, another worker does the point again; the neighbour is not touched."""
    task, other = bench.task("slow.py"), bench.task("slow.py")
    with bench.held():
        futures = [local.executor.submit(place, one) for one in (task, other)]
        _, step = bench.begun(task)
        bench.begun(other)
        kill(worker_of(bench, task))
        until(lambda: is_gone(step), "the end of the step")
    results = [ended(one, future) for one, future in zip((task, other), futures, strict=True)]
    assert [one["exit_code"] for one in results] == [0, 0], results
    assert done_once(bench, task)
    assert done_once(bench, other)
    assert [one["ended"]["exit_code"] for one in bench.point(task).executions()] == [143, 0]
    assert len(bench.point(other).executions()) == 1


@pytest.mark.soak
def test_stopping_interrupts_what_runs(bench: Bench, local: Engine) -> None:
    task = bench.task("slow.py")
    with bench.held():
        future = local.executor.submit(place, task)
        bench.begun(task)
        local.stop()
        assert ended(task, future)["exit_code"] == 130
    (run,) = bench.runs(task)
    assert (run.status, run.reason) == ("interrupted", "stopped by SIGINT")
    assert bench.point(task).result() is None


@pytest.mark.soak
def test_a_worker_killed_when_the_step_had_ended_and_nobody_knew(bench: Bench, local: Engine) -> None:
    """It is stopped while the step ends, and killed: whoever comes next takes the step's word."""
    task = bench.task("slow.py")
    with bench.held():
        future = local.executor.submit(place, task)
        bench.begun(task)
        worker = worker_of(bench, task)
        os.kill(worker, signal.SIGSTOP)
    until(lambda: bench.point(task).step_file(1).exists(), "the step's result")
    assert bench.point(task).result() is None
    kill(worker)
    assert ended(task, future)["exit_code"] == 0
    assert done_once(bench, task)
    assert len(bench.runs(task)) == 1


@pytest.mark.soak
def test_a_result_that_was_lost_after_it_counted(bench: Bench, tmp_path: Path) -> None:
    """The scheduler is stopped while the worker finishes and dies: it asks another one, which knows."""
    with cluster(tmp_path) as made, engines.open("dask", scheduler=made.address, book=bench.book) as engine:
        task = bench.task("slow.py")
        with bench.held():
            future = engine.executor.submit(place, task)
            bench.begun(task)
            made.processes[0].send_signal(signal.SIGSTOP)
        until(bench.point(task).result, "the result")
        kill(worker_of(bench, task))
        made.processes[0].send_signal(signal.SIGCONT)
        assert ended(task, future)["exit_code"] == 0
        assert done_once(bench, task)
        assert len(bench.runs(task)) == 1


@pytest.mark.soak
def test_a_point_that_kills_every_worker_is_lost_and_the_others_are_done(bench: Bench) -> None:
    """The point finds out which process placed it, and kills that: Dask gives up after the fourth."""
    (bench.root / "killer.py").write_text(
        "import json, os, sys, time\n"
        f"folder = {str(bench.book / 'points')!r} + '/' + sys.argv[1]\n"
        "claims = [name for name in os.listdir(folder) if name.startswith('claim-')]\n"
        "newest = max(claims, key=lambda name: int(name[6:-5]))\n"
        "os.kill(json.load(open(f'{folder}/{newest}'))['process']['pid'], 9)\n"
        "time.sleep(600)\n"
    )
    killer, *others = bench.task("killer.py"), *(bench.task("slow.py") for _ in range(3))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        engines.open("dask", workers=2, book=bench.book) as engine,
    ):
        results = driven(bench, engine, [killer, *others])
    assert [one["exit_code"] for one in results] == [137, 0, 0, 0]
    assert "every worker that ran it died" in results[0]["reason"]
    assert bench.point(killer).result() is None
    assert all(done_once(bench, task) for task in others)
    assert all(run.status == "interrupted" for run in bench.runs(killer))


@pytest.mark.soak
def test_a_scheduler_that_is_lost(bench: Bench, tmp_path: Path) -> None:
    """What ran ends or is finished, and counts once; what had not begun can be asked for again elsewhere."""
    tasks = [bench.task("slow.py") for _ in range(4)]
    with ExitStack() as stack:
        made = stack.enter_context(cluster(tmp_path))
        engine = stack.enter_context(engines.open("dask", scheduler=made.address, book=bench.book))
        with bench.held():
            futures = [engine.executor.submit(place, task) for task in tasks]
            until(lambda: sum(bool(bench.point(task).executions()) for task in tasks) == 2, "two points")
            made.processes[0].kill()
            results = [ended(task, future) for task, future in zip(tasks, futures, strict=True)]
        assert {one["exit_code"] for one in results} == {137}
        assert all("the scheduler was lost" in one["reason"] for one in results), results
        for process in made.processes[1:]:
            process.wait(_PATIENCE_S)  # workers end when their scheduler is gone
    again = [place({**task, "attempt": 2}) for task in tasks]
    assert [one["exit_code"] for one in again] == [0] * 4
    assert all(done_once(bench, task) for task in tasks)


@pytest.mark.soak
def test_many_points_while_workers_are_killed_again_and_again(bench: Bench) -> None:
    """One is killed each time that two more points have begun; what is lost is asked for again, as a sweep does."""
    tasks = [bench.task() for _ in range(16)]
    kills, chosen = 0, random.Random(5)

    def kill_one() -> None:
        nonlocal kills
        begun = [task for task in tasks if bench.point(task).executions()]
        if len(begun) >= 2 * (kills + 1) and kills < 6:
            kills += 1
            with suppress(ProcessLookupError):
                os.kill(worker_of(bench, chosen.choice(begun[-2:])), signal.SIGKILL)

    with engines.open("dask", workers=2, book=bench.book) as engine:
        driven(bench, engine, tasks, tries=9, meanwhile=kill_one)
    assert kills == 6
    for task in tasks:
        result = bench.point(task).result()
        done_runs = [run.id for run in bench.runs(task) if run.status == "done"]
        assert result is not None
        assert done_runs == [result["run"]], "each was done once"


DRIVER = """\
import json, sys
from reprokit.pipeline.sweep import engines
from reprokit.pipeline.sweep.place import place
if __name__ == "__main__":
    tasks = json.loads(sys.argv[1])
    with engines.open(sys.argv[2], workers=2) as engine:
        futures = [engine.executor.submit(place, task) for task in tasks]
        print([future.result()["exit_code"] for future in futures])
"""


@pytest.mark.soak
@pytest.mark.parametrize("name", ["local", "dask"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_killed(bench: Bench, name: str, number: signal.Signals, tmp_path: Path) -> None:
    """Its steps end with it, their records closed, and another driver does every point once."""
    tasks = [bench.task("slow.py") for _ in range(3)]
    program = tmp_path / "driver.py"
    program.write_text(DRIVER)
    command = [sys.executable, "-W", "ignore", str(program), json.dumps(tasks), name]
    with bench.held():
        driver = subprocess.Popen(command, cwd="/", stderr=subprocess.PIPE, text=True, start_new_session=True)
        until(lambda: sum(len(bench.point(task).executions()) for task in tasks) == 2, "two points")
        begun = [task for task in tasks if bench.point(task).executions()]
        steps = [pid for task in begun for pid in bench.begun(task)]
        if number == signal.SIGINT:
            os.killpg(driver.pid, number)  # as a terminal does: all of the driver's processes get it
        else:
            driver.send_signal(number)
        _, said = driver.communicate(timeout=_PATIENCE_S)
        until(lambda: all(map(is_gone, steps)), "the end of the steps")
    assert number == signal.SIGKILL or "KeyboardInterrupt" in said
    stopped = [bench.runs(task)[0] for task in begun]
    expected = "stopped by SIGINT" if number == signal.SIGINT else "stopped by SIGTERM"
    assert [(run.status, run.reason) for run in stopped] == [("interrupted", expected)] * 2
    again = [place({**task, "attempt": 2}) for task in tasks]
    assert [one["exit_code"] for one in again] == [0] * 3
    assert all(done_once(bench, task) for task in tasks)

"""One point of a sweep, done where an engine puts it: once, whoever dies on the way."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from placing import PLACE, Bench, is_gone, kill, text, until

from reprokit.errors import StoreError
from reprokit.pipeline.result import Result, write
from reprokit.pipeline.sweep import place as places
from reprokit.pipeline.sweep.claim import Point
from reprokit.pipeline.sweep.place import interrupt, place
from reprokit.pipeline.sweep.task import Ended, lost


def outcome(ended: dict[str, Any]) -> tuple[Any, ...]:
    return ended["exit_code"], ended["status"]


def test_a_task_that_is_done_several_times_at_once_is_executed_once(bench: Bench) -> None:
    """An engine may do that; and later, when the result was lost on its way."""
    task = bench.task()
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(place, [task] * 3))
    assert outcome(ended[0]) == (0, "done"), ended
    assert ended[0] == ended[1] == ended[2] == bench.point(task).result() == place(task)
    (run,) = bench.runs(task)
    assert (run.id, run.sweep, run.point, run.status) == (ended[0]["run"], "tried", task["point"], "done")
    assert (bench.root / f"out/{task['point']}.txt").read_text() == "x"


def test_a_step_that_was_done_counts_although_its_worker_died_before_it_could_say_so(bench: Bench) -> None:
    task = bench.task()
    ended = place(task)
    (bench.point(task).folder / "result.json").unlink()  # as it is between the step's end and the worker's
    assert place({**task, "attempt": 2}) == ended == bench.point(task).result()
    assert len(bench.runs(task)) == 1


def test_a_worker_that_is_killed_takes_its_step_with_it_and_the_next_one_waits_for_that(bench: Bench) -> None:
    """The step ends by itself, with its record closed; the point is then executed again, once."""
    task = bench.task("slow.py")
    with bench.held(), bench.process(PLACE, text(task)) as worker, ThreadPoolExecutor(1) as pool:
        script, step = bench.begun(task)
        worker.kill()
        again = pool.submit(place, task)
        until(lambda: is_gone(step) and is_gone(script), "the end of the step")
        (bench.root / "hold").unlink()
        ended = again.result()
    assert outcome(ended) == (0, "done")
    first, second = bench.runs(task)
    assert (first.status, first.reason, first.cells[0].status) == ("interrupted", "stopped by SIGTERM", "interrupted")
    assert (second.id, second.status) == (ended["run"], "done")
    executions = bench.point(task).executions()
    assert [one["ended"]["exit_code"] for one in executions] == [143, 0]
    assert (bench.root / f"out/result-{task['point']}.txt").read_text() == str(task["point"])


def test_a_step_that_is_killed_is_no_result_and_can_be_done_again(bench: Bench) -> None:
    task = bench.task("slow.py")
    with bench.held(), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(place, task)
        script, step = bench.begun(task)
        kill(step)
        ended = waiting.result()
    assert outcome(ended) == (137, "interrupted")
    assert ended["reason"] == "the step's process was killed by SIGKILL"
    assert [run.id for run in bench.runs(task)] == [ended["run"]]
    assert bench.point(task).result() is None
    until(lambda: is_gone(script), "the end of the script")
    assert bench.point(task).attempts() == 1
    assert outcome(place({**task, "attempt": 2})) == (0, "done")


@pytest.mark.soak
def test_a_script_that_is_killed_is_a_result_and_can_be_asked_for_again(bench: Bench) -> None:
    task = bench.task("slow.py")
    with bench.held(), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(place, task)
        kill(bench.begun(task)[0])
        ended = waiting.result()
    assert outcome(ended) == (3, "interrupted")
    assert place(task) == ended, "the same attempt is not made twice"
    assert bench.point(task).retry()
    assert not bench.point(task).retry()
    again = place({**task, "attempt": 2})
    assert outcome(again) == (0, "done")
    assert [run.status for run in bench.runs(task)] == ["interrupted", "done"]


def test_steps_that_run_and_those_that_wait_are_interrupted(bench: Bench) -> None:
    task = bench.task("slow.py")
    with bench.held(), ThreadPoolExecutor(2) as pool:
        both = [pool.submit(place, task) for _ in range(2)]
        bench.begun(task)
        until(lambda: len(places.running("tried")) == 2)
        interrupt("another")
        assert not any(one.done() for one in both)
        interrupt("tried")
        ended = [one.result() for one in both]
    assert [one["exit_code"] for one in ended] == [130, 130]
    (run,) = bench.runs(task)
    assert (run.status, run.reason) == ("interrupted", "stopped by SIGINT")
    assert bench.point(task).result() is None


@pytest.mark.soak
def test_ctrl_c_in_the_process_that_places_ends_the_step_in_good_order(bench: Bench) -> None:
    """So it is in the workers of a process pool, which get it as well as the driver."""
    task = bench.task("slow.py")
    with bench.held(), bench.process(PLACE, text(task)) as worker:
        _, step = bench.begun(task)
        worker.send_signal(2)
        worker.wait(120)
        assert is_gone(step)
    assert [(run.status, run.reason) for run in bench.runs(task)] == [("interrupted", "stopped by SIGINT")]


def test_a_step_that_cannot_run_is_refused_with_the_reason(bench: Bench) -> None:
    for script, reason in (("nowhere.py", "there is no script"), ("", "the spec's script")):
        task = bench.task(script)
        ended = place(task)
        assert outcome(ended) == (2, "refused")
        assert reason in ended["reason"]
        assert bench.point(task).result() == ended


def test_a_worker_that_does_not_see_the_sweep_says_so(bench: Bench) -> None:
    with pytest.raises(StoreError, match="does not see the sweep's folder /nowhere"):
        place(bench.task(book="/nowhere"))


def test_the_first_result_counts_where_files_cannot_be_locked(tmp_path: Path) -> None:
    """Then two may work at a time; eight of them commit at once."""
    points = [Point(tmp_path / "7") for _ in range(8)]
    (tmp_path / "7").mkdir()
    made = [Ended(point=7, attempt=1, exit_code=code % 2, execution=code, status="done") for code in range(8)]
    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(lambda pair: pair[0].commit(pair[1]), zip(points, made, strict=True)))
    assert len({one.execution for one in ended}) == 1
    assert points[0].result() == ended[0].to_dict()
    assert sorted(os.listdir(tmp_path / "7")) == ["result.json"]


def test_claims_are_told_apart_and_torn_files_are_none(tmp_path: Path) -> None:
    point = Point(tmp_path / "1")
    point.folder.mkdir()
    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(lambda _: Point(point.folder).claim(2), range(6))) == [1, 2, 3, 4, 5, 6]
    (point.folder / "claim-7.json").write_text('{"attempt": 9')
    (point.folder / "result.json").write_text("")
    assert (point.attempts(), point.result(), len(point.executions())) == (2, None, 6)
    assert point.claim(3) == 8


@pytest.mark.parametrize(("code", "attempt", "again"), [(0, 1, False), (1, 2, False), (1, 1, True), (143, 2, True)])
def test_what_an_earlier_execution_means_for_the_next(tmp_path: Path, code: int, attempt: int, again: bool) -> None:
    """What was done is done; a failure stands for its own attempt; what was stopped says nothing."""
    point = Point(tmp_path / "1")
    point.folder.mkdir()
    k = point.claim(attempt)
    write(Result(exit_code=code, run="some"), point.step_file(k))
    known = point.known(2)
    assert (known is None) == again
    assert (point.result() is None) == again


def test_what_an_engine_lost_is_told_in_words() -> None:
    ended = lost({"point": 3, "attempt": 1}, MemoryError())
    assert (ended["exit_code"], ended["reason"]) == (137, "the engine lost it (MemoryError)")
    assert json.dumps(ended)

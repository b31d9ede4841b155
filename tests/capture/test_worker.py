"""The background thread does everything in order, survives failures, and stays out of forked children."""

from __future__ import annotations

import subprocess
import sys
import threading

from reprokit.capture.worker import Worker


def test_work_is_done_in_order() -> None:
    done: list[int] = []
    worker = Worker(lambda error: None)
    for number in range(100):
        worker.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    assert worker.wait(60)
    assert done == list(range(100))
    worker.stop()


def test_patient_work_is_done_in_its_turn_and_without_being_asked_for() -> None:
    done: list[int] = []
    ended = threading.Event()
    worker = Worker(lambda error: None)
    for number in range(100):
        worker.submit(lambda number=number: done.append(number), patient=number % 3 != 0)  # type: ignore[misc]
    worker.submit(ended.set, patient=True)
    assert ended.wait(60)
    assert done == list(range(100))
    worker.submit(lambda: done.append(100), patient=True)
    worker.stop()
    assert done[-1] == 100


def test_a_failure_is_told_and_the_rest_is_done() -> None:
    told: list[Exception] = []
    done: list[str] = []

    def tell(error: Exception) -> None:
        told.append(error)
        raise RuntimeError("telling failed too")

    worker = Worker(tell)
    worker.submit(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    worker.submit(lambda: done.append("still here"))
    assert worker.wait(60)
    assert [type(error) for error in told] == [ZeroDivisionError]
    assert done == ["still here"]
    worker.stop()


def test_stop_finishes_what_is_queued() -> None:
    done: list[int] = []
    gate = threading.Event()
    worker = Worker(lambda error: None)
    worker.submit(lambda: gate.wait(60) and None)
    worker.submit(lambda: done.append(1))
    gate.set()
    worker.stop()
    assert done == [1]
    assert worker.wait()  # nothing is left to wait for
    worker.submit(lambda: done.append(2))
    assert done == [1]


def test_waiting_can_be_limited() -> None:
    gate = threading.Event()
    worker = Worker(lambda error: None)
    worker.submit(lambda: gate.wait(60) and None)
    assert not worker.wait(0.01)
    gate.set()
    assert worker.wait(60)
    worker.stop()


FORK = """
import os, threading
from reprokit.capture import worker as module
module._PATIENCE_S = {patience}
worker = module.Worker(print)
lock, began, forked = threading.Lock(), threading.Event(), threading.Event()
def work():
    with lock:
        began.set()
        forked.wait({seconds})
worker.submit(work)
began.wait()
child = os.fork()
if child == 0:
    free = lock.acquire(timeout=0.1)
    worker.submit(lambda: os._exit(1))
    worker.wait()
    worker.stop()
    os._exit(0 if free == {free} else 2)
forked.set()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
worker.stop()
"""


def test_a_fork_waits_for_a_short_piece_of_work() -> None:
    code = FORK.format(seconds=0.01, patience=60, free=True)  # patience that outlasts a loaded machine
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_fork_does_not_wait_for_a_long_one() -> None:
    code = FORK.format(seconds=None, patience=0.05, free=False)  # the work ends only when the fork is made
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_thread_does_not_keep_a_process_alive() -> None:
    code = "from reprokit.capture.worker import Worker; import time; Worker(print).submit(lambda: time.sleep(600))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

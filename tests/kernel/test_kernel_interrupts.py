"""Interrupting a kernel: the cell is recorded as interrupted, the record stays whole, the next cells are fine."""

from __future__ import annotations

import signal

from kernels import Kernel, text

from reprokit.records import Cell


def interrupted_cells(kernel: Kernel, name: str) -> list[Cell]:
    return [cell for cell in kernel.record(name).cells if cell.observed and "%" not in cell.source]


def test_in_the_middle_of_a_cell(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start middle")
    request = kernel.send("import time\nopen('half.txt', 'w').write('x')\nprint('begun', flush=True)\ntime.sleep(60)")
    kernel.wait_for_text("begun")
    kernel.manager.interrupt_kernel()
    outputs = kernel.outputs_of(request)
    assert [output["ename"] for output in outputs if output["output_type"] == "error"] == ["KeyboardInterrupt"]
    assert text(kernel.run("1 + 1")) == "2"
    kernel.run("%repro stop")
    first, second = interrupted_cells(kernel, "middle")
    assert (first.status, second.status) == ("interrupted", "done")
    assert first.error == "KeyboardInterrupt: "
    assert [use.path for use in first.writes] == ["half.txt"]
    run = kernel.record("middle")
    assert run.status == "done"
    assert any(gap.cell == first.seq and "interrupted" in gap.message for gap in run.gaps)


def test_before_the_run_was_started(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    request = kernel.send("import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.1)")
    kernel.wait_for_text("begun")
    kernel.manager.interrupt_kernel()
    kernel.outputs_of(request)
    kernel.run("%repro start late")
    kernel.run("%repro stop")
    load, endless = [cell for cell in kernel.record("late").cells if not cell.observed][-2:]
    assert (load.status, endless.status) == ("done", "interrupted")  # a replay leaves it out: it would not end


def test_while_awaiting(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start awaiting")
    request = kernel.send(
        "import asyncio\nprint('begun', flush=True)\nfor _ in range(600):\n    await asyncio.sleep(0.1)"
    )
    kernel.wait_for_text("begun")
    kernel.manager.interrupt_kernel()
    kernel.outputs_of(request)
    assert text(kernel.run("1 + 1")) == "2"
    kernel.run("%repro stop")
    first, second = interrupted_cells(kernel, "awaiting")
    assert (first.status, second.status) == ("interrupted", "done")


# A thread of the kernel's own sends the signal in the middle of a capture, at every place where it may fall:
# `slow` is called on the way there.
ARM = """
import os, signal, threading, time
from reprokit.capture.session import Session
original = Session.{moment}
def slow(*args, **options):
    Session.{moment} = original
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.02)
    return original(*args, **options)
Session.{moment} = slow
"""
ALARM = ARM.replace("SIGINT", "SIGALRM")


def test_during_the_capture_before_a_cell_it_reaches_the_users_code(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start before")
    kernel.run(ARM.format(moment="open_cell"))
    (error,) = kernel.run("open('never.txt', 'w').write('x')\ntime.sleep(60)")
    assert error["ename"] == "KeyboardInterrupt"
    assert "never.txt" in text([error])  # it is shown where it happened
    assert text(kernel.run("1 + 1")) == "2"
    kernel.run("%repro stop")
    run = kernel.record("before")
    cells = interrupted_cells(kernel, "before")
    assert [cell.status for cell in cells] == ["done", "interrupted", "done"]
    assert all(cell.random for cell in cells)
    assert not (kernel.project / "never.txt").exists()
    assert not [gap for gap in run.gaps if "could not be observed" in gap.message]


def test_a_timeout_that_comes_during_the_capture_reaches_the_users_code(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start timeout")
    kernel.run("def late(number, frame):\n    raise TimeoutError('your time is over')")
    kernel.run("import signal\nusual = signal.signal(signal.SIGALRM, late)")
    kernel.run(ALARM.format(moment="open_cell"))
    (error,) = kernel.run("open('never.txt', 'w').write('x')\ntime.sleep(60)")
    assert (error["ename"], error["evalue"]) == ("TimeoutError", "your time is over")
    told = kernel.run(ALARM.format(moment="close_cell"))
    assert "your time is over" in str(told)  # the cell is done: there is no code of the user's to raise it in
    kernel.run("_ = signal.signal(signal.SIGALRM, usual)")
    kernel.run("%repro stop")
    run = kernel.record("timeout")
    assert run.status == "done"
    assert not (kernel.project / "never.txt").exists()
    assert not [gap for gap in run.gaps if "could not be observed" in gap.message]


def test_during_the_capture_after_a_cell_it_stops_what_follows_at_once(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start after")
    armed = kernel.send(ARM.format(moment="close_cell"))
    request = kernel.send("open('kept.txt', 'w').write('x')\ntime.sleep(60)")  # queued, as in "run all cells"
    kernel.outputs_of(armed)
    assert [output["ename"] for output in kernel.outputs_of(request)] == ["KeyboardInterrupt"]
    assert text(kernel.run("1 + 1")) == "2"
    kernel.run("%repro stop")
    cells = interrupted_cells(kernel, "after")
    assert [cell.status for cell in cells] == ["done", "interrupted", "done"]
    assert [use.path for cell in cells for use in cell.writes] == []
    assert all({state.at for state in cell.random} >= {"start", "end"} for cell in cells)


def test_after_very_short_cells_the_kernel_lives_on(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start short")
    for moment in ("open_cell", "close_cell") * 3:
        kernel.run(ARM.format(moment=moment))
        kernel.run("x = 1")
        kernel.run("x = 1")
    assert text(kernel.run("try:\n    print(x)\nexcept KeyboardInterrupt:\n    print(x)")).strip() == "1"
    kernel.run("%repro stop")
    run = kernel.record("short")
    assert {cell.status for cell in run.cells} <= {"done", "interrupted"}
    assert run.status == "done"


def test_while_the_kernel_is_idle(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start idle")
    kernel.manager.signal_kernel(signal.SIGINT)
    assert text(kernel.run("1 + 1")) == "2"
    kernel.run("%repro stop")
    assert kernel.record("idle").status == "done"

"""Ctrl-C, in the user's cell and in the middle of capturing."""

from __future__ import annotations

from kernels import Kernel, observed, text

# Interrupts this very process while reprokit is looking at the generators, before the next cell runs.
INTERRUPT_THE_CAPTURE = """
import os, signal
from reprokit.capture import generators
looked = generators.find
def find(namespace):
    generators.find = looked
    os.kill(os.getpid(), signal.SIGINT)
    return looked(namespace)
generators.find = find
"""


def test_a_cell_that_is_interrupted(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start stopped")
    request = kernel.send("print('begun', flush=True)\nimport time\ntime.sleep(600)")
    kernel.wait_for_text("begun")
    kernel.manager.interrupt_kernel()
    assert "KeyboardInterrupt" in text(kernel.outputs_of(request))
    assert text(kernel.run("print('on')")) == "on\n"
    kernel.run("%repro stop")
    run = kernel.record("stopped")
    assert [cell.status for cell in observed(run)] == ["done", "interrupted", "done", "done"]
    assert observed(run)[1].error == "KeyboardInterrupt: "


def test_an_interrupt_of_the_capture_reaches_the_cell_and_loses_nothing(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start torn")
    # The cell's own end is observed first: it is that look which is interrupted, and the cell after it runs.
    kernel.run(INTERRUPT_THE_CAPTURE)
    shown = kernel.run("import time\nfor _ in range(1000):\n    time.sleep(0.01)\nprint('never')")
    after = kernel.run("print('on')")
    kernel.run("%repro stop")
    run = kernel.record("torn")
    interrupted = [cell.seq for cell in observed(run) if cell.status == "interrupted"]
    assert len(interrupted) <= 1
    assert "never" not in text(shown) or interrupted == []
    assert text(after) == "on\n"
    assert all(cell.random for cell in observed(run)), "every cell's states are there"
    assert run.status == "done"

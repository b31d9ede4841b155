"""Ctrl-C, in the user's cell and in the middle of capturing."""

from __future__ import annotations

from kernels import Kernel, observed, text

# Interrupts this very process while reprokit looks at the generators for the second time: before the next cell.
INTERRUPT_THE_CAPTURE = """
import os, signal
from reprokit.capture import generators
looked, looks = generators.find, []
def find(namespace):
    looks.append(1)
    if len(looks) == 2:
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
    kernel.run(INTERRUPT_THE_CAPTURE)
    shown = kernel.run("import time\nfor _ in range(1000):\n    time.sleep(0.01)")
    after = kernel.run("print('on')")
    kernel.run("%repro stop")
    run = kernel.record("torn")
    assert "KeyboardInterrupt" in text(shown)
    assert text(after) == "on\n"
    assert [cell.status for cell in observed(run)] == ["done", "done", "interrupted", "done", "done"]
    assert all(cell.random for cell in observed(run)), "every cell's states are there"
    assert run.status == "done"

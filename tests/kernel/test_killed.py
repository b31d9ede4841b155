"""A kernel that is killed in the middle of a cell loses no finished cell."""

from __future__ import annotations

import hashlib
import signal

from kernels import Kernel, outputs_of


def test_kill_in_the_middle_of_a_cell(new_kernel: Kernel) -> None:
    kernel = new_kernel
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start killed")
    for number in range(5):
        kernel.run(f"open('out{number}.txt', 'w').write('{number}')\nprint('cell {number}')\n{number} * 10")
    kernel.run("%repro status")  # until then files may be named and not hashed yet: that is done in the background
    assert kernel.record("killed").status == "running"
    kernel.send("import time\nprint('open', flush=True)\ntime.sleep(60)")
    kernel.wait_for_text("open")
    kernel.manager.signal_kernel(signal.SIGKILL)
    kernel.manager.provisioner.process.wait()  # type: ignore[union-attr]

    run = kernel.record("killed")
    assert run.status == "interrupted"
    finished = [cell for cell in run.cells if cell.source.startswith("open(")]
    assert [cell.status for cell in finished] == ["done"] * 5
    for number, cell in enumerate(finished):
        (use,) = cell.writes
        assert use.digest == "sha256:" + hashlib.sha256(str(number).encode()).hexdigest()
        assert kernel.store().objects.get_bytes(use.digest) == str(number).encode()
        stream, result = outputs_of(kernel.store(), cell)
        assert stream["text"] == f"cell {number}\n"
        assert result["data"]["text/plain"] == str(number * 10)
        assert {state.at for state in cell.random} == {"start", "end"}
    last = run.cells[-1]
    assert (last.status, last.source[:11]) == ("interrupted", "import time")
    assert run.reason == f"the kernel ended in the middle of cell {last.seq}"


def test_kill_between_cells(new_kernel: Kernel) -> None:
    kernel = new_kernel
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start left")
    kernel.run("x = 1")
    kernel.manager.signal_kernel(signal.SIGKILL)
    kernel.manager.provisioner.process.wait()  # type: ignore[union-attr]
    run = kernel.record("left")
    assert (run.status, run.reason) == ("interrupted", "the kernel ended before the run was stopped")
    assert [cell.status for cell in run.cells] == ["done"] * 3


def test_a_kernel_that_is_shut_down_ends_its_run(new_kernel: Kernel) -> None:
    kernel = new_kernel
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start shut")
    kernel.run("open('last.txt', 'w').write('x')")
    kernel.manager.shutdown_kernel(now=False)
    run = kernel.record("shut")
    assert run.status == "done"
    assert run.cells[-1].writes[0].state == "stable"


def test_a_crash_of_the_process_is_an_end_like_any_other(new_kernel: Kernel) -> None:
    kernel = new_kernel
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start crashed")
    kernel.run("before = 1")
    kernel.send("import os\nos._exit(1)")
    kernel.manager.provisioner.process.wait()  # type: ignore[union-attr]
    run = kernel.record("crashed")
    assert run.status == "interrupted"
    assert [cell.status for cell in run.cells][-2:] == ["done", "interrupted"]

"""A kernel that is killed in the middle of a cell loses no finished cell and needs no repair."""

from __future__ import annotations

import os
import signal
from hashlib import sha256

from kernels import Kernel, outputs_of, text


def test_sigkill_in_the_middle_of_a_cell(new_kernel: Kernel) -> None:
    new_kernel.run("%load_ext reprokit\n%repro start killed")
    new_kernel.run("print('one')")
    new_kernel.run("open('kept.txt', 'w').write('two')")
    (new_kernel.project / "data.txt").write_text("three")
    new_kernel.run("print(open('data.txt').read())")
    new_kernel.run("import os\nos.getpid()")
    new_kernel.send("print('begun', flush=True)\nimport time\ntime.sleep(600)")
    new_kernel.wait_for_text("begun")
    assert new_kernel.record().status == "running"
    process = new_kernel.manager.provisioner.process  # type: ignore[union-attr]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    run = new_kernel.record()
    assert run.status == "interrupted"
    assert "cell 6" in str(run.reason)
    assert [cell.status for cell in run.cells] == ["done"] * 5 + ["interrupted"]
    store = new_kernel.store()
    assert text(outputs_of(store, run.cells[1])) == "one\n"
    assert text(outputs_of(store, run.cells[3])) == "three\n"
    (write,) = run.cells[2].writes
    (read,) = run.cells[3].reads
    assert write.digest == f"sha256:{sha256(b'two').hexdigest()}"
    assert read.digest == f"sha256:{sha256(b'three').hexdigest()}"
    assert store.objects.get_bytes(str(write.digest)) == b"two"

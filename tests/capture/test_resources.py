"""The resources probe: processor time, memory, bytes and cost of each cell and of the run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_configuration import captured

from reprokit.capture.resources import gpu_memory
from reprokit.errors import UsageError
from reprokit.records import Cell, Resources, Run
from reprokit.settings import load
from reprokit.views.used import resource_words, resources_of

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bytes are counted on Linux alone")

BUSY = """
import time
end = time.process_time() + 0.5
while time.process_time() < end:
    pass
"""
BUSY_CHILD = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}], check=True)"


def used(run: Run) -> list[Resources]:
    """Return the resources of each cell."""
    assert all(cell.resources is not None for cell in run.cells)
    return [cell.resources for cell in run.cells if cell.resources is not None]


def test_processor_time_of_the_process_and_of_its_children(project: Path) -> None:
    run = captured(project, BUSY, "import time\ntime.sleep(0.6)", BUSY_CHILD)
    busy, idle, child = (cell.cpu_s or 0.0 for cell in used(run))
    assert busy >= 0.3
    assert idle < 0.3
    assert child >= 0.3
    assert run.resources is not None
    assert run.resources.cpu_s == pytest.approx(busy + idle + child, abs=1e-4)


def test_peak_memory_never_falls(project: Path) -> None:
    run = captured(project, "x = b'1' * 300_000_000\ndel x", "pass")
    first, second = (cell.peak_memory or 0 for cell in used(run))
    assert 300_000_000 < first <= second < 2_000_000_000
    assert run.resources is not None
    assert run.resources.peak_memory == second


@LINUX
def test_bytes_read_and_written(project: Path) -> None:
    size = 30_000_000  # hashing reads them once more, and copying writes them: neither is the cell's
    write = f"with open('a.bin', 'wb') as file:\n    file.write(b'x' * {size})"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {write!r}], check=True)"
    run = captured(project, write, "data = open('a.bin', 'rb').read()", "pass", child.replace("a.bin", "b.bin"))
    wrote, read, nothing, spawned = used(run)
    assert size <= (wrote.written_bytes or 0) < size * 1.2
    assert size <= (read.read_bytes or 0) < size * 1.2
    assert max(nothing.read_bytes or 0, nothing.written_bytes or 0) < size * 0.2
    assert (spawned.written_bytes or 0) >= size
    assert run.resources is not None
    assert run.resources.read_bytes == sum(cell.read_bytes or 0 for cell in used(run))


@LINUX
def test_code_that_closes_every_file_is_not_disturbed(project: Path) -> None:
    cells = [
        "import os\nopen_before = os.listdir('/proc/self/fd')",
        "own = [fd for fd in map(int, os.listdir('/proc/self/fd')) if fd > 2 and os.path.exists(f'/proc/self/fd/{fd}')"
        " and os.readlink(f'/proc/self/fd/{fd}').endswith('/io')]\n"
        "for fd in own:\n    os.close(fd)\n"
        "mine = [open('kept.txt', 'w') for _ in own]",
        "mine[0].write('still mine')\nresult = len(own)",
    ]
    run = captured(project, *cells)
    assert (project / "kept.txt").read_text() == "still mine"  # our end did not close the user's file
    assert run.status == "done"
    assert not [gap for gap in run.gaps if gap.aspect == "resources"]


def test_a_price_gives_a_cost(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.reprokit]\nprice_per_hour = 3600\ncurrency = "EUR"\n')
    run = captured(project, "import time\ntime.sleep(0.2)", "pass")
    first, second = used(run)
    assert 0.2 <= (first.cost or 0) < 20
    assert first.currency == "EUR"
    assert run.resources is not None
    assert (run.resources.cost or 0) >= (first.cost or 0) + (second.cost or 0)  # the time between cells counts
    assert used(captured(project, "pass", environ={"REPROKIT_PRICE_PER_HOUR": "0"}))[0].cost == 0


def test_without_a_price_there_is_no_cost(project: Path) -> None:
    run = captured(project, "pass")
    assert run.resources is not None
    assert (run.resources.cost, run.resources.currency) == (None, None)


@pytest.mark.parametrize("price", ["dear", "-1", "nan", "inf"])
def test_a_price_that_is_none_is_told(price: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="price_per_hour"):
        load(tmp_path, {"REPROKIT_PRICE_PER_HOUR": price})


def test_a_run_that_was_cut_off_tells_what_its_cells_used(project: Path) -> None:
    run = captured(project, BUSY, "import os\nos._exit(3)", status=3)
    assert (run.status, run.resources) == ("interrupted", None)
    total = resources_of(run)
    assert total is not None
    assert (total.cpu_s or 0) >= 0.3
    cells = (
        Cell(seq=1, source="", resources=Resources(cpu_s=1, peak_memory=5, read_bytes=2, cost=0.5)),
        Cell(seq=2, source="", resources=Resources(cpu_s=2, peak_memory=3, written_bytes=4, cost=0.25)),
        Cell(seq=3, source=""),
    )
    assert resources_of(Run(id="x", cells=cells)) == Resources(
        cpu_s=3, peak_memory=5, read_bytes=2, written_bytes=4, cost=0.75
    )
    assert resources_of(Run(id="x")) is None


def test_resources_in_words() -> None:
    full = Resources(
        cpu_s=75, peak_memory=2_000_000_000, read_bytes=10, written_bytes=0, gpu_memory=5_000_000, cost=0.001
    )
    assert resource_words(full) == (
        "1 min 15 s of processor time, 2.0 GB of memory at most, 5.0 MB on GPUs, 10 B read, 0 B written, 0.001"
    )
    assert resource_words(None) == resource_words(Resources()) == ""


def test_gpus_are_asked_only_through_a_library_that_is_in_use(project: Path) -> None:
    # A stand-in on the path: it shows that the library is asked, and that it is not asked before it is there.
    (project / "pynvml.py").write_text(
        "import os, types\n"
        "nvmlDeviceGetCount = lambda: 2\n"
        "nvmlDeviceGetHandleByIndex = lambda index: index\n"
        "def nvmlDeviceGetComputeRunningProcesses(device):\n"
        "    pids = [os.getpid(), 1]\n"
        "    return [types.SimpleNamespace(pid=pid, usedGpuMemory=1000 + device) for pid in pids]\n"
    )
    environ = {"PYTHONPATH": f"{project}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    run = captured(project, "pass", "import pynvml", "pass", environ=environ)
    assert [cell.gpu_memory for cell in used(run)] == [None, 2001, 2001]
    assert run.resources is not None
    assert run.resources.gpu_memory == 2001


@pytest.mark.parametrize(("initialized", "expected"), [(True, 2001), (False, None)])
def test_a_library_that_has_not_begun_to_use_gpus_is_not_made_to(
    initialized: bool, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = SimpleNamespace(
        is_initialized=lambda: initialized,
        device_count=lambda: 2,
        max_memory_allocated=lambda device: 1000 + device,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert gpu_memory() == expected
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())  # half imported, in another thread
    assert gpu_memory() is None

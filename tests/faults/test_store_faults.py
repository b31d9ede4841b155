"""Kills, full disks and crowds: nothing that was acknowledged is lost, and nothing needs repair."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reprokit.digest import of_file
from reprokit.store.journal import scan
from reprokit.store.layout import Layout
from reprokit.store.objects import Objects
from reprokit.store.store import Store

_APPEND = """
import sys
from pathlib import Path
from reprokit.store.liveness import this_process
from reprokit.store.store import Store
store = Store.open(Path(sys.argv[1]))
run_id, journal = store.new_run()
journal.append({"add": {"writers": [this_process().to_dict()]}})
print(run_id, flush=True)
number = 0
while True:
    number += 1
    journal.append({"cell": number, "set": {"source": "x" * (number % 5000)}})
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 7, 300])
def test_kill_while_appending_loses_no_acknowledged_line(project: Path, after: int) -> None:
    with subprocess.Popen([sys.executable, "-c", _APPEND, str(project)], stdout=-1, text=True) as child:
        assert child.stdout is not None
        run_id = child.stdout.readline().strip()
        for _ in range(after):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        told = [int(line) for line in child.stdout.read().splitlines() if line] or [after]
    acknowledged = max(told[:-1] or [after])  # the last line printed may itself be torn
    store = Store.open(project)
    patches, damage = scan(store.layout.journal(run_id))
    assert damage is None
    assert len(patches) - 1 >= acknowledged >= after
    assert [patch["cell"] for patch in patches[1:]] == list(range(1, len(patches)))
    run = store.load(run_id)
    assert (run.status, run.cells[-1].status) == ("interrupted", "interrupted")
    assert run.reason == f"the kernel ended in the middle of cell {len(patches) - 1}"
    assert store.runs()[0].status == "interrupted"


_PUT = """
import os, sys
from pathlib import Path
from reprokit.store.objects import Objects
objects = Objects(Path(sys.argv[1]))
while True:
    print(objects.put_bytes(os.urandom(100_000), durable=False), flush=True)
"""


def test_kill_while_storing_leaves_only_true_objects(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    for after in (1, 2, 5, 11):
        with subprocess.Popen([sys.executable, "-c", _PUT, str(root)], stdout=-1, text=True) as child:
            assert child.stdout is not None
            told = [child.stdout.readline().strip() for _ in range(after)]
            child.kill()
        assert all(Objects(root).has(digest) for digest in told)
    for path in root.glob("??/*"):
        assert of_file(path) == f"sha256:{path.parent.name}{path.name}"


def _crowd(project: str, barrier: object, number: int, runs: int, results: object) -> None:
    try:
        barrier.wait()  # type: ignore[attr-defined]
        made = []
        for step in range(runs):
            run_id, journal = Store.open(Path(project)).new_run()
            journal.append({"set": {"name": f"{number}-{step}", "status": "done"}})
            journal.close()
            made.append(run_id)
            if step % 10 == number:
                Store.open(Path(project)).runs(limit=5)
        results.put((made, ""))  # type: ignore[attr-defined]
    except BaseException as error:
        results.put(([], repr(error)))  # type: ignore[attr-defined]


def test_a_crowd_that_starts_at_once_on_nothing(project: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(8), context.Queue()
    crowd = [context.Process(target=_crowd, args=(str(project), barrier, number, 50, results)) for number in range(8)]
    for process in crowd:
        process.start()
    told = [results.get(timeout=120) for _ in crowd]
    for process in crowd:
        process.join()
        process.close()
    results.close()
    results.join_thread()
    assert [error for _, error in told if error] == []
    made = sorted(run_id for ids, _ in told for run_id in ids)
    store = Store.open(project)
    assert sorted(run.id for run in store.runs()) == made
    assert len(made) == 400
    assert len({run.name for run in store.runs()}) == 400


_CREATE = """
import sys
from pathlib import Path
from reprokit.store.layout import Layout
print("ready", flush=True)
sys.stdin.readline()
Layout.find(Path(sys.argv[1])).create()
"""


def test_32_processes_make_the_same_store(project: Path) -> None:
    command = [sys.executable, "-c", _CREATE, str(project)]
    crowd = [subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) for _ in range(32)]
    for process in crowd:
        assert process.stdout is not None
        process.stdout.readline()
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate()[1] for process in crowd]
    assert [text for text in told if text] == []
    assert sorted(os.listdir(project / ".reprokit")) == [".gitignore", "VERSION", "locks", "objects", "runs"]


_INDEX = """
import os, sys
from pathlib import Path
from reprokit.store.store import Store
print("ready", flush=True)
while True:
    Store.open(Path(sys.argv[1])).reindex()
    print("done", flush=True)
"""


def test_kill_while_indexing_needs_no_repair(project: Path) -> None:
    store = Store.open(project)
    for number in range(30):
        _, journal = store.new_run()
        journal.append({"set": {"name": str(number), "status": "done"}})
        journal.close()
    for after in (1, 2, 3, 4, 5):
        with subprocess.Popen([sys.executable, "-c", _INDEX, str(project)], stdout=-1, text=True) as child:
            assert child.stdout is not None
            for _ in range(after):
                child.stdout.readline()
            child.kill()
        assert len(Store.open(project).runs()) == 30


def test_an_object_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "objects")
    source = tmp_path / "large"
    source.write_bytes(bytes(3_000_000))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))
        with pytest.raises(OSError, match="too large"):
            objects.put_bytes(bytes(2_000_000))
        with pytest.raises(OSError, match="too large"):
            objects.put_file(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path for path in objects.root.rglob("*") if path.is_file()] == []
    assert objects.has(objects.put_file(source).digest)


def test_an_index_that_cannot_be_written_is_kept_in_memory(project: Path) -> None:
    store = Store.open(project)
    run_id, journal = store.new_run()
    journal.append({"set": {"status": "done"}})
    journal.close()
    store.layout.index_lock.mkdir()  # opening it for writing fails, even for root
    assert [run.id for run in store.runs()] == [run_id]
    assert store.resolve("latest") == run_id


_HOLD = """
import os, sys
from pathlib import Path
from reprokit.store.lock import exclusive
with exclusive(Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        sys.stdin.readline()
        os._exit(0)
print("released", flush=True)
sys.stdin.readline()
"""


def test_a_forked_child_does_not_keep_the_lock(project: Path) -> None:
    layout, _ = Layout.find(project).create()
    command = [sys.executable, "-c", _HOLD, str(layout.index_lock)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "released\n"
        code = "import sys; from fcntl import *\nwith open(sys.argv[1]) as lock: flock(lock, LOCK_EX | LOCK_NB)"
        done = subprocess.run(
            [sys.executable, "-c", code, str(layout.index_lock)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert holder.stdin is not None
        holder.stdin.write("\n\n")
        holder.stdin.flush()


def test_a_hostile_journal_is_told_and_never_followed(project: Path) -> None:
    store = Store.open(project)
    run_id, journal = store.new_run()
    journal.append({"set": {"params": json.loads("[" * 400 + "]" * 400)}})
    journal.close()
    (run,) = store.runs()
    assert (run.id, run.status) == (run_id, "interrupted")
    assert not run.replayable

"""A run that was cut off goes on after its last checkpoint, and gives what a run in one piece gives."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from resumed_cells import COUNTING, DEFINITIONS, LOOKS, SETTINGS, SHOWS
from workbench import Bench

from reprokit.pipeline.resume import spec_of
from reprokit.pipeline.spec import Spec
from reprokit.pipeline.step import look, resumption
from reprokit.records import Run
from reprokit.store import checkpoints
from reprokit.store.layout import Layout
from reprokit.store.store import Store


def latest(bench: Bench) -> Run:
    store = Store.open(bench.project)
    return store.load(store.resolve("latest"))


def outputs(path: Path) -> list[str]:
    """Return what each code cell of a notebook shows, as text."""
    return [
        "".join(one.get("text", "") or one.get("data", {}).get("text/plain", "") for one in cell.outputs)
        for cell in nbformat.read(path, 4).cells
    ]


def test_a_mended_cell_runs_in_the_state_before_it(bench: Bench) -> None:
    """Functions, classes, closures, shared memory, sets, figures, settings, history and all randomness are there."""
    (bench.project / "counting.py").write_text(COUNTING)
    cells = [SETTINGS, DEFINITIONS, "raise ValueError('broken')", *SHOWS, "rng.random()"]
    tag(bench.notebook("work.ipynb", *cells), 1)
    told = bench.reprokit("run", "--checkpoint", "work.ipynb", code=1)
    failed = latest(bench)
    assert "checkpoint after cell 2: " in told
    assert f"next: reprokit resume {failed.id}" in told
    kept = [cell.checkpoint for cell in failed.cells]
    assert kept[1] is not None
    assert kept[1].size > 10_000
    assert kept[0] is kept[2] is None
    bench.notebook("work.ipynb", *cells[:2], LOOKS, *cells[3:])
    bench.reprokit("resume", failed.id, "-o", "out.ipynb")

    resumed = latest(bench)
    assert (resumed.status, resumed.resumed_from) == ("done", failed.id)
    assert [cell.restored for cell in resumed.cells] == [True, True, False, False, False, False, False]
    assert resumed.cells[1].random == failed.cells[1].random
    shown = outputs(bench.project / "out.ipynb")
    assert shown[1] == "[1, 3]"
    assert "101 112 100 True True True True\n2 True" in shown[2]
    assert "resumed    from run " + failed.id in bench.reprokit("show", resumed.id)
    assert "done, resumed" in bench.reprokit("runs")
    assert not checkpoints.notes(bench_layout(bench), failed.id), "nothing is left to go on from"

    spec = Spec(notebook="work.ipynb", project=str(bench.project), reuse=True)
    assert "resumed from a checkpoint" in " ".join(look(spec, isolated=False).reasons)
    verdict = bench.verdict(resumed.id)
    assert verdict["verdict"] == "identical", json.dumps(verdict["first_divergence"], indent=1)[:3000]
    assert "resumed from a checkpoint" not in " ".join(look(spec, isolated=False).reasons)


def tag(notebook: Path, number: int) -> None:
    """Ask for a checkpoint after a cell."""
    book = nbformat.read(notebook, 4)
    book.cells[number].metadata["tags"] = ["checkpoint"]
    nbformat.write(book, notebook)


def bench_layout(bench: Bench) -> Layout:
    return Store.open(bench.project).layout


BEGIN = "import random\nx = random.random()\nopen('log.txt', 'a').write('a\\n')"
DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
ADDS = "open('log.txt', 'a').write('b\\n')\ny = random.random()"
WAITS = "open('started', 'w').close()\nimport time\nwhile True:\n    time.sleep(0.05)"
ENDS = "open('log.txt', 'a').write('c\\n')\nprint(x, y, random.random(), open('log.txt').read())"


def test_a_killed_kernel_and_a_stopped_step_go_on(bench: Bench) -> None:
    """SIGKILL of the kernel, then SIGTERM of the step that went on, then to the end: each cell ran once."""
    (bench.project / ".gitignore").write_text("started\n")
    bench.notebook("work.ipynb", BEGIN, DIES, ENDS)
    step = {"notebook": "work.ipynb", "checkpoint": 0, "output_notebook": "out.ipynb"}
    assert perform(bench, step).wait(120) == 3
    died = latest(bench)

    bench.notebook("work.ipynb", BEGIN, ADDS, WAITS, ENDS)
    process = perform(bench, {**step, "resume": died.id})
    until(lambda: (bench.project / "started").exists())
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143
    stopped = latest(bench)
    assert (stopped.status, stopped.resumed_from) == ("interrupted", died.id)
    assert [note.cell for note in checkpoints.notes(bench_layout(bench), stopped.id)] == [2]

    (bench.project / "log.txt").write_text("changed since")
    bench.notebook("work.ipynb", BEGIN, ADDS, "z = 1", ENDS)
    bench.reprokit("resume", stopped.id)
    done = latest(bench)
    assert [cell.restored for cell in done.cells] == [True, True, False, False]
    assert [cell.outputs for cell in done.cells[:2]] == [cell.outputs for cell in stopped.cells[:2]]
    assert outputs(bench.project / "out.ipynb")[3].endswith(" a\nb\nc\n\n"), "each wrote its line once"
    assert bench.verdict(done.id)["verdict"] == "identical"


def perform(bench: Bench, step: dict[str, object]) -> subprocess.Popen[bytes]:
    (bench.project / "spec.json").write_text(json.dumps(step))
    command = [sys.executable, "-m", "reprokit.step", "spec.json"]
    return subprocess.Popen(command, cwd=bench.project, env=bench.environ, stderr=subprocess.DEVNULL)


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end
        os.sched_yield()


SAME = (
    "#: parameters\nlr = 1",
    "import helper\na = open('data.csv').read()\nopen('out.txt', 'w').write('1')",
    "b = 2",
)
CHANGES: dict[str, tuple[str, int | None, str]] = {
    "nothing": ("pass", 3, "after cell 3"),
    "a later cell": ("cells[4] = 'print(2)'", 3, "after cell 3"),
    "a cell between": ("cells[2] = 'b = 3'", 2, "cell 3 changed"),
    "the first cell": ("cells[0] = '#: parameters\\nlr = 2'", None, "cell 1 changed"),
    "an input": ("(top / 'data.csv').write_text('2')", 1, "data.csv changed"),
    "a module in use": ("(top / 'helper.py').write_text('A = 2')", 1, "helper.py changed, which was imported"),
    "a module not in use": ("(top / 'later.py').write_text('A = 2')", 3, "after cell 3"),
    "a result": ("(top / 'out.txt').write_text('2')", 3, "out.txt is put back"),
    "a checkpoint that is gone": ("objects.path(newest.digest).unlink()", 2, "it is not there any more"),
}


def test_it_goes_on_only_where_nothing_before_changed(bench: Bench) -> None:
    """Each change is told, and leads to the last place before it; without one, from the first cell."""
    top = bench.project
    (top / "data.csv").write_text("1")
    (top / "helper.py").write_text("A = 1")
    (top / "later.py").write_text("A = 1")
    original = [*SAME, "import later\nraise ValueError(b)", "print(1)"]
    bench.notebook("work.ipynb", *original)
    (top / "pyproject.toml").write_text("[tool.reprokit]\ncheckpoints = 9\n")
    bench.reprokit("run", "work.ipynb", "--checkpoint=0", code=1)
    failed = latest(bench)
    for name, (change, cell, told) in CHANGES.items():
        files = {path: path.read_bytes() for path in top.iterdir() if path.is_file()}
        objects = Store.open(top).objects
        newest = checkpoints.notes(bench_layout(bench), failed.id)[0]
        kept = objects.path(newest.digest).read_bytes()
        cells = list(original)
        exec(change, {"cells": cells, "top": top, "objects": objects, "newest": newest})
        bench.notebook("work.ipynb", *cells)
        lines, after = where(bench, failed)
        assert (after, told in " ".join(lines)) == (cell, True), (name, after, lines)
        for path, content in files.items():
            path.write_bytes(content)
        if not objects.path(newest.digest).exists():
            objects.path(newest.digest).write_bytes(kept)
    changed = json.loads(bench.reprokit("resume", failed.id, "-p", "lr", "5", "--dry-run", "--json"))
    assert changed["after_cell"] is None
    assert "lr not given → 5" in " ".join(changed["told"])
    (top / "pyproject.toml").write_text("[tool.reprokit]\ncheckpoints = 1\n")
    assert bench.reprokit("gc", "--dry-run").count("checkpoints/") == 2
    bench.reprokit("gc")
    assert [note.cell for note in checkpoints.notes(bench_layout(bench), failed.id)] == [3]


def where(bench: Bench, run: Run) -> tuple[tuple[str, ...], int | None]:
    """Return what `resume --dry-run` tells."""
    store = Store.open(bench.project)
    spec, isolated = spec_of(store, run)
    return resumption(dataclasses.replace(spec, resume=run.id), store=store, isolated=isolated)


@pytest.mark.soak
def test_a_damaged_checkpoint_is_told_and_the_run_begins_anew(bench: Bench) -> None:
    """Nothing of it is unpickled, and a run that was done has nothing to go on from."""
    bench.notebook("work.ipynb", "b = 2", "raise ValueError(b)")
    bench.reprokit("run", "work.ipynb", "--checkpoint=0", code=1)
    failed = latest(bench)
    (note,) = checkpoints.notes(bench_layout(bench), failed.id)
    kept = Store.open(bench.project).objects.path(note.digest)
    kept.chmod(0o600)
    kept.write_bytes(kept.read_bytes()[:-1])
    bench.notebook("work.ipynb", "b = 2", "print(b)")
    bench.reprokit("resume", failed.id)
    whole = latest(bench)
    assert (whole.status, whole.resumed_from, any(cell.restored for cell in whole.cells)) == ("done", None, False)
    done = bench.cold(["resume", whole.id], bench.project, bench.environ)
    assert (done.returncode, "is done: nothing is left" in done.stderr) == (2, True)


RUNNING = """import asyncio, signal, threading
async def tick():
    await asyncio.sleep(600)
task_of_nobody = asyncio.create_task(tick(), name='ticker') and None
end = threading.Event()
waiter = threading.Thread(target=lambda: end.wait(), name='waiter')
waiter.start()
signal.signal(signal.SIGUSR1, lambda *_: None)"""
UNSAFE = """for one in asyncio.all_tasks():
    if one.get_name() == 'ticker':
        one.cancel()
end.set()
waiter.join()
signal.signal(signal.SIGUSR1, signal.SIG_DFL)
del end, waiter, one
await asyncio.sleep(0)
import io, socket, sqlite3, threading
rows = (n for n in range(3))
next(rows)
db = sqlite3.connect(':memory:')
lock, held = threading.Lock(), [threading.RLock()]
handle = open('data.csv')
port = socket.socket()
text, fine = io.StringIO('a'), 1"""


def test_what_cannot_be_kept_is_told_and_nothing_is_disturbed(bench: Bench) -> None:
    """No checkpoint is kept, the record says which variables are in its way, and the cells go on as they were."""
    (bench.project / "data.csv").write_text("1")
    after = "print(sorted(set(dir()) & {'rows', 'db', 'fine', 'dill'}), list(rows), lock.locked(), handle.read())"
    bench.notebook("work.ipynb", RUNNING, UNSAFE, after, "2")
    bench.reprokit("run", "work.ipynb", "--checkpoint=0", "-o", "out.ipynb")
    run = latest(bench)
    first, told = [gap.message for gap in run.gaps if gap.aspect == "checkpoint"]
    for words in ("after cell 1: ", "ticker is a running task", "waiter is a running thread", "SIGUSR1 is a handler"):
        assert words in first
    assert "after cell 2: " in told
    for words in ("rows is a generator", "db is a database connection", "lock is a lock", "handle is an open file"):
        assert words in told
    assert not any(cell.checkpoint for cell in run.cells)
    assert outputs(bench.project / "out.ipynb")[2].startswith("['db', 'fine', 'rows'] [1, 2] False 1")


def test_an_engine_places_what_goes_on(bench: Bench) -> None:
    """On Slurm's engine a worker is given another device than before, of which nothing is in a checkpoint."""
    cells = ["import random\nx = random.random()", "raise ValueError('broken')"]
    tag(bench.notebook("work.ipynb", *cells), 0)
    bench.reprokit("run", "--checkpoint", "work.ipynb", code=1)
    failed = latest(bench)
    bench.notebook("work.ipynb", cells[0], "print(x, random.random())")
    bench.reprokit("resume", failed.id, "--scheduler", "tcp://nowhere:1", code=2)  # which is no option of `local`
    bench.reprokit("resume", failed.id, "--engine", "slurm", "--slurm", "cluster=local")
    resumed = latest(bench)
    assert (resumed.status, resumed.resumed_from, resumed.sweep, resumed.point) == ("done", failed.id, None, None)
    assert [cell.restored for cell in resumed.cells] == [True, False]
    assert not list((bench.project / ".reprokit" / "placed").iterdir())
    assert bench.verdict(resumed.id)["verdict"] == "identical"

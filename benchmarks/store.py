"""A store with many runs, and a store with many writers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import BIN, Options, Row, at_most, environment, interleaved, median, run, told, workspace

from reprokit.records import Metric
from reprokit.settings import Settings
from reprokit.store.layout import Layout, new_run_id
from reprokit.store.store import Store

_WRITERS = 8
_RUNS = 200  # of each writer
_BAR_MS = 100
_DAY_S = 86_400

_WRITER = """
import sys
from pathlib import Path
from reprokit.store.store import Store
store = Store.open(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    run_id, journal = store.new_run()
    journal.append({"set": {"kind": "batch", "status": "running", "params": {"number": number}}})
    journal.append({"cell": 1, "set": {"source": "x = 1", "status": "done"}})
    journal.append({"set": {"status": "done"}})
    journal.close()
"""


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    with workspace() as folder:
        yield from _listing(folder / "many", 1000 if options.quick else 100_000, options.repeats)
        yield from _writing(folder / "writers")


def _listing(root: Path, count: int, repeats: int) -> Iterator[Row]:
    store = _filled(root, count)
    began = time.perf_counter()
    store.runs(limit=20)
    yield Row(what=f"index {count:,} runs, once", measured=f"{time.perf_counter() - began:.0f} s")
    time.sleep(3)  # a folder that has just changed may change unseen
    ids = [summary.id for summary in _open(root).runs(limit=2)]
    asked: dict[str, Callable[[], object]] = {
        "the latest 20": lambda: _open(root).runs(limit=20),
        "search": lambda: _open(root).runs(limit=20, query="model=forest score>0.9"),
        "search for nothing": lambda: _open(root).runs(limit=20, query="nowhere"),
        "load two": lambda: [_open(root).load(run_id) for run_id in ids],
        "resolve `latest`": lambda: _open(root).resolve("latest"),
    }
    times = interleaved(asked, max(repeats, 10))
    for what, taken in times.items():
        middle = 1000 * median(taken)
        yield at_most(f"{what} of {count:,} runs", middle, _BAR_MS, "ms", told({"median": taken}, "ms"))
    after_one = interleaved({"listing": asked["the latest 20"]}, repeats, before=lambda: _write_run(store, 0))
    middle = 1000 * median(after_one["listing"])
    yield at_most(f"the latest 20 of {count:,} runs, one just made", middle, _BAR_MS, "ms")
    commands = {
        "reprokit runs": lambda: run([BIN / "reprokit", "runs", "--limit", "20"], root),
        "reprokit --version": lambda: run([BIN / "reprokit", "--version"], root),
    }
    times = interleaved(commands, repeats)
    middle = 1000 * median(times["reprokit runs"])
    yield Row(what="`reprokit runs` as a process", measured=f"{middle:.0f} ms", peers=told(times, "ms"))


def _open(root: Path) -> Store:
    """Open the store anew, as each command does."""
    return Store(Layout(root, root / ".reprokit"), Settings())


def _filled(root: Path, count: int) -> Store:
    root.mkdir()
    store = _open(root)
    for number in range(count):
        _write_run(store, number)
    return store


def _write_run(store: Store, number: int) -> None:
    """Write a short finished run, one minute after the one before it."""
    began = time.time() - 100 * _DAY_S + 60.0 * number
    _, journal = store.new_run(run_id=new_run_id(began))
    journal.append(
        {
            "set": {
                "kind": "batch",
                "name": f"run-{number % 100}",
                "notebook": f"notebooks/{('explore', 'train')[number % 2]}.ipynb",
                "started": began,
                "ended": began + 30,
                "status": "done",
                "params": {"model": ("forest", "boosting", "linear")[number % 3], "lr": number % 17 / 100},
                "tags": {"team": f"team-{number % 5}"},
            },
            "add": {"metrics": [Metric(key="score", value=number % 1000 / 1000).to_dict()]},
        }
    )
    journal.close()


def _writing(root: Path) -> Iterator[Row]:
    """Several processes write runs to one fresh store at once."""
    root.mkdir()
    command = [sys.executable, "-c", _WRITER, str(root), str(_RUNS)]
    began = time.perf_counter()
    writers = [subprocess.Popen(command, env=environment(), cwd=root) for _ in range(_WRITERS)]
    errors = sum(writer.wait() != 0 for writer in writers)
    taken = time.perf_counter() - began
    present = sum(summary.status == "done" for summary in _open(root).runs())
    wanted = _WRITERS * _RUNS
    yield Row(
        what=f"{_WRITERS} writers × {_RUNS} runs",
        measured=f"{present:,} present, {errors} errors",
        bar=f"{wanted:,}, 0",
        met=present == wanted and not errors,
        peers=f"{wanted / taken:.0f} runs/s",
    )

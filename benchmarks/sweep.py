"""Sweeps: what many short runs cost beyond the time that they take themselves.

    python benchmarks/sweep.py [--runs N] [--seconds S] [--workers N] [--points N…] [--engine local|dask]…

Plain papermill's start-up is measured before and after each sweep, with as many papermills at a time as the sweep has
workers; what is left of the sweep's time when that is taken off is compared with the time that the notebooks sleep.
The step of the other rows is a script without a line of its own: what a point costs, and what the driver holds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import BIN, Options, Row, environment, git, median, run, workspace

_SHARE = 0.9
_FLAT = 1.1  # what a point of the largest sweep may cost, as a part of what it costs in the smallest
_PAPERMILLS = 5  # of each slot, each time

# Runs a sweep in a process of its own and says what the driver used: seconds between the first and the last end.
_DRIVER = """
import json, resource, sys, time
from reprokit.pipeline.spec import Spec
from reprokit.pipeline.sweep import api
from reprokit.store.store import Store
what, count, workers, engine = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
ends = []
def watch(book):
    return lambda number, ended: ended is not None and ends.append((time.perf_counter(), time.process_time()))
store = Store.open()
spec = Spec(script=what, arguments=("{n}",)) if what.endswith(".py") else Spec(notebook=what)
began = time.perf_counter()
planned = api.look(store, spec, [{"n": n} for n in range(count)])
book, lost = api.begin(store, planned, engine, workers=workers, watch=watch)
took = time.perf_counter() - began
bad = [n for n in range(1, count + 1) if (book.point(n).result() or {}).get("exit_code") != 0]
warm = ends[min(workers, len(ends) - 2)]
said = {"took": took, "bad": bad, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
said["each"] = (ends[-1][0] - warm[0]) / (len(ends) - 1 - ends.index(warm))
said["cpu"] = (ends[-1][1] - warm[1]) / (len(ends) - 1 - ends.index(warm))
print(json.dumps(said))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured."""

    runs: int = 200
    seconds: float = 1.0
    workers: int = 2
    points: tuple[int, ...] = (10, 100, 1000)
    engines: tuple[str, ...] = ("local", "dask")


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    yield from measured(Sizes(runs=8, points=(10, 30)) if options.quick else Sizes())


def measured(sizes: Sizes) -> Iterator[Row]:
    """Measure and yield rows."""
    with workspace() as folder:
        root = _project(folder / "project", sizes.seconds)
        run([sys.executable, "-c", "import reprokit.pipeline.sweep.forking, papermill"], folder)
        for engine in sizes.engines:
            yield _throughput(root, engine, sizes)
        yield from _scaling(root, sizes)


def _project(root: Path, seconds: float) -> Path:
    """Make a project with a notebook that sleeps and a script that does nothing."""
    import nbformat

    root.mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = nbformat.v4.new_notebook(metadata=kernel)
    tags = {"tags": ["parameters"]}
    book.cells.append(nbformat.v4.new_code_cell("n = 0", metadata=tags))
    book.cells.append(nbformat.v4.new_code_cell(f"import time\ntime.sleep({seconds})"))
    nbformat.write(book, root / "sleep.ipynb")
    (root / "nothing.py").write_text("")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=start")
    return root


# -- the time that is not the notebooks' own ------------------------------------------------------


def _throughput(root: Path, engine: str, sizes: Sizes) -> Row:
    before = _papermills(root, sizes)
    taken = _sweep(root, "sleep.ipynb", sizes.runs, sizes.workers, engine)["took"]
    after = _papermills(root, sizes)
    turns = sizes.runs / sizes.workers
    start_up = median([*before, *after]) - sizes.seconds
    ideal = turns * sizes.seconds
    share = ideal / (taken - turns * start_up)
    return Row(
        what=f"{sizes.runs} runs of a {sizes.seconds:g} s notebook, {engine}, {sizes.workers} workers: share of ideal",
        measured=f"{share:.0%}",
        bar=f"≥ {_SHARE:.0%}",
        met=share >= _SHARE,
        peers=f"sweep {taken:.1f} s, papermill's start-up {start_up:.2f} s × {turns:g}, ideal {ideal:g} s",
    )


def _papermills(root: Path, sizes: Sizes) -> list[float]:
    """Return how long plain papermill takes for the notebook, so many at a time as there are workers."""

    def one(slot: int) -> list[float]:
        taken = []
        for _ in range(_PAPERMILLS):
            began = time.perf_counter()
            run([BIN / "papermill", "--no-progress-bar", "sleep.ipynb", f"/dev/shm/out-{slot}.ipynb"], root)
            taken.append(time.perf_counter() - began)
        return taken

    with ThreadPoolExecutor(sizes.workers) as pool:
        return [value for values in pool.map(one, range(sizes.workers)) for value in values]


# -- from few points to many ----------------------------------------------------------------------


def _scaling(root: Path, sizes: Sizes) -> Iterator[Row]:
    found = {count: _sweep(root, "nothing.py", count, sizes.workers, "local") for count in sizes.points}
    few, many = min(found), max(found)
    ratio = found[many]["each"] / found[few]["each"]
    yield Row(
        what=f"cost of a point of {many:,} against one of {few:,} (an empty script), {sizes.workers} workers",
        measured=f"{ratio:.2f} ×",
        bar=f"≤ {_FLAT:g} ×",
        met=ratio <= _FLAT,
        peers=", ".join(f"{count:,}: {one['each'] * 1000:.0f} ms" for count, one in found.items()),
    )
    yield Row(
        what="processor time of the driver for a point",
        measured=f"{found[many]['cpu'] * 1000:.1f} ms",
        peers=", ".join(f"{count:,}: {one['cpu'] * 1000:.1f} ms" for count, one in found.items()),
    )
    grown = found[many]["memory"] / found[few]["memory"]
    yield Row(
        what=f"memory of the driver, {many:,} points against {few:,}",
        measured=f"{grown:.2f} ×",
        bar=f"≤ {_FLAT:g} ×",
        met=grown <= _FLAT,
        peers=", ".join(f"{count:,}: {one['memory']:.0f} MB" for count, one in found.items()),
    )


def _sweep(root: Path, what: str, count: int, workers: int, engine: str) -> dict[str, Any]:
    """Run a sweep in a process of its own and return what it used.

    Raises:
        RuntimeError: it failed, or a point of it did.
    """
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, what, str(count), str(workers), engine],
        cwd=root,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the sweep of {what} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["bad"]:
        raise RuntimeError(f"points {found['bad'][:5]} of {what} were not done")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure so much as is asked for, print it, and return 1 when a bar was missed."""
    parser = argparse.ArgumentParser(description="Measure what sweeps cost.")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--points", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--engine", action="append", choices=["local", "dask"])
    asked = parser.parse_args(arguments)
    engines = tuple(asked.engine or ("local", "dask"))
    sizes = Sizes(
        runs=asked.runs, seconds=asked.seconds, workers=asked.workers, points=tuple(asked.points), engines=engines
    )
    missed = False
    for row in measured(sizes):
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"{row.what}: {row.measured} {row.bar} {verdict} ({row.peers})", flush=True)
        missed |= row.met is False
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

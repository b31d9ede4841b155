"""Sweeps as a user has them: points side by side, stopped, killed, resumed; a notebook edited meanwhile."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from reprokit import cli
from reprokit.pipeline.sweep import combinations, sweep
from reprokit.replay import mounts
from reprokit.store.store import Store

AUTHOR = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.org")
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PARAMETERS = "lr: float = 0.1\ndepth = 3\ntoken = ''\nwhere = ''"

# Every point writes the same file, tells the test that it runs, and looks again when it may go on.
POINT = """\
import os, pathlib, sys, time
import helper
number, outside = sys.argv[1], pathlib.Path(sys.argv[2])
pathlib.Path('out').mkdir(exist_ok=True)
pathlib.Path('out/model.txt').write_text(number)
(outside / f'begun-{number}-{os.getpid()}').touch()
while (outside / 'hold').exists() or (outside / f'hold-{number}').exists():
    time.sleep(0.02)
seen = pathlib.Path('out/model.txt').read_text()
with (outside / 'ended').open('a') as file:
    file.write(f'{number} {seen} {helper.VERSION}\\n')
"""


@dataclass(frozen=True)
class Workshop:
    """A project in which sweeps are run, and a folder outside of it where points and test meet."""

    root: Path
    outside: Path

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def notebook(self, name: str, *sources: str) -> None:
        book = nbformat.v4.new_notebook(metadata=KERNEL)
        for at, source in enumerate(sources):
            metadata = {} if at else {"tags": ["parameters"]}
            book.cells.append(nbformat.v4.new_code_cell(source, metadata=metadata))
        nbformat.write(book, self.root / name)

    @contextmanager
    def started(self, *words: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Run ``reprokit sweep`` in a process of its own, killed in the end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "reprokit", "sweep", *words],
            cwd=self.root,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            (self.outside / "hold").unlink(missing_ok=True)
            process.kill()
            process.communicate()

    def done(self, *words: str, **variables: str) -> tuple[int, str, str]:
        """Run it to its end; return exit code, stdout and stderr."""
        with self.started(*words, **variables) as process:
            out, err = process.communicate(timeout=240)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def points(self, *words: str) -> tuple[str, ...]:
        """Return the words for a sweep of ``point.py``."""
        arguments = ("--", "{n}", str(self.outside))
        return ("point.py", *words, *arguments)

    def begun(self, count: int) -> list[str]:
        """Wait until so many points have begun."""
        return until(lambda: len(found := list(self.outside.glob("begun-*"))) >= count and found)

    def ended(self) -> list[list[str]]:
        """Return what points said at their end: their number, what they found in the file, the helper's version."""
        file = self.outside / "ended"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def looked(self, *words: str) -> str:
        """Look at sweeps, in this process; return stdout."""
        before, said = Path.cwd(), io.StringIO()
        os.chdir(self.root)
        try:
            with contextlib.redirect_stdout(said):
                assert cli.main(["sweep", *words]) == 0
        finally:
            os.chdir(before)
        return said.getvalue()

    def show(self, which: str = "latest") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.looked("show", which, "--json"))
        return found


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + 120
    while not (found := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return found


@pytest.fixture
def workshop(project: Path, tmp_path: Path) -> Workshop:
    outside = tmp_path / "outside"
    outside.mkdir()
    made = Workshop(project, outside)
    made.write("pyproject.toml", '[tool.reprokit]\nlock = "never"\n')
    made.write(".gitignore", "out/\n")
    made.write("point.py", POINT)
    made.write("helper.py", "VERSION = 1\n")
    if not (project / ".git").exists():
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    for command in (["add", "--all"], [*AUTHOR, "commit", "-q", "-m", "start"]):
        subprocess.run(["git", *command], cwd=project, check=True, capture_output=True)
    return made


needs_overlays = pytest.mark.skipif(bool(mounts.unavailable()), reason="no overlays on this machine")


def test_a_notebook_over_a_grid(workshop: Workshop) -> None:
    """Typed points, a failure named by its cell, table, CSV, plot, the best one's files, and `runs`."""
    workshop.notebook(
        "train.ipynb",
        PARAMETERS,
        "assert depth < 9, 'too deep'",
        "import os, reprokit\nos.makedirs('out', exist_ok=True)\nopen('out/model.txt', 'w').write(repr((lr, depth)))\n"
        "reprokit.current_run().metric(score=lr * depth)",
    )
    code, out, said = workshop.done("train.ipynb", "--grid", "lr=1,2", "--grid", "depth=3,9", "--best", "score")
    assert code == 1
    assert "point 2 (lr=1 depth=9) failed at cell 3: AssertionError: too deep" in out
    assert "best (max score): point 3 (lr=2 depth=3), 6" in out
    assert len([line for line in said.splitlines() if line.startswith("[")]) == 4, "a line for each point as it ends"
    shown = workshop.show()
    assert [point["status"] for point in shown["points"]] == ["done", "failed", "done", "failed"]
    assert shown["points"][0]["metrics"] == {"score": 3.0}
    run = Store.open(workshop.root).load(shown["points"][2]["run"])
    assert (run.sweep, run.point, run.kind, run.params) == (shown["id"], 3, "batch", {"lr": 2, "depth": 3})
    workshop.looked("show", "latest", "--sort", "score", "--export", "t.csv", "--plot", "t.svg")
    rows = list(csv.DictReader((workshop.root / "t.csv").read_text().splitlines()))
    assert [row["point"] for row in rows] == ["3", "1", "2", "4"]
    assert (workshop.root / "t.svg").read_text().startswith("<svg")
    workshop.looked("take", "latest", "best", "--to", "taken")
    assert (workshop.root / "taken/out/model.txt").read_text() == "(2, 3)"
    listed = Store.open(workshop.root).runs(query=f"sweep={shown['id']} point>2")
    assert sorted(entry.point or 0 for entry in listed) == [3, 4]


@needs_overlays
def test_points_do_not_disturb_each_other_and_run_the_code_as_it_was(workshop: Workshop) -> None:
    """Two write the same file at the same time; the script and its module are edited before the others begin."""
    (workshop.outside / "hold").touch()
    words = workshop.points("--grid", "n=1,2,3,4", "--workers", "2", "--name", "apart")
    with workshop.started(*words) as process:
        workshop.begun(2)
        workshop.write("helper.py", "VERSION = 2\n")
        workshop.write("point.py", "raise SystemExit('edited')\n")
        (workshop.outside / "hold").unlink()
        out, said = process.communicate(timeout=240)
    assert process.returncode == 0, out + said
    assert sorted(workshop.ended()) == [[n, n, "1"] for n in "1234"], "each saw its own file, and the code as it was"
    assert not (workshop.root / "out").exists(), "the project is as it was"
    code, _, said = workshop.done("--resume", "apart")
    assert code == 2
    assert "changed since sweep" in said
    store = Store.open(workshop.root)
    for point in workshop.show("apart")["points"]:
        run = store.load(point["run"])
        digest = next(use.digest for cell in run.cells for use in cell.writes if use.path == "out/model.txt")
        assert store.objects.get_bytes(digest or "") == str(point["number"]).encode()


def test_ctrl_c_leaves_a_sweep_that_can_be_resumed(workshop: Workshop) -> None:
    """Exit 130, what ran is closed, and only what is left runs again."""
    (workshop.outside / "hold-2").touch()
    with workshop.started(*workshop.points("--grid", "n=1,2,3", "--workers", "1")) as process:
        workshop.begun(2)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=120)
    assert process.returncode == 130, out + said
    assert "interrupted after 1 of 3 points" in said
    assert "Traceback" not in said
    assert [point["status"] for point in workshop.show()["points"]] == ["done", "missing", "missing"]
    store = Store.open(workshop.root)
    assert {entry.status for entry in store.runs()} == {"done", "interrupted"}
    (workshop.outside / "hold-2").unlink()
    code, out, said = workshop.done("--resume", "latest")
    assert code == 0, out + said
    assert sorted(line[0] for line in workshop.ended()) == ["1", "2", "3"]


def test_a_killed_driver_loses_nothing_and_counts_nothing_twice(workshop: Workshop) -> None:
    (workshop.outside / "hold-2").touch()
    with workshop.started(*workshop.points("--grid", "n=1,2,3", "--workers", "1")) as process:
        workshop.begun(2)
        process.kill()
        process.wait(60)
    pid = next(workshop.outside.glob("begun-2-*")).name.rpartition("-")[2]
    until(lambda: not Path(f"/proc/{pid}").exists())
    (workshop.outside / "hold-2").unlink()
    code, out, said = workshop.done("--resume", "latest", "--json")
    assert code == 0, out + said
    assert json.loads(out)["counts"] == {"done": 3, "failed": 0, "missing": 0, "total": 3}
    assert sorted(line[0] for line in workshop.ended()) == ["1", "2", "3"]
    statuses = sorted(entry.status for entry in Store.open(workshop.root).runs())
    assert statuses == ["done", "done", "done", "interrupted"]


PLAIN = {"REPROKIT_MOUNTS": "never", "REPROKIT_WARM": "never"}  # as it is where there is no Linux


@pytest.mark.soak
def test_without_overlays_what_disturbs_points_is_refused(workshop: Workshop) -> None:
    """Two that wrote the same file at the same time do not count; once the code changed, no more are begun."""
    (workshop.outside / "hold").touch()
    with workshop.started(*workshop.points("--grid", "n=1,2"), **PLAIN) as process:
        workshop.begun(2)
        (workshop.outside / "hold").unlink()
        out, said = process.communicate(timeout=240)
    assert process.returncode == 1, out + said
    assert "point 2 wrote out/model.txt at the same time" in out
    (workshop.outside / "hold-1").touch()
    with workshop.started("--resume", "latest", "--workers", "1", **PLAIN) as process:
        workshop.begun(3)
        workshop.write("helper.py", "VERSION = 2\n")
        (workshop.outside / "hold-1").unlink()
        out, said = process.communicate(timeout=240)
    assert process.returncode == 2, out + said
    assert "helper.py changed while the sweep ran" in said
    workshop.write("helper.py", "VERSION = 1\n")
    code, out, said = workshop.done("--resume", "latest", "--workers", "1", **PLAIN)
    assert code == 0, out + said
    assert sorted(workshop.ended()[2:]) == [["1", "1", "1"], ["2", "2", "1"]]


WRONG = {
    "unknown": (["train.ipynb", "--grid", "ler=1"], "did you mean lr"),
    "ill-typed": (["train.ipynb", "--grid", "lr=1,x"], "point 2 (lr=x): parameter 'lr' is 'x'"),
    "the same": (["train.ipynb", "--grid", "lr=1,1.0"], "points 1 and 2 are the same"),
    "a secret": (["train.ipynb", "--grid", "token=abcdefghijklmnop"], "was given a secret"),
    "twice": (["train.ipynb", "--grid", "lr=1,2", "-p", "lr", "3"], "'lr' is given twice"),
    "no points": (["train.ipynb"], "there are no points"),
    "no rows": (["train.ipynb", "--grid", "lr=1,2", "--points", "more.csv"], "more.csv holds no points"),
    "no notebook": (["missing.ipynb", "--grid", "lr=1"], "there is no notebook"),
    "no space": (["train.ipynb", "--sample", "3"], "--sample and --space go together"),
    "no seed": (["train.ipynb", "--grid", "lr=1,2", "--seed-each"], "no seed to derive"),
    "unused": (["point.py", "--grid", "n=1", "--", "x"], "do not use 'n'"),
    "no number": (["point.py", "--grid", "n=1,.inf", "--", "{n}"], "point 2 has a value that is neither"),
    "no engine": (["train.ipynb", "--grid", "lr=1", "--scheduler", "tcp://here:1"], "takes no --scheduler"),
    "no sweep": (["--resume", "nothing"], "no sweep is called 'nothing'"),
    "resumed anew": (["train.ipynb", "--resume", "nothing"], "is resumed as it was begun"),
    "shown": (["show"], "no sweep is called 'latest'"),
}


def test_what_cannot_work_is_one_line_and_nothing_is_written(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.notebook("train.ipynb", PARAMETERS, "1")
    workshop.write("more.csv", "token\n\n")
    monkeypatch.chdir(workshop.root)
    for what, (words, said) in WRONG.items():
        assert cli.main(["sweep", *words]) == 2, what
        captured = capsys.readouterr()
        assert said in captured.err, what
        assert captured.err.count("\n") == 1, what
        assert captured.out == "", what
    assert not (workshop.root / ".reprokit/sweeps").exists()
    assert Store.open(workshop.root).runs() == []


def test_any_executor_is_an_engine(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workshop.root)
    monkeypatch.setenv("MY_PASSWORD", "correct-horse-battery")
    workshop.write("pyproject.toml", '[tool.reprokit]\nlock = "never"\nvariables = ["MY_*"]\n')
    pools: list[Callable[[int], Executor]] = [ThreadPoolExecutor, ProcessPoolExecutor]
    for number, kind in enumerate(pools):
        points = combinations(n=[f"{number}1", f"{number}2"])
        with kind(2) as pool:
            words = ["{n}", str(workshop.outside)]
            done = sweep("point.py", points, arguments=words, engine=pool, seed=7, seed_each=True)
        assert done.is_done
        assert len({point.seed for point in done.points}) == 2
        runs = [Store.open(workshop.root).load(point.run or "") for point in done.points]
        assert [run.seed for run in runs] == [point.seed for point in done.points]
    assert sorted(line[0] for line in workshop.ended()) == ["01", "02", "11", "12"]
    files = [file for file in (workshop.root / ".reprokit").rglob("*") if file.is_file()]
    assert not [file for file in files if b"correct-horse" in file.read_bytes()], "secrets are not written down"

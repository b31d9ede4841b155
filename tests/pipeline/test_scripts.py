"""``reprokit run SCRIPT.py``: run as Python runs it, recorded as a whole, and replayed."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from steps import Workshop

from reprokit.cli.run import run
from reprokit.errors import UsageError
from reprokit.records import Run

SCRIPT = """\
import atexit, os, pickle, random, sys, threading, time
from helper import double

class Point:
    pass

def late():
    main_is_over.wait()
    open('out/thread.txt', 'w').write('from a thread')

main_is_over = threading.Event()
threading.Thread(target=late).start()
atexit.register(lambda: open('out/exit.txt', 'w').write(f'{double(2)} at exit'))
assert pickle.loads(pickle.dumps(Point())).__class__ is Point
assert sys.modules['__main__'].Point is Point
text = open('data/in.txt').read() if os.path.exists('data/in.txt') else ''
print(__name__, __file__, sys.argv, __spec__, text, random.random())
open('out/result.txt', 'w').write(str(random.random()))
main_is_over.set()
if sys.argv[1:] == ['fail']:
    raise ValueError('on purpose')
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else None)
"""


@pytest.fixture(scope="module")
def script(workshop: Workshop) -> str:
    workshop.write("helper.py", "def double(x):\n    return 2 * x\n")
    workshop.write("data/in.txt", "data")
    return workshop.write("job.py", SCRIPT)


def reprokit(workshop: Workshop, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reprokit", *arguments]
    return subprocess.run(command, cwd=workshop.root, capture_output=True, text=True, check=False, timeout=240)


def test_it_is_run_as_python_runs_it_and_replays(workshop: Workshop, script: str) -> None:
    """Its arguments, main module, threads and exit handlers; all that they write is recorded, and comes again."""
    done = reprokit(workshop, "run", script)
    assert done.returncode == 0, done.stderr
    place = workshop.root / script
    assert done.stdout.startswith(f"__main__ {place} ['job.py'] None data 0.")
    found = workshop.latest()
    assert (found.kind, found.front, found.script, found.status, found.argv) == (
        "batch",
        "script",
        "job.py",
        "done",
        ("job.py",),
    )
    (cell,) = found.cells
    assert (cell.source, cell.entered, cell.status) == (SCRIPT, "start", "done")
    assert [use.path for use in cell.reads] == ["data/in.txt"]
    assert sorted(use.path for use in cell.writes) == ["out/exit.txt", "out/result.txt", "out/thread.txt"]
    assert found.capture is not None
    (workshop.root / "data/in.txt").write_text("changed since")
    verdict = json.loads(reprokit(workshop, "replay", found.id, "--json").stdout)
    assert verdict["verdict"] == "identical", verdict
    (workshop.root / "data/in.txt").write_text("data")


@pytest.mark.parametrize(
    ("argument", "code", "last", "status"),
    [("7", 7, "", "failed"), ("0", 0, "", "done"), ("fail", 1, "ValueError: on purpose", "failed")],
)
def test_its_exit_code_and_its_traceback_are_its_own(
    workshop: Workshop, script: str, argument: str, code: int, last: str, status: str
) -> None:
    plain = subprocess.run(
        [sys.executable, script, argument], cwd=workshop.root, capture_output=True, text=True, check=False
    )
    done = reprokit(workshop, "run", script, "--", argument)
    assert done.returncode == plain.returncode == code
    assert done.stderr == plain.stderr
    assert done.stderr.strip().endswith(last)
    found = workshop.latest()
    assert (found.status, found.cells[0].status) == (status, status)
    assert "out/exit.txt" in [use.path for use in found.cells[0].writes]


def test_a_block_in_it_joins_the_run(workshop: Workshop) -> None:
    """``with reprokit.run()`` works alone; run as a whole, it names the one run there is, and says its metrics."""
    text = (
        "import reprokit\n"
        "open('out/before.txt', 'w').write('1')\n"
        "with reprokit.run('named', params={'n': 3}) as run:\n"
        "    run.metric(score=0.5)\n"
        "    assert reprokit.current_run().id == run.id\n"
    )
    done = reprokit(workshop, "run", workshop.write("block.py", text))
    assert done.returncode == 0, done.stderr
    found = workshop.latest()
    assert (found.name, found.params, [metric.key for metric in found.metrics]) == ("named", {"n": 3}, ["score"])
    assert [use.path for use in found.cells[0].writes] == ["out/before.txt"]
    assert len(workshop.store.runs(query="name=named")) == 1


def test_an_unchanged_script_is_taken_over(workshop: Workshop, script: str) -> None:
    assert reprokit(workshop, "run", script, "--reuse").stderr.startswith("reuse: ")
    first = workshop.latest()
    content = (workshop.root / "out/result.txt").read_text()
    (workshop.root / "out/result.txt").unlink()
    done = reprokit(workshop, "run", script, "--reuse")
    assert f"reuse: yes: nothing changed since run {first.reuse_of or first.id}" in done.stderr
    assert (workshop.root / "out/result.txt").read_text() == content
    listed = reprokit(workshop, "runs", "--limit", "1").stdout
    assert "reused" in listed
    other = reprokit(workshop, "run", script, "--reuse", "--", "00")
    assert re.match(r'reuse: no: arguments \[.*\] → \["00"\] since run ', other.stderr)
    verdict = json.loads(reprokit(workshop, "replay", _reused(workshop).id, "--json").stdout)
    assert verdict["verdict"] == "identical", "what was taken over is replayed"


def _reused(workshop: Workshop) -> Run:
    found = next(entry for entry in workshop.store.runs() if entry.reuse_of is not None)
    return workshop.store.load(found.id)


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        ("import os\nos._exit(0)", "interrupted", "ended at once"),
        ("import os\nos.kill(os.getpid(), 9)", "interrupted", "was killed by SIGKILL"),
        ("def (", "failed", "SyntaxError"),
    ],
)
def test_whatever_ends_it_is_told(workshop: Workshop, source: str, status: str, words: str) -> None:
    done = reprokit(workshop, "run", workshop.write("ending.py", source))
    found = workshop.latest()
    assert (found.script, found.status) == ("ending.py", status)
    assert words in str(found.reason)
    assert done.returncode == 1
    assert "launch.py" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["job.py", "-p", "n", "1"], "a script takes no -p: give a script its arguments after --"),
        (["job.py", "-o", "x.ipynb"], "a script takes no -o"),
        (["empty.ipynb", "--", "x"], "a notebook takes no arguments: give a notebook its parameters with -p"),
        (["nowhere.py"], "there is no script"),
    ],
)
def test_what_does_not_go_together_is_refused(
    workshop: Workshop, script: str, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.notebook("empty.ipynb", "1")
    monkeypatch.chdir(workshop.root)
    with pytest.raises(UsageError, match=message):
        run.main(arguments, standalone_mode=False)

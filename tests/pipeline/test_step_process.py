"""A step as a process: what it inherits, how it is stopped and killed, and what its exit code says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from steps import Workshop, is_gone

from reprokit.pipeline.spec import Spec
from reprokit.pipeline.step import perform

SLOW = """\
import os, time
open('out/draft', 'w').write(str(os.getpid()))
os.replace('out/draft', 'out/pid')
time.sleep(600)"""


def begun(workshop: Workshop, process: subprocess.Popen[str]) -> int:
    """Wait until the slow cell runs and return the id of its process."""
    file = workshop.root / "out" / "pid"
    while not file.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    pid = int(file.read_text())
    file.unlink()
    return pid


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 60
    while not is_gone(pid):
        assert time.monotonic() < until, f"process {pid} was left behind"
        time.sleep(0.02)


def test_sigterm_interrupts_the_kernel_and_closes_the_record(workshop: Workshop) -> None:
    """Exit 143; what ran is recorded, no kernel is left, and the same step can be run again."""
    workshop.notebook("slow.ipynb", "open('out/first.txt', 'w').write('x')", SLOW, "'never'")
    document = {"notebook": "slow.ipynb", "result": "result.json", "output_notebook": "out/slow.ipynb"}
    with workshop.started(document) as process:
        kernel = begun(workshop, process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "Traceback" not in said
    wait_until_gone(kernel)
    run = workshop.latest()
    assert (run.status, [cell.status for cell in run.cells]) == ("interrupted", ["done", "interrupted"])
    assert [use.path for use in run.cells[0].writes] == ["out/first.txt"]
    assert run.capture is not None, "the agent closed its record"
    result = workshop.result()
    assert (result["run"], result["exit_code"], result["reason"]) == (run.id, 143, "stopped by SIGTERM")
    assert "out/first.txt" in [made["path"] for made in result["outputs"]]
    cells = json.loads((workshop.root / "out/slow.ipynb").read_text())["cells"][1:]
    statuses = [cell["metadata"]["papermill"]["status"] for cell in cells]
    assert statuses == ["completed", "failed", "pending"]
    assert run.reason == "stopped by SIGTERM"


def test_sigkill_leaves_no_kernel_and_an_interrupted_run(workshop: Workshop) -> None:
    workshop.notebook("slow.ipynb", SLOW)
    (workshop.root / "result.json").write_text("{}")
    with workshop.started({"notebook": "slow.ipynb", "result": "result.json"}) as process:
        kernel = begun(workshop, process)
        process.kill()
        process.wait(60)
    wait_until_gone(kernel)
    run = workshop.latest()
    assert (run.notebook, run.status, run.cells[-1].status) == ("slow.ipynb", "interrupted", "interrupted")
    assert not (workshop.root / "result.json").exists(), "that of an earlier step must not be taken for this one's"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_script_is_stopped_in_good_order(workshop: Workshop, number: int, code: int) -> None:
    workshop.write("slow.py", "open('out/one.txt', 'w').write('1')\n" + SLOW)
    with workshop.started({"script": "slow.py"}, ["-m", "reprokit", "run", "slow.py"]) as process:
        pid = begun(workshop, process)
        process.send_signal(number)
        process.communicate(timeout=120)
    assert process.returncode == code
    assert is_gone(pid)
    run = workshop.latest()
    assert (run.script, run.status, run.cells[0].status) == ("slow.py", "interrupted", "interrupted")
    assert "out/one.txt" in [use.path for use in run.cells[0].writes]


def test_a_kernel_that_dies_is_code_3_and_every_cell_tells_the_truth(workshop: Workshop) -> None:
    """papermill would mark all cells, also those that never ran, as completed."""
    workshop.notebook("dying.ipynb", "1", "import os\nos.kill(os.getpid(), 9)", "2")
    result = perform(workshop.spec(notebook="dying.ipynb", output_notebook="out/dying.ipynb"), store=workshop.store)
    assert (result.exit_code, result.status) == (3, "interrupted")
    assert "the kernel died while cell 2 ran" in str(result.reason)
    cells = json.loads((workshop.root / "out/dying.ipynb").read_text())["cells"][1:]
    assert [cell["metadata"]["papermill"]["status"] for cell in cells] == ["completed", "failed", "pending"]


def test_a_cell_that_takes_too_long_is_code_4(workshop: Workshop) -> None:
    workshop.notebook("long.ipynb", "import time\ntime.sleep(600)", "2")
    result = perform(workshop.spec(notebook="long.ipynb", cell_timeout=1), store=workshop.store)
    assert (result.exit_code, result.status) == (4, "interrupted")
    assert [cell.status for cell in workshop.latest().cells] == ["interrupted"]


def test_a_step_that_takes_too_long_is_code_4(workshop: Workshop) -> None:
    handler = signal.getsignal(signal.SIGALRM)
    workshop.write("long.py", "import time\ntime.sleep(600)")
    result = perform(workshop.spec(script="long.py", timeout=3), store=workshop.store)
    assert (result.exit_code, result.status, result.reason) == (4, "interrupted", "took longer than it was allowed")
    assert signal.getsignal(signal.SIGALRM) == handler, "whoever else uses it has it back"


ENVIRON = """\
import json, os, sys
json.dump({'environ': dict(os.environ), 'cwd': os.getcwd(), 'path': sys.path[0], 'argv': sys.argv}, open(OUT, 'w'))"""


def test_it_inherits_what_is_named_and_nothing_else(workshop: Workshop) -> None:
    """One step shows its variables, its place, and that a declared output was not made (5)."""
    (workshop.root / "sub").mkdir()
    out = workshop.root / "out" / "environ.json"
    workshop.write("sub/show.py", ENVIRON.replace("OUT", repr(str(out))))
    leaked = {"OMP_NUM_THREADS": "1", "PYTHONPATH": "/elsewhere", "MY_SETTING": "x", "AWS_REGION": "here", "TZ": "UTC"}
    document = {
        "script": "sub/show.py",
        "arguments": ["--lr", "0.1 é"],
        "cwd": "sub",
        "variables": {"MKL_NUM_THREADS": "3", "TZ": None},
        "inherit": ["AWS_*"],
        "outputs": ["out/missing.txt"],
        "result": "result.json",
    }
    done = workshop.step(document, **leaked)
    assert done.returncode == 5, done.stderr
    assert workshop.result()["reason"] == "it did not make out/missing.txt"
    found = json.loads(out.read_text())
    environ = found["environ"]
    assert {name: environ.get(name) for name in leaked} == {**dict.fromkeys(leaked), "AWS_REGION": "here"}
    assert environ["MKL_NUM_THREADS"] == "3"
    assert environ["PATH"] == os.environ["PATH"]
    assert not {name for name in environ if name.startswith("REPROKIT_")} - os.environ.keys()
    assert found["cwd"] == found["path"] == str(workshop.root / "sub")
    assert found["argv"] == ["show.py", "--lr", "0.1 é"]
    machine = workshop.latest().machine
    assert machine is not None
    assert machine.threads == {"MKL_NUM_THREADS": "3"} | {
        name: os.environ[name] for name in ("OPENBLAS_CORETYPE", "MKL_CBWR") if name in os.environ
    }


def test_steps_at_the_same_time_have_each_their_own_place(workshop: Workshop) -> None:
    """papermill's ``cwd`` is that of its whole process, and threads run each other's notebooks elsewhere."""
    names = ("one", "two")
    for name in names:
        (workshop.root / name).mkdir()
        workshop.notebook(f"{name}/place.ipynb", "import os\n_ = open('place.txt', 'w').write(os.getcwd())")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(workshop.step, [{"notebook": f"{name}/place.ipynb"} for name in names]))
    assert [one.returncode for one in done] == [0, 0], done
    assert [(workshop.root / name / "place.txt").read_text() for name in names] == [
        str(workshop.root / name) for name in names
    ]


def test_modules_of_the_working_directory_hide_nothing(workshop: Workshop) -> None:
    """``python -m`` puts the working directory first on the path; a project may have a yaml.py of its own."""
    for name in ("yaml", "click", "nbformat", "jsonschema"):
        workshop.write(f"{name}.py", "raise RuntimeError('the wrong module')")
    try:
        done = workshop.step({"notebook": "nowhere.ipynb"})
    finally:
        for name in ("yaml", "click", "nbformat", "jsonschema"):
            (workshop.root / f"{name}.py").unlink()
    assert done.returncode == 2, done.stderr
    assert "there is no notebook" in done.stderr


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"notebook": "params.ipynb", "params": {"nn": 3}}, "no parameter 'nn': did you mean n?"),
        ({"notebook": "params.ipynb", "params": {"n": "many"}}, "but the notebook wants int"),
        ({"notebook": "params.ipynb", "inputs": ["data/none.csv"]}, "the input data/none.csv is not there"),
        ({"notebook": "params.ipynb", "kernel": "julia"}, "there is no kernel 'julia'"),
        ({"notebook": "params.ipynb", "cwd": "nowhere"}, "there is no folder"),
        ({"notebook": "params.ipynb", "environment": {"python": "/no/python"}}, "there is no interpreter"),
        ({"script": "nowhere.py"}, "there is no script"),
        ({"run": "nowhere"}, "no run is called 'nowhere'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(
    workshop: Workshop, document: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from reprokit import step

    workshop.notebook("params.ipynb", "#: parameters\nn: int = 1")
    before = workshop.store.layout.run_names()
    path = workshop.root / "wrong.json"
    path.write_text(json.dumps({**document, "project": str(workshop.root)}))
    assert step.main([str(path)]) == 2
    assert message in capsys.readouterr().err
    assert workshop.store.layout.run_names() == before


TYPED = """\
#: parameters
import datetime
from pathlib import Path
day = datetime.date(2024, 1, 1)
folder = Path('.')
shape = (1, 2)
url = 'http://h/?a=b'
more = 1"""


def test_another_interpreter_and_parameters_of_every_kind(workshop: Workshop, tmp_path: Path) -> None:
    """What is given, what the record shows, and what the kernel has are one value, in the interpreter asked for."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    workshop.notebook(
        "typed.ipynb",
        TYPED,
        "print(repr(day), repr(folder), repr(shape), url)",
        "import random\nopen('out/draw.txt', 'w').write(str(random.random()))",
    )
    params = {"day": "2024-02-29", "folder": "a b", "shape": [3], "url": "http://{x}/?c=d&e"}
    spec = workshop.spec(notebook="typed.ipynb", params=params, environment={"python": str(python)}, seed=7)
    result = perform(spec, store=workshop.store)
    drawn = (workshop.root / "out/draw.txt").read_text()
    run = workshop.store.load(str(result.run))
    assert result.exit_code == 0, result
    assert run.params == result.params == params
    assert run.seed == 7
    (output,) = json.loads(workshop.store.objects.get_bytes(str(run.cells[2].outputs)))
    assert output["text"] == "datetime.date(2024, 2, 29) PosixPath('a b') (3,) http://{x}/?c=d&e\n"
    again = perform(Spec.from_dict({"run": run.id, "project": str(workshop.root), "params": {"more": 2}, "seed": 7}))
    assert (again.exit_code, again.params) == (0, {**params, "more": 2})
    assert (workshop.root / "out/draw.txt").read_text() == drawn

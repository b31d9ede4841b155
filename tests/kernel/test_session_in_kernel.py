"""What a session in a real kernel records: every cell in order, with outputs, files and randomness."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernels import Kernel, outputs_of, text
from nbclient import NotebookClient

from reprokit.records import Cell, Run


def cells_of(run: Run) -> list[Cell]:
    """Return the cells of the test, without those that start and stop the run."""
    start = next(index for index, cell in enumerate(run.cells) if cell.entered == "inside")
    return list(run.cells[start + 1 : -1])


def test_cells_are_recorded_in_the_order_in_which_they_ran(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start ordered")
    for source, cell_id in (("x = 1", "first"), ("x + 1", "second"), ("x = 10", "first"), ("x + 1", "second")):
        kernel.run(source, cell_id=cell_id)
    kernel.run("%repro stop")
    run = kernel.record("ordered")
    cells = cells_of(run)
    assert [(cell.source, cell.cell_id) for cell in cells] == [
        ("x = 1", "first"),
        ("x + 1", "second"),
        ("x = 10", "first"),
        ("x + 1", "second"),
    ]
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(counts[0] or 0, (counts[0] or 0) + 4))
    assert [cell.seq for cell in run.cells] == list(range(1, len(run.cells) + 1))
    assert (run.status, run.front, run.kind) == ("done", "kernel", "session")
    assert [outputs_of(kernel.store(), cell)[0]["data"]["text/plain"] for cell in cells[1::2]] == ["2", "11"]
    assert all(cell.duration_s is not None and cell.started is not None for cell in cells)
    assert all(cell.environment == run.environments[0].fingerprint for cell in cells)
    assert run.code is not None
    assert run.machine is not None


def test_cells_before_the_start_are_known_by_their_source(kernel: Kernel) -> None:
    kernel.run("before = 1")
    kernel.run("before = 1")
    run = kernel.capture("after = before")
    unobserved = [cell.source for cell in run.cells if not cell.observed]
    assert unobserved[-3:] == ["before = 1", "before = 1", "%load_ext reprokit"]
    (gap,) = [gap for gap in run.gaps if gap.aspect == "hidden-state"]
    assert not gap.blocks
    assert run.cells[len(unobserved)].entered == "inside"


FAILURES = {
    "1/0": ("failed", "ZeroDivisionError: division by zero"),
    "def broken(:": ("failed", "SyntaxError"),
    "raise SystemExit": ("done", "SystemExit"),
    "raise SystemExit(3)": ("failed", "SystemExit: 3"),
    "raise KeyboardInterrupt": ("interrupted", "KeyboardInterrupt"),
    "raise ValueError('https://me:hunter2@host')": ("failed", "ValueError: https://[redacted]@host"),
    "await nothing": ("failed", "NameError"),
    "%no_such_magic": ("failed", "UsageError"),
    "%%no_such_cell_magic\nx": ("failed", "UsageError"),
    "": ("done", None),
}


@pytest.mark.parametrize("source", FAILURES)
def test_a_cell_that_fails_is_recorded_and_the_next_is_fine(source: str, kernel: Kernel) -> None:
    run = kernel.capture(source or "# nothing", "y = 1")
    failed, following = cells_of(run)
    status, error = FAILURES[source]
    assert failed.status == status
    assert (failed.error or "").startswith(error or "")
    assert following.status == "done"
    assert run.status == "done"


def test_a_cell_that_awaits(kernel: Kernel) -> None:
    run = kernel.capture(
        "import asyncio\nopen('awaited.txt', 'w').write('x')\nawait asyncio.sleep(0.05)\n"
        "open('later.txt', 'w').write('y')\nprint('slept')"
    )
    (cell,) = cells_of(run)
    assert cell.status == "done"
    assert {use.path for use in cell.writes} == {"awaited.txt", "later.txt"}
    assert (cell.duration_s or 0) > 0.04
    assert text(outputs_of(kernel.store(), cell)).strip() == "slept"


def test_a_cell_that_runs_cells_is_one_cell(kernel: Kernel) -> None:
    run = kernel.capture("result = get_ipython().run_cell('inner = 1\\nprint(inner)')\nprint('outer')", "z = inner")
    outer, following = cells_of(run)
    assert outer.source.startswith("result =")
    assert outer.status == following.status == "done"
    assert "1\nouter" in text(outputs_of(kernel.store(), outer))


def test_magics_of_ipython_work_as_ever(kernel: Kernel) -> None:
    run = kernel.capture(
        "%%capture caught\nprint('hidden')",
        "%%time\ntimed = 1",
        "%time timed += 1",
        "caught.stdout",
        "%%bash\necho from bash > bash.txt",
        "%%writefile written.txt\ntext\n",
        "!printf shell",
        "timed",
    )
    cells = cells_of(run)
    assert [cell.status for cell in cells] == ["done"] * 8
    shown = [text(outputs_of(kernel.store(), cell)) for cell in cells]
    assert "hidden" in shown[3]
    assert "shell" in shown[6]
    assert shown[7] == "2"
    assert [use.path for use in cells[4].writes] == ["bash.txt"]
    assert [use.path for use in cells[5].writes] == ["written.txt"]


def test_files_and_randomness_are_recorded_per_cell(kernel: Kernel) -> None:
    run = kernel.capture(
        "import random, pandas as pd, numpy as np",
        "pd.DataFrame({'x': np.random.rand(3)}).to_parquet('made.parquet')",
        "frame = pd.read_parquet('made.parquet')",
        "rng = np.random.default_rng()",
        "rng.random()",
    )
    cells = cells_of(run)
    assert [use.path for use in cells[1].writes] == ["made.parquet"]
    assert [(use.path, use.own, use.state) for use in cells[2].reads] == [("made.parquet", True, "stable")]
    assert cells[1].writes[0].digest == cells[2].reads[0].digest
    start, end = (next(state for state in cells[4].random if state.at == at) for at in ("start", "end"))
    assert set(start.states) >= {"random", "numpy", "variable rng"}
    assert start.of("variable rng") != end.of("variable rng")
    assert start.of("numpy") == end.of("numpy")
    assert len({state.entropy for cell in cells for state in cell.random if state.at == "start"}) == 5
    assert all(kernel.store().objects.has(digest) for state in (start, end) for digest in state.states.values())


def test_capture_does_not_change_what_is_drawn(kernel: Kernel) -> None:
    draws = [
        "import random, numpy as np\nrandom.seed(3)\nnp.random.seed(3)",
        "(random.random(), np.random.rand(), np.random.default_rng(3).random())",
        "(random.random(), np.random.rand())",
    ]
    bare = [text(kernel.run(cell)) for cell in draws]
    run = kernel.capture(*draws)
    recorded = [text(outputs_of(kernel.store(), cell)) for cell in cells_of(run)]
    assert recorded == bare


# -- outputs are those a front end saves ---------------------------------------------------------------

DISPLAYS = [
    "print('one'); print('two')",
    "import sys\nprint('out')\nsys.stdout.flush()\nprint('err', file=sys.stderr)\nsys.stderr.flush()\nprint('again')",
    "'result'",
    "from IPython.display import display, update_display, clear_output, HTML, Image\ndisplay(1, HTML('<b>x</b>'))",
    "Image(data=bytes.fromhex('89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489'))",
    "handle = display('first', display_id='d'); print('between'); handle.update('second')",
    "update_display('third', display_id='d')",
    "for n in range(3):\n    print(n)\n    clear_output(wait=True)\nprint('last')",
    "for n in range(3):\n    print(n)\n    clear_output()\nprint('last')",
    "print('50%\\r100%')",
    "1/0",
    "import pandas as pd\npd.DataFrame({'x': [1, 2]})",
    "None",
    "%matplotlib inline\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2])",
    "!echo shell",
    "import threading\nthread = threading.Thread(target=lambda: print('in a thread'))\nthread.start()\nthread.join()",
    "class Odd:\n    def _repr_html_(self): return '<i>odd</i>'\n    def __repr__(self): return 'odd'\nOdd()",
    "x = 5;\nx",
    "display()",
    "import warnings\nwarnings.warn('careful')",
]


def joined(outputs: Sequence[Any]) -> list[dict[str, Any]]:
    """Return outputs as plain values, neighbours on one stream joined, without what differs in every process."""
    plain = [dict(nbformat.from_dict(output)) for output in outputs]
    result: list[dict[str, Any]] = []
    for key, group in itertools.groupby(plain, lambda output: output.get("name") or id(output)):
        members = list(group)
        if isinstance(key, str):
            result.append({"output_type": "stream", "name": key, "text": "".join(one["text"] for one in members)})
        else:
            result += members
    for output in result:
        output.pop("execution_count", None)
        output.pop("traceback", None)
    return [
        {**output, "text": output["text"].split("ipykernel_")[0]} if "text" in output else output for output in result
    ]


def test_outputs_are_those_that_nbclient_saves(kernel: Kernel, place: Path, environ: dict[str, str]) -> None:
    run = kernel.capture(*DISPLAYS)
    recorded = [joined(outputs_of(kernel.store(), cell)) for cell in cells_of(run)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in DISPLAYS])
    client = NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(place)}})
    client.execute(env=environ)
    saved = [joined(cell.outputs) for cell in notebook.cells]
    for source, ours, theirs in zip(DISPLAYS, recorded, saved, strict=True):
        assert ours == theirs, source
    assert sum(bool(outputs) for outputs in recorded) >= 17


def test_late_output_belongs_to_the_cell_that_began_it(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start late")
    kernel.run(
        "import threading\ngo = threading.Event()\n"
        "def later():\n    go.wait(30)\n    print('late')\n"
        "thread = threading.Thread(target=later)\nthread.start()"
    )
    kernel.run("go.set()\nthread.join()\nprint('second')")
    kernel.run("%repro stop")
    first, second = cells_of(kernel.record("late"))
    assert "late" in text(outputs_of(kernel.store(), first)) + text(outputs_of(kernel.store(), second))
    assert "second" in text(outputs_of(kernel.store(), second))


def test_the_user_sees_everything_as_without_capture(kernel: Kernel) -> None:
    kernel.run("%matplotlib inline")
    kernel.run(DISPLAYS[3])
    bare = [joined(kernel.run(source)) for source in DISPLAYS]
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start seen")
    assert [joined(kernel.run(source)) for source in DISPLAYS] == bare
    kernel.run("%repro stop")
    assert [joined(kernel.run(source)) for source in DISPLAYS] == bare


# -- blocks --------------------------------------------------------------------------------------------


def test_a_with_block_in_a_cell(kernel: Kernel) -> None:
    shown = kernel.run(
        "import reprokit\nopen('outside.txt', 'w').write('x')\n"
        "with reprokit.run('block', seed=3, params={'lr': 0.1}, tags={'team': 'a'}) as run:\n"
        "    open('inside.txt', 'w').write('x')\n"
        "    run.metric(auc=0.5)\n"
        "    run.assume('positive', 1 > 0)\n"
        "    assert reprokit.current_run().id == run.id\n"
        "    print('in the block')\n"
        "print('behind it', reprokit.current_run())"
    )
    assert "behind it None" in text(shown)
    run = kernel.record("block")
    cell = run.cells[-1]
    assert (run.kind, run.status, run.seed) == ("block", "done", 3)
    assert (run.params, run.tags) == ({"lr": 0.1}, {"team": "a"})
    assert [(metric.key, metric.value) for metric in run.metrics] == [("auc", 0.5)]
    assert [(one.text, one.holds) for one in run.assumptions] == [("positive", True)]
    assert [use.path for use in cell.writes] == ["inside.txt"]
    assert cell.entered == "inside"


def test_a_with_block_that_raises(kernel: Kernel) -> None:
    (error,) = kernel.run("import reprokit\nwith reprokit.run('raises'):\n    1/0")
    assert error["ename"] == "ZeroDivisionError"
    assert kernel.record("raises").status == "failed"


def test_one_run_at_a_time(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start outer")
    (error,) = kernel.run("import reprokit\nwith reprokit.run('inner'):\n    pass")
    assert "is open already" in error["evalue"]
    kernel.run("still = 1")
    kernel.run("%repro stop")
    assert "still = 1" in [cell.source for cell in kernel.record("outer").cells]


SCRIPT = """
import random, sys, reprokit
print("before")
with reprokit.run("script", params={"n": 3}) as run:
    print("value", random.random())
    sys.stderr.write("warned\\n")
    open("result.txt", "w").write("x")
    if "fail" in sys.argv:
        raise ValueError("on purpose")
print("after", reprokit.current_run())
"""


def test_a_block_in_a_plain_script(kernel: Kernel, environ: dict[str, str]) -> None:
    (kernel.project / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=kernel.project, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "before"
    assert done.stdout.splitlines()[-1] == "after None"
    run = kernel.record("script")
    (cell,) = run.cells
    assert (run.front, run.kind, run.status, run.script) == ("script", "block", "done", "script.py")
    assert (cell.source, cell.entered) == (SCRIPT, "inside")
    assert [use.path for use in cell.writes] == ["result.txt"]
    assert outputs_of(kernel.store(), cell) == [
        {"output_type": "stream", "name": "stdout", "text": done.stdout.splitlines()[1] + "\n"},
        {"output_type": "stream", "name": "stderr", "text": "warned\n"},
    ]


def test_a_block_in_a_script_that_fails(kernel: Kernel, environ: dict[str, str]) -> None:
    (kernel.project / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", "fail"],
        cwd=kernel.project,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ValueError: on purpose")
    run = kernel.record("script")
    assert (run.status, run.reason, run.cells[0].status) == ("failed", "ValueError: on purpose", "failed")


TERMINAL = """
%load_ext reprokit
%repro start terminal
x = 20
x + 1
print("printed")
1/0
from IPython.display import display
display({"shown": 1})
open("from_terminal.txt", "w").write("x")
!echo shell
%repro stop
exit
"""


def test_ipython_in_a_terminal(kernel: Kernel, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"],
        input=TERMINAL.lstrip(),
        cwd=kernel.project,
        env={**environ, "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert "21" in done.stdout, done.stdout + done.stderr
    run = kernel.record("terminal")
    assert (run.front, run.status) == ("terminal", "done")
    cells = {cell.source.strip(): cell for cell in run.cells}
    assert outputs_of(kernel.store(), cells["x + 1"])[0]["data"] == {"text/plain": "21"}
    assert text(outputs_of(kernel.store(), cells['print("printed")'])).strip() == "printed"
    (error,) = outputs_of(kernel.store(), cells["1/0"])
    assert (error["output_type"], error["ename"], error["evalue"]) == ("error", "ZeroDivisionError", "division by zero")
    assert cells["1/0"].status == "failed"
    (shown,) = outputs_of(kernel.store(), cells['display({"shown": 1})'])
    assert (shown["output_type"], shown["data"]["text/plain"]) == ("display_data", "{'shown': 1}")
    assert [use.path for use in cells['open("from_terminal.txt", "w").write("x")'].writes] == ["from_terminal.txt"]


def test_nothing_is_left_behind(kernel: Kernel) -> None:
    look = (
        "import builtins, random, sys\n"
        "kernel = get_ipython().kernel\n"
        "[builtins.input is original_input if 'original_input' in globals() else None, random.seed.__qualname__,"
        " random.Random.seed.__module__, 'raw_input' in vars(kernel), 'getpass' in vars(kernel),"
        " 'send' in vars(kernel.session), [type(f).__name__ for f in sys.meta_path if 'AfterImport' in str(f)]]"
    )
    before = text(kernel.run(look))
    kernel.capture("x = 1")
    assert text(kernel.run(look)) == before
    kernel.run("%unload_ext reprokit")
    assert "not found" in text(kernel.run("%repro status"))
    kernel.run("%load_ext reprokit")

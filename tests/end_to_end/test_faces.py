"""The same capture from every face: batch, papermill, a session, a block, a script, a terminal."""

from __future__ import annotations

import json
import subprocess
import sys

from workbench import Bench

UNSEEDED = [
    "import random, uuid\nimport numpy as np",
    "print(random.random(), np.random.rand(), np.random.default_rng().random())",
    "rng = np.random.default_rng()\nkept = random.Random()",
    "print(rng.random(), kept.random(), list({'a', 'b', 'c', 'd'}))",
    "np.save('numbers.npy', rng.random(100))",
    "print(np.load('numbers.npy').sum())",
]


def test_an_unseeded_notebook_replays_identical(cold_bench: Bench) -> None:
    """With the order of sets, because the kernel of a batch run has a recorded hash seed."""
    bench = cold_bench
    bench.notebook("work.ipynb", *UNSEEDED)
    bench.reprokit("run", "work.ipynb", "--name", "first", "--tag", "team=pricing")
    run = bench.latest()
    assert (run.name, run.kind, run.tags) == ("first", "batch", {"team": "pricing"})
    bench.reprokit("run", "work.ipynb", "--name", "again")  # overwrites what the first run wrote: that is no input
    assert "unreplayable" not in bench.reprokit("replay", "again", "--dry-run")
    (bench.project / "numbers.npy").unlink()
    verdict = bench.verdict("first")
    assert verdict["verdict"] == "identical"
    assert {file["path"] for file in verdict["files"]} >= {"numbers.npy"}
    assert not (bench.project / "numbers.npy").exists(), "a replay writes in its own workspace"
    replay = json.loads(bench.reprokit("show", verdict["replay"], "--json"))
    assert replay["replay_of"] == run.id


def test_plain_papermill_with_the_engine_captures_and_replays(bench: Bench) -> None:
    """As everyone does who has papermill already; parameters and all."""
    bench.notebook("work.ipynb", "#: parameters\nn = 2", "import random\nprint([random.random() for _ in range(n)])")
    command = [sys.executable, "-m", "papermill", "--engine", "reprokit", "-p", "n", "3", "work.ipynb", "out.ipynb"]
    done = subprocess.run(command, cwd=bench.project, env=bench.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = bench.latest()
    assert (run.kind, run.status, run.params, run.notebook) == ("batch", "done", {"n": 3}, "work.ipynb")
    assert "n = 3" in run.cells[1].source
    assert bench.verdict("work.ipynb@latest")["verdict"] == "identical"


def test_a_session_out_of_order_with_everything_said_about_it(bench: Bench) -> None:
    """Cells before the start, re-runs, shell lines, async, params, metrics, assumptions, config, artifacts."""
    (bench.project / "conf.json").write_text('{"lr": 0.1, "password": "hunter2"}')
    sources = [
        "base = 10",
        "%load_ext reprokit",
        "%repro start trial --seed 7 --config conf.json --tag a=b",
        "import random, asyncio",
        "x = random.random() + base",
        "x = random.random() + x",
        "x = random.random() + x",
        "!echo shell > made.txt && cat made.txt",
        "await asyncio.sleep(0)\nx",
        '%repro assume "prices are in EUR"\n%repro param lr=0.1\n%repro metric auc=0.9\n%repro note "a try"',
        "%repro artifact made.txt",
        "undefined_name",
        "%repro nonsense",
        "%repro stop",
    ]
    errors = bench.run_cells(sources)
    assert [error for error in errors if error] == ["NameError"]
    run = bench.latest()
    assert [cell.source for cell in run.cells if not cell.observed] == ["base = 10", "%load_ext reprokit"]
    assert (run.name, run.seed, run.tags, run.params) == ("trial", 7, {"a": "b"}, {"lr": 0.1})
    assert [(m.key, m.value) for m in run.metrics] == [("auc", 0.9)]
    assert run.notes == ("a try",)
    assert [a.text for a in run.assumptions] == ["prices are in EUR"]
    assert [a.path for a in run.artifacts] == ["made.txt"]
    assert run.config is not None
    assert run.config.values["lr"] == 0.1
    assert "hunter2" not in (bench.project / ".reprokit/runs" / run.id / "journal.jsonl").read_text()
    assert any(gap.aspect == "hidden-state" for gap in run.gaps)
    verdict = bench.verdict("trial")
    assert verdict["verdict"] == "identical", [cell for cell in verdict["cells"] if cell["verdict"] != "identical"]


def test_a_block_and_a_cell_as_a_run(bench: Bench) -> None:
    """``with reprokit.run()`` inside a cell, and ``%%repro``."""
    block = (
        "import reprokit, random\nprint('before')\nwith reprokit.run('block') as run:\n"
        "    v = random.random()\n    print(v)\n    run.metric(v=v)\nprint('after', random.random())"
    )
    bench.run_cells([block])
    assert (bench.latest().name, bench.latest().kind, bench.latest().status) == ("block", "block", "done")
    assert bench.verdict("block")["verdict"] == "identical"
    errors = bench.run_cells(["%load_ext reprokit", "%%repro one\nimport random\nrandom.random()", "%%repro two\n1/0"])
    assert errors == ["", "", "ZeroDivisionError"]
    assert bench.verdict("one")["verdict"] == "identical"
    assert bench.latest().status == "failed"


def test_a_script_replays_as_a_script(bench: Bench) -> None:
    """With its arguments, its imports from the project and its answers to ``input()``."""
    (bench.project / "helper.py").write_text("SCALE = 3\n")
    (bench.project / "script.py").write_text(
        "import sys, random\nimport reprokit\nfrom helper import SCALE\n"
        "with reprokit.run('scripted', params={'n': 2}) as run:\n"
        "    name = input('who? ')\n"
        "    print(name, SCALE * random.random(), sys.argv[1:])\n"
        "    open('out.txt', 'w').write(str(random.random()))\n"
    )
    command = [sys.executable, "script.py", "--fast", "yes"]
    done = subprocess.run(
        command, cwd=bench.project, env=bench.environ, capture_output=True, text=True, check=False, input="Ada\n"
    )
    assert done.returncode == 0, done.stderr
    run = bench.latest()
    assert (run.front, run.status, run.cells[0].answers) == ("script", "done", ("Ada",))
    (bench.project / "helper.py").write_text("SCALE = 0\n")
    verdict = bench.verdict("scripted")
    assert verdict["verdict"] == "identical"
    assert {file["path"] for file in verdict["files"]} == {"out.txt"}


def test_a_terminal_session_replays(bench: Bench) -> None:
    """IPython in a terminal: results, prints and errors."""
    cells = ("%load_ext reprokit", "%repro start term", "import random", "random.random()", "print(random.random())")
    lines = "\n".join([*cells, "1/0", "%repro stop", ""])
    command = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"]
    done = subprocess.run(
        command, cwd=bench.project, env=bench.environ, capture_output=True, text=True, check=False, input=lines
    )
    assert "capturing run" in done.stdout, done.stdout + done.stderr
    run = bench.latest()
    assert (run.front, run.name) == ("terminal", "term")
    assert bench.verdict("term")["verdict"] in ("identical", "equivalent")


def test_the_plan_is_printed_and_nothing_done(bench: Bench) -> None:
    bench.notebook("work.ipynb", "print(1)")
    bench.reprokit("run", "work.ipynb")
    text = bench.reprokit("replay", "latest", "--dry-run")
    assert text.startswith(f"replay of {bench.latest().id}")
    assert len(json.loads(bench.reprokit("runs", "--json"))) == 1


def test_to_leaves_the_restored_project(bench: Bench) -> None:
    """``--to`` keeps the workspace, with a repository that shows the recorded state."""
    (bench.project / "data.txt").write_text("then")
    bench.notebook("work.ipynb", "open('result.txt', 'w').write(open('data.txt').read())")
    bench.reprokit("run", "work.ipynb")
    (bench.project / "data.txt").write_text("now")
    target = bench.project.parent / "restored"
    bench.reprokit("replay", "latest", "--to", str(target))
    assert (target / "result.txt").read_text() == "then"
    bench.reprokit("replay", "latest", "--to", str(target), code=2)

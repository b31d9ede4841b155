"""Code that changes while a run goes on, and code from outside the project: a replay runs what was run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from jupyter_client.manager import start_new_kernel
from workbench import Bench

from reprokit.records import Run
from reprokit.store.store import Store

Step = str | Callable[[], object]


def session(bench: Bench, *steps: Step, cwd: Path | None = None) -> Run:
    """Execute cells in one kernel; between them do what a user does in another window."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(cwd or bench.project), env=bench.environ)
    try:
        for step in ("%load_ext reprokit\n%repro start", *steps, "%repro stop"):
            if callable(step):
                step()
                continue
            reply = client.execute_interactive(step, timeout=120, output_hook=lambda _: None)
            assert reply["content"]["status"] == "ok", reply["content"].get("evalue")
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    return bench.latest()


def save(path: Path, text: str) -> Callable[[], object]:
    return lambda: path.write_text(text)


def printed(run: Run, bench: Bench) -> list[str]:
    """Return what each cell printed."""
    store = Store.open(bench.project)
    found = []
    for cell in run.cells:
        outputs = json.loads(store.objects.get_bytes(cell.outputs)) if cell.outputs else []
        found.append("".join("".join(one["text"]) for one in outputs if one["output_type"] == "stream").strip())
    return found


def git(bench: Bench, *arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run(["git", *arguments], cwd=bench.project, check=True, capture_output=True)


def test_edits_between_cells_are_replayed_where_they_were(bench: Bench) -> None:
    """Reload, %autoreload, %run and a child process, each after an edit of the same length."""
    module, script = bench.project / "mod.py", bench.project / "script.py"
    module.write_text("x = 1\n")
    os.utime(module, (1e9, 1e9))  # long ago: Python's own caches tell no two edits of one second apart
    script.write_text("print('a')\n")
    bench.commit()
    run = session(
        bench,
        "import mod, importlib\nprint(mod.x)",
        save(module, "x = 2\n"),
        "importlib.reload(mod)\nprint(mod.x)",
        "%load_ext autoreload\n%autoreload 2\nprint(mod.x)",
        save(module, "x = 30\n"),
        "print(mod.x)",
        "%run script.py",
        save(script, "print('b')\n"),
        "%run script.py",
        save(script, "print('c')\n"),
        "!python script.py",
        "%%writefile own.py\ny = 1",
        "import own\nprint(own.y)",
    )
    edits = {cell.seq: [use.path for use in cell.edits] for cell in run.cells if cell.edits}
    assert edits == {3: ["mod.py"], 5: ["mod.py"], 7: ["script.py"], 8: ["script.py"]}
    assert printed(run, bench)[1:9] == ["1", "2", "2", "30", "a", "b", "c", "Writing own.py"]
    module.write_text("x = 99\n")
    script.write_text("print('z')\n")
    assert bench.verdict("latest")["verdict"] == "identical"
    assert "script.py edited before cell 8" in bench.reprokit("replay", "latest", "--dry-run")


def test_another_branch_checked_out_in_the_middle(bench: Bench) -> None:
    (bench.project / "mod.py").write_text("x = 'main'\n")
    bench.commit()
    git(bench, "checkout", "-q", "-b", "side")()
    (bench.project / "mod.py").write_text("x = 'on the side'\n")
    (bench.project / "only.py").write_text("x = 1\n")
    bench.commit("side")
    git(bench, "checkout", "-q", "main")()
    show = (
        "import subprocess\nprint(subprocess.getoutput('git rev-parse HEAD; git branch --show-current; git status -s'))"
    )
    run = session(
        bench,
        "import mod, importlib\nprint(mod.x)\n" + show,
        git(bench, "checkout", "-q", "side"),
        "import only\nimportlib.reload(mod)\nprint(mod.x)\n" + show,
        git(bench, "checkout", "-q", "main"),
        "import os\nprint(os.path.exists('only.py'))\n" + show,
    )
    assert [code.branch for code in run.codes] == ["side", "main"]
    assert [use.state for use in run.cells[3].edits] == ["stable", "missing"]
    git(bench, "branch", "-q", "-D", "side")()
    assert bench.verdict("latest")["verdict"] == "identical"


def test_modules_from_outside_the_project_come_back(bench: Bench, tmp_path: Path) -> None:
    """A folder above, a package on an absolute path, an archive, and an edit of one of them in between."""
    shared, package, archive = tmp_path / "shared", tmp_path / "libs" / "tools", tmp_path / "zipped.zip"
    shared.mkdir()
    (shared / "helpers.py").write_text("import constants\ndef f(): return constants.C\n")
    (shared / "constants.py").write_text("C = 1\n")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from pathlib import Path\nD = (Path(__file__).parent / 'd.txt').read_text()\n"
    )
    (package / "late.py").write_text("L = 5\n")
    (package / "d.txt").write_text("data")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inside_zip.py", "Z = 7\n")
    run = session(
        bench,
        "import sys\nsys.path.insert(0, '../shared')\nimport helpers\nprint(helpers.f())",
        f"sys.path.insert(0, {str(package.parent)!r})\nsys.path.insert(0, {str(archive)!r})",
        "import tools, inside_zip\nprint(tools.D, inside_zip.Z)",
        "%repro status",  # waits for what is done in the background
        save(shared / "constants.py", "C = 2\n"),
        "import importlib, constants\nimportlib.reload(constants)\nprint(helpers.f())",
        "import tools.late\nprint(tools.late.L)",
    )
    assert {module.name for module in run.modules} == {"helpers", "constants", "tools", "inside_zip"}
    assert printed(run, bench)[1:4] + printed(run, bench)[5:7] == ["1", "", "data 7", "2", "5"]
    status = [f"{gap.message}: {gap.settled}" for gap in run.gaps if gap.settled]
    assert any("helpers" in line and "the source is kept" in line for line in status)
    assert not [gap for gap in run.gaps if gap.blocks]
    (shared / "constants.py").write_text("C = 3\n")
    (package / "__init__.py").write_text("D = 'other'\n")
    archive.unlink()
    assert bench.verdict("latest")["verdict"] == "identical"


def test_a_project_that_was_moved_with_its_store(bench: Bench, tmp_path: Path) -> None:
    (bench.project / "mod.py").write_text("x = 1\n")
    bench.commit()
    (bench.project / "mod.py").write_text("x = 2\n")
    session(bench, "import mod\nprint(mod.x)")
    bench.project.rename(tmp_path / "elsewhere")
    bench.project = tmp_path / "elsewhere"
    (bench.project / "mod.py").write_text("x = 3\n")
    assert bench.verdict("latest")["verdict"] == "identical"


def test_a_repository_deleted_in_the_middle(bench: Bench) -> None:
    """The same tree is kept in the store instead; one that changed meanwhile is gone, and the run says so."""
    (bench.project / "mod.py").write_text("x = 1\n")
    bench.commit()
    run = session(bench, "import mod\nprint(mod.x)", lambda: shutil.rmtree(bench.project / ".git"), "print(mod.x)")
    assert run.code is not None
    assert run.code.kind == "private"
    assert bench.verdict("latest")["verdict"] == "identical"

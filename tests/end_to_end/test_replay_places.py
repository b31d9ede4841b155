"""A replay finds everything where the run found it, and the user's files stay as they are, to the byte and time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from workbench import Bench

from reprokit.replay.mounts import unavailable
from reprokit.store.store import Store

needs_mounts = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

State = dict[str, tuple[int, int, bytes]]


def state(folder: Path, without: Path | None = None) -> State:
    """Return mode, time and content of everything in a folder, and of the folder."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        if without is None or not path.is_relative_to(without):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def recorded(bench: Bench, *sources: str, code: int = 0) -> None:
    bench.notebook("work.ipynb", *sources)
    bench.commit()
    bench.reprokit("run", "work.ipynb", code=code)


@needs_mounts
def test_absolute_paths_into_the_project_mean_the_workspace(bench: Bench) -> None:
    here = bench.project
    (here / "data.csv").write_text("1\n2\n")
    (here / "helper.py").write_text("from pathlib import Path\nplace = Path(__file__).resolve()\n")
    recorded(
        bench,
        f"from pathlib import Path\ntext = Path({str(here / 'data.csv')!r}).read_text()\nprint(text)",
        f"Path({str(here / 'out.txt')!r}).write_text(text * 2)\nopen('near.txt', 'w').write(text)",
        "import os, helper\nprint(os.getcwd(), helper.place)\n!pwd; git log --oneline | wc -l; git status --short; ls",
        "1 / 0",
        code=1,
    )
    (here / "data.csv").write_text("changed\n")
    (here / "helper.py").write_text("place = 'elsewhere'\n")
    (here / "out.txt").unlink()
    store = here / ".reprokit"
    before = state(here, without=store)
    found = bench.verdict("latest", "--env", "current", "--compare", "exact")
    assert set(found["rules"]) <= {"read set"}, found  # `git status` reads files as young as its index, or not
    same = {file["path"] for file in found["files"] if file["verdict"] == "identical"}
    assert same >= {"near.txt", "out.txt"}
    assert state(here, without=store) == before
    assert Store.open(here).load(found["replay"]).root == str(here)


@needs_mounts
@pytest.mark.parametrize("change", ["changed", "gone", "gone with its folder"])
def test_a_file_outside_the_project_is_put_in_its_place(change: str, bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "inner" / "data.csv"
    outside.parent.mkdir(parents=True)
    outside.write_text("recorded\n")
    (outside.parent / "other.csv").write_text("another\n")
    recorded(bench, f"import os\nprint(open({str(outside)!r}).read(), sorted(os.listdir({str(outside.parent)!r})))")
    if change == "changed":
        outside.write_text("today\n")
    elif change == "gone":
        outside.unlink()
    else:
        outside.unlink()
        (outside.parent / "other.csv").unlink()
        outside.parent.rmdir()
        outside.parent.parent.rmdir()
    before = state(tmp_path / "outside") if change != "gone with its folder" else {}
    found = bench.verdict("latest", "--env", "current", code=1 if "folder" in change else 0)
    assert found["verdict"] == ("diverged" if "folder" in change else "identical")  # `other.csv` was not read
    assert (state(tmp_path / "outside") if before else {}) == before
    assert (tmp_path / "outside").exists() is bool(before)


def test_without_mounts_a_changed_file_outside_says_what_to_do(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPROKIT_MOUNTS", "never")
    outside = tmp_path / "outside.csv"
    outside.write_text("recorded\n")
    recorded(bench, f"print(open({str(outside)!r}).read())")
    assert bench.verdict("latest", "--env", "current")["verdict"] == "identical"
    outside.write_text("today\n")
    found = bench.verdict("latest", "--env", "current", code=2)
    assert found["verdict"] == "unreplayable"
    (reason,) = found["reasons"]
    assert "outside.csv, outside the project, has changed" in reason
    assert "REPROKIT_MOUNTS" in reason
    assert f"back at {outside}" in reason


@needs_mounts
def test_the_environment_and_the_store_inside_the_project_are_still_there(bench: Bench) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bench.project / ".venv"], check=True)
    site = next((bench.project / ".venv").glob("lib/python*/site-packages"))
    outer = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    (site / "outer.pth").write_text("\n".join(outer.split(os.pathsep)) + f"\n{Path(__file__).resolve().parents[2]}\n")
    (bench.project / ".gitignore").write_text(".venv\n")
    bench.notebook("work.ipynb", "import sys\nprint(sys.prefix)", "!ls -a")
    bench.commit()
    python = bench.project / ".venv" / "bin" / "python"
    for arguments in (["run", "work.ipynb"], ["replay", "latest", "--env", "current"]):
        done = subprocess.run(
            [python, "-m", "reprokit", *arguments],
            cwd=bench.project,
            env=bench.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout


def test_the_workspace_that_stays_holds_nothing_but_the_project(bench: Bench, tmp_path: Path) -> None:
    recorded(bench, "open('out.txt', 'w').write('x')")
    bench.reprokit("replay", "latest", "--env", "current", "--to", str(tmp_path / "there"))
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [
        ".git",
        "analysis.py",
        "out.txt",
        "work.ipynb",
    ]


def test_installing_packages_is_not_repeated(bench: Bench) -> None:
    pip = "!pip install --quiet --no-index no-such-package-at-all 2>&1 | tail -1"
    recorded(bench, f"x = 1\n{pip}\nprint(x)", "%pip --version", "print(x + 1)")
    found = bench.verdict("latest", "--env", "current", "--until", "3")
    again = Store.open(bench.project).load(found["replay"])
    assert again.cells[0].skipped == (pip,)
    assert again.cells[1].skipped == ()
    assert found["verdict"] != "diverged" or found["first_divergence"]["cell"] != 1
    plan = bench.reprokit("replay", "latest", "--env", "current", "--dry-run")
    assert "cell 1 does not repeat `!pip install" in plan


@needs_mounts
def test_a_script_finds_a_changed_submodule_at_its_absolute_path(bench: Bench, tmp_path: Path) -> None:
    def git(*arguments: str, cwd: Path) -> None:
        subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments], cwd=cwd, check=True, capture_output=True
        )

    library, vendor = tmp_path / "library", bench.project / "vendor"
    library.mkdir()
    git("init", "-q", cwd=library)
    (library / "lib.py").write_text("value = 5\n")
    git("add", "--all", cwd=library)
    git("commit", "-q", "-m", "library", cwd=library)
    git("submodule", "add", "-q", str(library), "vendor", cwd=bench.project)
    (vendor / "lib.py").write_text("value = 6\n")
    (bench.project / "work.py").write_text(
        "import reprokit, subprocess, sys\n"
        "with reprokit.run('s'):\n"
        f"    sys.path.insert(0, {str(vendor)!r})\n"
        "    import lib\n"
        "    print(lib.value, lib.__file__)\n"
        "    print(subprocess.run('git -C vendor log | wc -l; git status --short; git -C vendor diff --stat',\n"
        "          shell=True, capture_output=True, text=True))\n"
    )
    bench.commit()
    subprocess.run([sys.executable, "work.py"], cwd=bench.project, env=bench.environ, check=True, capture_output=True)
    (vendor / "lib.py").write_text("value = 7\n")
    before = state(bench.project, without=bench.project / ".reprokit")
    assert set(bench.verdict("latest", "--env", "current", "--compare", "exact")["rules"]) <= {"read set"}
    assert state(bench.project, without=bench.project / ".reprokit") == before


@needs_mounts
def test_what_is_written_outside_the_project_is_the_replays_alone(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, scratch = tmp_path / "results", tmp_path / "scratch"
    new, beside = folder / "made" / "by the run", tmp_path / "beside.txt"
    folder.mkdir()
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))  # what lies there is nobody's result
    (folder / "total.txt").write_text("1")
    recorded(
        bench,
        f"from pathlib import Path\nold = Path({str(folder / 'total.txt')!r}).read_text()",
        f"draft = Path({str(folder / 'draft')!r})\ndraft.write_text(old)\ndraft.replace({str(folder / 'total.txt')!r})",
        f"new = Path({str(new)!r})\nnew.mkdir(parents=True)\n(new / 'log.txt').write_text('begun')\nlen(old)",
        f"!rm {folder / 'total.txt'} && echo done > {folder / 'total.txt'} && echo done > {beside}",
    )
    (folder / "total.txt").write_text("mine, of today")
    (new / "log.txt").unlink()
    new.rmdir()
    new.parent.rmdir()
    before = state(folder)
    found = bench.reprokit("replay", "latest", "--env", "current")
    assert "identical" in found, found
    assert f"{folder / 'total.txt'}, for the replay alone" in found, found
    assert f"{beside}, written in its real place" in found, found  # its folder holds the project, and the store
    assert state(folder) == before

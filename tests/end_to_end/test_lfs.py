"""Repositories whose data is kept by git-lfs, or whose parts are submodules with uncommitted work."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from workbench import Bench

needs_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
READ = "data = open('data/train.bin', 'rb').read()\nprint(len(data), sum(data))"


def git(folder: Path, *arguments: str, **variables: str) -> str:
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def with_lfs(bench: Bench, size: int) -> bytes:
    """Let git-lfs keep the project's data; return it."""
    git(bench.project, "lfs", "install", "--local")
    git(bench.project, "lfs", "track", "data/*.bin")
    (bench.project / "data").mkdir()
    data = bytes(range(256)) * (size // 256)
    (bench.project / "data" / "train.bin").write_bytes(data)
    bench.notebook("work.ipynb", READ)
    bench.commit()
    assert git(bench.project, "show", "HEAD:data/train.bin").startswith("version https://git-lfs")
    return data


@needs_lfs
def test_data_of_git_lfs_comes_back_when_it_was_changed_and_removed(bench: Bench) -> None:
    with_lfs(bench, 4096)
    bench.reprokit("run", "work.ipynb")
    (bench.project / "data" / "train.bin").unlink()
    bench.reprokit("replay", "latest", "--dry-run")
    (bench.project / "data" / "train.bin").write_bytes(b"other")
    shutil.rmtree(bench.project / ".git" / "lfs")
    assert bench.verdict("latest")["verdict"] == "identical"


@needs_lfs
def test_what_is_too_large_for_the_store_comes_from_git_lfs(bench: Bench) -> None:
    settings = '[tool.reprokit]\nstore_limit = "10 kB"\nsnapshot_limit = "10 kB"\n'
    (bench.project / "pyproject.toml").write_text(settings)
    data = with_lfs(bench, 65536)
    bench.reprokit("run", "work.ipynb")
    run = bench.latest()
    assert [use.stored for use in run.cells[0].reads if use.path == "data/train.bin"] == ["lfs"]
    assert not any("train.bin" in gap.message for gap in run.gaps), run.gaps
    assert "kept by git-lfs" in bench.reprokit("show", "latest")
    (bench.project / "data" / "train.bin").write_bytes(b"other")
    assert "from git-lfs" in bench.reprokit("replay", "latest", "--dry-run")
    assert bench.verdict("latest")["verdict"] == "identical"
    (kept,) = (path for path in (bench.project / ".git" / "lfs" / "objects").rglob("*") if path.is_file())
    kept.chmod(0o644)
    kept.write_bytes(data[:-1] + b"!")
    verdict = bench.verdict("latest", code=2)
    assert any("git-lfs has for data/train.bin is damaged" in reason for reason in verdict["reasons"])
    kept.unlink()
    verdict = bench.verdict("latest", code=2)
    assert verdict["verdict"] == "unreplayable"
    assert any("git lfs fetch --all" in reason for reason in verdict["reasons"])


@needs_lfs
def test_a_clone_that_has_pointers_only_replays_with_pointers(bench: Bench, tmp_path: Path) -> None:
    with_lfs(bench, 4096)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(bench.project), str(clone), GIT_LFS_SKIP_SMUDGE="1")
    other = Bench(clone, bench.cache)
    other.notebook("look.ipynb", "print(open('data/train.bin').read())")
    other.reprokit("run", "look.ipynb")
    (clone / "data" / "train.bin").unlink()
    assert other.verdict("latest")["verdict"] == "identical"


@pytest.fixture
def nested(bench: Bench, tmp_path: Path) -> Bench:
    """A project with a submodule that holds a module and data, both changed and not committed."""
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "--quiet", "-b", "main")
    (library / "helper.py").write_text("FACTOR = 1\n")
    (library / "table.csv").write_text("a\n1\n")
    git(library, "add", ".")
    git(library, "commit", "--quiet", "-m", "library")
    git(bench.project, "submodule", "--quiet", "add", str(library), "lib")
    bench.commit()
    (bench.project / "lib" / "helper.py").write_text("FACTOR = 42  # not committed\n")
    (bench.project / "lib" / "fresh.py").write_text("WORD = 'untracked'\n")
    (bench.project / "lib" / "table.csv").write_text("a\n7\n")
    return bench


def test_a_session_with_a_dirty_submodule_replays(nested: Bench) -> None:
    cells = [
        "%load_ext reprokit",
        "%repro start",
        "import sys; sys.path.insert(0, 'lib')\nimport helper, fresh",
        "print(helper.FACTOR, fresh.WORD, open('lib/table.csv').read())",
    ]
    assert nested.run_cells(cells) == [""] * 4
    run = nested.latest()
    assert run.code is not None
    assert [module.dirty for module in run.code.submodules] == [True]
    git(nested.project / "lib", "checkout", "--quiet", ".")
    (nested.project / "lib" / "fresh.py").unlink()
    nested.reprokit("replay", "latest", "--dry-run")
    shutil.rmtree(nested.project / "lib")  # what it is made from is in the project's own git directory
    before = git(nested.project, "status", "--porcelain")
    assert nested.verdict("latest")["verdict"] == "identical"
    assert git(nested.project, "status", "--porcelain") == before

"""The files that changed between two snapshots of a real repository, and that nothing is run to find out."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from reprokit.capture.code.code import snapshot
from reprokit.records import CodeState, FileUse
from reprokit.replay.changes import code_changes


def git(*args: str, cwd: Path) -> str:
    return subprocess.run(["git", *args], cwd=cwd, capture_output=True, check=True, text=True).stdout.strip()


def take(project: Path, number: int, private: Path | None = None) -> CodeState:
    """Snapshot a project as the run with this number does."""

    def refuse(path: Path) -> FileUse:
        raise AssertionError(f"{path} is not large")

    run = f"20260101-00000{number}-aaaaaaaa"
    store = private or project.parent / "store" / "code.git"
    state, gaps = snapshot(project, run, private=store, store_large=refuse, limit=10**6)
    assert state is not None, gaps
    return state


def test_each_changed_file_is_a_line(project: Path) -> None:
    (project / "helper.py").write_text("a = 1\nb = 2\n")
    (project / "old.py").write_text("x\n")
    (project / "image.bin").write_bytes(bytes(range(256)))
    (project / "run.sh").write_text("#!/bin/sh\n")
    (project / "link").symlink_to("helper.py")
    before = take(project, 1)
    (project / "helper.py").write_text("a = 1\nb = 3\nc = 4\nd = 5\n")
    (project / "old.py").unlink()
    (project / "image.bin").write_bytes(bytes(reversed(range(256))))
    (project / "run.sh").chmod(0o755)
    (project / "pkg").mkdir()
    (project / "pkg" / "naïve\tname.py").write_text("new\n")
    (project / "link").unlink()
    (project / "link").symlink_to("run.sh")
    after = take(project, 2)
    assert code_changes(before, after) == (
        "changed helper.py (+3 −1)",
        "changed image.bin",
        "changed link (+1 −1)",
        "removed old.py",
        "added pkg/naïve\tname.py",
        "changed run.sh (mode 100644 → 100755)",
    )
    assert code_changes(after, before)[3] == "added old.py"
    assert code_changes(before, before) == ()


def test_a_name_that_is_no_text(project: Path) -> None:
    before = take(project, 1)
    Path(os.fsdecode(os.fsencode(project) + b"/\xff.py")).write_text("x\n")
    (line,) = code_changes(before, take(project, 2))
    assert line == "added \\xff.py"
    line.encode()


def test_no_more_than_fifty_files_are_named(project: Path) -> None:
    before = take(project, 1)
    for number in range(60):
        (project / f"part{number:02}.py").write_text("x\n")
    lines = code_changes(before, take(project, 2))
    assert len(lines) == 51
    assert lines[49:] == ("added part49.py", "… and 10 more")


def test_a_project_without_git(project: Path) -> None:
    folder, private = project.parent / "plain", project.parent / "plain" / ".reprokit" / "code.git"
    folder.mkdir()
    (folder / "helper.py").write_text("a = 1\n")
    before = take(folder, 1, private)
    (folder / "helper.py").write_text("a = 2\n")
    after = take(folder, 2, private)
    assert before.kind == "private"
    assert code_changes(before, after) == ("changed helper.py (+1 −1)",)


def test_files_inside_a_submodule(project: Path) -> None:
    library = project.parent / "library"
    library.mkdir()
    git("init", "-q", "-b", "main", cwd=library)
    (library / "core.py").write_text("a = 1\n")
    git("add", "-A", cwd=library)
    git("commit", "-q", "-m", "core", cwd=library)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib", cwd=project)
    git("commit", "-q", "-m", "with lib", cwd=project)
    before = take(project, 1)
    (project / "lib" / "core.py").write_text("a = 2\n")
    dirty = take(project, 2)
    assert dirty.tree == before.tree
    assert code_changes(before, dirty) == ("changed lib/core.py (+1 −1)",)
    git("commit", "-q", "-a", "-m", "changed", cwd=project / "lib")
    assert code_changes(before, take(project, 3)) == ("changed lib", "changed lib/core.py (+1 −1)")


def test_a_repository_of_sha256(project: Path) -> None:
    other = project.parent / "sha256"
    other.mkdir()
    git("init", "-q", "--object-format=sha256", cwd=other)
    (other / "a.py").write_text("1\n")
    before = take(other, 1)
    (other / "a.py").write_text("2\n")
    assert code_changes(before, take(other, 2)) == ("changed a.py (+1 −1)",)


# --- what cannot be known is said in one line --------------------------------------------------------


@pytest.fixture
def states(project: Path) -> tuple[CodeState, CodeState]:
    before = take(project, 1)
    (project / "analysis.py").write_text("print('goodbye')\n")
    return before, take(project, 2)


def test_different_repositories(states: tuple[CodeState, CodeState]) -> None:
    before, after = states
    (line,) = code_changes(before, dataclasses.replace(after, repository="/elsewhere/.git"))
    assert line == f"the snapshots are in different repositories: {before.repository} and /elsewhere/.git"


def test_a_snapshot_that_is_not_there(states: tuple[CodeState, CodeState]) -> None:
    before, after = states
    (line,) = code_changes(before, dataclasses.replace(after, tree="1" * 40))
    assert line == f"the snapshots in {before.repository} cannot be compared (fatal: bad object {'1' * 40})"


def test_a_repository_that_is_gone(states: tuple[CodeState, CodeState], tmp_path: Path) -> None:
    for where in (tmp_path / "gone", tmp_path):
        before, after = (dataclasses.replace(state, repository=str(where)) for state in states)
        (line,) = code_changes(before, after)
        assert line.startswith(f"the snapshots in {where} cannot be read")


def test_a_record_cannot_smuggle_an_option_in(states: tuple[CodeState, CodeState], tmp_path: Path) -> None:
    before, after = states
    (line,) = code_changes(before, dataclasses.replace(after, tree=f"--output={tmp_path / 'written'}"))
    assert line.endswith("is no git object")
    assert not (tmp_path / "written").exists()


def test_a_configuration_that_is_none(states: tuple[CodeState, CodeState]) -> None:
    (Path(states[0].repository) / "config").write_text("this is [not\na configuration = \n")
    (line,) = code_changes(*states)
    assert line.startswith(f"the snapshots in {states[0].repository} cannot be")


# --- nothing is run, nothing of the caller's leaks in ------------------------------------------------


def test_nothing_that_a_repository_names_is_run(
    project: Path, states: tuple[CodeState, CodeState], monkeypatch: pytest.MonkeyPatch
) -> None:
    trap, ran = project.parent / "trap.sh", project.parent / "ran"
    trap.write_text(f'#!/bin/sh\necho "$@" >> {ran}\ncat\n')
    trap.chmod(0o755)
    (project / ".gitattributes").write_text("*.py diff=trap filter=trap\n")
    (Path(states[0].repository) / "info").mkdir(exist_ok=True)
    (Path(states[0].repository) / "info" / "attributes").write_text("*.py diff=trap filter=trap\n")
    for key in ("diff.external", "diff.trap.command", "diff.trap.textconv", "filter.trap.smudge", "core.fsmonitor"):
        git("config", key, str(trap), cwd=project)
    git("config", "core.pager", str(trap), cwd=project)
    git("config", "pager.diff-tree", "true", cwd=project)
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(trap))
    ran.unlink(missing_ok=True)
    assert code_changes(*states) == ("changed analysis.py (+1 −1)",)
    assert not ran.exists()


def test_the_callers_git_variables_do_not_count(
    project: Path, states: tuple[CodeState, CodeState], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = project.parent / "other"
    other.mkdir()
    git("init", "-q", cwd=other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_COMMON_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / ".git" / "objects"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.abbrev'='nonsense'")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "many")
    assert code_changes(*states) == ("changed analysis.py (+1 −1)",)


def test_the_repository_is_only_read(project: Path, states: tuple[CodeState, CodeState]) -> None:
    def traces() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in project.rglob("*")}

    before = traces()
    code_changes(*states)
    assert traces() == before

"""The 25 states that a git repository is met in: exactly restored or told, and left as they were to the last byte.

``test_code`` and ``test_workspace`` try many more trees; here is what each of the states promises as a whole.
A repository that is deleted, and a HEAD that moves, in the middle of a run are in ``test_edited_code``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from git_states import STATES, commit, dirtied, filled, git, write
from snapshots import Kept, contents, traces

from reprokit.capture.code.code import snapshot
from reprokit.records import FileUse, Run
from reprokit.replay.modules import located
from reprokit.replay.workspace import create, verify

Build = Callable[[Path, pytest.MonkeyPatch], Path]
EXACT: dict[str, tuple[Build, tuple[str, ...]]] = {}  # state → how to make it, and what its gaps say


def exact(name: str, *gaps: str) -> Callable[[Build], Build]:
    """Add a state whose tree comes back exactly."""

    def add(build: Build) -> Build:
        EXACT[name] = (build, gaps)
        return build

    return add


for label, built in {
    "empty repository": "empty",
    "unborn HEAD": "unborn_staged",
    "detached": "detached",
    "shallow": "shallow",
    "partial clone": "partial_clone",
    "worktree": "linked_worktree",
    "submodule clean": "submodule_clean",
    "submodule dirty": "submodule_dirty",
    "submodule uninitialised": "submodule_uninitialised",
    "LFS pointer": "lfs_pointer",
    "LFS smudged": "lfs_smudged",
    "LFS without git-lfs": "lfs_missing",
    "sparse checkout": "sparse",
    "sparse index": "sparse_index",
    "merge conflict": "merge_conflict",
    "rebase in progress": "rebase_in_progress",
    "intent to add": "intent_to_add",
    "index.lock present": "index_locked",
    "CRLF": "autocrlf",
    "ident": "ident_attribute",
    "binary dirty, untracked and ignored": "dirty",
    "mode only": "only_a_mode",
    "symlink change": "folder_became_link",
    "SHA-256": "sha256",
}.items():
    EXACT[label] = ((lambda state: lambda project, patch: state(project))(STATES[built]), ())


@exact("not a repository")
def not_a_repository(project: Path, patch: pytest.MonkeyPatch) -> Path:
    dirtied(filled(project))
    shutil.rmtree(project / ".git")
    return project


@exact("GIT_DIR names a bare repository", "GIT_DIR names")
def bare(project: Path, patch: pytest.MonkeyPatch) -> Path:
    dirtied(filled(project))
    (project / ".git").rename(project.parent / "bare.git")
    git("config", "core.bare", "true", cwd=project.parent / "bare.git")
    patch.setenv("GIT_DIR", str(project.parent / "bare.git"))
    patch.setenv("GIT_WORK_TREE", str(project))
    return project


@exact("safe.directory refusal", "another user")
def of_someone_else(project: Path, patch: pytest.MonkeyPatch) -> Path:
    dirtied(filled(project))
    patch.setattr("reprokit.capture.code.git._INHERITED", {"GIT_TEST_ASSUME_DIFFERENT_OWNER", *_inherited()})
    patch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    return project


def _inherited() -> set[str]:
    from reprokit.capture.code import git as door

    return set(door._INHERITED)


@exact("2,000 files")
def many_files(project: Path, patch: pytest.MonkeyPatch) -> Path:
    return _many(project, 2_000)


def _many(project: Path, count: int) -> Path:
    for number in range(count):
        write(project, f"part{number % 97}/file{number}.txt", f"{number}\n")
    commit(project)
    for number in range(0, count, 1_000):
        write(project, f"part{number % 97}/file{number}.txt", "changed\n")
    write(project, "new.txt")
    return project


def whole_cycle(where: Path, tmp_path: Path) -> Kept:
    """Snapshot a tree, restore it, and compare: the copy with the tree, and the tree with what it was."""
    top = next((folder for folder in (where, *where.parents) if (folder / ".git").exists()), where)
    folders = [folder for folder in tmp_path.iterdir() if folder.name != "home"]
    before = {folder: traces(folder) for folder in folders}
    kept = Kept(where, tmp_path / "kept")
    workspace = create(kept.code, tmp_path / "again" / "workspace", objects=kept.objects)
    assert {folder: traces(folder) for folder in folders} == before
    assert contents(workspace.path) == contents(top)
    assert verify(kept.code, workspace) == []
    return kept


@pytest.mark.parametrize("name", EXACT)
def test_a_state_comes_back_exactly_and_stays_as_it_is(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    build, expected = EXACT[name]
    kept = whole_cycle(build(project, monkeypatch), tmp_path)
    assert len(kept.gaps) == len(expected), kept.gaps
    assert all(text in gap.message and not gap.blocks for gap, text in zip(kept.gaps, expected, strict=True))


@pytest.mark.soak
def test_fifty_thousand_files(project: Path, tmp_path: Path) -> None:
    assert whole_cycle(_many(project, 50_000), tmp_path).gaps == ()


def refuse(path: Path) -> FileUse:
    raise AssertionError(f"{path} was looked at")


def test_without_git_the_run_says_that_the_code_is_not_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = traces(project)
    monkeypatch.setenv("PATH", str(project))
    private = project.parent / "store" / "code.git"
    state, (gap,) = snapshot(project, "run", private=private, store_large=refuse, limit=1)
    assert state is None
    assert (gap.aspect, gap.remedy) == ("code", "install git")
    assert traces(project) == before


def test_a_repository_that_was_moved_is_found_where_the_project_is_now(project: Path, tmp_path: Path) -> None:
    kept = Kept(dirtied(filled(project)), tmp_path / "kept")
    moved = project.rename(tmp_path / "moved")
    run = Run(id="run", root=str(project), cwd=str(project / "src"), code=kept.code)
    here = located(run, moved)
    assert (here.root, here.cwd) == (str(moved), str(moved / "src"))
    assert here.code is not None
    workspace = create(here.code, tmp_path / "again", objects=kept.objects)
    assert contents(workspace.path) == contents(moved)

"""A tree comes back exactly as it was, somewhere else, and the user's repository is only read."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reprokit.errors import StoreError
from reprokit.records import FileUse
from reprokit.replay.workspace import create, verify

sys.path.append(str(Path(__file__).parent.parent / "capture"))
from git_states import STATES, State, commit, dirtied, filled, git, write
from snapshots import LIMIT, Kept, contents


@pytest.mark.parametrize("build", STATES.values(), ids=STATES.keys())
def test_every_state_comes_back_exactly(project: Path, tmp_path: Path, build: State) -> None:
    where = build(project)
    top = where if (where / ".git").exists() else where.parent
    kept = Kept(where, tmp_path)
    before = everything(project)
    workspace = create(kept.code, tmp_path / "new" / "workspace", objects=kept.objects)
    expected = contents(top)
    if build.__name__ == "no_executable_bit":  # where it means nothing, git's word counts
        expected = {path: (kind.replace("program", "file"), data) for path, (kind, data) in expected.items()}
        expected[b"run.sh"] = ("program", expected[b"run.sh"][1])
    assert contents(workspace.path) == expected
    assert verify(kept.code, workspace) == []
    assert workspace.root == workspace.path / where.relative_to(top)
    assert everything(project) == before


def everything(top: Path) -> dict[str, tuple[int, int]]:
    """Return the size and modification time of all files, git's among them."""
    files = (path for path in top.rglob("*") if not path.is_dir())
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in files}


# States of the index, of the checkout and of git's own work are not code, and do not come back.
_OF_THE_MOMENT = {
    "tracked_yet_ignored",
    "merge_conflict",
    "rebase_in_progress",
    "sparse",
    "sparse_index",
    "index_locked",
}
_OWN_SETTINGS = {"autocrlf", "smudge_filter", "no_executable_bit", "lfs_missing", "lfs_smudged", "replaced_commit"}
_HIDDEN = {"skip_worktree_yet_changed", "assume_unchanged_yet_changed", "repository_inside", "not_files"}


@pytest.mark.parametrize("name", sorted(STATES.keys() - _OF_THE_MOMENT - _OWN_SETTINGS - _HIDDEN))
def test_git_says_what_it_said(project: Path, tmp_path: Path, name: str) -> None:
    where = STATES[name](project)
    top = where if (where / ".git").exists() else where.parent
    kept = Kept(where, tmp_path)
    workspace = create(kept.code, tmp_path / "workspace", objects=kept.objects)
    assert said(workspace.path) == said(top)


def said(top: Path) -> tuple[str, str, set[str]]:
    """Return what git says of a tree: branch, commit, and changes, whether staged or not."""
    branch = git("branch", "--show-current", cwd=top)
    head = subprocess.run(["git", "rev-parse", "-q", "--verify", "HEAD"], cwd=top, capture_output=True, check=False)
    status = git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", cwd=top)
    return branch, head.stdout.decode(), {entry[3:] for entry in status.split("\0") if entry}


def test_large_files_come_back(project: Path, tmp_path: Path) -> None:
    filled(project)
    write(project, "data/new.bin", b"3" * (LIMIT + 1))
    write(project, "data/huge.bin", b"4" * (10 * LIMIT + 1))
    kept = Kept(project, tmp_path)
    workspace = create(kept.code, tmp_path / "workspace", objects=kept.objects)
    assert (workspace.path / "data/new.bin").read_bytes() == b"3" * (LIMIT + 1)
    assert not (workspace.path / "data/huge.bin").exists()  # a gap of the run says so
    assert verify(kept.code, workspace) == []
    (workspace.path / "data/new.bin").write_bytes(b"5")
    assert verify(kept.code, workspace) == ["data/new.bin"]
    kept.objects.path(kept.code.large[1].digest or "").unlink()
    with pytest.raises(StoreError):
        create(kept.code, tmp_path / "again", objects=kept.objects)
    assert not (tmp_path / "again").exists()


def test_verify_names_what_differs(project: Path, tmp_path: Path) -> None:
    kept = Kept(STATES["submodule_dirty"](project), tmp_path)
    workspace = create(kept.code, tmp_path / "workspace", objects=kept.objects)
    top = workspace.path
    same = (top / "src/model.py").stat()
    (top / "src/model.py").write_text("a = 3\n")  # of the same length, and with the same time
    os.utime(top / "src/model.py", ns=(same.st_atime_ns, same.st_mtime_ns))
    (top / "notes.txt").unlink()
    (top / "analysis.py").chmod(0o755)
    write(top, "more.py")
    write(top, "lib/src/model.py", "else\n")
    assert verify(kept.code, workspace) == ["analysis.py", "lib/src/model.py", "more.py", "notes.txt", "src/model.py"]


def test_without_a_repository_it_is_plain_files(project: Path, tmp_path: Path) -> None:
    dirtied(filled(project))
    shutil.rmtree(project / ".git")
    expected = contents(project)
    kept = Kept(project, tmp_path)
    workspace = create(kept.code, tmp_path / "workspace", objects=kept.objects)
    assert kept.code.kind == "private"
    assert contents(workspace.path) == expected
    assert not (workspace.path / ".git").exists()
    assert verify(kept.code, workspace) == []


def test_tags_and_the_remote_are_there(project: Path, tmp_path: Path) -> None:
    filled(project)
    git("tag", "v1.0", cwd=project)
    git("tag", "-a", "-m", "two", "v2.0", cwd=project)
    git("remote", "add", "origin", "https://me:token@example.org/a.git", cwd=project)
    kept = Kept(project, tmp_path)
    workspace = create(kept.code, tmp_path / "workspace", objects=kept.objects)
    assert git("describe", cwd=workspace.path) == "v2.0"
    assert git("remote", "get-url", "origin", cwd=workspace.path) == "https://example.org/a.git"
    git("fsck", "--full", cwd=workspace.path)


def test_it_is_the_users_to_change(project: Path, tmp_path: Path) -> None:
    kept = Kept(dirtied(filled(project)), tmp_path)
    before = everything(project)
    objects = {path for path in before if "/.git/objects/" in path}  # git marks those it meets again as in use
    workspace = create(kept.code, tmp_path / "workspace", objects=kept.objects)
    commit(workspace.path, "in the workspace")
    git("tag", "new", cwd=workspace.path)
    git("checkout", "-q", "-b", "other", cwd=workspace.path)
    after = everything(project)
    assert after.keys() == before.keys()
    assert {path for path in before if after[path] != before[path]} <= objects


def test_commands_of_the_repository_are_not_run(project: Path, tmp_path: Path) -> None:
    filled(project)
    canary = tmp_path / "canary"
    script = write(tmp_path, "script", f"#!/bin/sh\ntouch {canary}; cat\n")
    script.chmod(0o755)
    home = Path(os.environ["HOME"])
    config = [
        f'[filter "x"]\n\tsmudge = {script}\n\tclean = {script}\n\trequired = true\n[core]\n\tfsmonitor = {script}\n'
    ]
    template = home / "template" / "hooks"
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        write(template, hook, script.read_bytes()).chmod(0o755)
    config.append(f"\thooksPath = {template}\n[init]\n\ttemplateDir = {template.parent}\n")
    write(project, ".gitattributes", "* filter=x\n")
    commit(project)
    kept = Kept(project, tmp_path)
    write(project, ".git/config", (project / ".git" / "config").read_text() + "".join(config))
    workspace = create(kept.code, tmp_path / "workspace", objects=kept.objects)
    assert verify(kept.code, workspace) == []
    assert not canary.exists()
    subprocess.run(["git", "checkout", "."], cwd=project, capture_output=True, check=False)
    assert canary.exists()  # so it would have been noticed


def test_a_repository_that_moved_away(project: Path, tmp_path: Path) -> None:
    kept = Kept(filled(project), tmp_path)
    project.rename(tmp_path / "moved")
    with pytest.raises(StoreError, match="is gone: put it back") as caught:
        create(kept.code, tmp_path / "workspace", objects=kept.objects)
    assert caught.value.path == project / ".git"


def test_a_snapshot_that_was_collected(project: Path, tmp_path: Path) -> None:
    kept = Kept(dirtied(filled(project)), tmp_path)
    git("update-ref", "-d", kept.code.ref, cwd=project)
    git("prune", "--expire=now", cwd=project)
    (tmp_path / "workspace").mkdir()
    with pytest.raises(StoreError, match="cannot be read"):
        create(kept.code, tmp_path / "workspace", objects=kept.objects)
    assert list((tmp_path / "workspace").iterdir()) == []


def test_a_folder_in_use_is_refused(project: Path, tmp_path: Path) -> None:
    kept = Kept(filled(project), tmp_path)
    mine = write(tmp_path, "workspace/mine")
    with pytest.raises(StoreError, match="not empty"):
        create(kept.code, tmp_path / "workspace", objects=kept.objects)
    assert mine.exists()


@pytest.mark.parametrize(
    "forged",
    [
        {"prefix": "../outside"},
        {"prefix": "/etc"},
        {"snapshot": "--upload-pack=x"},
        {"tree": "HEAD"},
        {"branch": "../../outside"},
        {"branch": "-x y"},
    ],
)
def test_forged_records_are_refused(project: Path, tmp_path: Path, forged: dict[str, str]) -> None:
    kept = Kept(filled(project), tmp_path)
    with pytest.raises(StoreError):
        create(dataclasses.replace(kept.code, **forged), tmp_path / "workspace", objects=kept.objects)
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside", "link/outside", "src/../../outside"])
def test_forged_large_files_stay_inside(project: Path, tmp_path: Path, path: str) -> None:
    filled(project)
    (project / "link").unlink()
    (project / "link").symlink_to("..")
    kept = Kept(project, tmp_path)
    name = kept.objects.put_bytes(b"forged")
    use = FileUse(path=path, access="read", size=6, digest=name, stored="object")
    with pytest.raises(StoreError, match="not inside"):
        create(dataclasses.replace(kept.code, large=(use,)), tmp_path / "workspace", objects=kept.objects)
    assert not (tmp_path / "outside").exists()

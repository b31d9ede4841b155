"""Code that somebody else changes between two cells is kept, as it was when the next one began."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_states import commit, git, write
from observed import Observed
from snapshots import LIMIT

from reprokit.capture.code import edits as module
from reprokit.capture.code import listing
from reprokit.capture.code.code import snapshot
from reprokit.capture.code.edits import Edits, checked_out, git_directory
from reprokit.capture.files.folders import Folders
from reprokit.records import CodeState, FileUse


class Edited:
    """The probe at work in a project."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.store = project.parent / "store"
        self.said = Observed(project, self.store)
        self.probe = Edits(self.said.context)
        self._seq = 0
        self.probe.start()
        state = self.tree("run")
        self.probe.knows(state, listing.of(state), self.tree)

    def tree(self, name: str) -> CodeState:
        state, _ = snapshot(self.project, name, private=self.store / "code.git", store_large=self._refuse, limit=LIMIT)
        assert state is not None
        return state

    def _refuse(self, path: Path) -> FileUse:
        raise AssertionError(f"{path} is not large")

    def cell(self, *sources: str) -> dict[str, bytes | None]:
        """Run a cell and return what had been edited before it: path → bytes, None when it was removed."""
        self._seq += 1
        self.said.take(self._seq, self.probe.before_cell(self._seq))
        for source in sources:
            exec(source, {"project": self.project})
        self.probe.after_cell(self._seq)
        self.said.settle()
        uses = [FileUse.from_dict(use) for use in self.said.cells[self._seq].get("edits", [])]
        objects = self.said.objects
        return {use.path: None if use.digest is None else objects.get_bytes(use.digest) for use in uses}

    @property
    def told(self) -> dict[str, object]:
        """What was said of the last cell."""
        return self.said.cells[self._seq]


@pytest.fixture
def edited(project: Path) -> Iterator[Edited]:
    write(project, "pkg/mod.py", "x = 1\n")
    write(project, "data/table.csv", "1\n")
    write(project, "notes.ipynb", "{}")
    commit(project)
    one = Edited(project)
    yield one
    one.probe.stop()


def test_nothing_is_said_while_nothing_changes(edited: Edited) -> None:
    assert edited.cell() == {}
    assert edited.told == {}
    assert edited.cell() == {}


def test_changed_new_replaced_and_removed_code(edited: Edited, project: Path) -> None:
    write(project, "pkg/mod.py", "x = 2\n")
    write(project, "pkg/more.py", "new")
    write(project, "draft", "replaced")
    (project / "draft").replace(project / "moved.py")
    (project / "analysis.py").unlink()
    expected = {"pkg/mod.py": b"x = 2\n", "pkg/more.py": b"new", "moved.py": b"replaced", "analysis.py": None}
    assert edited.cell() == expected
    assert edited.cell() == {}


def test_a_new_package_is_watched_from_now_on(edited: Edited, project: Path) -> None:
    write(project, "pkg/deep/er/a.py", "1")
    assert edited.cell() == {"pkg/deep/er/a.py": b"1"}
    write(project, "pkg/deep/er/b.py", "2")
    assert edited.cell() == {"pkg/deep/er/b.py": b"2"}


def test_data_notebooks_and_caches_are_no_code(edited: Edited, project: Path) -> None:
    write(project, "data/table.csv", "2\n")
    write(project, "notes.ipynb", "{1}")
    write(project, "pkg/__pycache__/mod.cpython-311.pyc", "x")
    write(project, "site-packages/lib.py", "x")
    assert edited.cell() == {}
    assert edited.told == {}


def test_what_the_cell_itself_writes_a_replay_writes_again(edited: Edited) -> None:
    edited.cell("(project / 'own.py').write_text('1')", "(project / 'pkg/mod.py').unlink()")
    assert edited.cell() == {}


def test_what_its_children_write_is_kept_in_doubt(edited: Edited) -> None:
    edited.cell("import subprocess\nsubprocess.run('echo 1 > child.py', shell=True, cwd=project, check=True)")
    assert edited.cell() == {"child.py": b"1\n"}


def test_a_cell_sees_the_code_that_was_there_when_it_began(edited: Edited, project: Path) -> None:
    write(project, "pkg/mod.py", "as it began\n")
    assert edited.cell("(project / 'pkg/mod.py').write_text('later')") == {"pkg/mod.py": b"as it began\n"}


def test_much_code_at_once_is_kept_in_the_background(
    edited: Edited, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 10)
    for number in range(5):
        write(project, f"pkg/part{number}.py", "1234567\n")
    assert edited.cell() == {f"pkg/part{number}.py": b"1234567\n" for number in range(5)}


def test_what_the_cell_changed_before_it_could_be_kept_is_said_to_be_lost(
    edited: Edited, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 0)
    write(project, "pkg/mod.py", "edited\n")
    assert edited.cell("(project / 'pkg/mod.py').write_text('by the cell')") == {"pkg/mod.py": None}
    assert [use["state"] for use in edited.said.cells[1]["edits"]] == ["unstable"]


def test_changed_code_is_a_new_snapshot(edited: Edited, project: Path) -> None:
    write(project, "pkg/mod.py", "x = 2\n")
    edited.cell()
    (code,) = (CodeState.from_dict(state) for state in edited.said.cells[None]["codes"])
    assert edited.told["code"] == code.snapshot
    assert git("show", "refs/reprokit/run-2:pkg/mod.py", cwd=project) == "x = 2"
    edited.cell()
    assert "code" not in edited.told


def test_another_commit_or_branch_is_told_with_the_cell(edited: Edited, project: Path) -> None:
    first = git("rev-parse", "HEAD", cwd=project)
    git("commit", "-q", "--allow-empty", "-m", "next", cwd=project)
    edited.cell()
    assert edited.told["head"] == [git("rev-parse", "HEAD", cwd=project), "main"]
    edited.cell()
    assert "head" not in edited.told
    git("checkout", "-q", "--detach", first, cwd=project)
    edited.cell()
    assert edited.told["head"] == [first]


def test_without_inotify_some_files_are_looked_at(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Folders:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(module, "Folders", none)
    edited = Edited(project)
    assert ["Too many open files" in gap.message for gap in edited.said.gaps] == [True]
    write(project, "analysis.py", "print('changed')\n")
    assert edited.cell() == {"analysis.py": b"print('changed')\n"}
    assert edited.cell() == {}
    edited.probe.stop()


def test_lost_events_are_told(edited: Edited, project: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    path = project / "pkg" / "mod.py"
    other = project / "pkg" / "other.py"
    for _ in range(limit // 2 + 10):
        for one in (path, other):
            os.close(os.open(one, os.O_WRONLY | os.O_CREAT))
    edited.cell()
    assert ["may have been missed" in gap.message for gap in edited.said.gaps] == [True]


def test_a_repository_deleted_in_the_middle_is_kept_in_the_store(edited: Edited, project: Path) -> None:
    shutil.rmtree(project / ".git")
    patch = edited.probe.stop()
    assert patch.set["code"]["kind"] == "private"
    assert "gaps" not in patch.add


def test_a_repository_deleted_with_other_code_there_by_now_is_a_gap(edited: Edited, project: Path) -> None:
    shutil.rmtree(project / ".git")
    write(project, "pkg/mod.py", "x = 2\n")
    (gap,) = edited.probe.stop().add["gaps"]
    assert gap["blocks"]
    assert "was deleted during the run" in gap["message"]


def test_a_fork_takes_no_events_from_its_parent(edited: Edited, project: Path) -> None:
    write(project, "pkg/mod.py", "x = 2\n")
    child = os.fork()
    if child == 0:
        os._exit(0 if edited.probe.before_cell(1) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert edited.cell() == {"pkg/mod.py": b"x = 2\n"}


@pytest.mark.parametrize("ref", ["refs/heads/main", "packed"])
def test_what_is_checked_out_is_read_from_gits_files(project: Path, ref: str) -> None:
    if ref == "packed":
        git("pack-refs", "--all", cwd=project)
    inner = git_directory(str(project))
    assert inner == str(project / ".git")
    assert checked_out(inner, inner) == (git("rev-parse", "HEAD", cwd=project), "main")


def test_the_git_directory_of_a_linked_work_tree(project: Path) -> None:
    subprocess.run(["git", "worktree", "add", "-q", "../other"], cwd=project, check=True, capture_output=True)
    other = project.parent / "other"
    inner = git_directory(str(other))
    assert inner == str(project / ".git" / "worktrees" / "other")
    assert checked_out(inner, str(project / ".git")) == (git("rev-parse", "HEAD", cwd=other), "other")
    assert git_directory(str(project.parent)) is None

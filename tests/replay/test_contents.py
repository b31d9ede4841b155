"""Where a comparison finds contents: in the store, in the snapshot, or in the file as it lies there."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from reprokit import digest
from reprokit.errors import ObjectMissing
from reprokit.records import Cell, CodeState, FileUse, Run
from reprokit.replay.contents import reader
from reprokit.store.objects import Objects


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, check=True, text=True).stdout.strip()


def used(path: str, content: bytes, stored: str) -> FileUse:
    return FileUse(path=path, access="read", size=len(content), digest=digest.of_bytes(content), stored=stored)


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


def of(root: Path, *uses: FileUse, code: CodeState | None = None) -> Run:
    return Run(id="a", root=str(root), cells=(Cell(seq=1, source="f()", reads=uses),), code=code)


@pytest.mark.parametrize("prefix", ["", "sub"])
def test_a_file_that_git_keeps(project: Path, objects: Objects, prefix: str) -> None:
    root = project / prefix
    root.mkdir(exist_ok=True)
    (root / "data.csv").write_bytes(b"a\r\n1\r\n")
    git("add", ".", cwd=project)
    git("commit", "-q", "-m", "data", cwd=project)
    tree = git("rev-parse", "HEAD^{tree}", cwd=project)
    state = CodeState(
        kind="git", repository=str(project / ".git"), ref="", snapshot="", tree=tree, top=str(project), prefix=prefix
    )
    use = used("data.csv", b"a\r\n1\r\n", "git")
    (root / "data.csv").write_bytes(b"changed since")
    assert reader(objects, of(root, use, code=state))(use.digest or "") == b"a\r\n1\r\n"
    for broken in (None, dataclasses.replace(state, tree="--help"), dataclasses.replace(state, repository="/none")):
        with pytest.raises(ObjectMissing):
            reader(objects, of(root, use, code=broken))(use.digest or "")


def test_a_file_that_lies_there(tmp_path: Path, objects: Objects) -> None:
    (tmp_path / "big.csv").write_bytes(b"1")
    use = used("big.csv", b"1", "none")
    read = reader(objects, of(tmp_path, use))
    assert read(use.digest or "") == b"1"
    (tmp_path / "big.csv").write_bytes(b"2")
    with pytest.raises(ObjectMissing):
        read(use.digest or "")


def test_the_store_goes_first(tmp_path: Path, objects: Objects) -> None:
    name = objects.put_bytes(b"kept")
    assert reader(objects)(name) == b"kept"
    with pytest.raises(ObjectMissing):
        reader(objects)(digest.of_bytes(b"nowhere"))

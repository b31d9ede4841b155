"""What DVC tracks is found, fetched and checked, and the user's project is left as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reprokit.digest import of_bytes
from reprokit.errors import StoreError
from reprokit.store.remote import Tracked, at_hand, is_dvc_file, restore, tracked_by_dvc

DATA = b"x" * 5000
DIGEST = of_bytes(DATA)
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


def dvc(folder: Path, *arguments: str) -> None:
    environ = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(Path.home() / "site")}
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, env=environ, check=True, capture_output=True)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return DVC's files below a folder, as a snapshot would hold them."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    named = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: path.read_bytes() for name, path in named.items() if is_dvc_file(name)}


def state_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns, path.lstat().st_ctime_ns)
        for path in [folder, *folder.rglob("*")]
    }


@pytest.fixture
def tracked(project: Path) -> Path:
    """A project whose ``data/big.bin`` and ``many/`` DVC tracks."""
    dvc(project, "init", "--quiet")
    for name, content in {"data/big.bin": DATA, "many/a.txt": b"a", "many/deep/b.txt": b"b"}.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(content)
    dvc(project, "add", "--quiet", "data/big.bin", "many")
    return project


@pytest.fixture
def workspace(tracked: Path, tmp_path: Path) -> Path:
    """What a replay makes of the project: its DVC files and configuration, without cache and data."""
    left_out = shutil.ignore_patterns(".git", "cache", "tmp", "big.bin", "many")
    shutil.copytree(tracked, tmp_path / "workspace", ignore=left_out)
    return tmp_path / "workspace"


def add_remote(project: Path, home: Path) -> None:
    dvc(project, "remote", "add", "--quiet", "--default", "--local", "here", str(home / "remote"))
    dvc(project, "push", "--quiet")


def test_what_dvc_tracks_is_found(tracked: Path) -> None:
    wanted = ["data/big.bin", "many/deep/b.txt", "analysis.py", "data/other.bin"]
    found = tracked_by_dvc(files_of(tracked), wanted)
    assert found["data/big.bin"] == Tracked(md5=MD5, size=5000)
    assert found["many/deep/b.txt"].member == "deep/b.txt"
    assert found.keys() == {"data/big.bin", "many/deep/b.txt"}


def test_outputs_of_a_pipeline_are_found_where_its_stage_works(project: Path) -> None:
    dvc(project, "init", "--quiet")
    (project / "steps").mkdir()
    (project / "out").mkdir()
    command = "printf made > made.txt"
    (project / "steps" / "dvc.yaml").write_text(
        f"stages:\n  make:\n    cmd: {command}\n    wdir: ../out\n    outs: [made.txt]\n"
    )
    dvc(project / "steps", "repro", "--quiet")
    found = tracked_by_dvc(files_of(project), ["out/made.txt", "steps/made.txt"])
    assert found.keys() == {"out/made.txt"}
    assert at_hand(project, found, {"out/made.txt": ""}) == {"out/made.txt": of_bytes(b"made")}


def test_what_is_no_file_of_dvc_s_tracks_nothing() -> None:
    files = {"a.dvc": b"\x00{", "b.dvc": b"[1]", "c.dvc": b"outs: [{path: c}]", "dvc.lock": b"stages: {s: 1}"}
    assert tracked_by_dvc(files, ["a", "b", "c"]) == {}


def test_an_object_of_an_old_cache_is_at_hand(tracked: Path) -> None:
    old = tracked / ".dvc" / "cache" / MD5[:2] / MD5[2:]
    old.parent.mkdir(parents=True)
    shutil.move(tracked / ".dvc" / "cache" / "files" / "md5" / MD5[:2] / MD5[2:], old)
    files = {"data/big.bin.dvc": b"outs: [{md5: %s, size: 5000, path: big.bin}]" % MD5.encode()}
    known = tracked_by_dvc(files, ["data/big.bin"])
    assert at_hand(tracked, known, {"data/big.bin": DIGEST}) == {"data/big.bin": DIGEST}


def test_at_hand_says_what_the_cache_holds_and_trusts_a_remote(tracked: Path) -> None:
    wanted = {"data/big.bin": DIGEST, "many/a.txt": of_bytes(b"a"), "many/no.txt": DIGEST}
    known = tracked_by_dvc(files_of(tracked), wanted)
    assert at_hand(tracked, known, wanted) == {"data/big.bin": DIGEST, "many/a.txt": of_bytes(b"a")}
    shutil.rmtree(tracked / ".dvc" / "cache")
    assert set(at_hand(tracked, known, wanted).values()) == {None}
    add = ("remote", "add", "--quiet", "--default", "here", str(tracked.parent / "remote"))
    dvc(tracked, *add)
    assert at_hand(tracked, known, wanted) == wanted


@pytest.mark.parametrize("where", ["cache", "remote"])
def test_bytes_come_back_and_the_project_is_left_as_it_was(
    tracked: Path, workspace: Path, tmp_path: Path, where: str
) -> None:
    """From the cache, and, when that is gone, from a remote that only the user's own configuration names."""
    wanted = {"data/big.bin": DIGEST, "many/deep/b.txt": of_bytes(b"b")}
    if where == "remote":
        add_remote(tracked, tmp_path)
        shutil.rmtree(tracked / ".dvc" / "cache")
    before = state_of(tracked)
    restore(tracked, workspace, wanted)
    assert state_of(tracked) == before
    assert {path: of_bytes((workspace / path).read_bytes()) for path in wanted} == wanted
    assert not (workspace / ".dvc" / "tmp").exists()
    (workspace / "data" / "big.bin").write_bytes(b"written in the replay")
    assert state_of(tracked) == before, "it was no link"


def test_other_bytes_are_refused(tracked: Path, workspace: Path) -> None:
    with pytest.raises(StoreError, match="other bytes") as caught:
        restore(tracked, workspace, {"data/big.bin": of_bytes(b"something else")})
    assert "dvc pull data/big.bin" in caught.value.remedy
    assert [path.name for path in (workspace / "data").iterdir() if not path.name.endswith((".dvc", "ignore"))] == []


def test_what_neither_cache_nor_remote_has_is_refused(tracked: Path, workspace: Path) -> None:
    shutil.rmtree(tracked / ".dvc" / "cache")
    with pytest.raises(StoreError, match="DVC cannot give") as caught:
        restore(tracked, workspace, {"data/big.bin": DIGEST})
    assert "dvc pull" in caught.value.remedy


def test_a_broken_configuration_is_said(tracked: Path) -> None:
    (tracked / ".dvc" / "config").write_text("[core\n")
    known = tracked_by_dvc(files_of(tracked), ["data/big.bin"])
    with pytest.raises(StoreError, match="configuration of DVC"):
        at_hand(tracked, known, {"data/big.bin": DIGEST})

"""Mounts of a process's own: what lies where for it and its children, and nothing of that for anybody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reprokit.capture import namespace
from reprokit.replay.mounts import unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

LOOK = """
import json, os, runpy, subprocess, sys
what = json.loads(sys.argv[1])
enter = runpy.run_path(what["module"])["enter"]
enter(what["mounts"], what["stage"])
def text(path):
    try:
        return open(path).read()
    except OSError as error:
        return type(error).__name__
told = {path: sorted(os.listdir(path)) if os.path.isdir(path) else text(path) for path in what["look"]}
told["child"] = subprocess.run(["cat", what["look"][0]], capture_output=True, text=True).stdout
told["user"] = os.getuid()
print(json.dumps(told))
"""


def seen(
    folder: Path, mounts: list[tuple[Path, Path]], look: list[Path], *before: str, python: str = ""
) -> dict[str, Any]:
    """Return what a process sees at some paths after it entered a namespace with these mounts."""
    stage = folder / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(mode=0o777)
    stage.chmod(0o777)
    module = folder / "namespace.py"
    shutil.copy(namespace.__file__, module)
    what = {
        "module": str(module),
        "mounts": [[str(a), str(b)] for a, b in mounts],
        "stage": str(stage),
        "look": [str(p) for p in look],
    }
    command = [*before, python or sys.executable, "-I", "-S", "-c", LOOK, json.dumps(what)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two folders with files of the same name, in one that everybody may enter."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    (tmp_path / "theirs" / "b.txt").write_text("more")
    return tmp_path


def test_a_folder_and_a_file_lie_in_the_place_of_others(place: Path) -> None:
    ours, theirs = place / "ours", place / "theirs"
    found = seen(place, [(ours / "a.txt", theirs / "b.txt")], [theirs / "b.txt", theirs])
    assert found[str(theirs / "b.txt")] == found["child"] == "ours"
    found = seen(place, [(ours, theirs)], [theirs / "a.txt", theirs])
    assert (found[str(theirs / "a.txt")], found[str(theirs)]) == ("ours", ["a.txt"])
    assert sorted(path.name for path in theirs.iterdir()) == ["a.txt", "b.txt"]
    assert (theirs / "b.txt").read_text() == "more"


@pytest.mark.parametrize("top", ["in a folder", "at the root"])
def test_what_is_not_there_is_made_for_the_process_alone(top: str, place: Path) -> None:
    base = place / "theirs" if top == "in a folder" else Path(f"/reprokit-test-{os.getpid()}")
    mounts = [(place / "ours" / "a.txt", base / "x" / "one.txt"), (place / "theirs" / "b.txt", base / "x" / "two.txt")]
    found = seen(place, mounts, [base / "x" / "one.txt", base / "x", place / "ours"])
    assert found["child"] == "ours"
    assert found[str(base / "x")] == ["one.txt", "two.txt"]
    assert found[str(place / "ours")] == ["a.txt"]
    assert not (base / "x").exists()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root becomes another user")
def test_another_user_needs_no_rights_and_gets_none(place: Path) -> None:
    python = next((path for path in ("/usr/bin/python3",) if os.access(path, os.X_OK)), None)
    if python is None:
        pytest.skip("there is no Python that another user can start")
    folder = Path(f"/tmp/reprokit-test-{os.getpid()}")
    shutil.copytree(place, folder)
    try:
        (folder / "theirs" / "secret").write_text("hidden")
        shutil.chown(folder, 65534)
        (folder / "theirs" / "secret").chmod(0)
        shutil.chown(folder / "theirs" / "secret", 65534)
        user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        look = [folder / "theirs" / "b.txt", folder / "theirs" / "secret"]
        found = seen(folder, [(folder / "ours" / "a.txt", look[0])], look, *user, python=python)
    finally:
        shutil.rmtree(folder)
    assert (found[str(look[0])], found["user"]) == ("ours", 65534)
    assert found[str(look[1])] == "PermissionError", "the rights of who makes a namespace were kept"

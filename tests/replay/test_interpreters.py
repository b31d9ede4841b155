"""The recorded Python is found among those of this machine, or the command that gets it is told."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from reprokit.errors import EnvironmentBuildError
from reprokit.replay import interpreters
from reprokit.replay.interpreters import find


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is found but what a test puts into pyenv's folder."""
    monkeypatch.setattr(interpreters, "find_uv", lambda: None)
    monkeypatch.setattr(interpreters, "_USUAL", ())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    (tmp_path / "bin").mkdir()
    return tmp_path


def python_says(path: Path, *words: str) -> Path:
    """Put a program there that answers as a Python of some version does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {' '.join(words)}\n")
    path.chmod(0o755)
    return path


def pyenv(folder: Path, version: str) -> Path:
    return python_says(folder / "pyenv" / "versions" / version / "bin" / "python", "cpython", version)


def test_this_one_is_taken_when_it_is_the_recorded_one() -> None:
    assert find(sys.implementation.name, platform.python_version()) == (Path(sys.executable), ())


def test_the_same_version_wins(alone: Path) -> None:
    pyenv(alone, "3.77.3")
    exact = pyenv(alone, "3.77.1")
    assert find("cpython", "3.77.1") == (exact, ())


def test_the_nearest_patch_release_is_noted(alone: Path) -> None:
    for version in ("3.77.0", "3.77.9", "3.77.12"):
        pyenv(alone, version)
    python, notes = find("cpython", "3.77.8")
    assert python == alone / "pyenv" / "versions" / "3.77.9" / "bin" / "python"
    assert notes == ("Python 3.77.8 is not on this machine; 3.77.9 was used",)


def test_one_on_the_path_is_found(alone: Path) -> None:
    exact = python_says(alone / "bin" / "python3.77", "cpython", "3.77.1")
    assert find("cpython", "3.77.1") == (exact, ())


def test_one_that_a_launcher_lists_is_found(alone: Path) -> None:
    exact = python_says(alone / "far" / "python", "cpython", "3.77.1")
    launcher = alone / "bin" / "py"
    launcher.write_text(f"#!/bin/sh\necho ' 3.77 │ {exact}'\necho ' 3.11 │ /nowhere/python'\n")
    launcher.chmod(0o755)
    assert find("cpython", "3.77.1") == (exact, ())


def test_another_minor_release_is_refused(alone: Path) -> None:
    pyenv(alone, "3.78.1")
    with pytest.raises(EnvironmentBuildError, match=r"Python 3\.77\.1, which the run had, is not on this machine"):
        find("cpython", "3.77.1")


def test_one_that_does_not_start_is_passed_over(alone: Path) -> None:
    broken = pyenv(alone, "3.77.1")
    broken.write_text("#!/nowhere\n")
    fitting = python_says(alone / "bin" / "python3.77", "cpython", "3.77.2")
    assert find("cpython", "3.77.1")[0] == fitting


def test_another_implementation_is_another_python(alone: Path) -> None:
    pyenv(alone, "3.77.1")
    with pytest.raises(EnvironmentBuildError) as caught:
        find("pypy", "3.77.1")
    assert caught.value.remedy in ("uv python install pypy@3.77.1", "pyenv install pypy@3.77.1")


@pytest.mark.parametrize(("uv", "remedy"), [("/bin/uv", "uv python install 3.77.1"), (None, "pyenv install 3.77.1")])
def test_the_command_that_gets_it_is_told(
    alone: Path, monkeypatch: pytest.MonkeyPatch, uv: str | None, remedy: str
) -> None:
    (alone / "pyenv").mkdir()
    program = None if uv is None else str(python_says(alone / "uv", ""))
    monkeypatch.setattr(interpreters, "find_uv", lambda: program)
    with pytest.raises(EnvironmentBuildError) as caught:
        find("cpython", "3.77.1")
    assert caught.value.remedy == remedy
    assert os.environ["PYENV_ROOT"] == str(alone / "pyenv")

"""What every test has: guards that catch a test that leaves traces, and a real project to work in."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich.progress  # noqa: F401  # draws from random when it is imported, which the guard would see
from hypothesis import HealthCheck, settings

# Nothing may depend on how busy the machine is or on chance: the same examples every time, however long they take.
# `make soak` looks for new ones.
settings.register_profile(
    "same", deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("new", settings.get_profile("same"), derandomize=False, max_examples=1_000)
settings.load_profile("same")

# Folders whose modules take longest: begun first, so that no worker is left alone with one of them at the end.
_LONG = ("truth", "harmless", "planted", "end_to_end")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests for workers that share them."""
    if hasattr(config, "workerinput"):
        rank = {folder: number for number, folder in enumerate(_LONG)}
        items.sort(key=lambda item: rank.get(item.path.parent.name, len(_LONG)))


# Set by libraries when they are first imported, not by what a test does.
_FOREIGN = ("PYTEST_", "KMP_", "PYDEVD_")


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}


def _git_config(home: Path) -> dict[Path, bytes | None]:
    files = (home / ".gitconfig", home / ".config" / "git" / "config")
    return {path: path.read_bytes() if path.is_file() else None for path in files}


@pytest.fixture(autouse=True)
def guards() -> Iterator[None]:
    """Fail a test that changed git's configuration in HOME, cwd, the environment or ``random``."""
    home, cwd, environment = Path.home(), os.getcwd(), _environment()
    config, numbers = _git_config(home), random.getstate()
    yield
    changed = []
    if os.getcwd() != cwd:
        changed.append(f"the working directory: {os.getcwd()}")
        os.chdir(cwd)
    if (now := _environment()) != environment:
        names = sorted(key for key in now.keys() | environment.keys() if now.get(key) != environment.get(key))
        changed.append(f"environment variables: {', '.join(names)}")
        for name in names:
            os.environ.pop(name, None)
        os.environ.update({name: environment[name] for name in names if name in environment})
    if _git_config(home) != config:
        changed.append(f"git's configuration in {home}")
    if random.getstate() != numbers:
        changed.append("the state of random")
        random.setstate(numbers)
    if changed:
        pytest.fail(f"the test changed {'; '.join(changed)}")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one committed file, and a HOME with nothing in it."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith(("REPROKIT_", "GIT_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A Tester")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "tester@example.org")
    root = tmp_path / "project"
    root.mkdir()
    (root / "analysis.py").write_text("print('hello')\n")
    for command in (["init", "-q", "-b", "main"], ["add", "analysis.py"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *command], cwd=root, check=True, capture_output=True)
    return root


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache, and a place for temporary files, of the test's own."""
    monkeypatch.setenv("REPROKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "cache"

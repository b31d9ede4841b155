"""Real projects with the example notebooks, in which everything is tried as a user would."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from warm import Warm
from workbench import REPOSITORY, Bench


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """What most commands are forked from."""
    process = Warm()
    yield process
    process.end()


@pytest.fixture
def bench(project: Path, tmp_path: Path, warm: Warm) -> Bench:
    """An empty project under git."""
    return Bench(project, tmp_path / "cache", warm)


@pytest.fixture
def cold_bench(project: Path, tmp_path: Path) -> Bench:
    """The same, where each command is started as a shell does."""
    return Bench(project, tmp_path / "cache")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for built environments: made anew for these tests, built once for all of them."""
    folder = tmp_path_factory.mktemp("cache")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def examples(project: Path, shared_cache: Path, warm: Warm) -> Bench:
    """A project under git that holds the example notebooks and their data."""
    shutil.copytree(REPOSITORY / "notebooks", project / "notebooks", ignore=shutil.ignore_patterns("out"))
    bench = Bench(project, shared_cache, warm)
    bench.commit()
    return bench

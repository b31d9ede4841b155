"""Kernels for the tests of this folder, each in a project and a HOME of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Kernel, make_project


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the kernel: a HOME with nothing in it, and no lock made in the background."""
    home = tmp_path_factory.mktemp("home")
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("REPROKIT_", "GIT_", "XDG_", "JPY_", "PYTHON"))
    }
    names = {f"GIT_{role}_{what}": "tester" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {
        **kept,
        **names,
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "REPROKIT_LOCK": "never",
        "TMPDIR": str(tmp_path_factory.mktemp("scratch")),
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Path:
    """A project for the kernel of this module."""
    return make_project(tmp_path_factory.mktemp("work") / "project", environ)


@pytest.fixture(scope="module")
def shared_kernel(place: Path, environ: dict[str, str]) -> Iterator[Kernel]:
    """One kernel for all tests of a module."""
    kernel = Kernel(place, environ)
    yield kernel
    kernel.stop()


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Iterator[Kernel]:
    """The module's kernel, with no run open and no variables left by other tests."""
    shared_kernel.run("%reset -f")
    yield shared_kernel
    shared_kernel.run("%load_ext reprokit")
    shared_kernel.run("%repro stop")


@pytest.fixture
def new_kernel(place: Path, environ: dict[str, str]) -> Iterator[Kernel]:
    """A kernel of the test's own."""
    kernel = Kernel(place, environ)
    yield kernel
    kernel.stop()

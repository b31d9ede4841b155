"""The limits of numeric libraries are those that the libraries themselves tell, and a change is told again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

from reprokit.capture.environment import threads
from reprokit.capture.probe import Context, Patch
from reprokit.records import Gap, Library
from reprokit.settings import Settings
from reprokit.store.objects import Objects

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="libraries are only found under Linux")


def told(asked: threads.Asked) -> tuple[str, int, str | None, object, object]:
    detail = asked.library.detail
    return (
        asked.library.kind,
        asked.threads(),
        asked.library.version,
        detail.get("architecture"),
        detail.get("threading_layer"),
    )


def test_as_threadpoolctl_tells_them() -> None:
    import sklearn.utils  # noqa: F401  # brings OpenMP, and scipy's own BLAS

    assert np.eye(3).dot(np.eye(3)).sum() == 3
    found = {os.path.realpath(path): told(asked) for path, asked in threads.find().items() if path != "torch"}
    expected = {
        os.path.realpath(entry["filepath"]): (
            entry["user_api"],
            entry["num_threads"],
            entry["version"],
            entry.get("architecture"),
            entry.get("threading_layer"),
        )
        for entry in threadpoolctl.threadpool_info()
    }
    assert expected
    assert found == expected


class Notes:
    """What a probe tells, with a background that works at once."""

    def __init__(self, folder: Path) -> None:
        self.libraries: list[Library] = []
        self.gaps: list[Gap] = []
        self.context = Context(
            run_id="run",
            project=folder,
            objects=Objects(folder / "objects"),
            settings=Settings(),
            namespace=dict,
            emit=self.emit,
            later=lambda work: work(),
            gap=self.gaps.append,
        )

    def emit(self, _seq: int | None, patch: Patch) -> None:
        self.libraries += [Library.from_dict(entry) for entry in patch.add["libraries"]]


def test_told_once_and_again_when_it_changes(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    probe = threads.Threads(notes.context)
    probe.start()
    probe.before_cell(1)
    first = list(notes.libraries)
    assert {library.kind for library in first} <= {"blas", "openmp"}
    assert "blas" in {library.kind for library in first}
    probe.after_cell(1)
    probe.before_cell(2)
    assert notes.libraries == first
    with threadpoolctl.threadpool_limits(1):
        probe.before_cell(3)
    changed = notes.libraries[len(first) :]
    assert {library.path for library in changed} == {
        library.path for library in first if library.detail["threads"] != 1
    }
    assert all(library.detail["threads"] == 1 for library in changed)


def test_a_library_that_a_cell_imports_is_found(tmp_path: Path) -> None:
    code = """
from reprokit.capture.request import Request
from reprokit.capture.session import Session
session = Session(Request(), dict, print)
session.open_cell("x")
import numpy
session.close_cell("done")
session.stop()
(library,) = [library for library in session.run().libraries if library.kind == "blas"]
assert library.detail["threads"] >= 1 and library.version and "openblas" in library.name, library
"""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    environ = {**os.environ, "REPROKIT_LOCK": "never", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, check=True, timeout=60)


def test_nothing_is_loaded_by_looking() -> None:
    code = """
from reprokit.capture.environment import threads
import sys
before = open("/proc/self/maps").read().count(".so")
assert threads.find() == {}
assert "numpy" not in sys.modules
assert open("/proc/self/maps").read().count(".so") == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

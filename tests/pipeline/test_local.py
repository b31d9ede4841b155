"""Which of the project's modules a run depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from reprokit.pipeline.local import modules
from reprokit.records import Cell, Run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with modules in several places."""
    for path, text in {
        "nb/beside.py": "import deeper\n",
        "deeper.py": "",
        "src/package/__init__.py": "",
        "src/package/part.py": "",
        "lib/added.py": "",
        "unused.py": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def run(root: Path, *sources: str, **fields: object) -> Run:
    cells = tuple(Cell(seq=number, source=source) for number, source in enumerate(sources, 1))
    return Run(id="1", root=str(root), cwd=str(root / "nb"), cells=cells, **fields)  # type: ignore[arg-type]


def test_what_is_imported_and_what_that_imports(root: Path) -> None:
    found = modules(run(root, "%load_ext reprokit", "import os, beside\nfrom package import part"))
    assert found == ("deeper.py", "nb/beside.py", "src/package/__init__.py", "src/package/part.py")
    assert modules(run(root, "import json")) == ()


def test_folders_put_on_the_path_are_looked_in(root: Path) -> None:
    assert modules(run(root, "import sys\nsys.path.insert(0, '../lib')", "import added")) == ("lib/added.py",)
    assert modules(run(root, "import sys\nsys.path.append('../lib')", "import json")) == ()


def test_a_script_is_not_its_own_module(root: Path) -> None:
    (root / "bin").mkdir()
    (root / "bin" / "work.py").write_text("import helper\n")
    (root / "bin" / "helper.py").write_text("")
    assert modules(run(root, script="bin/work.py")) == ("bin/helper.py",)

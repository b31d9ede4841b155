"""Which of the project's code a notebook imports, read from the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from reprokit.pipeline.imports import listed_folders, local_code

FILES = {
    "helper.py": "from deep import thing",
    "deep.py": "import json",
    "unused.py": "",
    "package/__init__.py": "",
    "package/inner.py": "from . import other",
    "package/other.py": "",
    "src/installed/__init__.py": "",
    "space/one.py": "",
    "loop_a.py": "import loop_b",
    "loop_b.py": "import loop_a",
    "clever.py": "import importlib",
    ".hidden/secret.py": "",
    "broken.py": "def (",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imports")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


ALL = {name for name in FILES if not name.startswith(".")}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os, json", set()),
        ("import helper", {"helper.py", "deep.py"}),
        ("%matplotlib inline\nfrom helper import x\n!ls", {"helper.py", "deep.py"}),
        ("def f():\n    import helper as h", {"helper.py", "deep.py"}),
        ("from package.inner import x", {"package/__init__.py", "package/inner.py", "package/other.py"}),
        ("import installed", {"src/installed/__init__.py"}),
        ("import space.one", {"space/one.py"}),
        ("import loop_a", {"loop_a.py", "loop_b.py"}),
        ("subprocess.run(['python', 'deep.py'])", {"deep.py"}),
        ("%run helper.py", ALL),
        ("import clever", ALL),
        ("exec(text)", ALL),
        ("import broken", ALL),
    ],
)
def test_what_is_imported_counts_with_all_that_it_imports(project: Path, source: str, expected: set[str]) -> None:
    found = local_code([source], [project, project / "src"], project)
    assert {path.relative_to(project).as_posix() for path in found} == expected


@pytest.mark.parametrize(
    ("source", "named", "unclear"),
    [
        ("open('data/a.csv')", set(), False),
        ("glob.glob('data/*.csv')", {"data/*.csv"}, False),
        ("sorted(Path('data').rglob('*.csv'))", {"data", "*.csv"}, False),
        ("pd.read_parquet('data/parts')", {"data/parts"}, False),
        ("os.listdir(folder)", set(), True),
        ("!ls data", set(), True),
    ],
)
def test_what_lists_folders_is_known(source: str, named: set[str], unclear: bool) -> None:
    assert listed_folders([source]) == (named, unclear)

"""The agent runs in the user's kernel, in any environment: it needs the standard library and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import reprokit

PACKAGE = Path(reprokit.__file__).parent

# Loads the package by path, as the launcher does: not even its own environment can be seen.
LOAD = f"""
import sys
assert not any("site-packages" in path for path in sys.path), sys.path
import importlib.util
spec = importlib.util.spec_from_file_location(
    "reprokit", {str(PACKAGE / "__init__.py")!r}, submodule_search_locations=[{str(PACKAGE)!r}]
)
sys.modules["reprokit"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
"""

ALONE = (
    LOAD
    + """
import pkgutil, importlib
import reprokit.capture
for module in pkgutil.walk_packages(reprokit.capture.__path__, "reprokit.capture."):
    if not module.name.endswith(".launch"):
        importlib.import_module(module.name)
import reprokit.blocks
import reprokit.store.journal, reprokit.store.objects, reprokit.store.layout, reprokit.store.liveness
import reprokit.store.assemble
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"reprokit"}
foreign = {name for name in foreign if not name.startswith(("__", "_sysconfigdata"))}
assert foreign == set(), foreign
"""
)

WORKS = (
    LOAD
    + """
import reprokit
with reprokit.run("bare", config="conf.json") as run:
    import random
    open("made.txt", "w").write(str(random.random()))
record = run.record()
assert record.status == "done", record
assert [use.path for use in record.cells[0].writes] == ["made.txt"], record
assert [gap.message for gap in record.gaps if gap.aspect not in ("environment", "hash-order")] == [], record.gaps
"""
)


def bare_python(code: str, **options: object) -> None:
    """Run code in an isolated interpreter without site-packages."""
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=60, **options)  # type: ignore[call-overload]


def test_it_imports_nothing_else() -> None:
    bare_python(ALONE)


def test_it_works_without_anything_else(project: Path) -> None:
    (project / "conf.json").write_text('{"a": 1}')
    (project / "pyproject.toml").write_text('[tool.reprokit]\nlock = "never"\n')
    bare_python(WORKS, cwd=project)


LIGHT = (
    LOAD
    + """
import reprokit.capture.session
heavy = {"sqlalchemy", "nbformat", "papermill", "click", "rich", "asyncio", "multiprocessing", "unittest"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
parents = [name for name in sys.modules if name.startswith(("reprokit.notebook", "reprokit.replay", "reprokit.cli"))]
assert parents == [], parents
assert "reprokit.store.store" not in sys.modules
"""
)


def test_loading_it_leaves_the_parents_side_alone() -> None:
    bare_python(LIGHT)

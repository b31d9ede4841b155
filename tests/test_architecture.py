"""The shape of the package, read from its imports: one direction, no cycle, one home for each foreign name."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "reprokit"

# Lower layers know nothing of higher ones. Faces come last, and nothing imports a face.
LAYERS = [
    {"version", "errors"},
    {"digest"},
    {"records"},
    {"settings"},
    {"capture", "store"},
    {"notebook"},
    {"replay"},
    {"pipeline"},
    {"cli", "magics", "blocks", "__main__", "__init__"},
]
VIEWS = {"views"}  # pure: see test_views_know_records_and_errors_only

AGENT_STORE = {"layout", "journal", "objects", "liveness", "assemble"}  # the part of the store that kernels need

HOMES = {
    "IPython": {"magics"},
    "papermill": {"notebook.engine"},
    "nbclient": {"notebook.engine"},
    "jupyter_client": {"notebook.kernel", "notebook.engine", "cli.doctor"},
    "jupyter_core": {"notebook.kernel", "notebook.engine"},
    "nbformat": {"notebook.compose", "notebook.parameters", "notebook.engine", "replay.execute"},
    "sqlalchemy": {"store.index"},
    "dvc": {"store.remote"},
    "git": {"replay.changes"},
    "uv": {"replay.lock", "cli.doctor"},
    "click": {"cli"},
    "rich": {"cli.progress"},
}
ANYWHERE = {"yaml", "tomli", "packaging"}  # small parsers
AGENT_MAY_FIND = {"yaml", "tomli"}  # only when the user asks for such a file


def modules() -> dict[str, Path]:
    """Return dotted name below the package → file."""
    named = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        named[".".join(parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1])] = path
    return named


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Return the absolute names a file imports, each with whether that is only for type checkers."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in typing_only) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.module, node in typing_only))
            found += [(f"{node.module}.{alias.name}", node in typing_only) for alias in node.names]
    return tuple(found)


def own_imports(path: Path, *, typing: bool = False) -> set[str]:
    """Return the modules of the package that a file imports."""
    known = modules()
    names = {name.removeprefix("reprokit.") for name, only in imports(path) if typing or not only}
    return {name for name in names if name in known}


def layer(name: str) -> int | None:
    top = name.split(".")[0]
    return next((level for level, names in enumerate(LAYERS) if top in names), None)


def test_every_module_has_a_layer() -> None:
    assert [name for name in modules() if layer(name) is None and name.split(".")[0] not in VIEWS] == []


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_one_way(name: str) -> None:
    if name.split(".")[0] in VIEWS:
        return
    level = layer(name)
    assert level is not None
    door = name in ("__init__", "__main__")  # they lead to the faces
    for other in own_imports(modules()[name]):
        above = layer(other)
        same = name.split(".")[0] == other.split(".")[0]
        if above is not None:
            assert above < level or (above == level and (level < len(LAYERS) - 1 or same or door)), other


def test_views_know_records_and_errors_only() -> None:
    for name, path in modules().items():
        if name.split(".")[0] in VIEWS:
            tops = {other.split(".")[0] for other in own_imports(path)}
            assert tops <= VIEWS | {"records", "errors"}, name


def test_kernels_need_only_their_part_of_the_store() -> None:
    for name, path in modules().items():
        if name.startswith("capture"):
            used = {other.split(".")[1] for other in own_imports(path) if other.startswith("store.")}
            assert used <= AGENT_STORE, name


def test_the_store_does_not_know_capture() -> None:
    for name, path in modules().items():
        if name.startswith("store"):
            assert not {other for other in own_imports(path) if other.startswith("capture")}, name


def test_there_is_no_cycle() -> None:
    graph = {name: own_imports(path) - {name} for name, path in modules().items() if name != "__init__"}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("name", sorted(modules()))
def test_foreign_names_stay_at_home(name: str) -> None:
    top = name.split(".")[0]
    for imported, _ in imports(modules()[name]):
        foreign = imported.split(".")[0]
        if foreign in sys.stdlib_module_names or foreign == "reprokit" or foreign in ANYWHERE:
            continue
        assert foreign in HOMES, f"{name} imports {foreign}"
        assert name in HOMES[foreign] or top in HOMES[foreign], f"{name} imports {foreign}"


def test_the_agent_imports_the_standard_library_only() -> None:
    agent = [n for n in modules() if n.startswith("capture") or n in {f"store.{part}" for part in AGENT_STORE}]
    for name in [*agent, "errors", "digest", "records", "settings", "version"]:
        for imported, _ in imports(modules()[name]):
            foreign = imported.split(".")[0]
            allowed = foreign in sys.stdlib_module_names or foreign == "reprokit" or foreign in AGENT_MAY_FIND
            assert allowed, f"{name} imports {imported}"


def test_the_agent_starts_where_nothing_is_installed() -> None:
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "import reprokit.capture.session, reprokit.capture.notebook, reprokit.capture.launch, reprokit.blocks\n"
        "foreign = {n.split('.')[0] for n in sys.modules} - set(sys.stdlib_module_names) - {'reprokit', '__main__'}\n"
        "print(sorted(foreign))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(PACKAGE.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

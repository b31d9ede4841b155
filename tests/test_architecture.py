"""The direction of imports, read from the source: nothing is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import reprokit

ROOT = Path(reprokit.__file__).parent

# Each part may import those above it, and itself.
LAYERS = (
    ("version",),
    ("errors",),
    ("descriptor", "digest"),
    ("records",),
    ("settings",),
    ("store", "views"),
    ("capture",),
    ("notebook", "lint"),
    ("replay",),
    ("pipeline",),
    ("cli", "magics", "blocks", "step"),
    ("pytest_plugin",),
    ("__main__", ""),  # "" is the package itself, which names the public things
)

# Capture and store meet in the session; these probes use the store's types for what they keep.
STORE_IN_CAPTURE = {
    "capture.session": {"assemble", "journal", "layout", "liveness", "objects"},
    "capture.probe": {"objects"},
    "capture.files.contents": {"objects"},
    "capture.environment.environment": {"layout"},
}
# What a view may know.
BELOW_VIEWS = {"errors", "records", "views"}

# The agent: runs in the user's kernel.
AGENT = ("version", "errors", "descriptor", "digest", "records", "settings", "capture", "blocks")
AGENT_STORE = (
    "store",
    "store.assemble",
    "store.journal",
    "store.layout",
    "store.liveness",
    "store.objects",
    "store.whole",
)

# Each library has its homes; `tomli` is the standard library's `tomllib` for Python 3.10.
HOMES = {
    "IPython": ("magics", "lint.source"),
    "papermill": ("notebook.engine", "notebook.injected"),
    "nbclient": ("notebook.engine",),
    "nbformat": (
        "notebook.checkpoint",
        "notebook.clean",
        "notebook.compose",
        "notebook.engine",
        "notebook.parameters",
        "replay.execute",
        "pipeline",
    ),
    "jsonschema": ("notebook.schema", "pipeline.spec"),
    "ipykernel": ("cli.install",),
    "jupyter_client": ("notebook.engine", "notebook.kernel", "notebook.ready", "cli.doctor", "cli.install"),
    "jupyter_core": ("notebook.engine", "notebook.kernel"),
    "sqlalchemy": ("store.index", "store.tables", "store.lineage"),
    "packaging": ("replay",),
    "uv": ("replay.tools", "cli.doctor"),
    "git": ("replay.changes",),
    "numpy": ("replay.typed",),
    "PIL": ("replay.typed",),
    "pyarrow": ("replay.typed", "pipeline.tables", "pipeline.sweep.written"),
    "h5py": ("replay.typed",),
    "scipy": ("pipeline.tables",),
    "ruamel": ("pipeline.dvcfile",),
    "fsspec": ("store.transport",),
    "dvc": ("store.remote", "pipeline.dvc"),
    "dask": ("pipeline.sweep.engines.dask",),
    "distributed": ("pipeline.sweep.engines.dask",),
    "submitit": ("pipeline.sweep.engines.slurm",),
    "jinja2": ("pipeline",),
    "click": ("cli",),
    "pytest": ("pytest_plugin",),
    "rich": ("cli.progress", "cli.sweep_progress"),
    "yaml": ("capture.config.config", "store.remote", "notebook", "pipeline", "cli"),
    "tomli": ("settings", "capture.config.config", "replay.locked_files", "notebook.given"),
}


@cache
def modules() -> dict[str, ast.Module]:
    """Return each module's source tree by its name inside the package."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        .removesuffix(".__init__")
        .replace("__init__", ""): ast.parse(path.read_text("utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
    }


def imports(tree: ast.AST, *, typing: bool = True, inner: bool = True) -> Iterator[str]:
    """Yield the full names that are imported; ``inner`` includes those inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(node, typing=typing, inner=inner) if typing else ()
        elif inner or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imports(node, typing=typing, inner=inner)


def within(name: str, **options: bool) -> set[str]:
    """Return the modules of the package that a module imports."""
    known = modules()
    found = set()
    for full in imports(known[name], **options):
        if full == "reprokit" or full.startswith("reprokit."):
            inside = full.removeprefix("reprokit").removeprefix(".")
            while inside and inside not in known:
                inside = inside.rpartition(".")[0]
            found.add(inside)
    return found


def foreign(name: str) -> set[str]:
    """Return the distributions' top-level names that a module imports from outside."""
    tops = {full.partition(".")[0] for full in imports(modules()[name])}
    return tops - set(sys.stdlib_module_names) - {"reprokit", "__future__"}


def layer(name: str) -> int:
    """Return the number of a module's layer."""
    top = name.partition(".")[0]
    return next(number for number, parts in enumerate(LAYERS) if top in parts)


def belongs(name: str, homes: tuple[str, ...]) -> bool:
    """Return whether a module is one of ``homes`` or lies in one."""
    return any(name == home or name.startswith(f"{home}.") for home in homes)


@pytest.mark.parametrize("name", modules())
def test_every_module_belongs_to_a_layer(name: str) -> None:
    assert layer(name) >= 0


@pytest.mark.parametrize("name", modules())
def test_imports_go_one_way(name: str) -> None:
    own = name.partition(".")[0]
    wrong = {used for used in within(name) if layer(used) >= layer(name) and used.partition(".")[0] != own}
    assert wrong <= {""}, f"{name} must not import {wrong}"


@pytest.mark.parametrize("name", [name for name in modules() if belongs(name, ("capture",))])
def test_capture_and_store_meet_in_few_places(name: str) -> None:
    met = {used.removeprefix("store.") for used in within(name) if belongs(used, ("store",))}
    assert met <= STORE_IN_CAPTURE.get(name, set())


def test_the_places_where_they_meet_are_all_needed() -> None:
    for name, allowed in STORE_IN_CAPTURE.items():
        assert {f"store.{part}" for part in allowed} <= within(name), name


@pytest.mark.parametrize("name", [name for name in modules() if belongs(name, ("views",))])
def test_views_know_records_only(name: str) -> None:
    assert {used.partition(".")[0] for used in within(name)} <= BELOW_VIEWS


@pytest.mark.parametrize("name", [name for name in modules() if belongs(name, AGENT) or name in AGENT_STORE])
def test_the_agent_imports_the_standard_library_only(name: str) -> None:
    assert foreign(name) <= {"yaml", "tomli"}  # only when the user names such a file
    assert not {top for top in foreign(name) if top in imports(modules()[name], inner=False)}
    used = within(name)
    assert all(belongs(one, AGENT) or one in (*AGENT_STORE, "") for one in used), used


@pytest.mark.parametrize("name", modules())
def test_libraries_have_homes(name: str) -> None:
    for top in foreign(name):
        assert top in HOMES, f"{name} imports {top}, which has no home"
        assert belongs(name, HOMES[top]), f"{name} is no home of {top}"


def test_there_is_no_cycle() -> None:
    graph = {name: within(name, typing=False, inner=False) - {name, ""} for name in modules()}
    while True:
        free = {name for name, used in graph.items() if not used & graph.keys()}
        if not free:
            break
        graph = {name: used for name, used in graph.items() if name not in free}
    assert graph == {}, f"a cycle among {sorted(graph)}"


@pytest.mark.parametrize("name", modules())
def test_every_module_says_what_it_knows(name: str) -> None:
    assert ast.get_docstring(modules()[name]), f"{name or 'reprokit'} has no docstring"


@pytest.mark.parametrize("name", modules())
def test_modules_are_small(name: str) -> None:
    path = ROOT / f"{name.replace('.', '/')}.py"
    lines = path.read_text().count("\n") if path.is_file() else 0
    assert lines <= 500, f"{name} has {lines} lines"

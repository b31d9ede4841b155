"""Which of the project's own code a notebook or script imports, read from the source. Nothing is imported.

A module counts with what it imports in turn, a package with all its files. Where code is found by other means than
an import statement (``importlib``, ``exec``, ``%run``), all code of the project counts.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

__all__ = ["CODE", "listed_folders", "local_code", "spelt"]

CODE = (".py", ".pyi", ".so", ".pyd")

_SKIPPED = frozenset(("__pycache__", "node_modules", "site-packages", "dist-packages", "venv", "env"))
_DYNAMIC = re.compile(
    r"\b(?:importlib|__import__|runpy|exec|execfile|sys\.path|zipimport|pkgutil)\b|^\s*%(?:run|load)\b", re.M
)
_LISTING = frozenset(
    ("glob", "iglob", "rglob", "listdir", "scandir", "iterdir", "walk", "read_parquet", "dataset", "load_dataset",
     "ParquetDataset", "ImageFolder", "DatasetFolder", "open_mfdataset")
)  # fmt: skip
_SHELL_LISTING = re.compile(r"^\s*[!%](?:ls|dir|find)\b", re.M)


def local_code(sources: Sequence[str], folders: Sequence[Path], project: Path) -> tuple[Path, ...]:
    """Return the files of code that sources depend on, sorted.

    Args:
        sources: code cells, or a script.
        folders: where Python looks first: the working directory and what else is on the path inside the project.
        project: the project root; code outside it is not the project's.
    """
    found: set[Path] = set()
    waiting = list(sources)
    while waiting:
        source = waiting.pop()
        if _DYNAMIC.search(source):
            return tuple(sorted(found | set(_all_code(project))))
        for file in _named(source, folders, project):
            if file not in found:
                found.add(file)
                if file.suffix == ".py":
                    waiting.append(_text(file))
    return tuple(sorted(found))


def listed_folders(sources: Iterable[str]) -> tuple[set[str], bool]:
    """Return what code lists: there a file that was not there before counts as well.

    Returns:
        The texts in the calls that list (a folder, or a pattern), and whether one lists what is not spelt out.
    """
    found: set[str] = set()
    unclear = False
    for source in sources:
        tree = _tree(source)
        unclear |= bool(_SHELL_LISTING.search(source))
        for call in ast.walk(tree) if tree is not None else ():
            if isinstance(call, ast.Call) and _name(call.func) in _LISTING:
                texts = set(_texts(call))
                found |= texts
                unclear |= not texts
    return found, unclear


def spelt(sources: Iterable[str]) -> set[str]:
    """Return all strings that sources spell out."""
    trees = (_tree(source) for source in sources)
    return {text for tree in trees if tree is not None for text in _texts(tree)}


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _named(source: str, folders: Sequence[Path], project: Path) -> Iterator[Path]:
    """Yield the files behind the imports of a source, and files of code that it names."""
    tree = _tree(source)
    if tree is None:
        yield from _all_code(project)
        return
    for name in _imports(tree):
        for folder in folders:
            files = list(_module(folder, name.partition(".")[0], project))
            yield from files
            if files:
                break
    for text in _texts(tree):
        if text.endswith(CODE) and "\n" not in text and "\0" not in text:
            for folder in folders:
                if (file := folder / text).is_file() and _is_inside(file, project):
                    yield file


def _tree(source: str) -> ast.Module | None:
    for text in (source, re.sub(r"^([ \t]*)[%!].*$", r"\1pass", source, flags=re.M)):
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module  # a relative import stays inside a package, which counts as a whole


def _module(folder: Path, name: str, project: Path) -> Iterator[Path]:
    """Yield the files of a top-level module as it is found in a folder."""
    package = folder / name
    if package.is_dir() and _is_inside(package, project):
        yield from _all_code(package)
        return
    for suffix in (".py", ".pyi"):
        if (file := folder / f"{name}{suffix}").is_file() and _is_inside(file, project):
            yield file
    yield from (file for file in folder.glob(f"{name}.*") if file.suffix in (".so", ".pyd"))


def _all_code(folder: Path) -> Iterator[Path]:
    for place, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".") and name not in _SKIPPED]
        yield from (Path(place, file) for file in files if file.endswith(CODE))


def _is_inside(path: Path, project: Path) -> bool:
    return path.resolve().is_relative_to(project.resolve())


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""

"""Lets the points of a sweep run beside each other in one project, and none disturb another.

The process of a point sees the project through an overlay: it is as it is, with the code as it was when the sweep
began, and what the point writes is its own. The store and git's folder stay what they are for everybody, so that its
record lands where all others are. Where the machine has no overlays a point runs in the project itself, and
``clashes`` tells which of them wrote the same file. It knows folders; what a point is, it does not know.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from reprokit.replay import mounts
from reprokit.replay.leftovers import owned_folder
from reprokit.store.objects import Objects

__all__ = ["TOGETHER", "around", "can_be"]

TOGETHER = "together"  # the file that says of a point that it ran in the project itself
_NOT_RESULTS = frozenset(("__pycache__", ".git", ".ipynb_checkpoints"))


@cache
def can_be(project: Path) -> bool:
    """Return whether processes on this machine can have the project to themselves."""
    if any(sign in str(project) for sign in ":,\\"):  # these mean something in the options of a mount
        return False
    with owned_folder() as beside:
        if beside.is_relative_to(project.resolve()):
            return False
        taking = beside / mounts.COVERS / "0"  # as ``leftovers`` expects it
        taking.mkdir(parents=True)
        return mounts.can_cover(project, taking)


@contextmanager
def around(project: Path, store: Path, frozen: Path, files: Path, result: Path) -> Iterator[Path | None]:
    """Yield the file that says where a point's process finds things; None when that is where they are.

    Args:
        project: the project root.
        store: the store's folder.
        frozen: a folder with the code as it was, which lies there as in the project.
        files: where to put what the point wrote and the store does not keep; it need not be there, its parent must.
        result: the file that the process writes its result into, with what it made.
    """
    if not can_be(project):
        (files.parent / TOGETHER).touch()
        yield None
        return
    with owned_folder() as beside:
        upper = _prepared(beside, project, frozen)
        order = beside / "namespace.json"
        order.write_text(json.dumps(_order(beside, project, store)), "utf-8")
        try:
            yield order
        finally:
            _save(upper, frozen, files, _made(result), Objects(store / "objects"))


def _prepared(beside: Path, project: Path, frozen: Path) -> Path:
    taking = beside / mounts.COVERS / "0"
    upper = taking / "upper"
    for name in ("upper", "work"):
        (taking / name).mkdir(parents=True)
    shutil.copystat(project, upper)
    for source in sorted(frozen.rglob("*")):  # a folder comes before what is in it
        target = upper / source.relative_to(frozen)
        if source.is_dir():
            target.mkdir()
            with suppress(OSError):
                shutil.copystat(project / source.relative_to(frozen), target)
        else:
            shutil.copy2(source, target)
    return upper


def _order(beside: Path, project: Path, store: Path) -> dict[str, Any]:
    taking, stage = beside / mounts.COVERS / "0", beside / "stage"
    stage.mkdir()
    kept = [path for path in (store, project / ".git") if path.exists() and path.is_relative_to(project)]
    covers = [[str(project), str(taking / "upper"), str(taking / "work")]]
    return {"covers": covers, "mounts": [], "kept": list(map(str, kept)), "stage": str(stage), "cwd": str(project)}


# --- what a point wrote


def _made(result: Path) -> dict[str, str | None]:
    """Return path → digest of what a step says that it made."""
    try:
        told = json.loads(result.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {one["path"]: one.get("digest") for one in told.get("outputs", ())}


def _save(upper: Path, frozen: Path, files: Path, made: Mapping[str, str | None], objects: Objects) -> None:
    """Keep the files whose bytes the store has not."""
    if files.exists():  # those of an earlier attempt
        shutil.rmtree(files, ignore_errors=True)
    for file in _results(upper):
        name = file.relative_to(upper)
        digest = made.get(name.as_posix())
        if (digest is not None and objects.has(digest)) or _is_same(file, frozen / name):
            continue
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, files / name)


def _results(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or path.name in _NOT_RESULTS:
            continue
        if path.is_dir():
            with suppress(PermissionError):
                yield from _results(path)
        elif path.is_file():  # and not the mark that something was removed
            yield path


def _is_same(file: Path, other: Path) -> bool:
    try:
        one, two = file.stat(), other.stat()
    except OSError:
        return False
    return (one.st_size, one.st_mtime_ns) == (two.st_size, two.st_mtime_ns)

"""Code that a snapshot does not hold: edits between cells, other commits, modules from outside the project.

It says what is to be in place before which cell, and puts it there: edits into the workspace, modules into a
folder of their own, where the kernel finds them by name. Nothing of the user's is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from reprokit.errors import StoreError
from reprokit.notebook.compose import executable
from reprokit.records import CodeState, FileUse, Module, Run

__all__ = ["commits", "digests", "edits", "located", "modules", "moved", "places", "put", "put_file", "without_reads"]

_STEP_S = 2  # what Python compiled is believed while time (in seconds) and size are the same


class Restorer(Protocol):
    """What is needed of the store's objects."""

    def restore(self, digest: str, target: Path) -> None:
        """Put an object's bytes at ``target``."""


def located(run: Run, project: Path) -> Run:
    """Return the run with its project, and the repository in it, where they are now, if they were moved together."""
    if not run.root or run.kind == "replay" or Path(run.root).exists():
        return run
    return moved(run, project)


def moved(run: Run, project: Path) -> Run:
    """Return the run with its project, and the repository in it, as if they lay in another place."""
    old = run.root
    if not old or old == str(project):
        return run

    def now(path: str) -> str:
        return str(project / Path(path).relative_to(old)) if Path(path).is_relative_to(old) else path

    def at(code: CodeState) -> CodeState:
        inner = tuple(at(module) for module in code.submodules)
        return replace(code, repository=now(code.repository), top=now(code.top), submodules=inner)

    code = None if run.code is None else at(run.code)
    return replace(run, root=now(old), cwd=now(run.cwd), code=code, codes=tuple(at(code) for code in run.codes))


def edits(run: Run) -> Iterator[tuple[int, FileUse]]:
    """Yield each edit of the project's code with the cell before which a replay makes it."""
    for cell in run.cells:
        at = _next(run, cell.seq) if cell.edits else None
        if at is not None:
            yield from ((at, use) for use in cell.edits)


def commits(run: Run) -> dict[int, CodeState]:
    """Return the cells before which another commit, or branch, was checked out, and the code with that."""
    found: dict[int, CodeState] = {}
    for cell in run.cells:
        at = _next(run, cell.seq) if cell.head else None
        if at is not None and run.code is not None:
            commit, branch, *_ = (*cell.head, None)
            found[at] = replace(run.code, commit=commit, branch=branch)
    return found


def without_reads(run: Run) -> Run:
    """Return the run without what it read of modules from outside the project: they lie elsewhere in a replay."""
    own = {str(Path(_base(module)) / use.path) for module in run.modules for use in module.files}
    if not own:
        return run
    cells = (replace(cell, reads=tuple(use for use in cell.reads if use.path not in own)) for cell in run.cells)
    return replace(run, cells=tuple(cells))


def modules(run: Run) -> dict[int, list[Module]]:
    """Return what to put back before which cell: each name's first state before all of them (0)."""
    found: dict[int, list[Module]] = {}
    seen: set[str] = set()
    for module in run.modules:
        at = 0 if module.name not in seen else _next(run, module.cell or 0)
        seen.add(module.name)
        if at is not None:
            found.setdefault(at, []).append(module)
    return found


def digests(run: Run) -> Iterator[str]:
    """Yield the names of all objects that are needed for this."""
    yield from (use.digest for _, use in edits(run) if use.digest is not None)
    yield from (use.digest for module in run.modules for use in module.files if use.digest is not None)


def places(run: Run, folder: Path) -> dict[str, str]:
    """Return where modules from outside the project are found in a replay, by name.

    Args:
        run: the run.
        folder: where they are put back.
    """
    found = {}
    for module in run.modules:
        at = _folder(run, module, folder)
        found[module.name] = str(at / Path(module.place).name) if _is_archive(module) else str(at)
    return found


def put(run: Run, before: int, folder: Path, objects: Restorer) -> None:
    """Put back the modules that a cell needs as they were, 0 standing for the first."""
    for module in modules(run).get(before, ()):
        at = _folder(run, module, folder)
        for use in module.files:
            if use.digest is not None:
                put_file(use.digest, _within(at, use.path), objects)


def put_file(digest: str, target: Path, objects: Restorer) -> None:
    """Put code at ``target``, newer than what was there by more than Python's caches can tell apart."""
    try:
        before = target.stat().st_mtime
    except FileNotFoundError:
        before = None
    objects.restore(digest, target)
    if before is not None:
        status = target.stat()
        os.utime(target, (status.st_atime, max(status.st_mtime, before + _STEP_S)))


def _next(run: Run, seq: int) -> int | None:
    return next((cell.seq for cell in executable(run) if cell.seq >= seq), None)


def _folder(run: Run, module: Module, folder: Path) -> Path:
    """Return where a place of the user's has its copy; modules that lay together do so again."""
    bases = sorted({_base(one) for one in run.modules})
    return folder / str(bases.index(_base(module)))


def _base(module: Module) -> str:
    return str(Path(module.place).parent) if _is_archive(module) else module.place


def _is_archive(module: Module) -> bool:
    return len(module.files) == 1 and module.files[0].path == Path(module.place).name and "." in module.files[0].path


def _within(top: Path, path: str) -> Path:
    target = top / path
    if not target.resolve().is_relative_to(top.resolve()):
        raise StoreError(f"{path!r} is not inside the module's folder", path=top, remedy="do not trust this run")
    return target

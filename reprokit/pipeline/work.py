"""What a spec means in this store: the notebook, script or run that it names, with its parameters checked.

Nothing is run and nothing written. It knows files and records; it does not know processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from reprokit.errors import UsageError
from reprokit.notebook.compose import compose, executable
from reprokit.notebook.fitting import check
from reprokit.notebook.parameters import TAG, read_notebook
from reprokit.pipeline.spec import Spec
from reprokit.records import Run
from reprokit.store import origin
from reprokit.store.store import Store

__all__ = ["Work", "resolve"]

_SKIPPED = "skip-execution"  # papermill leaves out the cells with this tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be executed.

    Attributes:
        name: as the record names it: relative to the project where it lies in it.
        path: the notebook's or script's file; None for the cells of a run.
        content: the notebook; None for a script.
        script: the script as it is to see itself in ``sys.argv``; None for a notebook.
        arguments: what the script is called with.
        params: the notebook's parameters, checked.
        cwd: the working directory.
        kernel: the kernel's name; None for a script.
    """

    name: str
    path: Path | None
    content: NotebookNode | None = None
    script: str | None = None
    arguments: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    cwd: Path
    kernel: str | None = None

    @property
    def sources(self) -> list[str]:
        """The code, cell by cell, with a mark on the cell after which parameters are put."""
        if self.content is None:
            assert self.path is not None
            return [self.path.read_text("utf-8", "replace")]
        return [cell.source + (f"\n# {TAG}" if _is(cell, TAG) else "") for cell in self.cells]

    @property
    def cells(self) -> list[NotebookNode]:
        """The code cells that are executed."""
        cells = () if self.content is None else self.content.cells
        return [one for one in cells if one.cell_type == "code" and one.source.strip() and not _is(one, _SKIPPED)]


def resolve(spec: Spec, store: Store) -> Work:
    """Return what a spec means.

    Raises:
        UsageError: it is not there, or a parameter does not fit.
    """
    if spec.run is not None:
        return _of_run(spec, store.load(store.resolve(spec.run)), store)
    if spec.script is not None:
        return _script(spec, spec.path(spec.script), spec.arguments, store)
    assert spec.notebook is not None
    return _notebook(spec, spec.path(spec.notebook), dict(spec.params), store)


def _notebook(spec: Spec, path: Path, params: Mapping[str, Any], store: Store) -> Work:
    content = read_notebook(path)
    return Work(
        name=_shown(path, store),
        path=path,
        content=content,
        params=check(content, params),
        cwd=_cwd(spec, path.resolve().parent),
        kernel=spec.kernel or str(content.metadata.get("kernelspec", {}).get("name") or "python3"),
    )


def _script(spec: Spec, path: Path, arguments: tuple[str, ...], store: Store) -> Work:
    if not path.is_file():
        raise UsageError(f"there is no script {path}", remedy="name a .py file")
    cwd, at = _cwd(spec, spec.folder), path.absolute()
    shown = at.relative_to(cwd) if at.is_relative_to(cwd) else at
    return Work(name=_shown(path, store), path=path, script=str(shown), arguments=arguments, cwd=cwd)


def _of_run(spec: Spec, run: Run, store: Store) -> Work:
    """A batch run is executed again from its notebook, or script, as that is now; a session from its record."""
    origin.require(store.layout, run)
    project = store.layout.project
    if run.front == "script":
        where = project / (Path(run.cwd).relative_to(run.root) if Path(run.cwd).is_relative_to(run.root) else run.cwd)
        return _script(spec, where / (run.script or ""), spec.arguments or run.argv[1:], store)
    if run.kind == "batch" and run.notebook is not None:
        return _notebook(spec, project / run.notebook, {**run.params, **spec.params}, store)
    if spec.params:
        remedy = "name a notebook that has a cell tagged 'parameters'"
        raise UsageError(f"run {run.id} is a session, which takes no parameters", remedy=remedy)
    cells = executable(run)
    if not cells:
        raise UsageError(f"run {run.id} has no cell that ran to its end", remedy="name another one")
    inside = Path(run.cwd).is_relative_to(run.root)
    return Work(
        name=run.notebook or f"run {run.id}",
        path=None,
        content=compose(cells, kernel=spec.kernel or "python3"),
        cwd=_cwd(spec, project / Path(run.cwd).relative_to(run.root) if inside else Path(run.cwd)),
        kernel=spec.kernel or "python3",
    )


def _cwd(spec: Spec, default: Path) -> Path:
    cwd = default if spec.cwd is None else spec.path(spec.cwd).resolve()
    if not cwd.is_dir():
        raise UsageError(f"there is no folder {cwd}", remedy="name the working directory with `cwd`")
    return cwd


def _shown(path: Path, store: Store) -> str:
    resolved, project = path.resolve(), store.layout.project.resolve()
    return resolved.relative_to(project).as_posix() if resolved.is_relative_to(project) else str(resolved)


def _is(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", ())

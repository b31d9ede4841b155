"""What a sweep is to be, checked before anything runs: every point, the code, the environment. Nothing is written."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit import digest
from reprokit.capture import redact
from reprokit.errors import UsageError
from reprokit.notebook.fitting import check
from reprokit.notebook.parameters import read_notebook
from reprokit.notebook.parent import silent
from reprokit.notebook.spelled import plain
from reprokit.pipeline import interpreter, key
from reprokit.pipeline.imports import local_code
from reprokit.pipeline.spec import Spec
from reprokit.pipeline.sweep import apart
from reprokit.pipeline.sweep.book import Sweep, filled, new_id
from reprokit.pipeline.sweep.points import Values, brief
from reprokit.pipeline.sweep.task import variables_here
from reprokit.pipeline.work import Work, resolve
from reprokit.store.store import Store

__all__ = ["located", "plan"]


def located(spec: Spec, store: Store) -> Spec:
    """Return a spec whose paths, relative to this process's folder, are relative to the project root."""
    project = store.layout.project

    def shown(path: str | None) -> str | None:
        return None if path is None else key.shown(Path(path), project)

    return dataclasses.replace(
        spec,
        project=str(project),
        notebook=shown(spec.notebook),
        script=shown(spec.script),
        cwd=shown(spec.cwd),
        inputs=tuple(key.shown(Path(one), project) for one in spec.inputs),
        outputs=tuple(key.shown(Path(one), project) for one in spec.outputs),
        inherit=("*",),
    )


def plan(store: Store, spec: Spec, points: Sequence[Values], **about: Any) -> Sweep:
    """Return the sweep of a step over points.

    Args:
        store: where its runs will be.
        spec: the step, ``located``; its own parameters are those that no point changes.
        points: the parameters of each point.
        about: further fields of the sweep.

    Raises:
        UsageError: a point does not fit, two are the same, or what is to be run is not there.
    """
    if not points:
        raise UsageError("there are no points", remedy="give --grid NAME=A,B, --points FILE or --sample N")
    checked = _of_script(spec, points) if spec.script is not None else _of_notebook(spec, points)
    _require_different(checked)
    step = dataclasses.replace(spec, params={}, seed=None, name=None)
    work = resolve(_first(spec, checked[0]), store)
    key.declared_inputs(spec.inputs, spec.folder, store.layout.project)
    interpreter.choose(store, spec, work.kernel, silent)  # built once, before all of them need it
    return Sweep(
        id=new_id(),
        what=work.name,
        step=step.to_dict(),
        points=tuple(checked),
        code=_code(work, store.layout.project),
        apart=apart.can_be(store.layout.project),
        variables=_without_secrets(variables_here(store.settings.variables)),
        created=time.time(),
        **about,
    )


def _without_secrets(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return variables as they may be written down; of a secret a worker has its own."""
    return {name: value for name, value in variables.items() if value is None or redact.value(name, value) == value}


def _first(spec: Spec, values: Values) -> Spec:
    if spec.script is not None:
        return dataclasses.replace(spec, arguments=tuple(filled(spec.arguments, values)), params={})
    return dataclasses.replace(spec, params=values)


# --- the points


def _of_notebook(spec: Spec, points: Sequence[Values]) -> list[Values]:
    assert spec.notebook is not None
    content = read_notebook(spec.path(spec.notebook))
    found = []
    for number, point in enumerate(points, 1):
        try:
            found.append(plain(check(content, {**spec.params, **point})))
        except UsageError as error:
            if len(points) == 1:
                raise
            raise UsageError(f"point {number} ({_shown(point)}): {error.message}", remedy=error.remedy) from error
    return found


def _shown(point: Mapping[str, Any]) -> str:
    """Return a point in words, without what may be a secret."""
    kept = {name: redact.value(name, value) if isinstance(value, str) else value for name, value in point.items()}
    try:
        text = brief(kept)
    except (TypeError, ValueError):
        text = ", ".join(kept)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _of_script(spec: Spec, points: Sequence[Values]) -> list[Values]:
    found = [{**spec.params, **point} for point in points]
    for number, point in enumerate(found, 1):
        unused = [name for name in point if not any(f"{{{name}}}" in argument for argument in spec.arguments)]
        if unused:
            name = unused[0]
            remedy = f"write `-- --{name} {{{name}}}` at the end of the command"
            raise UsageError(f"the script's arguments do not use {name!r}", remedy=remedy)
        _require_json(number, point)
        arguments = filled(spec.arguments, point)
        if list(redact.argv(arguments)) != arguments:
            remedy = "let the script read it from an environment variable: arguments are recorded, and repeated"
            raise UsageError(f"point {number} gives the script a secret", remedy=remedy)
    return found


def _require_json(number: int, point: Values) -> None:
    try:
        json.dumps(point, allow_nan=False)
    except (TypeError, ValueError) as error:
        problem = f"point {number} has a value that is neither a finite number, a text nor a list"
        raise UsageError(problem, remedy="write it as a text") from error


def _require_different(points: Sequence[Values]) -> None:
    seen: dict[bytes, int] = {}
    for number, point in enumerate(points, 1):
        before = seen.setdefault(digest.canonical_json(_equal(point)), number)
        if before != number:
            raise UsageError(f"points {before} and {number} are the same ({_shown(point)})", remedy="leave one out")


def _equal(value: Any) -> Any:
    """Return a value with whole numbers as integers: 1 and 1.0 are the same point."""
    if isinstance(value, Mapping):
        return {name: _equal(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_equal(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


# --- the code


def _code(work: Work, project: Path) -> dict[str, str]:
    """Return path → digest of what is to be run, and of the project's modules that it imports."""
    assert work.path is not None
    folders = key.search_path(work.cwd, project, [Path(entry) for entry in sys.path if entry])
    files = [work.path, *local_code(work.sources, folders, project)]
    return {key.shown(file, project): digest.of_file(file) for file in files}

"""Finds the runs that a user means and makes a pipeline of them, having looked at what lies in the project today.

``stages`` joins the runs; this module supplies what it needs to see: the notebook of a session, the notebook's
parameters, the modules of the project that were imported, and what is in a JSON file that was written.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit.errors import RunNotFound, StoreError, UsageError
from reprokit.lint.check import check
from reprokit.notebook.parameters import declared, read_notebook
from reprokit.pipeline import local
from reprokit.pipeline.stages import Pipeline, Stage, kind_by_name
from reprokit.records import FileUse, Run
from reprokit.replay.check import find
from reprokit.replay.modules import moved
from reprokit.store.store import Store

__all__ = ["as_yaml", "code_cells", "infer", "located", "of_run", "selected"]

_OF_REPROKIT = ("%load_ext reprokit", "%reload_ext reprokit", "%repro", "%%repro")
_LARGEST_METRICS = 100_000  # bytes; what is larger is a result, not a few numbers
_MOST_NUMBERS = 200


def infer(store: Store, words: Sequence[str]) -> Pipeline:
    """Return the pipeline that runs make, each one named or the newest that is done of a notebook.

    Args:
        store: holds the runs.
        words: runs and paths of notebooks or scripts.

    Raises:
        UsageError: a word means no run, a notebook was never captured, or the runs make no pipeline.
    """
    runs = [located(store, run) for run in selected(store, words)]
    return _of(store, runs)


def of_run(store: Store, run_id: str, name: str) -> Stage | None:
    """Return the stage that a run stands for, under a name; None when the run is not in this store any more."""
    try:
        (stage,) = _of(store, [located(store, _loaded(store, run_id))]).stages
    except (RunNotFound, StoreError, UsageError, ValueError):
        return None
    return dataclasses.replace(stage, name=name)


def selected(store: Store, words: Sequence[str]) -> list[Run]:
    """Return the runs that words mean, each once.

    Raises:
        UsageError: a word means no run, or a notebook was never captured.
    """
    ids = dict.fromkeys(_newest_of(store, word) if _is_path(word) else find(store, word) for word in words)
    return [_loaded(store, run_id) for run_id in ids]


def _loaded(store: Store, run_id: str) -> Run:
    return moved(store.load(run_id), store.layout.project)  # the project may be a copy of where it was captured


def _is_path(word: str) -> bool:
    return word.endswith((".ipynb", ".py")) and "@" not in word


def _newest_of(store: Store, word: str) -> str:
    """Return the newest run that is done of a notebook or script."""
    path = Path(word)
    if not path.is_file():
        read_notebook(path)  # says which notebooks there are
    project = store.layout.project.resolve()
    wanted = Path(os.path.relpath(path.resolve(), project)).as_posix()
    for summary in store.runs(query="status=done"):
        is_other = summary.notebook is not None and posixpath.basename(summary.notebook) != path.name
        if is_other or summary.replay_of is not None or summary.kind == "replay":
            continue
        if _is_of(store, summary.id, wanted):
            return summary.id
    remedy = f"capture it: `reprokit run {word}`, or work in it with `%repro start`"
    raise UsageError(f"there is no finished run of {word}", remedy=remedy)


def _is_of(store: Store, run_id: str, wanted: str) -> bool:
    stem = posixpath.basename(wanted)
    try:
        run = _loaded(store, run_id)
    except StoreError:
        return False
    if run.script is not None and run.script.endswith(stem):
        return _within(run.script, run) == wanted
    if run.notebook is not None:
        return run.notebook.endswith(stem) and _notebook_of(run) == wanted
    return run.kind == "session" and wanted in _similar(run, [Path(run.root) / wanted])


# -- which notebook -------------------------------------------------------------------------------


def located(store: Store, run: Run) -> Run:
    """Return the run with its notebook or script relative to the project root, as far as it can be told."""
    if run.script is not None and run.notebook is None:
        return dataclasses.replace(run, script=_within(run.script, run))
    notebook = _notebook_of(run)
    if notebook is None and run.kind == "session":
        candidates = _similar(run, _notebooks(store.layout.project))
        notebook = candidates[0] if len(candidates) == 1 else None
    return dataclasses.replace(run, notebook=notebook)


def _within(path: str, run: Run) -> str:
    full = posixpath.join(run.root, path)
    return posixpath.relpath(full, run.root) if full.startswith(f"{run.root}/") else path


def _notebook_of(run: Run) -> str | None:
    """Return a run's notebook, relative to the project root; a session once knew it from its working directory."""
    if run.notebook is None:
        return None
    for folder in (run.root, run.cwd) if run.kind == "session" else (run.root,):
        full = posixpath.normpath(posixpath.join(folder, run.notebook))
        if Path(full).exists():
            return _within(full, run)
    return run.notebook


def _notebooks(project: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(project):
        names[:] = sorted(name for name in names if not name.startswith(".") and name not in ("node_modules", "out"))
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".ipynb"))


def _similar(run: Run, notebooks: Iterator[Path] | Sequence[Path]) -> list[str]:
    """Return the notebooks most of whose cells a session ran, from the project root."""
    ran = {_plain(cell.source) for cell in run.cells}
    found = []
    for path in notebooks:
        try:
            cells = code_cells(read_notebook(path))
        except UsageError:
            continue
        if cells and sum(cell in ran for cell in cells) * 2 > len(cells):
            found.append(path.relative_to(run.root).as_posix())
    return found


def code_cells(notebook: Mapping[str, Any]) -> list[str]:
    """Return the sources of the cells that do something, without those that are reprokit's own."""
    sources = (_plain(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    return [source for source in sources if source]


def _plain(source: str | Sequence[str]) -> str:
    text = source if isinstance(source, str) else "".join(source)
    lines = [line for line in text.splitlines() if not line.startswith(_OF_REPROKIT)]
    return "\n".join(lines).strip()


# -- what it did ----------------------------------------------------------------------------------


def _of(store: Store, runs: Sequence[Run]) -> Pipeline:
    def kind(use: FileUse) -> str:
        return _kind(store, use)

    pipeline = Pipeline.of_runs(runs, kind=kind, modules=local.modules)
    by_id = {run.id: run for run in runs}
    stages, notes = [], list(pipeline.notes)
    for stage in pipeline.stages:
        run = by_id[stage.run or ""]
        stage, gone = _without_removed(stage, Path(run.root))
        stages.append(dataclasses.replace(stage, params=_params(run, Path(run.root) / stage.notebook)))
        notes += [*gone, *_changes(run, stage)]
    return dataclasses.replace(pipeline, stages=tuple(stages), notes=tuple(notes))


def _kind(store: Store, use: FileUse) -> str:
    """Return what a written file is: a JSON file of a few named numbers is metrics, whatever it is called."""
    by_name = kind_by_name(use)
    if not use.path.endswith(".json") or use.digest is None or (use.size or 0) > _LARGEST_METRICS:
        return by_name
    try:
        value = json.loads(store.objects.get_bytes(use.digest))
    except StoreError:
        return by_name
    except ValueError:
        return "outs"
    numbers = list(_numbers(value)) if isinstance(value, dict) else []
    return "metrics" if 0 < len(numbers) <= _MOST_NUMBERS else "outs"


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers of a mapping, and of mappings in it."""
    for item in value.values():
        if isinstance(item, dict):
            yield from _numbers(item)
        elif isinstance(item, (int, float)) and not isinstance(item, bool):
            yield item


def _without_removed(stage: Stage, root: Path) -> tuple[Stage, list[str]]:
    """Leave out what the run wrote and later removed: where most of its files are, the others were removed."""
    gone = {path for path in stage.products if not (root / path).exists()}
    if not gone or len(gone) == len(stage.products):
        return stage, []
    notes = [f"{stage.name} wrote {path}, which is not there any more: it is no output" for path in sorted(gone)]
    outs, metrics, plots = (
        tuple(path for path in paths if path not in gone) for paths in (stage.outs, stage.metrics, stage.plots)
    )
    return dataclasses.replace(stage, outs=outs, metrics=metrics, plots=plots), notes


def _params(run: Run, path: Path) -> dict[str, Any]:
    """Return the parameters that the notebook declares, with the values of the run or else its defaults.

    What YAML cannot hold is left out: the notebook's own default is then what counts.
    """
    if path.suffix != ".ipynb" or not path.is_file():
        return {name: value for name, value in run.params.items() if as_yaml(value)}
    values = {name: run.params.get(name, one.default) for name, one in declared(read_notebook(path)).items()}
    return {name: value for name, value in values.items() if value is not None and as_yaml(value)}


def as_yaml(value: Any) -> bool:
    """Return whether YAML, and DVC, give a value back as it is."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(map(as_yaml, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and as_yaml(item) for key, item in value.items())
    return value is None or isinstance(value, (bool, int, str))


def _changes(run: Run, stage: Stage) -> Iterator[str]:
    """Yield why the stage may give something else than its run gave."""
    path = Path(run.root) / stage.notebook
    if path.suffix == ".ipynb" and path.is_file():
        cells = code_cells(read_notebook(path))
        ran = [text for cell in run.cells if (text := _plain(cell.source))]
        if run.kind == "session" and ran != cells:
            yield (
                f"session {run.id} did not run {stage.notebook} once from top to bottom as it is now: "
                f"`reprokit extract {run.id}` makes a notebook of what it did"
            )
        elif not set(cells) - _parameters_cells(path) <= set(ran):
            yield f"{stage.notebook} was changed after run {run.id}: run it again if it reads or writes other files"
    if run.seed is None and path.is_file():
        unseeded = [one.message for one in check(path, Path(run.root)) if one.code in ("R201", "R202")]
        if unseeded:
            yield f"{stage.name} gives other results each time ({unseeded[0]}): `reprokit step --seed N …` seeds it"
    for use in sorted({path for path in stage.deps if path.startswith("/")}):
        yield f"{stage.name} reads {use}, which is outside of the project and may not be on another machine"


def _parameters_cells(path: Path) -> set[str]:
    cells = read_notebook(path)["cells"]
    return {_plain(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ())}

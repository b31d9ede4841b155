"""Finds what is exported: the pipeline that runs make, or the one that a ``dvc.yaml`` describes.

It knows where stages come from, and which environment they had; it does not know any orchestrator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import yaml

from reprokit.errors import RunNotFound, UsageError
from reprokit.pipeline import dvc
from reprokit.pipeline.dvcfile import CLEAN_STAGE
from reprokit.pipeline.infer import infer
from reprokit.pipeline.stages import Pipeline
from reprokit.records import Run
from reprokit.store.store import Store

__all__ = ["environments", "found"]


def found(store: Store, words: Sequence[str]) -> tuple[Pipeline, str]:
    """Return the pipeline that words mean, and a name for it.

    Args:
        store: holds the runs.
        words: runs and notebooks, or one ``dvc.yaml``.

    Raises:
        UsageError: they mean nothing that is a pipeline.
    """
    files = [word for word in words if word.endswith((".yaml", ".yml"))]
    if files and len(words) > 1:
        raise UsageError(
            "a pipeline's file and other runs cannot be exported together", remedy=f"give {files[0]} alone"
        )
    pipeline = _of_file(Path(files[0]), store.layout.project) if files else infer(store, words)
    if not pipeline.stages:
        raise UsageError(f"{words[0]} has no stage of reprokit's", remedy="`reprokit step RUN…` writes such stages")
    ends = dict.fromkeys((pipeline.stages[0].name, pipeline.stages[-1].name))
    return pipeline, "-to-".join(ends)


def _of_file(path: Path, project: Path) -> Pipeline:
    """Return the pipeline of a ``dvc.yaml``, with a note of each stage that is not reprokit's."""
    pipeline = dvc.read(path, project)
    known = {CLEAN_STAGE, *(stage.name for stage in pipeline.stages)}
    others = [name for name in yaml.safe_load(path.read_text("utf-8")).get("stages") or {} if name not in known]
    notes = [f"stage {name} of {path.name} is not reprokit's: what it makes must be there before" for name in others]
    return dataclasses.replace(pipeline, notes=(*pipeline.notes, *notes))


def environments(store: Store, pipeline: Pipeline, *, same: bool) -> list[Run]:
    """Return the runs that say which environment the stages have; those not in this store say nothing.

    Args:
        store: holds the runs.
        pipeline: the stages, which name their runs.
        same: refuse stages whose runs had different environments.

    Raises:
        UsageError: they had.
    """
    runs = []
    for stage in pipeline.stages:
        try:
            runs += [store.load(stage.run)] if stage.run is not None else []
        except RunNotFound:
            continue
    known = [run for run in runs if run.environment is not None]
    prints = {run.environment.fingerprint: run.id for run in known if run.environment is not None}
    if same and len(prints) > 1:
        problem = f"runs {' and '.join(prints.values())} had different environments, and an image has one"
        raise UsageError(problem, remedy="say which one with --environment RUN")
    return known

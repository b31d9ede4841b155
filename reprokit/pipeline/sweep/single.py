"""One step that is no point of a sweep, placed by an engine: it runs once, and its record is where all are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from reprokit.errors import ReprokitError
from reprokit.pipeline.spec import Spec
from reprokit.pipeline.sweep import engines
from reprokit.pipeline.sweep.claim import Point
from reprokit.pipeline.sweep.place import place
from reprokit.pipeline.sweep.task import Ended, Task, variables_here
from reprokit.store.layout import new_run_id
from reprokit.store.store import Store

__all__ = ["perform"]


def perform(store: Store, spec: Spec, engine: str, told: Callable[[str], None], **options: Any) -> Ended:
    """Have a step performed where an engine puts it, and wait for its end.

    Args:
        store: where it is recorded.
        spec: the step.
        engine: "local", "dask" or "slurm".
        told: called at its end with each line that the step printed.
        options: those of the engine.

    Raises:
        ReprokitError: the engine cannot work like this, or lost the step on the way.
    """
    folder = store.layout.root / "placed" / new_run_id()
    point = Point(folder / "points" / "1")
    point.folder.mkdir(parents=True)
    task = Task(
        sweep="",
        point=1,
        book=str(folder),
        store=str(store.layout.root),
        project=str(store.layout.project),
        spec=spec.to_dict(),
        variables=variables_here(store.settings.variables),
    )
    try:
        with engines.open(engine, workers=1, book=folder, **options) as opened:
            future = opened.executor.submit(place, task.to_dict())
            try:
                return Ended.from_dict(future.result())
            except ReprokitError:
                raise
            except Exception as error:
                remedy = "`reprokit runs` shows what there is of it"
                raise ReprokitError(f"the engine lost it ({error})", remedy=remedy) from error
            except BaseException:
                opened.stop()
                raise
    finally:
        for log in sorted(point.folder.glob("log-*.txt")):
            for line in log.read_text("utf-8", "replace").splitlines():
                told(line)
        shutil.rmtree(folder, ignore_errors=True)

"""A run that takes over the results of another one: its files, its metrics, its executed notebook."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from reprokit.errors import StoreError
from reprokit.notebook.injected import codify
from reprokit.notebook.parameters import TAG
from reprokit.notebook.spelled import plain
from reprokit.pipeline import reuse
from reprokit.pipeline.spec import Spec
from reprokit.pipeline.work import Work
from reprokit.records import Run
from reprokit.store.liveness import this_process
from reprokit.store.store import Store

__all__ = ["executed", "take_over", "with_injected"]

_INJECTED = "injected-parameters"


def take_over(
    store: Store,
    earlier: Run,
    spec: Spec,
    work: Work,
    made: dict[str, Any],
    began: float,
    opened: Callable[[str], None],
) -> Run:
    """Put an earlier run's results in place and return the run that says so.

    Args:
        store: holds the earlier run, and will hold the new one.
        earlier: the run that stands for the step.
        spec: the step.
        work: what it means.
        made: its key.
        began: when it began, in seconds after the epoch.
        opened: called with the new run's id.

    Raises:
        StoreError: a result cannot be put in place; no run is made.
    """
    notebook = executed(store, earlier, work) if spec.output_notebook is not None else None
    uses = reuse.restore(store, earlier)
    if notebook is not None and spec.output_notebook is not None:
        _write(notebook, spec.path(spec.output_notebook))
    run_id, journal = store.new_run("batch")
    header = {
        "kind": "batch",
        "front": earlier.front,
        "name": spec.name,
        "notebook": earlier.notebook,
        "script": earlier.script,
        "argv": list(earlier.argv),
        "root": str(store.layout.project),
        "cwd": str(work.cwd),
        "params": plain(dict(work.params)),
        "tags": dict(spec.tags),
        "seed": spec.seed,
        "step": made,
        "reuse_of": earlier.id,
        "sweep": spec.sweep,
        "point": spec.point,
        "started": began,
        "capture": None if earlier.capture is None else earlier.capture.to_dict(),
    }
    metrics = [{**metric.to_dict(), "cell": None} for metric in earlier.metrics]
    added = {"writers": [this_process().to_dict()], "metrics": metrics, "artifacts": [use.to_dict() for use in uses]}
    journal.append({"set": {name: value for name, value in header.items() if value is not None}, "add": added})
    journal.append({"set": {"status": "done", "ended": time.time()}})
    journal.sync()
    journal.close()
    opened(run_id)
    return store.load(run_id)


def executed(store: Store, earlier: Run, work: Work) -> NotebookNode:
    """Return the notebook as the earlier run executed it, put together from its record.

    Raises:
        StoreError: outputs are gone, or the record does not fit the notebook.
    """
    book = copy.deepcopy(work.content)
    if book is None:
        raise StoreError("a script has no executed notebook", remedy="leave `output_notebook` out")
    if work.params:
        book.cells = with_injected(book.cells, codify(work.params))
    ran = iter(earlier.cells)
    for cell in book.cells:
        if cell.cell_type == "code" and cell.source.strip() and "skip-execution" not in cell.metadata.get("tags", ()):
            known = next(ran, None)
            if known is None or known.source.strip() != cell.source.strip():
                raise StoreError(f"the record of run {earlier.id} does not fit the notebook cell by cell")
            outputs = [] if known.outputs is None else json.loads(store.objects.get_bytes(known.outputs))
            cell.outputs = [nbformat.from_dict(output) for output in outputs]
            cell.execution_count = known.execution_count
    book.metadata["reprokit"] = {**book.metadata.get("reprokit", {}), "reuse_of": earlier.id}
    return book


def with_injected(cells: list[NotebookNode], source: str) -> list[NotebookNode]:
    """Put the cell of parameters where papermill puts it."""
    injected = nbformat.v4.new_code_cell(source, metadata={"tags": [_INJECTED]})
    for tag, keep in ((_INJECTED, 0), (TAG, 1)):
        for at, cell in enumerate(cells):
            if tag in cell.metadata.get("tags", ()):
                return [*cells[: at + keep], injected, *cells[at + 1 :]]
    return [injected, *cells]


def _write(book: NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.reprokit-draft")
    try:
        nbformat.write(book, draft)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written ({error})", path=path) from error

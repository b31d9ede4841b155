"""Runs cells under a real session, in a process of its own: ``python recorded.py record|replay FILE``.

FILE holds the cells' sources; the value of ``result`` after each is printed, one line of JSON. ``record``
leaves a run in the store of the working directory; ``replay`` repeats the latest one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reprokit.capture.drive import Drive
from reprokit.capture.request import Request
from reprokit.capture.session import Session
from reprokit.records import Run
from reprokit.store.store import Store


def main(mode: str, file: str) -> None:
    """Run all cells and print what each gave."""
    sources = json.loads(Path(file).read_text())
    namespace = vars(sys.modules["__main__"])  # so that functions of the cells can be pickled
    request = Request() if mode == "record" else replay_of_latest()
    session = Session(request, lambda: namespace, fail)
    results = list(run_cells(session, sources, namespace))
    session.stop()
    sys.stdout.write(json.dumps(results))


def run_cells(session: Session, sources: Sequence[str], namespace: dict[str, Any]) -> Any:
    """Run each source as a cell and yield what it called ``result``."""
    for source in sources:
        session.open_cell(source)
        exec(compile(source, "<cell>", "exec"), namespace)
        session.close_cell("done")
        yield repr(namespace.get("result"))


def replay_of_latest() -> Request:
    """Return the request for a replay of the latest run."""
    store = Store.open()
    run = store.load(store.resolve("latest"))
    run_id = f"{run.id}-again"
    store.layout.run_folder(run_id).mkdir()
    return Request(kind="replay", drive=order_for(run, run_id, store))


def order_for(run: Run, run_id: str, store: Store) -> Drive:
    """Return what a parent process would order."""
    return Drive(
        run_id=run_id,
        store=store.layout.root,
        project=store.layout.project,
        kind="replay",
        code=run.code,
        order=tuple(cell.seq for cell in run.cells),
        cells=run.cells,
    )


def fail(line: str) -> None:
    """End the process: a warning of reprokit's own is a failure here."""
    raise SystemExit(line)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Carries out the plan of a replay: restore, build, run, compare. The replay is a run of its own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nbformat

from reprokit.capture.drive import Drive
from reprokit.errors import UsageError
from reprokit.notebook import engine
from reprokit.notebook.compose import compose
from reprokit.notebook.parent import Order, Progress, append_verdict, silent
from reprokit.notebook.script import execute_script
from reprokit.records import Cell, Run, Verdict
from reprokit.replay import leftovers, modules, workspace
from reprokit.replay.changes import changed_files
from reprokit.replay.compare import compare
from reprokit.replay.comparison import Comparison
from reprokit.replay.conditions import Conditions
from reprokit.replay.contents import reader
from reprokit.replay.editable import python_path
from reprokit.replay.facts import plan_replay
from reprokit.replay.plan import Plan
from reprokit.replay.prefix import prefix
from reprokit.replay.process import variables
from reprokit.replay.restore import Place
from reprokit.replay.surroundings import Surroundings
from reprokit.store import origin
from reprokit.store.store import Store

__all__ = ["Result", "replay"]

_AS_RECORDED = Conditions()
_STRICT = Comparison()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a replay gave: the verdict, the replay's own run id, and one line for each thing restored."""

    verdict: Verdict
    replay: str
    restored: tuple[str, ...]


def replay(
    store: Store,
    run: Run,
    *,
    conditions: Conditions = _AS_RECORDED,
    to: Path | None = None,
    comparison: Comparison = _STRICT,
    timeout: int | None = None,
    progress: Progress = silent,
) -> Result:
    """Repeat a run in a workspace of its own and compare.

    Args:
        store: holds the run, and will hold the replay.
        run: the run to repeat.
        conditions: what it is run under; what was recorded, by default.
        to: where the workspace is made and left; elsewhere, and removed afterwards, when None.
        comparison: how strict the comparison is.
        timeout: seconds that one cell may take.
        progress: told of each step.

    Raises:
        ConsentNeeded: the run came from elsewhere, and nobody said that it may be run here.
        Unreplayable: the replay could not be exact; nothing was run.
        EnvironmentBuildError: the locked environment could not be built.
        UsageError: the run is still open, ``to`` is a folder with something in it, or there is no room for the
            workspace.
        StoreError: a part of the record is gone or damaged.
    """
    origin.require(store.layout, run)
    progress("planning", 0, 0)
    recorded, run = run, modules.located(run, store.layout.project)
    planned = plan_replay(store, run, conditions)
    planned.require()
    recorded, run = (prefix(one, conditions.until) for one in (recorded, run))
    used = Surroundings.make(store, run, planned, conditions, progress)
    leftovers.remove_workspaces()
    with _workspace_folder(to) as folder, _workspace_folder(None) as elsewhere:
        progress("restoring files", 0, 0)
        place = Place.make(store, run, planned, conditions, folder, elsewhere)
        try:
            replayed = _Replay(store, run, planned, conditions, place, used, timeout, progress).execute()
        finally:
            place.clear()
    progress("comparing", 0, 0)
    recorded = modules.without_reads(recorded)
    repeated = replace(recorded, cells=tuple(cell for cell in recorded.cells if cell.seq in planned.cells))
    code = changed_files(recorded.code, replayed.code)
    verdict = compare(repeated, replayed, reader(store.objects, recorded, replayed), comparison, code=code)
    append_verdict(store, replayed.id, verdict.to_dict())
    lines = (*place.restored, *used.restored, *_told(planned, conditions, replayed))
    return Result(verdict=verdict, replay=replayed.id, restored=lines)


def _told(planned: Plan, conditions: Conditions, replayed: Run) -> Iterator[str]:
    """Say what was not as the record has it."""
    yield from (f"not repeated cell {seq}, which was interrupted" for seq in planned.skipped)
    for cell in replayed.cells:
        yield from (f"not repeated `{line}` in cell {cell.seq}: it installs packages" for line in cell.skipped)
        if conditions.network == "closed" and cell.network:
            yield f"network      refused in cell {cell.seq}: {', '.join(cell.network)}"
    changed = [f"{name} {value}" for name, value in conditions.changed().items() if name != "environment"]
    if changed:
        yield f"conditions   {', '.join(changed)}"


@contextmanager
def _workspace_folder(to: Path | None) -> Iterator[Path]:
    if to is not None:
        if to.exists() and any(to.iterdir()):
            raise UsageError(f"{to} is not empty", remedy="name a new folder with --to")
        yield to.resolve()
        return
    with leftovers.owned_folder() as folder:
        yield folder


@dataclass(frozen=True, slots=True)
class _Replay:
    """One execution: what is run, where, in what, and under which conditions."""

    store: Store
    run: Run
    planned: Plan
    conditions: Conditions
    place: Place
    used: Surroundings
    timeout: int | None
    progress: Progress

    def execute(self) -> Run:
        """Run the cells, or the script, and return the record of it."""
        run_ids: list[str] = []
        order = Order(
            store=self.store,
            kind="replay",
            header=self._header(),
            drive=self._drive,
            python=self.used.python,
            cwd=self.place.cwd(self.run),
            variables={**variables(self.store, self.run, self.conditions), **self._import_path()},
            before_cell=self._prepare,
            enter=None if self.place.mounts is None else self._enter,
            imposes=(self.conditions.clock, self.conditions.network) != ("real", "open"),
            numbers=self.planned.cells,
            keep_going=True,
            ends_in_error=self.run.status == "failed",
            progress=self.progress,
            opened=run_ids.append,
        )
        if self.run.front == "script":
            execute_script(self.run.script or "", self.run.argv[1:], order, timeout=self.timeout)
        else:
            with self._notebook_file() as notebook:
                engine.execute(notebook, None, order, timeout=self.timeout, kernel="python3")
        self.place.keep_code(run_ids[0])
        return self.store.load(run_ids[0])

    @property
    def _cells(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.run.cells if cell.seq in self.planned.cells)

    def _drive(self, run_id: str) -> Drive:
        cells = self._cells
        if self.conditions.random == "fresh":  # what is not known cannot be put back
            cells = tuple(replace(cell, random=()) for cell in cells)
        machine = self.run.machine
        fixed = self.conditions.hash_seed is not None
        return Drive(
            run_id=run_id,
            store=self.store.layout.root,
            project=self.place.seen(self.place.root),
            kind="replay",
            front=self.run.front,
            code=self.place.code_seen(),
            order=self.planned.cells,
            cells=cells,
            places=modules.places(self.run, self.place.elsewhere) if self.planned.modules else {},
            hash_secret=None if machine is None or fixed else machine.hash_secret,
            clock=self.conditions.clock,
            network=self.conditions.network,
        )

    def _header(self) -> dict[str, Any]:
        run, code = self.run, self.place.code
        return {
            "name": run.name,
            "replay_of": run.id,
            "conditions": self.conditions.to_dict(),
            "front": run.front,
            "notebook": run.notebook,
            "script": run.script,
            "params": dict(run.params),
            "tags": dict(run.tags),
            "root": str(self.place.seen(self.place.root)),
            "code": None if code is None else code.to_dict(),
        }

    def _import_path(self) -> dict[str, str | None]:
        path = python_path(self.place.code, self.place.seen(self.place.top), self.used.lock)
        outside = modules.places(self.run, self.place.elsewhere).values() if self.planned.modules else ()
        found = [*dict.fromkeys(outside), *([path] if path else [])]
        return {"PYTHONPATH": os.pathsep.join(found)} if found else {}

    def _enter(self, file: Path) -> None:
        if self.place.mounts is not None:
            self.place.mounts.write(file, self.place.seen(self.place.cwd(self.run)))

    def _prepare(self, seq: int) -> None:
        """Make files, code and checked out commit what they were before a cell."""
        self.place.put_back(self.store, self.run, self.planned, seq)
        code = modules.commits(self.run).get(seq) if self.conditions.code == "recorded" else None
        if code is not None:
            workspace.move(code, self.place.top)

    @contextmanager
    def _notebook_file(self) -> Iterator[Path]:
        path = self.store.layout.run_folder(self.run.id) / f"replay-{os.getpid()}-{secrets.token_hex(4)}.ipynb"
        nbformat.write(compose(self._cells), path)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

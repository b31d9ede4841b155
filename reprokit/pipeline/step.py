"""Performs a step: everything is checked, then it is taken over from an unchanged run or executed, and told.

One step is meant for one process (``python -m reprokit.step``); this is what that process does.
"""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import nbformat

from reprokit.capture.drive import Drive
from reprokit.errors import EnvironmentBuildError, ReprokitError, StoreError
from reprokit.notebook import engine
from reprokit.notebook.checkpoint import NotRestored
from reprokit.notebook.engine import fixed_hash_seed
from reprokit.notebook.parent import Order, Progress, Restored, silent
from reprokit.notebook.script import execute_script
from reprokit.notebook.spelled import plain
from reprokit.pipeline import interpreter, key
from reprokit.pipeline.imports import local_code
from reprokit.pipeline.interpreter import Interpreter
from reprokit.pipeline.result import DIED, DONE, FAILED, LATER, NOT_MADE, REFUSED, TIMED_OUT, Made, Result, made
from reprokit.pipeline.spec import Spec
from reprokit.pipeline.stopping import Stopped, stoppable
from reprokit.pipeline.surroundings import inherited
from reprokit.pipeline.work import Work, resolve
from reprokit.records import Run
from reprokit.store.store import Store

if TYPE_CHECKING:
    from reprokit.pipeline.resume import Resumption
    from reprokit.pipeline.reuse import Choice

__all__ = ["Streams", "look", "perform", "refused", "resumption"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What a script reads and writes: as ``subprocess`` has it."""

    stdin: int | IO[Any] | None = subprocess.DEVNULL
    stdout: int | IO[Any] | None = None
    stderr: int | IO[Any] | None = None


_PLAIN = Streams()


def perform(
    spec: Spec,
    *,
    store: Store | None = None,
    isolated: bool = True,
    progress: Progress = silent,
    streams: Streams = _PLAIN,
    told: Callable[[str], None] = lambda line: None,
) -> Result:
    """Perform a step.

    Args:
        spec: what it is to be.
        store: where it is recorded; that of the spec's project by default.
        isolated: whether it inherits only the variables that are named or on the list (see ``surroundings``).
        progress: told of each cell.
        streams: what a script reads and writes.
        told: called with each line on whether an earlier run is taken over, before anything runs.

    Raises:
        ReprokitError: it could not run; ``refused`` makes a result of that.
    """
    step = _Step(spec, Store.open(spec.folder) if store is None else store, isolated, progress, streams, told)
    try:
        with stoppable(spec.timeout):
            return step.perform()
    except Stopped as stopped:
        return step.stopped(stopped)


def look(spec: Spec, *, store: Store | None = None, isolated: bool = True) -> Choice:
    """Return which earlier run a step would take over, or why none; nothing is run and nothing changed.

    Raises:
        ReprokitError: the step could not run.
    """
    step = _Step(spec, Store.open(spec.folder) if store is None else store, isolated, silent, _PLAIN, lambda line: None)
    return step.look()


def resumption(spec: Spec, *, store: Store, isolated: bool = True) -> tuple[tuple[str, ...], int | None]:
    """Return what is told of a run that is to be resumed, and after which cell it would go on; nothing is run.

    Raises:
        ReprokitError: the step could not run.
    """
    step = _Step(spec, store, isolated, silent, _PLAIN, lambda line: None)
    found = step.look_where()
    return step.said, None if found.restored is None else found.restored.cell


def refused(error: ReprokitError) -> Result:
    """Return the result of a step that could not run."""
    later = isinstance(error, (EnvironmentBuildError, StoreError))
    return Result(exit_code=LATER if later else REFUSED, reason=str(error))


@dataclass
class _Step:
    """One step on its way."""

    spec: Spec
    store: Store
    isolated: bool
    progress: Progress
    streams: Streams
    told: Callable[[str], None]
    run_ids: list[str] = field(default_factory=list)
    said: tuple[str, ...] = ()
    restored: Restored | None = None

    def perform(self) -> Result:
        """Take an earlier run over, or run."""
        work, used, variables, parts = self._prepared()
        if self.spec.reuse:
            taken = self._reused(work, self._choice(work, used, parts), parts)
            if taken is not None:
                return taken
        going_on = self._resumption(work, used, parts)
        self.restored = going_on.restored
        order = self._order(work, used, {**variables, **going_on.variables}, parts)
        return self._script(work, order) if work.content is None else self._notebook(work, order)

    def look(self) -> Choice:
        """Return the earlier run that stands for this step."""
        work, used, _, parts = self._prepared()
        return self._choice(work, used, parts)

    def _prepared(self) -> tuple[Work, Interpreter, dict[str, str | None], dict[str, Any]]:
        """Return what is to be run, in what, with which variables, and its key; everything is checked."""
        spec = self.spec
        work = resolve(spec, self.store)
        inputs = key.declared_inputs(spec.inputs, spec.folder, self.store.layout.project)
        used = interpreter.choose(self.store, spec, work.kernel, self.progress)
        variables = self._variables(used)
        return work, used, variables, self._key(work, used, variables, inputs)

    def stopped(self, stopped: Stopped) -> Result:
        """Return the result of a step that was asked to end."""
        timed_out = stopped.signal.name == "SIGALRM"
        code = TIMED_OUT if timed_out else 128 + stopped.signal
        if not self.run_ids:
            return Result(status="interrupted", exit_code=code, reason=stopped.reason, reuse=self.said)
        run = self.store.load(self.run_ids[0])
        if run.status == "done":  # asked for when there was nothing left to stop
            return self._checked(run, DONE)
        return replace(self._result(run, code), status="interrupted", reason=stopped.reason)

    # -- what it is ------------------------------------------------------------------------------

    def _variables(self, used: Interpreter) -> dict[str, str | None]:
        """Return what to set in the process, or to take away from what it would inherit."""
        named = {**used.threads, **self.spec.variables}
        if self.isolated:
            named = inherited((*self.store.settings.variables, *self.spec.inherit), named)
        seed = fixed_hash_seed() if named.get("PYTHONHASHSEED", os.environ.get("PYTHONHASHSEED")) is None else {}
        return {**named, **seed}

    def _key(
        self, work: Work, used: Interpreter, variables: Mapping[str, str | None], inputs: Mapping[str, str]
    ) -> dict[str, Any]:
        project = self.store.layout.project
        environ = {name: value for name, value in os.environ.items() if name not in variables}
        environ |= {name: value for name, value in variables.items() if value is not None}
        return key.make(
            sources=work.sources,
            params=plain(dict(work.params)),
            arguments=work.arguments,
            folders=key.search_path(work.cwd, project, used.places),
            project=project,
            inputs=inputs,
            seed=self.spec.seed,
            kernel=work.kernel or "script",
            environment=used.label,
            variables=key.recorded_variables(environ, self.store.settings.variables, self.spec.variables),
        )

    def _order(
        self, work: Work, used: Interpreter, variables: Mapping[str, str | None], parts: dict[str, Any]
    ) -> Order:
        header = {
            "name": self.spec.name,
            "notebook": None if work.content is None or work.path is None else work.name,
            "params": plain(dict(work.params)),
            "tags": dict(self.spec.tags),
            "seed": self.spec.seed,
            "step": parts,
            "resumed_from": None if self.restored is None else self.restored.run,
            "sweep": self.spec.sweep,
            "point": self.spec.point,
        }
        return Order(
            store=self.store,
            header={name: value for name, value in header.items() if value is not None},
            drive=self._drive,
            python=used.python,
            cwd=work.cwd,
            variables=variables,
            progress=self.progress,
            opened=self._opened,
            checkpoint=self.spec.checkpoint,
            restored=self.restored,
        )

    def _opened(self, run_id: str) -> None:
        self.run_ids.append(run_id)
        if self.spec.checkpoint is not None:
            from reprokit.pipeline import resume

            resume.remember(self.store, run_id, self.spec, self.isolated)

    def _drive(self, run_id: str) -> Drive:
        layout = self.store.layout  # as it is now: a project that cannot be written has its store elsewhere
        lines = () if self.restored is None else self.restored.lines
        return Drive(
            run_id=run_id, store=layout.root, project=layout.project, kind="batch", seed=self.spec.seed, restored=lines
        )

    # -- a run that was cut off ------------------------------------------------------------------

    def _resumption(self, work: Work, used: Interpreter, parts: dict[str, Any], *, looking: bool = False) -> Resumption:
        """Return from where a run goes on, with the files as they were there; nothing when none is resumed."""
        from reprokit.pipeline import resume, reuse

        if self.spec.resume is None:
            return resume.Resumption(restored=None)
        run = self.store.load(self.store.resolve(self.spec.resume))
        resume.require(self.store, run)
        found = resume.plan(self.store, run, work, used, parts)
        self._tell(resume.lines(found))
        if not looking:
            reuse.put_back(self.store, found.back)
        return found

    def look_where(self) -> Resumption:
        """Return from where a run would go on; nothing is changed."""
        work, used, _, parts = self._prepared()
        return self._resumption(work, used, parts, looking=True)

    def _from_the_start(self, order: Order, error: NotRestored) -> Order:
        before, lines = self.said, (f"resume: no: {error.message}", "resume: from the first cell")
        self._tell(lines)
        self.said = (*before, *lines)
        self.restored = None
        self.run_ids.clear()
        header = {name: value for name, value in order.header.items() if name != "resumed_from"}
        return replace(order, restored=None, header=header)

    # -- an earlier run, or a new one ------------------------------------------------------------

    def _choice(self, work: Work, used: Interpreter, parts: dict[str, Any]) -> Choice:
        from reprokit.pipeline import reuse

        project = self.store.layout.project
        code = local_code(work.sources, key.search_path(work.cwd, project, used.places), project)
        candidate = reuse.Candidate(
            what=work.name,
            is_script=work.content is None,
            key=parts,
            sources=[*work.sources, *(file.read_text("utf-8", "replace") for file in code if file.suffix == ".py")],
            environment=used.observe(),
            cwd=work.cwd,
            results=[self.spec.path(name).resolve() for name in (self.spec.output_notebook, self.spec.result) if name],
            outputs=[key.shown(self.spec.path(name), project) for name in self.spec.outputs],
        )
        return reuse.choose(self.store, candidate, anyway=self.spec.reuse == "anyway")

    def _reused(self, work: Work, choice: Choice, parts: dict[str, Any]) -> Result | None:
        """Return the result of taking an earlier run over; None when none stands for this step."""
        from reprokit.pipeline import reuse
        from reprokit.pipeline.reused import take_over

        began, earlier = time.time(), choice.run
        if earlier is not None:
            try:
                run = take_over(self.store, earlier, self.spec, work, parts, began, self.run_ids.append)
            except StoreError as error:
                choice = reuse.Choice(run=None, nearest=earlier.id, reasons=(error.message,))
            else:
                self._tell((f"reuse: yes: nothing changed since run {earlier.id}",))
                return replace(self._result(run, DONE), reused=earlier.id)
        self._tell(tuple(f"reuse: no: {line}" for line in reuse.lines(choice)))
        return None

    def _tell(self, lines: tuple[str, ...]) -> None:
        self.said = lines
        for line in lines:
            self.told(line)

    def _notebook(self, work: Work, order: Order) -> Result:
        output = None if self.spec.output_notebook is None else self.spec.path(self.spec.output_notebook)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
        source = work.path
        if source is None:
            source = self.store.layout.root / f"step-{os.getpid()}.ipynb"
            self.store.layout.create()
            nbformat.write(work.content, source)
        timeout = None if self.spec.cell_timeout is None else math.ceil(self.spec.cell_timeout)
        try:
            try:
                ending = engine.execute(source, output, order, params=work.params, timeout=timeout, kernel=work.kernel)
            except NotRestored as error:
                order = self._from_the_start(order, error)
                ending = engine.execute(source, output, order, params=work.params, timeout=timeout, kernel=work.kernel)
        finally:
            if work.path is None:
                source.unlink(missing_ok=True)
        run = self.store.load(self.run_ids[0])
        if run.status == "done" and (self.spec.checkpoint is not None or self.spec.resume is not None):
            from reprokit.pipeline import resume

            resume.forget(self.store, run)
        codes = {"died": DIED, "timed out": TIMED_OUT}
        return self._checked(run, codes.get(ending, DONE if run.status == "done" else FAILED))

    def _script(self, work: Work, order: Order) -> Result:
        streams = self.streams
        ended = execute_script(
            work.script or "",
            work.arguments,
            order,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
        )
        run = self.store.load(self.run_ids[0])
        died = ended.code is not None and ended.code < 0
        code = DONE if ended.status == "done" else DIED if died or ended.code == 0 else FAILED
        if ended.status == "interrupted" and ended.code is not None and ended.code > 0:
            code = ended.code
        return replace(self._checked(run, code), script_code=ended.code)

    # -- what became of it -----------------------------------------------------------------------

    def _checked(self, run: Run, code: int) -> Result:
        """Return the result, having looked whether what was declared is there."""
        result = self._result(run, code)
        missing = [name for name in self.spec.outputs if not self.spec.path(name).exists()]
        if code == DONE and missing:
            return replace(result, exit_code=NOT_MADE, reason=f"it did not make {', '.join(missing)}")
        return result

    def _result(self, run: Run, code: int) -> Result:
        project = self.store.layout.project
        uses = made(run).values() if run.reuse_of is None else run.artifacts
        written = {use.path: Made(path=use.path, digest=use.digest, size=use.size) for use in uses}
        for name in self.spec.outputs:
            shown = key.shown(self.spec.path(name), project)
            if shown not in written and self.spec.path(name).exists():
                written[shown] = _look(self.spec.path(name), shown)
        return Result(
            run=run.id,
            status=run.status,
            exit_code=code,
            reason=run.reason,
            reuse=self.said,
            resumed_from=run.resumed_from,
            params=dict(run.params),
            outputs=tuple(written.values()),
            metrics={metric.key: metric.value for metric in run.metrics},
            started=run.started,
            ended=run.ended,
        )


def _look(path: Path, shown: str) -> Made:
    return Made(path=shown, digest=key.path_digest(path), size=path.stat().st_size if path.is_file() else None)

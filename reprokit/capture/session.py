"""The core of capture: one session records one run, cell by cell, by driving the probes.

It is where probes and store meet. It does not know IPython: ``notebook`` tells it when cells begin
and end, and so does a ``with`` block in a script. Nothing that fails here reaches the user's cell.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic  # as it is now: a user may replace it
from typing import Any, TypeVar

from reprokit import settings as settings_module
from reprokit.capture import header, redact, swallowed
from reprokit.capture.absent import Absent
from reprokit.capture.code import code, listing
from reprokit.capture.code.edits import Edits
from reprokit.capture.code.imports import Imports
from reprokit.capture.conditions import imposed, time
from reprokit.capture.config.configuration import Configuration
from reprokit.capture.displayed import Displayed
from reprokit.capture.environment import environment, hash_secret
from reprokit.capture.environment.libraries import Libraries
from reprokit.capture.environment.packages import Packages
from reprokit.capture.environment.threads import Threads
from reprokit.capture.files.files import Files
from reprokit.capture.outputs import OutputArea
from reprokit.capture.probe import Context, Patch, Probe
from reprokit.capture.randomness.randomness import Randomness
from reprokit.capture.remote.remote import Remote
from reprokit.capture.request import Request, hidden_state, only_starts
from reprokit.capture.resources import Usage
from reprokit.capture.swallowed import described
from reprokit.capture.worker import Worker
from reprokit.records import Assumption, Cell, CodeState, Environment, FileUse, Gap, Metric, Run
from reprokit.store import journal as journal_module
from reprokit.store.assemble import assemble
from reprokit.store.journal import Journal
from reprokit.store.layout import Layout, new_run_id, project_root
from reprokit.store.liveness import this_process
from reprokit.store.objects import Objects

__all__ = ["Session"]

_DEADLINE_S = 60
_LOOK_S = 0.1  # how often it is looked whether what is waited for can still come
_SYNC_EVERY_S = 1.0  # what a power cut may cost; a kill costs nothing

_Question = Callable[[int], Patch | None]
_Probe = TypeVar("_Probe", bound=Probe)


class Session:
    """An open run.

    Args:
        request: what was asked for.
        namespace: returns the user's variables.
        warn: shows the user one line; called at most once for a run.

    Raises:
        ReprokitError: the run cannot be started at all (settings are wrong, no store can be made).
    """

    def __init__(
        self, request: Request, namespace: Callable[[], Mapping[str, Any]], warn: Callable[[str], None]
    ) -> None:
        self.request = request
        self._warn = warn
        self._warned = False
        self._pid = os.getpid()
        drive = request.drive
        self.project = drive.project if drive else project_root(Path.cwd())
        self.settings = settings_module.load(self.project, table=None if drive is None else drive.settings)
        self.layout, gap = self._open_layout()
        self.objects = Objects(self.layout.objects)
        self.run_id, self.journal = self._open_journal()
        self._probes: tuple[Probe, ...] = ()
        self._ready = threading.Event()  # the code snapshot is taken and the tree is watched
        self._closed = False
        self.unwritten: str | None = None  # why the journal lacks some of the run
        self._open_seq: int | None = None
        self._began = 0.0
        self._count = 0
        self._synced = monotonic()
        try:
            self._prepare(namespace)
            self._begin(gap)
        except BaseException as error:
            self._abandon(error)
            raise

    def _prepare(self, namespace: Callable[[], Mapping[str, Any]]) -> None:
        self._worker = Worker(lambda error: self.failed("background", error))
        self._context = self._make_context(namespace)
        self.displayed = Displayed(self._context)
        self.files = self._made(Files)
        self.edits = self._made(Edits)
        self.configuration = self._made(Configuration)
        self.randomness = self._made(Randomness, self.request.seed)
        # Randomness last before a cell and first after it: closest to the user's code.
        self._probes = (
            self.files,
            self.edits,
            self._made(Imports, self.edits),
            self._made(Libraries),
            self._made(Packages, self._lock),
            self.configuration,
            self._made(Remote),
            self._made(Usage),
            self._made(Threads),
            *imposed(self._context),
            self.randomness,
        )
        self._before = tuple((probe.aspect, probe.before_cell) for probe in self._probes)
        self._after = tuple((probe.aspect, probe.after_cell) for probe in reversed(self._probes))

    def _made(self, kind: Callable[..., _Probe], *args: Any) -> _Probe:
        """Make a probe; what cannot be observed from the start is told, and the run goes without it."""
        try:
            return kind(self._context, *args)
        except Exception as error:
            aspect = getattr(kind, "aspect", "session")
            self.failed(aspect, error)
            absent: Any = Absent(aspect)
            return absent  # type: ignore[no-any-return]

    # -- the life of a run ----------------------------------------------------------------------

    def _open_layout(self) -> tuple[Layout, Gap | None]:
        if self.request.drive is not None:
            return Layout(project=self.project, root=self.request.drive.store), None
        return Layout.find(self.project, self.settings).create()

    def _open_journal(self) -> tuple[str, Journal]:
        if self.request.drive is not None:
            run_id = self.request.drive.run_id
            return run_id, Journal(self.layout.journal(run_id))
        while True:
            run_id = new_run_id()
            try:
                self.layout.run_folder(run_id).mkdir(parents=True)
            except FileExistsError:
                continue
            return run_id, Journal(self.layout.journal(run_id))

    def _make_context(self, namespace: Callable[[], Mapping[str, Any]]) -> Context:
        drive = self.request.drive
        replayed = None if drive is None else drive.replayed()
        return Context(
            run_id=self.run_id,
            project=self.project,
            objects=self.objects,
            settings=self.settings,
            namespace=namespace,
            emit=self.emit,
            later=self._worker.submit,
            gap=self.gap,
            ignored=(self.layout.root, *(() if replayed is None else replayed.folders)),
            replayed=replayed,
        )

    def _begin(self, gap: Gap | None) -> None:
        opening = header.of(self.request, self.project, self.configuration.table())
        self.emit(None, Patch(set=opening, add={"writers": [this_process().to_dict()]}))
        for number, (source, status) in enumerate(self.request.before, start=1):
            self.emit(number, Patch(set={"source": source, "observed": False, "status": status}))
        self._count = len(self.request.before)
        for line in () if self.request.drive is None else self.request.drive.restored:
            self.emit(line.get("cell"), Patch(set=line.get("set", {}), add=line.get("add", {})))
            self._count = max(self._count, line.get("cell") or 0)
        if gap is not None:
            self.gap(gap)
        if not all(only_starts(source) for source, _ in self.request.before):
            self.gap(hidden_state(self._count))
        if (
            unknown := hash_secret.gap(None if self.request.drive is None else self.request.drive.hash_secret)
        ) is not None:
            self.gap(unknown)
        for path in self.request.configs:
            self.add_config(path)
        self.displayed.start()
        self._worker.submit(self._snapshot)
        for probe in self._probes:
            self.emit(None, self._guarded(probe.aspect, probe.start))
        self._worker.submit(self._ready.set)

    def stop(self, status: str = "done", reason: str | None = None) -> None:
        """Close the run: finish what is owed, undo what was changed, and write the end."""
        if os.getpid() != self._pid or self._closed:
            return
        if self._open_seq is not None:
            self._attempt("session", lambda: self.close_cell(status))
        self._attempt("background", self._worker.wait)
        self._stop_probes()
        self._attempt("background", self._worker.stop)
        if self.unwritten is not None:
            message = f"some of the run could not be written to {self.journal.path}: {self.unwritten}"
            self.gap(Gap(aspect="store", message=message, remedy="make room on the disk and run it again", blocks=True))
        self.emit(None, Patch(set={"status": status, "reason": reason, "ended": time()}))
        self._guarded("store", self._sync)
        self._closed = True
        self.journal.close()

    def _stop_probes(self) -> None:
        for probe in self._probes:
            self._attempt(probe.aspect, lambda probe=probe: self.emit(None, probe.stop()))  # type: ignore[misc]

    def _abandon(self, error: BaseException) -> None:
        """Undo what was begun of a run that cannot be opened."""
        self._warned = True  # the caller tells why
        self._stop_probes()
        if hasattr(self, "_worker"):  # else it was its thread that could not be started
            self._attempt("background", self._worker.stop)
        self._attempt("store", lambda: self.say(status="failed", reason=described(error), ended=time()))
        self._closed = True
        self.journal.close()

    # -- cells ----------------------------------------------------------------------------------

    def open_cell(self, source: str, *, cell_id: str | None = None, entered: str = "start") -> int:
        """Begin a cell and return its number."""
        if not self._ready.is_set() and not only_starts(source):
            self._wait_for_snapshot()
        seq = self._open_seq = self._next_seq()
        self._began = time()
        opening: dict[str, Any] = {"source": source, "started": self._began, "entered": entered}
        if cell_id is not None:
            opening["cell_id"] = cell_id
        self._guarded(self.files.aspect, self.files.expects, source)
        self.emit(seq, self._asked(self._before, seq, opening))
        return seq

    def _asked(self, probes: Sequence[tuple[str, _Question]], seq: int, known: dict[str, Any]) -> Patch:
        """Return what is known and what the probes answer in one patch: either end of a cell is one line."""
        added: dict[str, list[Any]] = {}
        for aspect, question in probes:
            try:
                answer = question(seq)
            except Exception as error:
                self.failed(aspect, error)
                continue
            if answer is not None:
                known.update(answer.set)
                for key, items in answer.add.items():
                    added.setdefault(key, []).extend(items)
        return Patch(known, added)

    def _wait_for_snapshot(self) -> None:
        """Let the first cell begin only when the tree was seen as it was before; never longer than the deadline."""
        until = monotonic() + _DEADLINE_S
        while self._worker.is_alive and monotonic() < until and not self._ready.wait(_LOOK_S):
            pass
        if not self._ready.is_set():
            self._ready.set()
            message = f"the project's tree could not be read within {_DEADLINE_S} s: the first cells ran meanwhile"
            self.gap(Gap(aspect="code", message=message, remedy="keep large untracked folders out of the project"))

    def close_cell(
        self,
        status: str,
        *,
        execution_count: int | None = None,
        error: str | None = None,
        silent: bool = False,
    ) -> int | None:
        """End the open cell and return its number.

        Args:
            status: "done", "failed" or "interrupted".
            silent: the cell displayed nothing so far; ``outputs`` is called if it does so later.
        """
        seq = self._open_seq
        if seq is None:
            return None
        closing: dict[str, Any] = {"status": status, "duration_s": time() - self._began}
        if execution_count is not None:
            closing["execution_count"] = execution_count
        if error is not None:
            closing["error"] = redact.url(error)
        if silent and self.displayed.silence is not None:
            closing["outputs"] = self.displayed.silence
        patch = self._asked(self._after, seq, closing)
        for aspect, failure in swallowed.take().items():
            self.failed(aspect, failure)
        self.emit(seq, patch)
        self._open_seq = None
        self._tell_cell(seq, status)
        if monotonic() - self._synced > _SYNC_EVERY_S:  # not each time: waking a thread costs the user time
            self._synced = monotonic()
            self._worker.submit(self._sync)
        return seq

    def catch_up(self) -> None:
        """Wait until everything seen so far is hashed and written."""
        self._worker.wait()

    def restart_cell(self) -> int:
        """Begin the open cell anew: what it did so far was before the run."""
        seq = self._open_seq or 0
        for probe in self._probes:
            self.emit(seq, self._guarded(probe.aspect, probe.before_cell, seq))
        return seq

    @property
    def recorded_cell(self) -> Cell | None:
        """In a replay, the record of the cell that is open."""
        replayed = self._context.replayed
        return None if replayed is None or self._open_seq is None else replayed.cells.get(self._open_seq)

    @property
    def next_recorded_cell(self) -> Cell | None:
        """In a replay, the record of the cell that comes next."""
        replayed = self._context.replayed
        if replayed is None or self._count >= len(replayed.order):
            return None
        return replayed.cells.get(replayed.order[self._count])

    @property
    def is_replay(self) -> bool:
        """Whether this run repeats another one."""
        return self._context.replayed is not None

    @property
    def is_last_cell(self) -> bool:
        """Whether a replay is in the cell in which the recorded run was stopped."""
        replayed = self._context.replayed
        return replayed is not None and self._open_seq is not None and self._open_seq == replayed.order[-1]

    @property
    def is_cell_open(self) -> bool:
        """Whether a cell is running."""
        return self._open_seq is not None

    def _next_seq(self) -> int:
        self._count += 1
        replayed = self._context.replayed
        if replayed is not None and self._count <= len(replayed.order):
            return replayed.order[self._count - 1]
        return self._count

    def outputs(self, seq: int, area: OutputArea) -> None:
        """Record the outputs of a cell as they are now."""
        if self._closed or os.getpid() != self._pid:
            return
        self.emit(seq, self._guarded("outputs", self.displayed.put, seq, area))

    def answer(self, text: str) -> None:
        """Record an answer the user gave to ``input()``."""
        self.emit(self._open_seq, Patch(add={"answers": [text]}))

    def password_asked(self) -> None:
        """Record that a cell asked for a password, which is never recorded itself."""
        message = "the cell asked for a password, which is never recorded"
        remedy = "read it from an environment variable or a key store instead"
        self.gap(Gap(aspect="config", message=message, remedy=remedy, cell=self._open_seq, blocks=True))

    # -- what the user says ---------------------------------------------------------------------

    def say(self, **fields: Any) -> None:
        """Set fields of the run (``params`` and ``tags`` are merged key by key)."""
        self.emit(None, Patch(set=redact.value("", fields)))

    def note(self, text: str) -> None:
        """Add a note."""
        self.emit(None, Patch(add={"notes": [text]}))

    def metric(self, key: str, value: Any) -> None:
        """Record a result worth comparing."""
        self.emit(None, Patch(add={"metrics": [Metric(key=key, value=value, cell=self._open_seq).to_dict()]}))

    def assume(self, text: str, holds: bool | None = None) -> None:
        """Record something the results rest on, and whether it holds when that was checked."""
        assumption = Assumption(text=text, holds=holds, cell=self._open_seq)
        self.emit(None, Patch(add={"assumptions": [assumption.to_dict()]}))

    def artifact(self, path: Path) -> FileUse:
        """Keep a file as a result of the run and return its record."""
        use = self.files.content(path)
        self.emit(None, Patch(add={"artifacts": [use.to_dict()]}))
        return use

    def seed(self, seed: int) -> list[str]:
        """Seed everything, now and for libraries imported later; return what was seeded."""
        self.emit(None, Patch(set={"seed": seed}))
        return self.randomness.seed(seed)

    def add_config(self, path: Path) -> int:
        """Record a configuration file by key and return how many keys it has.

        Raises:
            UsageError: the file is no readable configuration.
        """
        return self.configuration.add(path, self.files.content(path).path)

    def run(self) -> Run:
        """Return the run as recorded so far."""
        checked = journal_module.read(self.layout.journal(self.run_id, "environment"))
        return assemble(self.run_id, journal_module.read(self.layout.journal(self.run_id)), checked)

    # -- writing --------------------------------------------------------------------------------

    def emit(self, seq: int | None, patch: Patch | None) -> None:
        """Write a patch for a cell (or for the run, with None) to the journal."""
        if not patch or self._closed:
            return
        line: dict[str, Any] = {} if seq is None else {"cell": seq}
        if patch.set:
            line["set"] = dict(patch.set)
        if patch.add:
            line["add"] = dict(patch.add)
        try:
            self.journal.append(line)
        except Exception as error:
            if isinstance(error, OSError):
                self.unwritten = self.unwritten or described(error)
            self.failed("store", error, record=False)
        if seq is not None and "reads" in patch.add:
            self.configuration.saw(patch.add["reads"])

    def gap(self, gap: Gap) -> None:
        """Record that something could not be observed or kept."""
        self.emit(None, Patch(add={"gaps": [gap.to_dict()]}))

    def _guarded(self, aspect: str, call: Callable[..., Patch | None], *args: Any) -> Patch | None:
        try:
            return call(*args)
        except Exception as error:
            self.failed(aspect, error)
            return None

    def _attempt(self, aspect: str, action: Callable[[], object]) -> None:
        """Do one step of several, each of which is to be done whatever became of the others."""
        try:
            action()
        except Exception as error:
            self.failed(aspect, error)

    def failed(self, aspect: str, error: Exception, *, record: bool = True) -> None:
        """Something of ours failed: record it, and tell the user once."""
        message = f"{aspect} could not be observed: {described(error)}"
        if record:
            with suppress(Exception):
                self.gap(Gap(aspect=aspect, message=message, remedy="please report this", cell=self._open_seq))
        if not self._warned:
            self._warned = True
            with suppress(Exception):  # the user's own stream may be closed, or replaced by anything
                self._warn(f"reprokit: {message} (the cell was not affected)")

    def _sync(self) -> None:
        self.objects.sync()  # an object is durable before the line that names it is
        self.journal.sync()

    # -- code and environment, in the background ------------------------------------------------

    def _snapshot(self) -> None:
        drive = self.request.drive
        if drive is None or drive.code is None:
            self._attempt("code", self._take_snapshot)

    def _take_snapshot(self) -> None:
        state, gaps = self._tree_now(self.run_id)
        for gap in gaps:
            self.gap(gap)
        if state is not None:
            self.emit(None, Patch(set={"code": state.to_dict()}))
            tracked = listing.of(state)
            for probe in (self.files, self.configuration):
                probe.knows(tracked, lambda name: listing.blob(state, name))
            self.edits.knows(state, tracked, lambda name: self._tree_now(name)[0])

    def _tree_now(self, name: str) -> tuple[CodeState | None, tuple[Gap, ...]]:
        return code.snapshot(
            self.project,
            name,
            private=self.layout.code_git,
            store_large=lambda path: self.files.content(Path(path)),
            limit=self.settings.snapshot_limit,
        )

    def _lock(self, observed: Environment) -> None:
        if self.request.drive is None and self.settings.lock == "background":
            environment.lock_in_background(self.layout, self.run_id, observed)

    def _tell_cell(self, seq: int, status: str) -> None:
        if status == "interrupted":
            message = "the cell was interrupted: what it did until then cannot be repeated"
            self.gap(Gap(aspect="code", message=message, remedy="run it again to its end", cell=seq))

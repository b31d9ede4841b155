"""The parent's own record of a batch run: what it knows even when the kernel dies.

It is written to a journal of its own beside the kernel's. What a kernel wrote of its cells stands;
the parent fills what is missing, and says how the run ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprokit.capture import drive, installs, namespace, preload
from reprokit.capture.drive import Drive
from reprokit.capture.environment.environment import lock_in_background
from reprokit.records import Gap, Run
from reprokit.store.journal import Journal
from reprokit.store.liveness import this_process
from reprokit.store.store import Store

__all__ = ["NO_AGENT", "Order", "ParentRecord", "Progress", "Restored", "carrying", "silent"]

Progress = Callable[[str, int, int], None]  # what is being done, done, total (0: unknown)

NO_AGENT = Gap(
    aspect="capture",
    message="the agent was not in the kernel: only sources and outputs are recorded",
    remedy="use a Python kernel (ipykernel)",
    blocks=True,
)


def silent(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be run, and how its kernel is to be started.

    Attributes:
        store: where the run is recorded.
        header: fields of the run that the parent knows.
        kind: "batch" or "replay".
        drive: returns what the agent is told, given the run's id.
        python: interpreter of the kernel; the kernelspec's own when None.
        cwd: the kernel's working directory; this process's when None.
        variables: environment variables to set for the kernel, or with None to take away.
        before_cell: called with a cell's number before it runs.
        enter: writes into a file where the kernel is to find what (see ``capture.namespace``); None: where it is.
        imposes: whether the kernel's recorder is to impose conditions; see ``capture.conditions``.
        numbers: the cells' numbers, in the order in which they run; 1, 2, … when empty.
        keep_going: run the following cells after one that raised.
        ends_in_error: with ``keep_going``: an error of the last cell is still how the run ends.
        progress: told of each cell.
        opened: called with the run's id once its record is open.
        checkpoint: seconds that cells take together until the kernel's state is kept after one; None: never.
        restored: what the run goes on from; None: it begins at its first cell.
    """

    store: Store
    header: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "batch"
    drive: Callable[[str], Drive] | None = None
    python: Path | None = None
    cwd: Path | None = None
    variables: Mapping[str, str | None] = field(default_factory=dict)
    before_cell: Callable[[int], None] = lambda seq: None
    enter: Callable[[Path], None] | None = None
    imposes: bool = False
    numbers: tuple[int, ...] = ()
    keep_going: bool = False
    ends_in_error: bool = False
    progress: Progress = silent
    opened: Callable[[str], None] = lambda run_id: None
    checkpoint: float | None = None
    restored: Restored | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A checkpoint from which a run goes on, checked as far as that can be without reading it.

    Attributes:
        run: the run that kept it.
        cell: the number of the last cell that need not run again.
        lines: the lines of the journal that are known by then; see ``capture.drive``.
        outputs: of each of these cells, its outputs and execution count.
        path: the object.
        digest: its name.
        python: the version that wrote it.
        dill: likewise.
    """

    run: str
    cell: int
    lines: tuple[Mapping[str, Any], ...]
    outputs: tuple[tuple[list[Any], int | None], ...]
    path: Path
    digest: str
    python: str
    dill: str


def carrying(
    environ: Mapping[str, str], drive_path: Path, namespace_path: Path | None, *, imposes: bool
) -> dict[str, str]:
    """Return the variables with which a process, started by ``capture.launch``, carries the agent and its order."""
    found = {drive.VARIABLE: str(drive_path), namespace.PARENT: str(os.getpid())}
    if namespace_path is not None:
        found[namespace.VARIABLE] = str(namespace_path)
    return found | preload.carried(environ, conditions=imposes)


class ParentRecord:
    """Writes the parent's journal of one run.

    Args:
        order: what is to be run.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.run_id, self._journal = order.store.new_run("batch")
        layout = order.store.layout
        self.drive_path = layout.run_folder(self.run_id) / "drive.json"
        self.log_path = layout.run_folder(self.run_id) / "kernel.log"
        told = order.drive(self.run_id) if order.drive else self._plain_drive()
        drive.write(told, self.drive_path)
        self.namespace_path = None if order.enter is None else layout.run_folder(self.run_id) / "namespace.json"
        if order.enter is not None and self.namespace_path is not None:
            order.enter(self.namespace_path)
        header = {"kind": order.kind, "started": time.time(), **order.header}
        self._append({"set": header, "add": {"writers": [this_process().to_dict()]}})
        self._count = 0 if order.restored is None else order.restored.cell
        self.seq: int | None = None
        self._began = 0.0
        order.opened(self.run_id)

    @property
    def has_agent_record(self) -> bool:
        """Whether the agent in the kernel wrote a record of its own."""
        return self.order.store.layout.journal(self.run_id).exists()

    def last_words(self) -> str:
        """Return the first line that the kernel process itself said as it died."""
        try:
            lines = self.log_path.read_text("utf-8", "replace").split("\n")
        except OSError:
            return ""
        said = [line for line in lines if line.strip() and not line.startswith("[IPKernelApp]")]
        return said[0].strip() if said else ""

    def begin_cell(self, source: str) -> None:
        """The next cell is about to run."""
        self._count += 1
        numbers = self.order.numbers
        self.seq = numbers[self._count - 1] if self._count <= len(numbers) else self._count
        self.order.before_cell(self.seq)
        self._began = time.time()
        told: dict[str, Any] = {"source": source, "started": self._began}
        if self.order.kind == "replay" and (left_out := installs.lines(source)):
            told["skipped"] = list(left_out)
        self._append({"cell": self.seq, "fill": told})

    def end_cell(self, status: str, error: str | None = None) -> None:
        """The open cell ended, as far as the parent knows."""
        if self.seq is not None:
            known = {"status": status, "duration_s": time.time() - self._began}
            self._append({"cell": self.seq, "fill": known if error is None else {**known, "error": error}})
            self.seq = None

    def outputs(self, seq: int, outputs: list[Any]) -> None:
        """Record a cell's outputs as the notebook has them, where no agent did."""
        from reprokit.digest import canonical_json

        digest = self.order.store.objects.put_bytes(canonical_json(outputs))
        self._append({"cell": seq, "fill": {"outputs": digest}})

    def gap(self, gap: Gap) -> None:
        """Record that something could not be observed."""
        self._append({"add": {"gaps": [gap.to_dict()]}})

    def close(self, status: str, reason: str | None = None) -> Run:
        """Write how the run ended and return it."""
        self._append({"set": {"status": status, "reason": reason, "ended": time.time()}})
        self._journal.sync()
        self._journal.close()
        self.drive_path.unlink(missing_ok=True)
        if self.namespace_path is not None:
            self.namespace_path.unlink(missing_ok=True)
        if status == "done":
            self.log_path.unlink(missing_ok=True)
        run = self.order.store.load(self.run_id)
        store = self.order.store
        is_alone = run.kind == "batch" and run.sweep is None  # of a sweep's points one is looked at for all of them
        if is_alone and run.environment is not None and store.settings.lock == "background":
            lock_in_background(store.layout, run.id, run.environment)
        return run

    def _plain_drive(self) -> Drive:
        layout = self.order.store.layout
        return Drive(run_id=self.run_id, store=layout.root, project=layout.project, kind=self.order.kind)

    def _append(self, patch: dict[str, Any]) -> None:
        self._journal.append(patch)


def append_verdict(store: Store, run_id: str, verdict: dict[str, Any]) -> None:
    """Write the verdict of a finished replay beside its record."""
    journal = Journal(store.layout.journal(run_id, "verdict"))
    journal.append({"set": {"verdict": verdict}})
    journal.sync()
    journal.close()

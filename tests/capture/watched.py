"""Cells whose files are recorded: the real probe with a real store, worker and watch, in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reprokit.capture.files.files import Files
from reprokit.capture.probe import Context, Patch
from reprokit.capture.worker import Worker
from reprokit.records import Capture, FileUse, Gap
from reprokit.settings import Settings
from reprokit.store.objects import Objects


def sha256(data: bytes) -> str:
    """Return a digest, computed without reprokit."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Watched:
    """The files probe at work in ``project``; a ``snapshot`` is taken in the background, which nobody waits for."""

    def __init__(
        self, project: Path, settings: Settings | None = None, snapshot: Callable[[], None] | None = None
    ) -> None:
        self.project = project
        self.store = project / ".reprokit"
        self.objects = Objects(self.store / "objects")
        self.objects.root.mkdir(parents=True)
        self.gaps: list[Gap] = []
        self.errors: list[Exception] = []
        self.captures: list[Capture] = []
        self.folders: list[str] = []
        self.namespace: dict[str, object] = {}
        self.network: dict[int, list[str]] = {}
        self._uses: dict[int, dict[tuple[str, str], FileUse]] = {}
        self._seq = 0
        self.worker = Worker(self.errors.append)
        self.files = Files(
            Context(
                run_id="run",
                project=project,
                objects=self.objects,
                settings=settings or Settings(),
                namespace=lambda: self.namespace,
                emit=self.take,
                later=self.worker.submit,
                gap=self.gaps.append,
                ignored=(self.store,),
            )
        )
        if snapshot is not None:
            self.worker.submit(snapshot)
        self.files.start()
        if snapshot is None:
            self.worker.wait()  # as the session does: cells begin when the tree is watched

    @contextmanager
    def cell(self, *, wait: bool = True, source: str = "") -> Iterator[None]:
        """Run the body as one cell; with ``wait``, until all of it is hashed."""
        self.files.expects(source)
        self.begin()
        yield
        self.take(self._seq, self.files.after_cell(self._seq))
        if wait:
            self.settle()

    def begin(self) -> None:
        """Begin a cell."""
        self._seq += 1
        self.take(self._seq, self.files.before_cell(self._seq))

    def settle(self) -> None:
        """Wait until everything is hashed."""
        assert self.worker.wait(120)
        assert self.errors == [], self.errors

    def stop(self) -> Capture:
        """Stop the probe and return the tier that was reached."""
        self.settle()
        self.take(None, self.files.stop())
        self.worker.stop()
        return self.captures[-1]

    def take(self, seq: int | None, patch: Patch | None) -> None:
        """Write a patch, as the session does to its journal."""
        patch = patch or Patch()
        if seq is None:
            if "capture" in patch.set:
                self.captures.append(Capture.from_dict(patch.set["capture"]))
            self.folders += patch.add.get("folders", [])
            return
        uses = self._uses.setdefault(seq, {})
        for item in (*patch.add.get("reads", []), *patch.add.get("writes", [])):
            use = FileUse.from_dict(item)
            uses[use.path, use.access] = use
        self.network.setdefault(seq, []).extend(patch.add.get("network", []))

    def uses(self, access: str, cell: int | None = None) -> dict[str, FileUse]:
        """Return the files a cell (the last one) read or wrote, by name, with the last word on each."""
        uses = self._uses.get(cell or self._seq, {})
        return {path: use for (path, kind), use in uses.items() if kind == access}

    def reads(self, cell: int | None = None) -> dict[str, FileUse]:
        """Return what a cell read."""
        return self.uses("read", cell)

    def writes(self, cell: int | None = None) -> dict[str, FileUse]:
        """Return what a cell wrote."""
        return self.uses("write", cell)

    def kept(self, use: FileUse) -> bytes:
        """Return the bytes the store keeps for a use, having checked that it says so."""
        assert use.stored == "object"
        assert use.digest is not None
        return self.objects.get_bytes(use.digest)

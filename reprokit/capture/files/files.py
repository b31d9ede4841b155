"""The files probe: every file a cell reads and writes, with its digest at the time of use.

It puts the observers together: the *complete* tier has the recorder from the process's start, the *watch*
tier the kernel's events for folders (and the recorder where it could be put in later), the *basic* tier
comparisons of scans. Python's own opens are heard in all of them. What it all means is decided in ``merge``;
hashing happens in the background, but never too late: a file that is about to be overwritten while its
digest is still owed is hashed first, or a copy of it is kept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit.capture.files.audit import Audit
from reprokit.capture.files.basic import Basic
from reprokit.capture.files.contents import Content, Contents
from reprokit.capture.files.handles import Handles
from reprokit.capture.files.history import History
from reprokit.capture.files.literals import Literals
from reprokit.capture.files.merge import AT_ONCE, Merge, state_of
from reprokit.capture.files.observers import Observers
from reprokit.capture.files.paths import Paths
from reprokit.capture.files.rows import Rows
from reprokit.capture.files.traces import Traces
from reprokit.capture.files.tracked import Tracked
from reprokit.capture.files.uses import Debt, Debts, Use
from reprokit.capture.files.watch import Seen
from reprokit.capture.probe import Context, Patch
from reprokit.capture.request import only_starts
from reprokit.records import Capture, FileUse, Gap

__all__ = ["Files"]

_TOGETHER = 1_000  # records that are told at once
_PILE = 500  # files that are not hashed yet, about 1 kB of memory each
_MOST = 10_000  # of them; beyond it cells wait, so that memory has an end
_PATIENCE_S = 5.0  # for the background to hash anything at all


class Files:
    """Records which files each cell used."""

    aspect = "files"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._paths = Paths(context.project, context.ignored, context.settings.ignore)
        self._audit = Audit(self._on_file, self._on_network, self._on_start)
        skipped = frozenset(os.path.realpath(path) for path in context.ignored)
        self._observers = Observers(self._paths, skipped, self._connected)
        self._background: int | None = None  # the thread that hashes: what it opens is not the user's
        context.later(self._know_background)  # first of all: the code snapshot reads files too
        self._tracked: Mapping[str, str] = {}
        self._blob: Callable[[str], bytes] | None = None
        tracker = Tracked(lambda: self._tracked, self._announce)
        self._contents = Contents(context.objects, context.settings.store_limit, self._announce, tracker, self._hushed)
        self._debts = Debts(self._contents.of, self._rescued, self._guard)
        self._history = History()
        self._handles = Handles(state_of, lambda path: self._debts.owed(path) is not None)
        keep = lambda data: context.objects.put_bytes(data, durable=False)  # noqa: E731
        self._rows = Rows(self._paths, self._contents, self._debts, self._snapshot, keep, self._give_way)
        self._literals: Literals | None = None
        self._source = ""  # of the cell
        self._merge = self._new_merge()
        self._open = False
        self._handed = self._settled = 0  # cells: by the user's thread, and in the background
        self._ready: list[tuple[int, dict[str, list[Any]], list[Gap]]] = []  # hashed, and not told yet
        self._pid = os.getpid()
        self._hosts: set[str] = set()
        self._pipes: set[str] = set()
        self._basic: Basic | None = None
        self._folders: set[str] = set()  # that existed at the start and were not told yet
        self._copies = context.objects.root.parent / "runs" / context.run_id / "before"
        self._told = self.capture()
        self._stood = self._observers.standing

    def start(self) -> Patch | None:
        """Begin to listen; the tree is watched once the code snapshot has read it."""
        self._audit.start()
        self._context.later(self._begin_watching)
        return None

    def knows(self, tracked: Mapping[str, str], blob: Callable[[str], bytes] | None = None) -> None:
        """Tell which files the code snapshot holds: absolute path → git blob id, and how to read one."""
        self._tracked = tracked
        self._blob = blob

    def expects(self, source: str) -> None:
        """Tell the source of the cell that is about to run: the folders that it names are watched."""
        self._source = source
        if self._literals is not None:
            self._literals.look(source)
        elif self._basic is not None:
            self._basic.expects(source)

    def before_cell(self, seq: int) -> Patch | None:
        """Begin a cell: what happened since the last one is nobody's."""
        observers = self._observers
        if observers.tap is not None and (traces := observers.tap.take()):
            self._drop(traces)
        if observers.watch is not None:
            if drained := observers.watch.drain(reads=not observers.is_exact):
                self._history.changed_by_others(path for path, seen in drained.items() if seen.written)
            observers.watch.settle()
        for path in self._handles:  # its bytes can go without anybody hearing of it
            self._debts.settle_path(path, AT_ONCE)
        self._handles.begin()
        self._hosts = set()
        self._merge = self._new_merge()
        self._open = True
        if self._basic is not None:
            self._basic.before_cell()
        return None

    def after_cell(self, seq: int) -> Patch | None:
        """End a cell: name its files now, hash them in the background."""
        self._open = False
        self._see(seq)
        merge = self._merge
        if merge.uses and (uses := merge.finish()):
            merge.note(uses)
            self._handles.remember(uses)
            # Written before the work is handed over: what the background then finds out is the last word.
            self._context.emit(seq, Patch(add=self._rows.pending(uses)))
            self._handed += 1
            self._context.later(lambda: self._settle_cell(seq, uses))
            if len(self._debts) > _MOST:
                self._wait_for_background()
        return Patch(add={"network": sorted(self._hosts)}) if self._hosts else None

    def stop(self) -> Patch | None:
        """Stop listening and say how much was seen."""
        with contextlib.ExitStack() as last:  # all of it, even when one part fails
            last.callback(shutil.rmtree, self._copies, ignore_errors=True)
            last.callback(self._observers.stop)
            if self._basic is not None:
                last.callback(self._basic.stop)
            self._audit.stop()
            self._observers.look_back()
            capture = self.capture()
            self._literals = None
        return Patch(set={"capture": capture.to_dict()})

    def capture(self) -> Capture:
        """Return the tier of observation reached, never more than that."""
        return self._observers.capture()

    def content(self, path: Path) -> FileUse:
        """Return a file named by the user (an artifact), hashed now."""
        return self._rows.named([self._paths.absolute(path)], "write")

    def keep(self, path: Path) -> FileUse:
        """Keep the bytes that a file has now, whatever its size, and those it has in later cells of the run.

        Args:
            path: a file, or a folder: then all the files in it that are data.
        """
        absolute = self._paths.absolute(path)
        folder = absolute if os.path.isdir(absolute) else None
        files = [absolute] if folder is None else [name for name in _files_below(folder) if self._paths.is_data(name)]
        for name in files:
            self._contents.keep(name)
        return self._rows.named(files, "read", folder)

    def goes_on(self, written: Iterable[str]) -> None:
        """Tell which files the run had written before it was cut off: they are its own."""
        for name in written:
            path = self._paths.absolute(str(self._context.project / name))
            if (key := state_of(path)) is not None:
                self._history.owns(path, key)

    # -- what is heard ---------------------------------------------------------------------------

    def _on_file(self, given: str | bytes, access: str) -> None:
        if not self._open or self._contents.reading:
            return
        if os.getpid() != self._pid:
            if self._basic is not None:
                self._basic.in_child(given, access)
            return
        path = self._paths.absolute(given)
        if threading.get_ident() != self._background and self._paths.is_data(path):
            self._merge.hear(path, access)

    def _on_start(self, words: Sequence[str], folder: str | None) -> None:
        if self._open and self._basic is not None and threading.get_ident() != self._background:
            self._basic.started(words, os.path.abspath(folder or "."))

    def _on_network(self, address: str) -> None:
        if self._open and os.getpid() == self._pid:
            self._connected(address)

    def _connected(self, address: str) -> None:
        if address and not address.startswith(("127.", "localhost", "/", "::1", "[::1]", "\0")):
            self._hosts.add(address)

    def _on_pipe(self, path: str) -> None:
        if path not in self._pipes:
            self._pipes.add(path)
            message = f"{self._paths.name(path)} is a pipe: what goes through it is not kept"
            self._context.gap(Gap(aspect=self.aspect, message=message, remedy="use a file instead"))

    def _see(self, seq: int) -> None:
        """Add what the audit hook did not hear: C libraries and child processes."""
        observers, merge = self._observers, self._merge
        if observers.tap is not None:
            if traces := observers.tap.take():
                merge.add_traces(traces)
            observers.look_back()
        for path in self._handles.changed():
            merge.add_held(path)
        for path, inode in self._handles.used(self._source, self._context.namespace):
            merge.add_held_read(path, inode)
        self._handles.look(merge.opened)
        if observers.watch is not None:
            # While a run is being started, it is the agent that reads: configuration, and the tree for the snapshot.
            reads = not observers.is_exact and not (self._source and only_starts(self._source))
            if drained := observers.watch.drain(reads=reads):
                self._see_tree(drained)
            if observers.has_overflowed():
                message = "so many files were used at once that some were not seen"
                remedy = "use fewer files in one cell"
                self._context.gap(Gap(aspect=self.aspect, message=message, remedy=remedy, cell=seq))
        elif self._basic is not None:
            self._basic.after_cell(merge)
        if self._audit.unheard() and not observers.is_exact:
            message = "files were opened at the very limit of recursion: some may not have been seen"
            remedy = "open files outside of functions that call themselves so often"
            self._context.gap(Gap(aspect=self.aspect, message=message, remedy=remedy, cell=seq))
        self._tell_tier()

    def _see_tree(self, happened: Mapping[str, Seen]) -> None:
        exact = self._observers.is_exact
        for path, seen in happened.items():
            if not self._paths.is_data(path):
                continue
            if not exact:
                self._merge.add_seen(path, seen)
            elif seen.written and self._history.was_written(path):
                self._merge.add_kept_open(path)

    def _drop(self, traces: Traces) -> None:
        """What happened between cells is nobody's; but copies of bytes that are still owed are welcome."""
        self._history.changed_by_others(path for path, trace in traces.paths.items() if trace.changed or trace.opened)
        for path, trace in traces.paths.items():
            owed = self._debts.owed(path)
            if owed is not None and owed.is_lost and trace.changed:
                owed.moved, owed.copy = trace.moved_to, owed.copy or trace.copy
            elif trace.copy is not None:
                traces.spare.append(trace.copy)
        self._merge.discard(traces.spare)

    def _new_merge(self) -> Merge:
        observers = self._observers
        return Merge(
            self._paths,
            self._debts,
            self._history,
            observers.tap,
            self._context.later,
            lambda path: observers.watch is not None and self._paths.inside(path),
            self._on_pipe,
        )

    # -- in the background -------------------------------------------------------------------------

    def _know_background(self) -> None:
        self._background = threading.get_ident()

    def _begin_watching(self) -> None:
        trouble = self._observers.begin(self._copies)
        if trouble:
            self._context.gap(Gap(aspect=self.aspect, message=trouble, remedy="see `reprokit doctor`"))
        if self._observers.scanning:
            self._basic = Basic(self._paths, self._on_file, self._observers.scan, self._context)
            self._basic.begin(self._copies)
        watch = self._observers.watch
        if watch is not None:
            self._folders = watch.folders() - {self._paths.project}
            if self._observers.tap is None:
                self._literals = Literals(watch, self._paths, self._context.namespace)
        self._told = self.capture()
        self._context.emit(None, Patch(set={"capture": self._told.to_dict()}))

    def _settle_cell(self, seq: int, uses: Mapping[str, Use]) -> None:
        self._settled += 1
        try:
            self._ready.append((seq, *self._rows.settled(seq, uses)))
        finally:
            # A disk takes hundreds of files in the time of ten: when cells wait, they are told together.
            if self._settled == self._handed or sum(_length(rows) for _, rows, _ in self._ready) > _TOGETHER:
                self._tell_ready()
                if not self._open:
                    self._handles.look_for_readers()
        self._tell_folders(path for path, use in uses.items() if use.written)

    def _tell_ready(self) -> None:
        ready, self._ready = self._ready, []
        self._contents.sync()
        for seq, rows, gaps in ready:
            self._context.emit(seq, Patch(add=rows))
            for gap in gaps:
                self._context.gap(gap)

    def _tell_folders(self, written: Iterable[str]) -> None:
        """Name the folders that were there before the run wrote into them: git keeps no empty folder."""
        folders = {os.path.dirname(path) for path in written} & self._folders
        self._folders -= folders
        if folders:
            self._context.emit(None, Patch(add={"folders": sorted(self._paths.name(path) for path in folders)}))

    def _tell_tier(self) -> None:
        """Write down at once that less was seen than hoped: the process may not live to its end."""
        if self._observers.standing == self._stood:
            return
        self._stood = self._observers.standing
        capture = self.capture()
        if capture != self._told:
            self._told = capture
            self._context.emit(None, Patch(set={"capture": capture.to_dict()}))

    # -- small parts ---------------------------------------------------------------------------------

    def _rescued(self, debt: Debt) -> Content | None:
        """Return the content of bytes that are not at their path any more, if they were kept or moved."""
        copy, moved = debt.copy, debt.moved
        tap = self._observers.tap
        if copy is None and tap is not None:
            copy, moved_to = tap.claim(debt.path)
            moved = moved or moved_to
        debt.copy = None
        if copy is not None and (content := self._contents.of_copy(copy, debt.path, debt.key)) is not None:
            return content
        if moved is not None and debt.key is not None:
            key = state_of(moved)
            if key is not None and key[:4] == debt.key[:4]:  # all but the time of its last renaming
                return self._contents.of(moved, key)
        return None

    def _snapshot(self, path: str) -> bytes | None:
        if self._blob is None or path not in self._tracked:
            return None
        return self._blob(self._tracked[path])

    def _announce(self, path: str) -> None:
        if self._observers.watch is not None and not self._observers.is_exact:
            self._observers.watch.expect(self._paths.real(path))

    def _give_way(self, worked_s: float) -> None:
        """Let the user's cell have most of the processor while it runs, unless what is owed piles up."""
        if self._open and len(self._debts) < _PILE:
            time.sleep(2 * min(worked_s, 0.01))

    def _wait_for_background(self) -> None:
        """Wait until fewer files are owed; not for a background that does nothing any more."""
        left, until = len(self._debts), time.monotonic() + _PATIENCE_S
        while len(self._debts) > _MOST and time.monotonic() < until:
            time.sleep(0.002)
            if len(self._debts) < left:
                left, until = len(self._debts), time.monotonic() + _PATIENCE_S

    def _guard(self, path: str, on: bool) -> None:
        if self._observers.tap is not None:
            self._observers.tap.protect(path, on)

    def _hushed(self) -> contextlib.AbstractContextManager[object]:
        tap = self._observers.tap
        if tap is None or threading.get_ident() == self._background:
            return contextlib.nullcontext()
        return tap.recorder.hushed()


def _length(rows: Mapping[str, list[Any]]) -> int:
    return sum(map(len, rows.values()))


def _files_below(folder: str) -> list[str]:
    return [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]

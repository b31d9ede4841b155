"""What one cell did with its files, merged from everybody who saw something of it.

Python's own opens are heard before they happen, so the bytes of a file about to be overwritten can still be
hashed. The recorder tells the rest, and the order of all of it. Without one, the kernel's events for the
project's tree (or two scans of it) tell what libraries and child processes did, and the order is concluded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from time import time_ns

from reprokit.capture.files.history import History
from reprokit.capture.files.paths import Paths
from reprokit.capture.files.scan import Key, key_of
from reprokit.capture.files.tap import Tap
from reprokit.capture.files.traces import Trace, Traces
from reprokit.capture.files.uses import Debt, Debts, Use
from reprokit.capture.files.watch import Seen

__all__ = ["AT_ONCE", "Merge", "state_of"]

AT_ONCE = 64 * 10**6  # bytes: what may be hashed on the user's path before it is overwritten (about 50 ms)
_SOON = 8 * 10**6  # bytes: what is hashed before a program starts that is told a file, and may change it
_LINKED = 64  # changed files that are looked at for other names
_EARLY = 300  # files of a cell that are hashed while it runs: more of them would slow it down
_CLOCK_NS = 10_000_000  # files are stamped with a clock that lags by up to a tick, 10 ms at 100 Hz


def state_of(path: str) -> Key | None:
    """Return the state of a regular file; None when there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return key_of(status) if stat.S_ISREG(status.st_mode) else None


class Merge:
    """The uses of files in one cell.

    Args:
        paths: tells data from noise.
        debts: the bytes that are not hashed yet.
        history: what the run knows of files from earlier cells.
        tap: the recorder's events, when there is a recorder.
        later: hands work to the background.
        watched: tells whether changes of a path by others would have been noticed.
        piped: told of a pipe that was opened.
    """

    def __init__(
        self,
        paths: Paths,
        debts: Debts,
        history: History,
        tap: Tap | None,
        later: Callable[[Callable[[], None]], None],
        watched: Callable[[str], bool],
        piped: Callable[[str], None],
    ) -> None:
        self._paths = paths
        self._debts = debts
        self._history = history
        self._tap = tap
        self._later = later
        self._watched = watched
        self._piped = piped
        self.began_ns = time_ns()
        self.uses: dict[str, Use] = {}
        self.opened: list[str] = []  # for writing, by this process
        self._early = 0
        self._kept: dict[tuple[int, int], tuple[str, str | None]] = {}  # changed files with more names, and a copy

    # -- as it happens: Python's own opens ------------------------------------------------------------

    def hear(self, path: str, access: str) -> None:
        """Take in what Python is about to do; ``access`` is as in ``Audit``."""
        if access == "remove":
            self._debts.settle_path(path, AT_ONCE)
            return
        if access == "create" and os.path.lexists(path):
            return  # it will fail
        if access in ("told", "used", "output"):
            self._hear_name(path, access)
            return
        use = self.uses.get(path)
        if use is None:
            use = self.uses[path] = Use(before=self._first_look(path))
            use.written = self._is_made(path, use.before)
        elif use.told == "output" and not use.written:
            use.written = state_of(path) != use.before  # who was told to make it has
        in_place = access in ("update", "append") and use.before is not None and not use.written
        if access in ("read", "source") or in_place:
            use.blind = access == "append" and (use.blind or not use.read)
            self._will_read(path, use)
        if access == "source":
            self._debts.settle_path(path, AT_ONCE)
        elif access != "read":
            self.opened.append(path)
            use.written = use.written or access not in ("update", "append")  # one that changes nothing is none
            self._debts.settle_path(path, AT_ONCE)
            if (twin := self._debts.twin(path, use.before)) is not None:
                self._debts.settle_path(twin.path, AT_ONCE)

    def _hear_name(self, path: str, access: str) -> None:
        """Take in that a library or a program is told a file: what became of it then, its state tells at the end."""
        use = self.uses.get(path)
        if use is not None and (use.read or use.written or access != "output"):
            self._debts.settle_path(path, _SOON)
            return
        before = self._first_look(path)
        if before is None and access != "output":
            return
        use = self.uses[path] = Use(before=before, source="process", told=access)
        if access != "output":
            self._will_read(path, use)
        self._debts.settle_path(path, _SOON)

    def _first_look(self, path: str) -> Key | None:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        if stat.S_ISFIFO(status.st_mode):
            self._piped(path)
        return key_of(status) if stat.S_ISREG(status.st_mode) else None

    def _is_made(self, path: str, key: Key | None) -> bool:
        """Return whether a library or a child of this cell is known to have changed the file already."""
        if self._tap is None or key is None or not self._is_new(key):
            return False
        trace = self._tap.so_far().paths.get(path)
        return trace is not None and (trace.changed or trace.opened)

    def _will_read(self, path: str, use: Use) -> None:
        if use.read:
            return
        use.read = True
        use.own = use.written or self._history.is_product(path, use.before)
        if use.before is not None and not use.written:
            debt = use.old = self._debts.owe(path, use.before)
            self._early += 1
            if self._early <= _EARLY:
                self._later(lambda: self._settle(debt))

    def _settle(self, debt: Debt) -> None:
        self._debts.settle(debt)

    # -- at the end: what the recorder tells ---------------------------------------------------------------

    def add_traces(self, traces: Traces) -> None:
        """Add what all processes did, in the order in which they did it."""
        self._kept = {}
        changed = [path for path, trace in traces.paths.items() if trace.opened or trace.changed]
        for path in changed[:_LINKED]:
            if (links := _links(path)) is not None:
                self._kept[links] = (path, traces.paths[path].copy)
        for path, trace in traces.paths.items():
            if self._paths.is_data(path):
                self._add_trace(path, trace)
        self.discard(traces.spare)

    def discard(self, copies: list[str]) -> None:
        """Remove kept copies that nobody needs."""
        if copies:
            self._later(lambda: _remove(copies))

    def _add_trace(self, path: str, trace: Trace) -> None:
        heard = self.uses.get(path)
        now = state_of(path)
        if now is None and os.path.exists(path):
            self._first_look(path)  # a pipe, or what else is no file
            return
        changed = trace.changed or (trace.opened and self._was_touched(path, heard, now))
        use = Use(before=None if heard is None else heard.before, exact=True, written=changed)
        use.source = "process" if heard is None else "python"
        use.doubtful = changed and not trace.changed
        if os.getpid() in trace.pids:
            self.opened.append(path)
        use.read = trace.read or trace.reread
        use.blind = trace.blind and not trace.reread
        debt = self._debt_before(path, trace, heard, now, changed)
        use.own = trace.reread
        if trace.read:
            self._set_old(path, use, debt)
        if not self._is_kept_for(path, debt, trace) and trace.copy is not None:
            self.discard([trace.copy])
        self.uses[path] = use

    def _was_touched(self, path: str, heard: Use | None, now: Key | None) -> bool:
        """Return whether a file that was opened to be changed was."""
        if now is None:
            return True
        last = self._history.last(path)
        known = heard.before if heard is not None and not heard.written else last.key if last is not None else None
        return now != known and self._is_new(now)

    def _debt_before(self, path: str, trace: Trace, heard: Use | None, now: Key | None, changed: bool) -> Debt | None:
        """Return the bytes that a path had before the cell."""
        if not changed:
            if now is not None and self._is_same(path, now, heard):
                return self._debts.owe(path, now)
            return self._changed_elsewhere(path, heard, now)
        if heard is not None and heard.old is not None:
            return heard.old
        if trace.moved_to is not None and (key := state_of(trace.moved_to)) is not None:
            return self._debts.owe(trace.moved_to, key)
        debt = self._debts.owed(path) or self._history.last(path) if self._watched(path) else None
        if debt is None and trace.read:
            return Debt(path, None) if trace.copy is not None else self._known_elsewhere(path)
        return debt

    def _is_same(self, path: str, now: Key, heard: Use | None) -> bool:
        """Return whether a file that was not changed by this name has the bytes that it had before the cell."""
        if heard is not None and heard.before is not None and not heard.written:
            return heard.before[:4] == now[:4]  # rights and further names change its last time alone
        if self._kept.get(now[:2], (path,))[0] != path:  # by another: only much older times are believed
            return min(now[3], now[4]) < self.began_ns - _CLOCK_NS
        return self._is_old(now) or self._is_last(path, now)

    def _known_elsewhere(self, path: str) -> Debt | None:
        """Return the bytes that a file had before the cell changed it, when another of its names was read."""
        links = _links(path)
        if links is None:
            return None
        olds = (use.old for use in self.uses.values() if use.old is not None)
        found = next((old for old in olds if old.key is not None and old.key[:2] == links), self._history.twin(links))
        return found if found is not None and _links(found.path) == links else None  # an inode may be another's by now

    def _changed_elsewhere(self, path: str, heard: Use | None, now: Key | None) -> Debt | None:
        """Return the bytes that a file had before the cell changed it by another of its names."""
        debt = None if heard is None else heard.old
        if debt is not None and (debt.copy is not None or not debt.is_lost):
            return debt
        other, kept = self._kept.get(now[:2], (path, None)) if now is not None else (path, None)
        copy = _second(kept, str(len(self.uses)))
        if copy is None:
            return debt or (None if other == path else self._debts.owed(path) or self._history.last(path))
        debt = debt or Debt(path, None)
        debt.copy = copy
        return debt

    def _set_old(self, path: str, use: Use, debt: Debt | None) -> None:
        use.old = debt
        if debt is None:
            use.own = False
            use.snapshot = use.written and not self._history.is_foreign(path)
        elif debt.key is None or debt.path != path:  # all that is left of the state is a copy, or another name
            use.own = self._history.was_written(path) and self._history.last(path) is not None
        else:
            use.own = self._history.is_product(path, debt.key)

    def _is_kept_for(self, path: str, debt: Debt | None, trace: Trace) -> bool:
        """Hand a copy to whoever still needs the bytes that the path had."""
        owed = self._debts.owed(path)
        if owed is not None:
            owed.moved = trace.moved_to
        twin = None if trace.copy is None else self._debts.twin(path, state_of(path))
        if twin is not None and twin.copy is None and twin.is_lost:
            twin.copy = _second(trace.copy, f"{len(self.uses)}t")
        for wanting in (debt, owed):
            if wanting is not None and wanting.copy is None and wanting.is_lost:
                wanting.copy = trace.copy
                return True
        return False

    def _is_last(self, path: str, key: Key) -> bool:
        last = self._history.last(path)
        return last is not None and last.key == key

    # -- at the end: what is seen of the tree ------------------------------------------------------------------

    def add_changed(self, path: str, before: Key | None) -> None:
        """Add a file that two scans show to have been written."""
        use = self.uses.get(path)
        if use is None:
            there = before is not None
            use = self.uses[path] = Use(before=before, source="tree", grown=there, doubtful=there)
            self._set_last(path, use)
        use.written = True
        if use.read and use.before != before:  # Python read what the cell had already written
            use.own = True

    def add_seen(self, path: str, seen: Seen) -> None:
        """Add what the kernel's events say of a file, where there is nothing better."""
        use = self.uses.get(path)
        if use is not None and use.exact:
            if seen.written and self._history.was_written(path):
                self.add_kept_open(path)
            return
        if use is None:
            if not (seen.read or seen.written):
                return
            use = self.uses[path] = Use(before=None, source="tree")
        if seen.moved_to is not None and not use.read and not use.written:
            self._add_seen_move(path, use, seen.moved_to)
        if seen.fresh and not seen.made and use.source == "tree" and not use.read:
            use.grown = True
            self._set_last(path, use)
        if seen.read and not use.read:
            self._add_seen_read(path, use, seen)
        elif use.read and seen.fresh and seen.moved_to is None and use.before is not None and self._is_new(use.before):
            use.own = True  # Python read what a child process had written in this cell
        use.written = use.written or seen.written

    def add_held(self, path: str) -> None:
        """Add a change of a file that was opened for writing in an earlier cell."""
        use = self.uses.setdefault(path, Use(before=None, source="python", exact=True))
        if use.written:
            return
        use.written = True
        if not use.read:
            use.read = True
            self._set_last(path, use)

    def add_held_read(self, path: str, inode: tuple[int, int]) -> None:
        """Add a read by way of a descriptor of an earlier cell, which leads to the file that it led to then."""
        use = self.uses.setdefault(path, Use(before=None, source="python", exact=True))
        if use.read or use.written:
            return
        use.read = True
        key = state_of(path)
        if key is not None and key[:2] == inode and (self._is_old(key) or self._is_last(path, key)):
            use.own = self._history.is_product(path, key)
            use.old = self._debts.owe(path, key)
        else:
            self._set_last(path, use)

    def add_kept_open(self, path: str) -> None:
        """Add a change by way of a file that the run had opened in an earlier cell."""
        use = self.uses.setdefault(path, Use(before=None, source="process", exact=True))
        if not use.written and use.read and use.old is not None and use.old.key is not None:
            use.own = use.own or not self._is_old(use.old.key)
        use.written = True

    def _add_seen_read(self, path: str, use: Use, seen: Seen) -> None:
        use.read = True
        key = None if seen.written or use.written else state_of(path)
        if key is not None and self._is_old(key):
            use.before = key
            use.own = self._history.is_product(path, key)
            use.old = self._debts.owe(path, key)
        else:  # the bytes that were read are gone: they are what this run, or the snapshot, saw last
            self._set_last(path, use)

    def _set_last(self, path: str, use: Use) -> None:
        use.old = self._history.last(path)
        use.own = use.old is not None and self._history.is_product(path, use.old.key)
        use.snapshot = use.old is None and not self._history.is_foreign(path)

    def _add_seen_move(self, path: str, use: Use, target: str) -> None:
        """What was given another name was there before: its bytes are at that name, if they are anywhere."""
        key = state_of(target)
        use.read = True
        use.old = self._debts.owe(target, key) if key is not None and self._is_old(key) else self._history.last(path)
        last = self._history.last(path)
        use.own = self._history.was_written(path) and last is not None

    def _is_new(self, key: Key) -> bool:
        """Return whether a file in this state may have been changed since the cell began."""
        return max(key[3], key[4]) >= self.began_ns - _CLOCK_NS

    def _is_old(self, key: Key) -> bool:
        """Return whether a file in this state has the bytes that it had before the cell.

        Writing through shared memory makes no event, but changes both times.
        """
        return min(key[3], key[4]) < self.began_ns

    # -- what counts -------------------------------------------------------------------------------------------

    def finish(self) -> dict[str, Use]:
        """Return the uses that are to be recorded, by path."""
        # A thread of the user's may still be in the middle of an open: hence the copies.
        for path, use in list(self.uses.items()):
            if use.written and (real := self._paths.behind_link(path)) is not None:
                self.uses.setdefault(real, Use(before=None, written=True, source=use.source, exact=use.exact))
        return {path: use for path, use in list(self.uses.items()) if self._matters(path, use)}

    def _matters(self, path: str, use: Use) -> bool:
        now = None if use.exact and not use.written else state_of(path)
        if not use.exact and use.source == "python":
            self._conclude(path, use, now)
        elif use.told:
            self._conclude_told(use, now)
        if use.written and now is not None:
            use.new = Debt(path, now)
            self._history.wrote(path, use.new)
        if use.written and (now is None or self._paths.is_scratch(path)):
            use.written = False  # it was transient
            use.read = use.read and not use.own
        use.read = use.read and not (use.blind and not use.written)
        return use.read or use.written

    def _conclude(self, path: str, use: Use, now: Key | None) -> None:
        """What Python was about to do: did it?"""
        if not use.written and use.read:
            use.written = now is not None and use.before is not None and now[:4] != use.before[:4]
            use.doubtful = use.written and use.blind
        if use.read and use.before is None:
            use.read = use.own  # it did not exist when it was opened
        if use.read and now is not None and not os.access(path, os.R_OK):
            use.read = False  # the user's own attempt failed too

    def _conclude_told(self, use: Use, now: Key | None) -> None:
        """What was done with a file that a library or a program was told?"""
        if now is None or (use.before is not None and now[:4] == use.before[:4]):
            return
        use.written = True
        if use.told == "told" and use.read:
            use.read, use.grown = False, True  # it may have been made anew: what it begins with now tells

    def note(self, uses: Mapping[str, Use]) -> None:
        """Note in the history how the cell leaves its files, and owe what is not hashed yet."""
        for path, use in uses.items():
            if use.written and use.new is not None and use.new.key is not None:
                use.new = self._debts.owe(path, use.new.key, guard=True)
                self._history.wrote(path, use.new)
            elif use.old is not None and use.old.path == path:
                self._history.saw(path, use.old)


def _links(path: str) -> tuple[int, int] | None:
    """Return the device and inode of a file that has other names too."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_nlink > 1 and stat.S_ISREG(status.st_mode) else None


def _second(copy: str | None, mark: str) -> str | None:
    """Return another name for a kept copy: whoever hashes one removes it."""
    if copy is None:
        return None
    name = f"{copy}-{mark}"
    try:
        os.link(copy, name)
    except OSError:
        return None
    return name


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except OSError:
            continue

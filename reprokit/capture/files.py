"""The files probe: every file a cell reads and writes, with its digest at the time of use.

Python's own opens are heard before they happen (``audit``); what C libraries and child processes do
inside the project tree is seen by the kernel's events (``watch``) or, where there are none, by
comparing scans. Hashing happens in the background, but never too late: a file that is about to be
overwritten while its digest is still owed is hashed first.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from reprokit.capture import redact
from reprokit.capture.audit import Audit
from reprokit.capture.contents import Content, Contents
from reprokit.capture.paths import Paths
from reprokit.capture.probe import Context, Patch
from reprokit.capture.scan import Key, key_of, scan
from reprokit.capture.uses import Debt, Debts, Use
from reprokit.capture.watch import Seen, Watch
from reprokit.records import Capture, FileUse, Gap

__all__ = ["Files"]

_AT_ONCE = 64 * 10**6  # bytes: what may be hashed on the user's path before it is overwritten (about 50 ms)
_SCANNED = 20_000  # files: beyond it a scan before and after each cell would be felt
_CLOCK_NS = 10_000_000  # files are stamped with a clock that lags by up to a tick, 10 ms at 100 Hz


class Files:
    """Records which files each cell used."""

    aspect = "files"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._paths = Paths(context.project, context.ignored, context.settings.ignore)
        self._audit = Audit(self._on_file, self._on_network)
        self._watch: Watch | None = None
        self._background: int | None = None  # the thread that hashes: what it opens is not the user's
        self._contents = Contents(context.objects, context.settings.store_limit, self._announce, lambda: self._tracked)
        self._tracked: Mapping[str, str] = {}
        self._blob: Callable[[str], bytes] | None = None
        self._open = False
        self._pid = os.getpid()
        self._began_ns = 0
        self._uses: dict[str, Use] = {}
        self._hosts: set[str] = set()
        self._debts = Debts(self._contents.of)
        self._products: dict[str, Debt] = {}  # what this run wrote so far, as it left it
        self._states: dict[str, Debt] = {}  # files as this run last saw them
        self._foreign: set[str] = set()  # written between cells, by somebody else
        self._before: dict[str, Key] | None = None
        self._scanning = False
        self._overflowed = False
        self._folders: set[str] = set()  # that existed at the start and were not told yet

    def start(self) -> Patch:
        """Begin to listen; the tree is watched once the code snapshot has read it."""
        self._audit.start()
        self._context.later(self._begin_watching)
        return Patch()

    def knows(self, tracked: Mapping[str, str], blob: Callable[[str], bytes] | None = None) -> None:
        """Tell which files the code snapshot holds: absolute path → git blob id, and how to read one."""
        self._tracked = tracked
        self._blob = blob

    def before_cell(self, seq: int) -> Patch:
        """Begin a cell: what happened since the last one is nobody's."""
        if self._watch is not None:
            self._forget(path for path, seen in self._watch.drain().items() if seen.written)
            if not self._debts:
                self._watch.settle()
        elif self._scanning:
            self._before = scan(self._paths.project, self._skipped(), _SCANNED)
            self._overflowed = self._overflowed or self._before is None
        self._uses, self._hosts = {}, set()
        self._began_ns = time.time_ns()
        self._open = True
        return Patch()

    def _forget(self, changed: Iterable[str]) -> None:
        for path in changed:
            self._states.pop(path, None)
            self._foreign.add(path)

    def after_cell(self, seq: int) -> Patch:
        """End a cell: name its files now, hash them in the background."""
        self._open = False
        self._see_tree(seq)
        # A thread of the user's may still be in the middle of an open: hence the copy.
        uses = {path: use for path, use in list(self._uses.items()) if self._matters(path, use)}
        hosts = Patch(add={"network": sorted(self._hosts)} if self._hosts else {})
        if uses:
            # Written before the work is handed over: what the background then finds out is the last word.
            self._context.emit(seq, self._pending(uses))
            self._context.later(lambda: self._settle_cell(seq, uses))
        return hosts

    def stop(self) -> Patch:
        """Stop listening and say how much was seen."""
        self._audit.stop()
        capture = self.capture()
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        return Patch(set={"capture": capture.to_dict()})

    def capture(self) -> Capture:
        """Return the tier of observation reached, never more than that."""
        if self._watch is None:
            reasons = ["only files that Python itself opens are seen as read"]
            if self._overflowed:
                reasons.append(f"the project has more than {_SCANNED} files: written ones are not looked for")
            return Capture(tier="basic", reasons=tuple(reasons))
        reasons = ["outside the project only files that Python itself opens are seen"]
        if self._overflowed:
            reasons.append("so many files were used at once that some were not seen")
        return Capture(tier="watch", reasons=tuple(reasons))

    def content(self, path: Path) -> FileUse:
        """Return a file named by the user (an artifact), hashed now."""
        absolute = self._paths.absolute(path)
        return self._file_use(absolute, "write", self._contents.of(absolute), "named")

    # -- events ---------------------------------------------------------------------------------

    def _on_file(self, given: str | bytes, access: str) -> None:
        if not self._open or self._contents.reading or os.getpid() != self._pid:
            return
        path = self._paths.absolute(given)
        if threading.get_ident() == self._background or not self._paths.is_data(path):
            return
        if access == "remove":
            self._debts.settle_path(path, _AT_ONCE)
            return
        use = self._uses.get(path)
        if use is None:
            use = self._uses[path] = Use(before=self._first_look(path))
        if access in ("read", "source") or (access == "update" and use.before is not None and not use.written):
            self._will_read(path, use)
        if access == "source":
            self._debts.settle_path(path, _AT_ONCE)
        elif access != "read":
            self._will_write(path, use, update=access == "update")

    def _on_network(self, address: str) -> None:
        local = address.startswith(("127.", "localhost", "/", "::1", "\0")) or not address
        if self._open and not local and os.getpid() == self._pid:
            self._hosts.add(address)

    def _first_look(self, path: str) -> Key | None:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        if stat.S_ISFIFO(status.st_mode):
            message = f"{self._paths.name(path)} is a pipe: what goes through it is not kept"
            self._context.gap(Gap(aspect=self.aspect, message=message, remedy="use a file instead"))
        return key_of(status) if stat.S_ISREG(status.st_mode) else None

    def _will_read(self, path: str, use: Use) -> None:
        if use.read:
            return
        use.read = True
        use.own = use.written or self._is_product(path, use.before)
        if use.before is not None and not use.written:
            debt = use.old = self._debts.owe(path, use.before)
            self._context.later(lambda: self._settle_quietly(path, debt))

    def _will_write(self, path: str, use: Use, *, update: bool) -> None:
        use.written = use.written or not update  # an update that changes nothing is none
        self._debts.settle_path(path, _AT_ONCE)

    def _is_product(self, path: str, key: Key | None) -> bool:
        product = self._products.get(path)
        return product is not None and product.key == key

    def _settle_quietly(self, path: str, debt: Debt) -> None:
        self._debts.settle(path, debt)

    # -- the end of a cell ----------------------------------------------------------------------

    def _see_tree(self, seq: int) -> None:
        """Add what the audit hook did not hear: C libraries and child processes."""
        if self._watch is not None:
            for path, seen in self._watch.drain().items():
                if self._paths.is_data(path):
                    self._add_seen(path, seen)
            if self._watch.take_overflow():
                self._overflowed = True
                message = "so many files were used at once that some were not seen"
                remedy = "use fewer files in one cell"
                self._context.gap(Gap(aspect=self.aspect, message=message, remedy=remedy, cell=seq))
        elif self._before is not None:
            for path, key in (scan(self._paths.project, self._skipped(), _SCANNED) or {}).items():
                if self._before.get(path) != key and self._paths.is_data(path):
                    self._add_changed(path, self._before.get(path))

    def _add_changed(self, path: str, before: Key | None) -> None:
        """Add a file that two scans show to have been written."""
        use = self._uses.setdefault(path, Use(before=before, source="tree"))
        use.written = True
        if use.read and use.before != before:  # Python read what the cell had already written
            use.own = True

    def _add_seen(self, path: str, seen: Seen) -> None:
        use = self._uses.get(path)
        if use is None:
            if not (seen.read or seen.written):
                return
            use = self._uses[path] = Use(before=None, source="tree")
        if seen.read and not use.read:
            self._add_seen_read(path, use, seen)
        elif use.read and seen.fresh and self._is_new(use.before):
            use.own = True  # Python read what a child process had written in this cell
        use.written = use.written or seen.written

    def _add_seen_read(self, path: str, use: Use, seen: Seen) -> None:
        use.read = True
        key = None if seen.written or use.written else _key(path)
        # Writing through shared memory makes no event, but changes both times.
        if key is not None and min(key[3], key[4]) < self._began_ns:
            use.before = key
            use.own = self._is_product(path, key)
            use.old = self._debts.owe(path, key)
        else:  # the bytes that were read are gone: they are what this run, or the snapshot, saw last
            use.old = self._states.get(path)
            use.own = use.old is not None and use.old is self._products.get(path)
            use.snapshot = use.old is None and path not in self._foreign

    def _is_new(self, key: Key | None) -> bool:
        """Return whether a file in this state may have been changed since the cell began."""
        return key is not None and max(key[3], key[4]) >= self._began_ns - _CLOCK_NS

    def _matters(self, path: str, use: Use) -> bool:
        now = _key(path)
        if use.source == "python":
            if not use.written and use.read:
                use.written = now is not None and use.before is not None and now != use.before
            if use.read and use.before is None:
                use.read = use.own  # it did not exist when it was opened
            if use.read and now is not None and not os.access(path, os.R_OK):
                use.read = False  # the user's own attempt failed too
        if use.written and now is not None:
            use.new = self._products[path] = self._states[path] = Debt(now)
        if use.written and (now is None or self._paths.is_scratch(path)):
            use.written = False  # it was transient
            use.read = use.read and not use.own
        return use.read or use.written

    def _pending(self, uses: Mapping[str, Use]) -> Patch:
        add: dict[str, list[Any]] = {}
        for path, use in uses.items():
            if use.written and use.new is not None:
                use.new = self._products[path] = self._states[path] = self._debts.owe(path, use.new.key)
            elif use.old is not None:
                self._states[path] = use.old
            for access in use.accesses:
                pending = Content(use.before, None, None, "none", "pending")
                add.setdefault(f"{access}s", []).append(self._use_record(path, use, access, pending))
        return Patch(add=add)

    def _settle_cell(self, seq: int, uses: Mapping[str, Use]) -> None:
        add: dict[str, list[Any]] = {}
        for path, use in uses.items():
            for access in use.accesses:
                content = self._content_of(path, use, access)
                add.setdefault(f"{access}s", []).append(self._use_record(path, use, access, content))
                if access == "read":
                    self._tell(seq, path, use, content)
        self._context.emit(seq, Patch(add=add))
        self._tell_folders(path for path, use in uses.items() if use.written)

    def _tell_folders(self, written: Iterable[str]) -> None:
        """Name the folders that were there before the run wrote into them: git keeps no empty folder."""
        folders = {os.path.dirname(path) for path in written} & self._folders
        self._folders -= folders
        if folders:
            self._context.emit(None, Patch(add={"folders": sorted(self._paths.name(path) for path in folders)}))

    def _content_of(self, path: str, use: Use, access: str) -> Content:
        debt = use.old if access == "read" else use.new
        if debt is None and use.own:  # what the cell itself wrote, and then read
            debt = use.new
        if debt is not None:
            return self._debts.settle(path, debt)
        if use.snapshot and self._blob is not None and path in self._tracked:
            return self._contents.of_bytes(self._blob(self._tracked[path]))
        return Content(None, None, None, "none", "unstable")

    def _tell(self, seq: int, path: str, use: Use, content: Content) -> None:
        """Say now what would prevent a replay later."""
        name = self._paths.name(path)
        if content.state != "stable":
            was = "was gone before it could be hashed" if content.state == "missing" else "changed while in use"
            message, remedy = f"{name} {was}", "run the cell again while nothing else writes the file"
        elif content.stored == "none" and not use.own:
            message, remedy = _not_kept(name, content)
        else:
            return
        blocks = content.state != "stable" and not use.own
        self._context.gap(Gap(aspect=self.aspect, message=message, remedy=remedy, cell=seq, blocks=blocks))

    # -- small parts ----------------------------------------------------------------------------

    def _use_record(self, path: str, use: Use, access: str, content: Content) -> dict[str, object]:
        return self._file_use(path, access, content, use.source, own=access == "read" and use.own).to_dict()

    def _file_use(self, path: str, access: str, content: Content, source: str, own: bool = False) -> FileUse:
        return FileUse(
            path=self._paths.name(path),
            access=access,
            size=content.size,
            digest=content.digest,
            stored=content.stored,
            state=content.state,
            source=source,
            own=own,
        )

    def _begin_watching(self) -> None:
        self._background = threading.get_ident()
        try:
            self._watch = Watch(self._paths.project, self._skipped())
            self._folders = self._watch.folders() - {self._paths.project}
        except OSError as error:
            self._scanning = True
            message = f"the project's folders cannot be watched ({error.strerror or error})"
            self._context.gap(Gap(aspect=self.aspect, message=message, remedy="see `reprokit doctor`"))
        self._context.emit(None, Patch(set={"capture": self.capture().to_dict()}))

    def _announce(self, path: str) -> None:
        if self._watch is not None:
            self._watch.expect(path)

    def _skipped(self) -> frozenset[str]:
        return frozenset(os.path.realpath(path) for path in self._context.ignored)


def _key(path: str) -> Key | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return key_of(status) if stat.S_ISREG(status.st_mode) else None


def _not_kept(name: str, content: Content) -> tuple[str, str]:
    """Return why the bytes of a file are not kept, and what to do about it."""
    if redact.is_secret_file(name):
        return (
            f"{name} holds secrets: only its digest is kept",
            "a replay uses it as it lies there, while it is the same",
        )
    why = f"{name} ({_size(content.size)}) is above the storing limit: only its digest is kept"
    return why, "raise `store_limit` in [tool.reprokit], or track it with DVC"


def _size(size: int | None) -> str:
    return "unknown size" if size is None else f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"

"""The files probe: every file a cell reads and writes, with its digest at the time of use.

Python's own opens are heard before they happen (``audit``); what C libraries and child processes do
inside the project tree is seen by the kernel's events (``watch``) or, where there are none, by
comparing scans. Hashing happens in the background, but never too late: a file that is about to be
overwritten while its digest is still owed is hashed first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reprokit.capture.audit import Audit
from reprokit.capture.contents import Content, Contents
from reprokit.capture.paths import Paths
from reprokit.capture.probe import Context, Patch
from reprokit.capture.scan import Key, key_of, scan
from reprokit.capture.watch import Seen, Watch
from reprokit.records import Capture, FileUse, Gap

__all__ = ["Files"]

_AT_ONCE = 64 * 10**6  # bytes: what may be hashed on the user's path before it is overwritten (about 50 ms)
_SCANNED = 20_000  # files: beyond it a scan before and after each cell would be felt


@dataclass(slots=True)
class _Use:
    """What one cell did with one file so far."""

    before: Key | None  # the file's state when the cell first touched it
    read: bool = False
    own: bool = False
    written: bool = False
    source: str = "python"
    content: Content | None = None  # of what was read, once it is known


class Files:
    """Records which files each cell used."""

    aspect = "files"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._paths = Paths(context.project, context.ignored, context.settings.ignore)
        self._audit = Audit(self._on_file, self._on_network)
        self._watch: Watch | None = None
        self._contents = Contents(
            context.objects, context.settings.store_limit, self._announce, lambda: self._tracked
        )
        self._tracked: Mapping[str, tuple[int, str]] = {}
        self._open = False
        self._pid = os.getpid()
        self._began_ns = 0
        self._uses: dict[str, _Use] = {}
        self._hosts: set[str] = set()
        self._written: set[str] = set()  # by this run so far
        self._owed: dict[str, Key] = {}  # files whose bytes still have to be hashed
        self._before: dict[str, Key] | None = None
        self._scanning = False
        self._folders: set[str] = set()  # that existed at the start and were not told yet

    def start(self) -> Patch:
        """Begin to listen; the tree is watched once the code snapshot has read it."""
        self._audit.start()
        self._context.later(self._begin_watching)
        return Patch()

    def knows(self, tracked: Mapping[str, tuple[int, str]]) -> None:
        """Tell which files the code snapshot holds: absolute path → (size, git blob id)."""
        self._tracked = tracked

    def before_cell(self, seq: int) -> Patch:
        """Begin a cell: what happened since the last one is nobody's."""
        if self._watch is not None:
            self._watch.drain()
            if not self._owed:
                self._watch.settle()
        elif self._scanning:
            self._before = scan(self._paths.project, self._skipped(), _SCANNED)
        self._uses, self._hosts = {}, set()
        self._began_ns = time.time_ns()
        self._open = True
        return Patch()

    def after_cell(self, seq: int) -> Patch:
        """End a cell: name its files now, hash them in the background."""
        self._open = False
        self._see_tree()
        uses = {path: use for path, use in self._uses.items() if self._matters(path, use)}
        self._written.update(path for path, use in uses.items() if use.written)
        patch = self._pending(uses)
        if uses:
            self._context.later(lambda: self._settle_cell(seq, uses))
        return patch

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
            return Capture(tier="basic", reasons=("only files that Python itself opens are seen as read",))
        reasons = ["outside the project only files that Python itself opens are seen"]
        if self._watch.overflowed:
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
        if not self._paths.is_data(path):
            return
        use = self._uses.get(path)
        if use is None:
            use = self._uses[path] = _Use(before=_key(path))
        if access == "read" or (access == "update" and use.before is not None and not use.written):
            self._will_read(path, use)
        if access != "read":
            self._will_write(path, use, update=access == "update")

    def _on_network(self, address: str) -> None:
        local = address.startswith(("127.", "localhost", "/", "::1", "\0")) or not address
        if self._open and not local and os.getpid() == self._pid:
            self._hosts.add(address)

    def _will_read(self, path: str, use: _Use) -> None:
        if use.read:
            return
        use.read = True
        use.own = use.written or path in self._written
        if use.before is not None and not use.written:
            key = use.before
            self._owed[path] = key
            self._context.later(lambda: self._settle(path, key))

    def _will_write(self, path: str, use: _Use, *, update: bool) -> None:
        use.written = use.written or not update  # an update that changes nothing is none
        owed = self._owed.get(path)
        if owed is not None and owed[2] <= _AT_ONCE:
            content = self._settle(path, owed)
            if use.read and use.content is None and content.key == use.before:
                use.content = content

    def _settle(self, path: str, key: Key) -> Content:
        content = self._contents.of(path, key)
        if self._owed.get(path) == key:
            del self._owed[path]
        return content

    # -- the end of a cell ----------------------------------------------------------------------

    def _see_tree(self) -> None:
        """Add what the audit hook did not hear: C libraries and child processes."""
        if self._watch is not None:
            for path, seen in self._watch.drain().items():
                if self._paths.is_data(path):
                    self._add_seen(path, seen)
        elif self._before is not None:
            for path, key in (scan(self._paths.project, self._skipped(), _SCANNED) or {}).items():
                if self._before.get(path) != key and self._paths.is_data(path):
                    self._uses.setdefault(
                        path, _Use(before=self._before.get(path), source="tree")
                    ).written = True

    def _add_seen(self, path: str, seen: Seen) -> None:
        use = self._uses.get(path)
        if use is None:
            use = self._uses[path] = _Use(before=None, source="tree")
            use.read = (seen.read or seen.opened > 0) and not seen.first_written
            use.own = path in self._written
            if use.read and not seen.written:
                use.before = self._undisturbed(path)
        use.written = use.written or seen.written

    def _undisturbed(self, path: str) -> Key | None:
        """Return a file's state when it cannot have changed since the cell began."""
        key = _key(path)
        return key if key is not None and max(key[3], key[4]) < self._began_ns else None

    def _matters(self, path: str, use: _Use) -> bool:
        now = _key(path)
        if not use.written and use.read and use.source == "python":
            use.written = now is not None and use.before is not None and now != use.before
        if use.written and (now is None or self._paths.is_scratch(path)):
            use.written = False  # it was transient
            use.read = use.read and not use.own
        if use.read and use.before is None and use.source == "python":
            use.read = use.own  # it did not exist when it was opened
        return use.read or use.written

    def _pending(self, uses: Mapping[str, _Use]) -> Patch:
        add: dict[str, list[dict[str, object]]] = {}
        for path, use in uses.items():
            for access in _accesses(use):
                pending = Content(use.before, None, None, "none", "pending")
                add.setdefault(f"{access}s", []).append(self._use_record(path, use, access, pending))
            if use.written and (key := _key(path)) is not None:
                self._owed[path] = key
        if self._hosts:
            add["network"] = sorted(self._hosts)  # type: ignore[assignment]
        return Patch(add=add)

    def _settle_cell(self, seq: int, uses: Mapping[str, _Use]) -> None:
        add: dict[str, list[dict[str, object]]] = {}
        for path, use in uses.items():
            for access in _accesses(use):
                content = self._read_content(path, use) if access == "read" else self._written_content(path)
                add.setdefault(f"{access}s", []).append(self._use_record(path, use, access, content))
                self._tell(seq, path, access, content)
        self._context.emit(seq, Patch(add=add))
        self._tell_folders(path for path, use in uses.items() if use.written)

    def _tell_folders(self, written: Iterable[str]) -> None:
        """Name the folders that were there before the run wrote into them: git keeps no empty folder."""
        folders = {os.path.dirname(path) for path in written} & self._folders
        self._folders -= folders
        if folders:
            self._context.emit(
                None, Patch(add={"folders": sorted(self._paths.name(path) for path in folders)})
            )

    def _read_content(self, path: str, use: _Use) -> Content:
        if use.content is not None:
            return use.content
        if use.before is None and use.own:
            return self._contents.of(path)
        if use.before is None:
            return Content(None, None, None, "none", "unstable")
        return self._settle(path, use.before)

    def _written_content(self, path: str) -> Content:
        owed = self._owed.get(path)
        return self._contents.of(path) if owed is None else self._settle(path, owed)

    def _tell(self, seq: int, path: str, access: str, content: Content) -> None:
        """Say now what would prevent a replay later."""
        if access != "read":
            return
        name = self._paths.name(path)
        if content.state != "stable":
            message, remedy = (
                f"{name} changed while it was in use",
                "run the cell again while nothing else writes it",
            )
        elif content.stored == "none" and path not in self._written:
            message = f"{name} ({_size(content.size)}) is above the storing limit: only its digest is kept"
            remedy = "raise `store_limit` in [tool.reprokit], or keep the file unchanged"
        else:
            return
        blocks = content.state != "stable" and path not in self._written
        self._context.gap(Gap(aspect=self.aspect, message=message, remedy=remedy, cell=seq, blocks=blocks))

    # -- small parts ----------------------------------------------------------------------------

    def _use_record(self, path: str, use: _Use, access: str, content: Content) -> dict[str, object]:
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
        return frozenset(str(path) for path in self._context.ignored)


def _accesses(use: _Use) -> list[str]:
    return ["read"] * use.read + ["write"] * use.written


def _key(path: str) -> Key | None:
    try:
        return key_of(os.stat(path))
    except OSError:
        return None


def _size(size: int | None) -> str:
    return (
        "unknown size" if size is None else f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
    )

"""What a cell used, as it is recorded: one line for each file, or for a folder when they are very many.

It hashes what is still owed, and says what would prevent a replay. It does not know where uses come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

from reprokit.capture import redact
from reprokit.capture.files import datasets
from reprokit.capture.files.contents import Content, Contents
from reprokit.capture.files.paths import Paths
from reprokit.capture.files.uses import Debts, Use
from reprokit.digest import of_bytes
from reprokit.records import FileUse, Gap

__all__ = ["Rows", "file_use"]

_EACH = 8  # gaps of one kind in one cell: beyond it they are told together
_PENDING = Content(None, None, None, "none", "pending")


def file_use(name: str, access: str, content: Content, source: str, *, own: bool = False) -> FileUse:
    """Return the record of one file."""
    return FileUse(
        path=name,
        access=access,
        size=content.size,
        digest=content.digest,
        stored=content.stored,
        state=content.state,
        source=source,
        own=own,
    )


class Rows:
    """Makes the records of a cell's files.

    Args:
        paths: names them.
        contents: hashes and keeps them.
        debts: what is still owed.
        snapshot: returns the bytes that the code snapshot has for a path, if it has it.
        keep: keeps the bytes of a manifest and returns its digest.
        give_way: told how long one file took, in seconds; waits while the user needs the processor.
    """

    def __init__(
        self,
        paths: Paths,
        contents: Contents,
        debts: Debts,
        snapshot: Callable[[str], bytes | None],
        keep: Callable[[bytes], str],
        give_way: Callable[[float], None],
    ) -> None:
        self._paths = paths
        self._contents = contents
        self._debts = debts
        self._snapshot = snapshot
        self._keep = keep
        self._give_way = give_way

    def pending(self, uses: Mapping[str, Use]) -> dict[str, list[Any]]:
        """Return the records while nothing is hashed yet."""
        rows: dict[str, list[Any]] = {}
        for access, chosen in _by_access(uses).items():
            sure = [path for path in chosen if not uses[path].is_in_doubt(access)]
            singles = {path: self._row(path, uses[path], access, _PENDING) for path in sure}
            rows[f"{access}s"] = [use.to_dict() for use in self._gathered(access, singles, keep=False)]
        return rows

    def settled(self, seq: int, uses: Mapping[str, Use]) -> tuple[dict[str, list[Any]], list[Gap]]:
        """Hash all that is owed; return the records, to be told once ``Contents.sync`` was called, and the gaps."""
        rows: dict[str, list[Any]] = {}
        gaps: list[Gap] = []
        for path, use in uses.items():
            if use.written and use.doubtful and self._is_unchanged(path, use):
                use.written = use.grown = False
                use.read = use.read and not use.blind
            use.read = use.read or (use.grown and self._has_grown(path, use))
        for access, chosen in _by_access(uses).items():
            singles = {}
            for path in chosen:
                began = perf_counter()
                content = self._content_of(path, uses[path], access)
                self._give_way(perf_counter() - began)
                singles[path] = self._row(path, uses[path], access, content)
            if access == "read":
                gaps = _gaps(seq, list(singles.values()))
            rows[f"{access}s"] = [use.to_dict() for use in self._gathered(access, singles, keep=True)]
        return rows, gaps

    def named(self, paths: Iterable[str], access: str, folder: str | None = None) -> FileUse:
        """Return the record of a file, or of a folder with these files, that the user named; hashed now."""
        uses = [file_use(self._paths.name(path), access, self._contents.of(path), "named") for path in paths]
        if folder is None:
            found = uses[0]
        else:
            digest = self._manifest(uses)
            found = datasets.folder_use(self._paths.name(folder), access, uses, digest)
        self._contents.sync()
        return found

    def _manifest(self, uses: Sequence[FileUse]) -> str:
        """Keep the list of a dataset's files; who saw them is no part of it."""
        return self._keep(datasets.manifest([dataclasses.replace(use, source="") for use in uses]))

    def _row(self, path: str, use: Use, access: str, content: Content) -> FileUse:
        own = access == "read" and use.own
        return file_use(self._paths.name(path), access, content, use.source, own=own)

    def _gathered(self, access: str, singles: dict[str, FileUse], *, keep: bool) -> Iterable[FileUse]:
        """Yield the records, those of very many files below one folder as one."""
        for top, chosen in self._sides(singles):
            for folder, inside in datasets.gather(chosen, top).items():
                uses = [singles.pop(path) for path in inside]
                digest = self._manifest(uses) if keep else None
                name = "." if folder == self._paths.project else self._paths.name(folder)
                yield datasets.folder_use(name, access, uses, digest)
        yield from singles.values()

    def _sides(self, paths: Iterable[str]) -> list[tuple[str, list[str]]]:
        """Return the paths in the project and those outside, each with the folder that holds them."""
        sides: tuple[list[str], list[str]] = ([], [])
        for path in paths:
            sides[self._paths.inside(path)].append(path)
        return [("/", sides[0]), (self._paths.project, sides[1])]

    def _is_unchanged(self, path: str, use: Use) -> bool:
        if use.new is None:
            return False
        before = None
        if use.old is not None:
            before = self._debts.settle(use.old).digest
        elif use.snapshot and (data := self._snapshot(path)) is not None:
            before = of_bytes(data)
        return before is not None and before == self._debts.settle(use.new).digest

    def _has_grown(self, path: str, use: Use) -> bool:
        """Return whether a file that was changed, nobody knows how, begins as it did before: then it was an input."""
        if use.old is not None:
            before = self._debts.settle(use.old)
        elif use.snapshot and (data := self._snapshot(path)) is not None:
            before = self._contents.of_bytes(data)
        else:
            return False
        return self._contents.begins_as(path, before)

    def _content_of(self, path: str, use: Use, access: str) -> Content:
        debt = use.old if access == "read" else use.new
        if debt is None and use.own:  # what the cell itself wrote, and then read
            debt = use.new
        if debt is not None:
            return self._debts.settle(debt)
        if use.snapshot and access == "read" and (data := self._snapshot(path)) is not None:
            return self._contents.of_bytes(data)
        return Content(None, None, None, "none", "unstable")


def _by_access(uses: Mapping[str, Use]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path, use in uses.items():
        for access in use.accesses:
            found.setdefault(access, []).append(path)
    return found


# -- what would prevent a replay ------------------------------------------------------------------------


def _gaps(seq: int, reads: Sequence[FileUse]) -> list[Gap]:
    """Say now what would prevent a replay later."""
    kinds: dict[str, list[FileUse]] = {}
    for use in reads:
        kind = _kind(use)
        if kind:
            kinds.setdefault(kind, []).append(use)
    found = []
    for kind, uses in kinds.items():
        found += [_gap(seq, kind, use) for use in uses] if len(uses) <= _EACH else [_joint_gap(seq, kind, uses)]
    return found


def _kind(use: FileUse) -> str:
    if use.state != "stable":
        return "gone" if use.state == "missing" else "changed"
    if use.stored != "none" or use.own:
        return ""
    return "secret" if redact.is_secret_file(use.path) else "large"


_WHAT = {
    "gone": ("was gone before it could be hashed", "run the cell again while nothing else writes the file"),
    "changed": ("changed while in use", "run the cell again while nothing else writes the file"),
    "secret": (
        "holds secrets: only its digest is kept",
        "a replay uses it as it lies there, while it is the same",
    ),
    "large": (
        "is above the storing limit: only its digest is kept",
        "`%repro data {path} --store` or track it with DVC",
    ),
}


def _gap(seq: int, kind: str, use: FileUse) -> Gap:
    what, remedy = _WHAT[kind]
    size = f" ({_size(use.size)})" if kind == "large" else ""
    unkept = kind == "large"
    return Gap(
        aspect="files",
        message=f"{use.path}{size} {what}",
        remedy=remedy.format(path=use.path),
        cell=seq,
        blocks=kind in ("gone", "changed") and not use.own,
        path=use.path if unkept else None,
        digest=use.digest if unkept else None,
    )


def _joint_gap(seq: int, kind: str, uses: Sequence[FileUse]) -> Gap:
    names = ", ".join(use.path for use in uses[:3])
    what, remedy = _WHAT[kind]
    return Gap(
        aspect="files",
        message=f"each of {len(uses):,} files ({names}, …) {what}",
        remedy=remedy.format(path=uses[0].path),
        cell=seq,
        blocks=any(_gap(seq, kind, use).blocks for use in uses),
    )


def _size(size: int | None) -> str:
    return "unknown size" if size is None else f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"

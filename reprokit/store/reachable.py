"""Which objects the records of a store name, and which of them a run cannot do without.

Two answers for two questions. ``named`` is generous: every digest in any record counts, whatever it stands for, also in
files of parts that this module does not know; what it leaves out can be removed. ``needed`` is strict: what must be in
the store for a run to be whole. It only reads, and does not know git.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from reprokit.digest import PREFIX
from reprokit.errors import StoreError
from reprokit.records import FileUse, Run
from reprokit.store.layout import Layout
from reprokit.store.objects import Objects

__all__ = ["Read", "members", "named", "named_in", "needed"]

Read = Callable[[str], bytes]  # the content that a digest names

_DIGEST = re.compile(rb"sha256:([0-9a-f]{64})(?![0-9a-f])")
_A_FOLDER = re.compile(rb'"files": ?[1-9]')  # a dataset: its digest names a list, which names the files
_RECORDS = (".json", ".jsonl")


def named(layout: Layout, objects: Objects, *, without: frozenset[str] = frozenset(), locks: bool = True) -> set[str]:
    """Return the digests that any record of a store names.

    Args:
        layout: the store.
        objects: its objects: the lists of datasets are read.
        without: runs that do not count.
        locks: whether the locks of environments count.

    Raises:
        StoreError: a record cannot be read, so that what it names is not known.
    """
    found: set[str] = set()
    for file in _records(layout, without, locks):
        found |= named_in(file, objects)
    return found


def named_in(file: Path, objects: Objects) -> set[str]:
    """Return the digests that one file of records names; none when it is gone.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return set()
    except OSError as error:
        remedy = "see that you may read all of the store"
        raise StoreError(f"{file} cannot be read ({error})", path=file, remedy=remedy) from error
    found = _digests(text)
    for digest in _lists(text):
        found |= _digests(_bytes(objects, digest))
    return found


def needed(run: Run, objects: Objects) -> dict[str, str]:
    """Return what must be in the store for a run to be whole: digest → what it is, such as a path.

    The files of a dataset are among them when its list can be read.
    """
    found: dict[str, str] = {}
    for cell in run.cells:
        if cell.outputs is not None:
            found[cell.outputs] = f"outputs of cell {cell.seq}"
        for state in cell.random:
            found.update((digest, f"state of {name} in cell {cell.seq}") for name, digest in state.states.items())
        found.update((use.digest, use.url) for use in cell.remote if use.stored == "object" and use.digest)
    for use in _uses(run, objects):
        if use.digest is not None and (use.stored == "object" or use.files):
            found[use.digest] = use.path
    return found


def _uses(run: Run, objects: Objects) -> Iterator[FileUse]:
    codes = [code for code in (run.code, *run.codes) if code is not None]
    while codes:
        code = codes.pop()
        yield from code.large
        codes += code.submodules
    for module in run.modules:
        yield from module.files
    yield from run.artifacts
    for cell in run.cells:
        yield from cell.edits
        for use in (*cell.reads, *cell.writes):
            yield use
            yield from (members(use, objects.get_bytes) or ()) if use.files else ()


def members(use: FileUse, read: Read) -> list[FileUse] | None:
    """Return the files of a folder used as one dataset; None when its list is gone or is none."""
    if use.digest is None:
        return None
    try:
        files = [FileUse.from_dict(item) for item in json.loads(read(use.digest))]
    except (StoreError, ValueError, TypeError, RecursionError):
        return None
    return files if all(_belongs(file, use) for file in files) else None


def _belongs(file: FileUse, folder: FileUse) -> bool:
    """A record may come from elsewhere: a list names files in its folder, and no others."""
    top = "" if folder.path == "./" else folder.path
    return file.path.startswith(top) and ".." not in file.path.split("/") and not file.files


def _bytes(objects: Objects, digest: str) -> bytes:
    try:
        return objects.get_bytes(digest)
    except (StoreError, ValueError):  # gone or damaged: it names nothing that could be told
        return b""


def _records(layout: Layout, without: frozenset[str], locks: bool) -> Iterator[Path]:
    """Yield every file that may name objects."""
    repositories = {path.name for path in (layout.code_git, layout.pulled_git(), layout.pulled_git(64))}
    apart = {layout.objects.name, layout.trash.name, layout.damaged.name} | repositories
    apart |= set() if locks else {layout.locks.name}
    for entry in sorted(layout.root.iterdir()):
        if entry == layout.runs:
            for name in layout.run_names():
                yield from _files(entry / name) if name not in without else ()
        elif entry.name not in apart:
            yield from _files(entry)


def _files(top: Path) -> Iterable[Path]:
    if not top.is_dir():
        return [top] if top.suffix in _RECORDS else []
    return [
        Path(folder, name)
        for folder, _, names in os.walk(top, onerror=_refuse)
        for name in names
        if name.endswith(_RECORDS)
    ]


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        path = Path(error.filename)
        remedy = "see that you may read all of the store"
        raise StoreError(f"{path} cannot be read ({error})", path=path, remedy=remedy) from error


def _digests(text: bytes) -> set[str]:
    return {PREFIX + name.decode("ascii") for name in _DIGEST.findall(text)}


def _lists(text: bytes) -> set[str]:
    """Return the digests of datasets' lists: those of values that count ``files``."""
    if not _A_FOLDER.search(text):
        return set()
    found: set[str] = set()
    for line in text.split(b"\n"):
        if _A_FOLDER.search(line):
            start = line.find(b"{")
            try:
                found |= set(_datasets(json.loads(line[start:])))
            except (ValueError, RecursionError):  # several lines long, torn, or too deep: every digest may be a list's
                found |= _digests(text)
    return found


def _datasets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if (
            value.get("files")
            and isinstance(value["files"], int)
            and _DIGEST.fullmatch(str(value.get("digest")).encode())
        ):
            yield value["digest"]
        for item in value.values():
            yield from _datasets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _datasets(item)

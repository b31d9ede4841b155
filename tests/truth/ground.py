"""What each cell does to files when nobody watches: the truth that capture is held to.

A file is *read* by a cell when bytes of it, as they were before the cell, were read or mapped, or stayed in a file
that the cell changed in part (what is appended to, say): a replay needs them. It is *written* when the cell put bytes
there and it is still there at the cell's end. What a cell reads back of what it wrote itself, and what it makes and
removes again, is neither needed nor wrong in a record. A look at a folder, an opening without a read and a removal
are no uses.

What is data is told from noise by folder and suffix alone, and not by the code that is being judged.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import strace
from kernel_runs import Place, plain_kernel, sources_of
from known_cells import KnownCell
from strace import MARK, Event

__all__ = ["EMPTY", "Truth", "contents", "name_of", "run_traced"]

Digests = dict[str, str]  # a file's name → SHA-256 of its bytes

_DATA = ("project", "outside", "home/data")
_CODE = (".py", ".pyc", ".so", ".ipynb")
_NOISE = frozenset({".git", ".reprokit", "__pycache__", ".ipynb_checkpoints"})
#: The digest of no bytes.
EMPTY = "sha256:" + hashlib.sha256().hexdigest()
# A cell may run others inside it (`%%capture`, say): only the outermost is marked.
_MARKING = f"""
import os as _os
_open = []
def _mark(info):
    if not _open:
        _os.access({MARK!r}, 0)
    _open.append(info)
get_ipython().events.register("pre_run_cell", _mark)
get_ipython().events.register("post_run_cell", lambda result: _open and _open.pop())
"""


@dataclass(slots=True)
class Truth:
    """What one cell did.

    Attributes:
        reads: files it used, with the digest of the bytes it used.
        writes: files it wrote, with the digest of the bytes it left.
        harmless: what a record may name besides, as (file, access).
    """

    reads: Digests = field(default_factory=dict)
    writes: Digests = field(default_factory=dict)
    harmless: set[tuple[str, str]] = field(default_factory=set)


def run_traced(place: Place, cells: Sequence[KnownCell]) -> list[Truth]:
    """Run the cells in one ordinary kernel under strace and return what each did."""
    log = place.root / "strace.log"
    before: list[Digests] = []
    with plain_kernel(place, prefix=strace.command(log)) as kernel:
        for source in (_MARKING, *sources_of(place, cells)):
            before.append(contents(place.root))
            kernel.run(source)
        before.append(contents(place.root))
    # The first two are the marking itself, which comes before its own mark, and the imports.
    judged = [*_split(strace.events(log, place.project))][1:]
    assert len(judged) == len(cells), f"{len(judged)} cells were marked, and {len(cells)} ran"
    return [_truth(happened, place.root, *before[n + 2 : n + 4]) for n, happened in enumerate(judged)]


def _split(happened: Iterable[Event]) -> Iterator[list[Event]]:
    """Yield what happened in each marked cell; what came before the first mark is left out."""
    open_cell: list[Event] | None = None
    for event in happened:
        if event.what == "cell":
            if open_cell is not None:
                yield open_cell
            open_cell = []
        elif open_cell is not None:
            open_cell.append(event)
    if open_cell is not None:
        yield open_cell


def contents(root: Path) -> Digests:
    """Return the digest of every data file by name."""
    found = {}
    for folder in _DATA:
        for at, names, files in os.walk(root / folder):
            names[:] = [name for name in names if name not in _NOISE]
            for file in files:
                path = os.path.join(at, file)
                if not file.endswith(_CODE) and not os.path.islink(path):
                    found[name_of(path, root)] = _digest(path)
    return found


def name_of(path: str, root: Path) -> str:
    """Return what a file is called here: relative to the project, with all links followed."""
    return os.path.relpath(os.path.realpath(path), root / "project")


def _digest(path: str) -> str:
    return "sha256:" + hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _is_data(name: str) -> bool:
    folders = name.split("/")
    inside = folders[0] != ".." or name.startswith(("../outside/", "../home/data/"))
    return inside and not name.endswith(_CODE) and _NOISE.isdisjoint(folders)


def _truth(happened: Iterable[Event], root: Path, before: Digests, after: Digests) -> Truth:
    cell = _Replayed(before, after)
    for event in happened:
        if event.path.startswith(str(root) + "/"):
            cell.take(event, name_of(event.path, root), name_of(event.target or event.path, root))
    # A store into memory that an earlier cell mapped is no call: only the bytes tell.
    for name in before.keys() & after.keys() - cell.writes:
        if before[name] != after[name]:
            cell.take(Event("write"), name)
    reads = {name: before[name] for name in cell.reads if _is_data(name)}
    writes = {name: after[name] for name in cell.writes if _is_data(name) and name in after}
    harmless = {(name, "read") for name in cell.fresh} | {(name, "write") for name in cell.writes | cell.linked}
    return Truth(reads, writes, harmless)


class _Replayed:
    """Follows one cell, call by call."""

    def __init__(self, before: Digests, after: Digests) -> None:
        self._before, self._after = before, after
        self._there = set(before)
        self.reads: set[str] = set()
        self.writes: set[str] = set()
        self.fresh: set[str] = set()  # with nothing left of what was there before the cell
        self.linked: set[str] = set()

    def take(self, event: Event, name: str, target: str = "") -> None:
        """Take in the next call, with what its files are called here."""
        if event.what == "open":
            self._open(name, event.flags)
        elif event.what == "read":
            self._use(name)
        elif event.what == "write":
            self._change(name)
        elif event.what == "map":
            self._map(name, event.flags)
        elif event.what == "truncate":
            self._truncate(name, event.size)
        elif event.what in ("rename", "link"):
            self._rename(name, target, keep=event.what == "link")
        elif event.what == "symlink":
            self.linked.add(name)
        elif event.what == "unlink":
            self._there.discard(name)

    def _open(self, name: str, flags: frozenset[str]) -> None:
        made = "O_CREAT" in flags and name not in self._there
        if made or "O_TRUNC" in flags:
            self._there.add(name)
            self.fresh.add(name)
            self.writes.add(name)

    def _use(self, name: str) -> None:
        if name in self._before and name not in self.fresh:
            self.reads.add(name)

    def _change(self, name: str) -> None:
        if self._before.get(name) == EMPTY:
            self.fresh.add(name)
        self._use(name)
        self.writes.add(name)

    def _map(self, name: str, flags: frozenset[str]) -> None:
        self._use(name)
        # A store into memory is no call: only the bytes tell.
        if {"MAP_SHARED", "PROT_WRITE"} <= flags and self._before.get(name) != self._after.get(name):
            self.writes.add(name)

    def _truncate(self, name: str, size: int) -> None:
        if size:
            self._change(name)
        else:
            self.fresh.add(name)
            self.writes.add(name)

    def _rename(self, name: str, target: str, *, keep: bool) -> None:
        for old in [one for one in self._there if one == name or one.startswith(name + "/")]:
            new = target + old[len(name) :]
            self._use(old)
            self.writes.add(new)
            self.fresh.add(new)
            self._there.add(new)
            if not keep:
                self._there.discard(old)

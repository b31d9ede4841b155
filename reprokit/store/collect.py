"""What of a store can go, and how: a kill at any moment leaves a sound store, and nothing that is in use is lost.

A run goes before its objects: its folder is moved into the trash by one rename, and only then is asked what the runs
that stay name. An object that no record names may be about to be named by a run that is written at this moment, so it
stays while it is young: a writer that wants an old object makes it young first (see ``objects.FRESH_S``), and one that
does so while the object goes finds it gone, or gets it back. Knows runs, objects, locks and marks; it does not know git
or environments.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reprokit.digest import PREFIX
from reprokit.errors import StoreError
from reprokit.records import Run
from reprokit.records.upkeep import Removable
from reprokit.store import checkpoints, origin
from reprokit.store.layout import Layout
from reprokit.store.lock import exclusive
from reprokit.store.reachable import named, named_in
from reprokit.store.store import Store
from reprokit.store.summary import Summary

__all__ = ["Choice", "Collection", "choose", "collecting", "held", "put_back"]

_GRACE_S = 3600.0  # nobody takes longer between an object and the record that names it, unless a run is open
_CLOCKS_S = 60.0  # how far the clocks of the machines that share a store may be apart
_RESUMED_S = 7 * 86400.0  # a pull that was cut off goes on where it was, if it does so within a week
_CHECKED = 5  # replays that checks made, kept for each pinned run
_DAY_S = 86400.0
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which runs the user wants removed: those that are older, and beyond the newest so many; neither: none."""

    older_than: float | None = None  # days
    keep: int | None = None


def choose(runs: Sequence[Summary], pins: Iterable[str], choice: Choice, now: float) -> dict[str, str]:
    """Return the runs to remove, oldest first, each with why.

    A pinned run, an open one, and one that a kept run repeats, or took its results from, are never among them.

    Args:
        runs: all runs, newest first.
        pins: the ids of those that are pinned.
        choice: what the user asked for.
        now: the present, in seconds after the epoch.
    """
    pinned = set(pins)
    originals = [run.id for run in runs if run.replay_of is None]
    newest = set(originals[: choice.keep or 0])
    unwanted = dict(_unwanted(runs, newest, choice, now)) | dict(_checks(runs, pinned))
    kept = {run.id for run in runs if run.id not in unwanted or run.id in pinned or run.status == "running"}
    repeats = {run.id: run.replay_of or run.reuse_of for run in runs}
    for run_id in list(kept):
        while (original := repeats.get(run_id)) is not None and original not in kept:
            kept.add(original)
            run_id = original
    return {run.id: unwanted[run.id] for run in reversed(runs) if run.id not in kept}


def _unwanted(runs: Sequence[Summary], newest: set[str], choice: Choice, now: float) -> Iterator[tuple[str, str]]:
    if choice.older_than is None and choice.keep is None:
        return
    for run in runs:
        days = (now - run.started) / _DAY_S
        old = choice.older_than is None or days > choice.older_than
        if old and run.id not in newest and run.replay_of not in newest:
            yield run.id, f"{days:.0f} days old"


def _checks(runs: Sequence[Summary], pinned: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the replays that checks of pinned runs made, but for the newest of each."""
    seen: dict[str, int] = {}
    for run in runs:
        if run.replay_of in pinned and run.tags.get("made-by") == "check":
            seen[run.replay_of or ""] = seen.get(run.replay_of or "", 0) + 1
            if seen[run.replay_of or ""] > _CHECKED:
                yield run.id, f"made by a check of {run.replay_of}, and {_CHECKED} newer ones are kept"


@contextmanager
def collecting(store: Store) -> Iterator[Collection]:
    """Hold the place of the one who collects; another waits for it.

    Raises:
        StoreError: the store cannot be written.
    """
    path = store.layout.root / "gc.lock"
    with exclusive(path):
        os.utime(path)  # the time as the store's filesystem has it
        yield Collection(store, path.stat().st_mtime)


class Collection:
    """One collection of what a store does not need any more.

    Args:
        store: the store.
        now: the present, by the clock of the filesystem.
    """

    def __init__(self, store: Store, now: float) -> None:
        self.store = store
        self.now = now
        self._layout: Layout = store.layout
        # Before any record is read: a run that ends meanwhile has named its objects by then.
        self._open = self.store.runs(query="status=running")
        self._young = min([now, *(run.started for run in self._open)]) - _GRACE_S - _CLOCKS_S

    def runs(self, choice: Choice) -> list[Removable]:
        """Return the runs to remove; see ``choose``.

        One that cannot be read stays, as who needs it is not known; and so does one that is just being made.
        """
        chosen = choose(self.store.runs(), self.store.pins(), choice, self.now)
        return [
            Removable(kind="run", name=run_id, size=_size(self._layout.run_folder(run_id)), why=why)
            for run_id, why in chosen.items()
            if (run := self._run(run_id)) is not None and (run.writers or run.started < self.now - _GRACE_S)
        ]

    def rest(self, runs: Iterable[Removable]) -> list[Removable]:
        """Return what no record names any more once these runs are gone.

        Raises:
            StoreError: a record cannot be read: what it names is not known, and nothing can go.
        """
        without = frozenset(item.name for item in runs)
        used = named(self._layout, self.store.objects, without=without, locks=False)
        locks: list[Removable] = []
        for path in sorted(self._layout.locks.glob("*.json")):
            idle = PREFIX + path.stem not in used and not self._open and path.stat().st_mtime < self._young
            if idle:
                locks.append(self._removable("lock", path, "no run has its environment"))
            else:
                used |= named_in(path, self.store.objects)
        return [*self._drafts(), *self._marks(without), *self._checkpoints(without), *locks, *self._objects(used)]

    def remove_run(self, item: Removable, forget: Callable[[Run], bool]) -> bool:
        """Remove a run; return whether it went (not when it was pinned just now, or somebody was faster).

        Args:
            item: the run.
            forget: removes what it has outside the store's folders; tells whether it could.
        """
        place = self._layout.trash / "runs" / item.name
        place.parent.mkdir(parents=True, exist_ok=True)
        run = self._run(item.name)
        if run is None:
            return False
        self._layout.run_folder(item.name).rename(place)
        if item.name in self.store.pins():
            place.rename(self._layout.run_folder(item.name))
            return False
        self._end(place, run, forget)
        return True

    def remove(self, item: Removable) -> bool:
        """Remove an object, a draft, a lock or marks; return whether it went (not when somebody wants it again)."""
        if item.kind == "object":
            path = self.store.objects.path(item.name)
            return self._aside(path, "objects", lambda aside: aside.stat().st_mtime >= self._young)
        path = self._layout.root / item.name
        if item.kind == "checkpoint":
            return checkpoints.remove(self.store.objects, path)
        if item.kind == "lock":
            runs = set(self._layout.run_names())
            return self._aside(path, "locks", lambda _: not runs.issuperset(self._layout.run_names()))
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        return True

    def finish_others(self, forget: Callable[[Run], bool]) -> list[Removable]:
        """Finish what killed collections began; return the runs that were on their way out."""
        done = []
        thrown = Store(Layout(self._layout.project, self._layout.trash), self.store.settings)
        for place in _listed(self._layout.trash / "runs"):
            done.append(Removable(kind="run", name=place.name, size=_size(place), why="its removal was cut off"))
            self._end(place, origin.applied(thrown.load(place.name), self._layout), forget)
        put_back(self.store)
        for path in (*_listed(self._layout.trash / "objects"), *_listed(self._layout.trash / "locks")):
            path.unlink()
        return done

    def _end(self, place: Path, run: Run, forget: Callable[[Run], bool]) -> None:
        """Remove all of a run that lies in the trash; its record goes last, since it says what there is."""
        shutil.rmtree(self._layout.marks / run.id, ignore_errors=True)
        if forget(run):
            (self._layout.origins / f"{run.id}.json").unlink(missing_ok=True)
            shutil.rmtree(place)

    def _run(self, run_id: str) -> Run | None:
        try:
            return self.store.load(run_id)
        except StoreError:
            return None

    def _objects(self, used: set[str]) -> Iterator[Removable]:
        for digest, status in held(self._layout):
            if digest not in used and status.st_mtime < self._young:
                yield Removable(kind="object", name=digest, size=status.st_size, why="no record names it")

    def _drafts(self) -> Iterator[Removable]:
        """Yield files that were never finished."""
        layout = self._layout
        for path in (*layout.objects.glob("tmp-*"), *layout.locks.glob(".*"), *layout.root.glob(".*-*")):
            if path.is_file() and path.stat().st_mtime < self._young:
                yield self._removable("draft", path, "it was never finished")
        for folder in _listed(layout.incoming):
            if max(path.stat().st_mtime for path in (folder, *folder.glob("*"))) < self.now - _RESUMED_S:
                yield self._removable("draft", folder, "it was never finished")

    def _marks(self, without: frozenset[str]) -> Iterator[Removable]:
        """Yield the marks of runs that are gone; a pin stays, so that its run is missed."""
        pins = self.store.pins()
        for folder in _listed(self._layout.marks):
            gone = not (self._layout.runs / folder.name).exists()
            if gone and folder.name not in pins and folder.stat().st_mtime < self._young:
                yield self._removable("marks", folder, "their run is gone")

    def _checkpoints(self, without: frozenset[str]) -> Iterator[Removable]:
        """Yield the checkpoints of runs that need not be resumed any more, and those beyond the newest few."""
        runs = self.store.runs(query="kind=batch")
        ended = {run.resumed_from for run in runs if run.status == "done"}
        resumable = {run.id for run in runs if run.status != "done"} - ended
        resumable |= {run.id for run in self._open}
        for note, why in checkpoints.obsolete(self._layout, resumable, self.store.settings.checkpoints):
            if note.path.parent.parent.name not in without:
                name = str(note.path.relative_to(self._layout.root))
                yield Removable(kind="checkpoint", name=name, size=note.size, why=why)

    def _removable(self, kind: str, path: Path, why: str) -> Removable:
        return Removable(kind=kind, name=str(path.relative_to(self._layout.root)), size=_size(path), why=why)

    def _aside(self, path: Path, folder: str, is_wanted: Callable[[Path], bool]) -> bool:
        """Take a file away, look whether somebody wants it since, and only then remove it."""
        aside = self._layout.trash / folder / (path.name if folder == "locks" else f"{path.parent.name}{path.name}")
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(aside)
        except FileNotFoundError:
            return False
        if is_wanted(aside):
            aside.rename(path)
            return False
        aside.unlink()
        return True


def put_back(store: Store) -> list[str]:
    """Put back what a collection that was killed had taken away though a record names it; return the names."""
    layout = store.layout
    objects, locks = (_listed(layout.trash / name) for name in ("objects", "locks"))
    if not objects and not locks:
        return []
    used = named(layout, store.objects)
    pairs = [(path, store.objects.path(PREFIX + path.name), PREFIX + path.name) for path in objects]
    pairs += [(path, layout.locks / path.name, PREFIX + path.stem) for path in locks]
    back = [(path, target) for path, target, name in pairs if name in used and not target.exists()]
    for path, target in back:
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return [str(target) for _, target in back]


def held(layout: Layout) -> Iterator[tuple[str, os.stat_result]]:
    """Yield digest and status of each object that lies in a store, by name."""
    for folder in _listed(layout.objects):
        if len(folder.name) == 2 and folder.is_dir():
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                if _HEX.fullmatch(folder.name + entry.name):
                    with contextlib.suppress(FileNotFoundError):
                        yield f"{PREFIX}{folder.name}{entry.name}", entry.stat(follow_symlinks=False)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    files = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)  # noqa: PTH118
    total = 0
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            total += os.lstat(file).st_size
    return total

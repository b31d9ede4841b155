"""What can be removed of a store and of what its replays made, and the removing of it, in an order that survives kills.

Decides with the help of those who know their things, then does; it knows the order alone: what killed processes left,
runs, then what no record names any more, and the caches at last.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reprokit.errors import GitError
from reprokit.records import Run
from reprokit.records.upkeep import Removable
from reprokit.replay import built, environment, leftovers, snapshots
from reprokit.store.collect import Choice, Collection, collecting
from reprokit.store.store import Store

__all__ = ["Swept", "clean", "removable"]

_UNUSED_DAYS = 30.0  # an environment that nobody used for so long can be built again when it is wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What was removed, and what was to be but is wanted again or in use."""

    removed: tuple[Removable, ...]
    kept: tuple[Removable, ...] = ()


def removable(store: Store, choice: Choice) -> list[Removable]:
    """Return what ``clean`` would remove; nothing is changed.

    Raises:
        StoreError: a record cannot be read.
    """
    found = [*leftovers.found(store), *_environments()]
    if store.layout.exists():
        with collecting(store) as collection:
            runs = collection.runs(choice)
            found += [*runs, *collection.rest(runs)]
    return found


def clean(store: Store, choice: Choice, progress: Callable[[str], None] = lambda _: None) -> Swept:
    """Remove what nobody needs any more.

    Raises:
        StoreError: a record cannot be read; what it names is not known, and no object is removed.
    """
    swept = _Sweep()
    progress("looking for what killed processes left")
    for item in leftovers.found(store):
        leftovers.remove(item)
        swept.add(item, True)
    if store.layout.exists():
        with collecting(store) as collection:
            _collect(store, collection, choice, swept, progress)
    for item in _environments():
        swept.add(item, built.remove(Path(item.name), _long_ago()))
    return Swept(removed=tuple(swept.removed), kept=tuple(swept.kept))


def _collect(
    store: Store, collection: Collection, choice: Choice, swept: _Sweep, progress: Callable[[str], None]
) -> None:
    forget = partial(_forget, store)
    swept.removed += (runs := collection.finish_others(forget))
    for item in collection.runs(choice):
        progress(f"removing {item.name}")
        swept.add(item, collection.remove_run(item, forget))
    progress("reading what the records name")
    for item in collection.rest(()):  # as it is now: a run may have been pinned meanwhile, and stayed
        swept.add(item, collection.remove(item))
    store.index.sync()
    if runs or any(item.kind == "run" for item in swept.removed):
        progress("letting git tidy up")
        with contextlib.suppress(GitError):  # it can be done another day
            snapshots.tidy(store)


@dataclass(slots=True)
class _Sweep:
    removed: list[Removable] = field(default_factory=list)
    kept: list[Removable] = field(default_factory=list)

    def add(self, item: Removable, went: bool) -> None:
        (self.removed if went else self.kept).append(item)


def _environments() -> Iterator[Removable]:
    for target in built.unused(environment.cache_folder(), _long_ago()):
        why = f"not used for {_UNUSED_DAYS:.0f} days, or never finished"
        yield Removable(kind="environment", name=str(target), size=_size(target), why=why)


def _size(folder: Path) -> int:
    """Return what removing a folder gives back; files that are linked from elsewhere (uv's cache) do not count."""
    return sum(status.st_size for path in folder.rglob("*") if (status := path.lstat()).st_nlink == 1)


def _long_ago() -> float:
    return time.time() - _UNUSED_DAYS * 86400


def _forget(store: Store, run: Run) -> bool:
    """Let go of a run's snapshots; return whether that could be done: the next collection tries again."""
    try:
        snapshots.forget(run, store.layout.project)
    except GitError:
        return False
    return True

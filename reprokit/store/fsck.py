"""Whether a store is as it was written: every line, every object, every lock, and the index.

What is damaged is named with the runs that need it and with what to do. Mended is only what follows from what is still
sound: the index, from the journals; a damaged object, by moving it aside, so that it can come again; an object that is
gone, from a file of the project that still has its bytes. Knows the store; snapshots in git are looked at elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reprokit.digest import hex_of, is_file_named, of_file
from reprokit.errors import SchemaError, StoreError
from reprokit.records import Run
from reprokit.records.upkeep import Damage
from reprokit.store import collect, journal
from reprokit.store.layout import is_run_id
from reprokit.store.reachable import needed
from reprokit.store.store import Store
from reprokit.store.summary import summarize

__all__ = ["damages", "locks", "runs"]

_BATCH = 256  # objects that are read at a time before the next are listed
_AGAIN = "`reprokit pull` it from a remote that has it, or capture the run again"

Progress = Callable[[str, int, int], None]


def damages(
    store: Store,
    found: Mapping[str, Run],
    *,
    quick: bool = False,
    repair: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Iterator[Damage]:
    """Yield what is not as it was written.

    Args:
        store: the store.
        found: its runs by id, those that can be read.
        quick: look only whether objects are there, and do not read them.
        repair: mend what follows from what is sound.
        progress: is told what goes on.
    """
    if repair:
        for name in collect.put_back(store):
            yield Damage(kind="object-missing", where=name, message="it was in the trash", repaired="put back")
    yield from _journals(store)
    wanted = _wanted(store, found)
    if not quick:
        yield from _corrupt(store, wanted, repair, progress)
    yield from _missing(store, found, wanted, repair)
    yield from locks(store)
    yield from _index(store, found, repair)


def runs(store: Store) -> dict[str, Run]:
    """Return the runs that can be read, by id."""
    found = {}
    for run_id in sorted(filter(is_run_id, store.layout.run_names())):
        try:
            found[run_id] = store.load(run_id)
        except StoreError:  # told by `damages`
            continue
    return found


def _journals(store: Store) -> Iterator[Damage]:
    for top, remedy in ((store.layout.runs, _JOURNAL), (store.layout.marks, _MARK)):
        for path in sorted(top.glob("*/*.jsonl")):
            if path.name == "experiments.jsonl":  # a cache of what `explain` tried, with rules of its own
                continue
            run_id = path.parent.name
            try:
                _, line = journal.scan(path)
            except OSError as error:
                yield Damage(kind="journal", where=str(path), message=str(error), remedy=_READABLE, runs=(run_id,))
                continue
            if line is not None:
                message = f"line {line} is damaged; nothing after it is believed"
                yield Damage(kind="journal", where=str(path), message=message, remedy=remedy, runs=(run_id,))
    for run_id in sorted(filter(is_run_id, store.layout.run_names())):
        try:
            store.load(run_id)
        except SchemaError as error:
            where = str(store.layout.run_folder(run_id))
            yield Damage(kind="journal", where=where, message=error.message, remedy=error.remedy, runs=(run_id,))
        except StoreError as error:
            where = str(store.layout.run_folder(run_id))
            yield Damage(kind="journal", where=where, message=error.message, remedy=_JOURNAL, runs=(run_id,))


_READABLE = "see that you may read all of the store"
_JOURNAL = "get the run's folder from a copy, or `reprokit pull` it; what is before the line is still shown"
_MARK = "get the file from a copy, or remove it and pin or tag the run again"


def _wanted(store: Store, found: Mapping[str, Run]) -> dict[str, tuple[str, list[str]]]:
    """Return what the runs need: digest → what it is, and for which of them."""
    wanted: dict[str, tuple[str, list[str]]] = {}
    for run in found.values():
        for digest, what in needed(run, store.objects).items():
            wanted.setdefault(digest, (what, []))[1].append(run.id)
    return wanted


def _corrupt(
    store: Store, wanted: Mapping[str, tuple[str, list[str]]], repair: bool, progress: Progress
) -> Iterator[Damage]:
    """Read every object, on all cores, and yield those whose bytes are not those of their names."""
    digests = [digest for digest, _ in collect.held(store.layout)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(digests), _BATCH):
            progress("reading objects", start, len(digests))
            batch = digests[start : start + _BATCH]
            for digest, right in zip(batch, pool.map(lambda name: _is_right(store, name), batch), strict=True):
                if not right:
                    what, needing = wanted.get(digest, ("", []))
                    yield _damaged(store, digest, what, tuple(needing), repair)


def _is_right(store: Store, digest: str) -> bool:
    try:
        return of_file(store.objects.path(digest)) == digest
    except FileNotFoundError:  # removed meanwhile
        return True
    except OSError:
        return False


def _damaged(store: Store, digest: str, what: str, needing: tuple[str, ...], repair: bool) -> Damage:
    message = f"the bytes kept as {digest} are others" + (f" ({what})" if what else ", and nothing needs them")
    done = ""
    if repair:
        store.layout.damaged.mkdir(exist_ok=True)
        store.objects.path(digest).rename(store.layout.damaged / hex_of(digest))
        done = f"moved to {store.layout.damaged}"
    remedy = "`reprokit fsck --repair` moves it aside, so that it can come again"
    return Damage(kind="object-corrupt", where=digest, message=message, remedy=remedy, runs=needing, repaired=done)


def _missing(
    store: Store, found: Mapping[str, Run], wanted: Mapping[str, tuple[str, list[str]]], repair: bool
) -> Iterator[Damage]:
    for digest, (what, needing) in wanted.items():
        if store.objects.has(digest):
            continue
        message = f"{digest} is not in the store ({what})"
        file = _still_there(store, found[needing[0]], what, digest)
        done, remedy = "", _AGAIN
        if file is not None and repair and store.objects.put_file(file).digest == digest:
            done = f"kept again, from {file}"
        elif file is not None:
            remedy = f"{file} still has these bytes: `reprokit fsck --repair` keeps them again"
        yield Damage(
            kind="object-missing", where=digest, message=message, remedy=remedy, runs=tuple(needing), repaired=done
        )


def _still_there(store: Store, run: Run, path: str, digest: str) -> Path | None:
    """Return a file that has the bytes of an object that is gone."""
    places = [Path(run.root) / path, store.layout.project / path]
    return next((place for place in places if place.is_file() and is_file_named(place, digest)), None)


def locks(store: Store) -> Iterator[Damage]:
    """Yield the locks that cannot be read, or whose wheels are gone."""
    for path in sorted(store.layout.locks.glob("*.json")):
        try:
            extras = json.loads(path.read_text("utf-8"))["extras"]
            named = [(extra["name"], extra["digest"]) for extra in extras if extra["kind"] == "wheel"]
            gone = [(name, digest) for name, digest in named if digest and not store.objects.has(digest)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            remedy = "remove it: it is made again where that can be done"
            yield Damage(kind="lock", where=str(path), message=f"it cannot be read ({error})", remedy=remedy)
            continue
        for name, digest in gone:
            message = f"the wheel of {name} ({digest}) is not in the store"
            yield Damage(kind="lock", where=str(path), message=message, remedy=_AGAIN)


def _index(store: Store, found: Mapping[str, Run], repair: bool) -> Iterator[Damage]:
    """Compare the index with the journals, as far as those do not change meanwhile."""
    known = {run.id: run for run in store.runs()}
    there = set(filter(is_run_id, store.layout.run_names()))
    wrong = {run.id for run in found.values() if run.status != "running" and known.get(run.id) != summarize(run)}
    wrong = {run_id for run_id in wrong if run_id in there} | (known.keys() - there)
    if wrong:
        message = f"the index tells other things of {len(wrong)} runs than their journals"
        if repair:
            store.reindex()
        yield Damage(
            kind="index",
            where=str(store.layout.index),
            message=message,
            remedy="`reprokit reindex` builds it again",
            runs=tuple(sorted(wrong)),
            repaired="built again" if repair else "",
        )

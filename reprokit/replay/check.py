"""Replays several runs at the same time, each in a process of its own, and says how each compares.

It knows pins, names and processes; how one run is repeated and compared, it does not know.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from reprokit.errors import RunNotFound, UsageError
from reprokit.notebook.parent import Progress, silent
from reprokit.records import Checked, Verdict
from reprokit.replay.apart import Apart, unreplayable
from reprokit.replay.comparison import Comparison
from reprokit.replay.conditions import Conditions
from reprokit.store.store import Store

__all__ = ["Item", "check", "default_jobs", "find", "pinned", "select"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A run to check: its id, and a name that no other item of the same check has."""

    run: str
    name: str


def find(store: Store, word: str) -> str:
    """Return the id of the run that the user means: a pin's name, any other name of a run, or an id.

    A replay stands for the run that it repeats: it has the same name, and is newer.

    Raises:
        RunNotFound: there is none.
        AmbiguousRun: it is the beginning of several ids.
    """
    pins = store.pins()
    for run_id, name in pins.items():
        if word in (run_id, name):
            return run_id
    try:
        found = store.resolve(word)
    except RunNotFound:
        gone = [run_id for run_id in pins if word and run_id.startswith(word)]
        if len(gone) != 1:
            raise
        return gone[0]
    while (repeated := store.load(found).replay_of) is not None and _is_there(store, repeated):
        found = repeated
    return found


def select(store: Store, words: Sequence[str]) -> tuple[Item, ...]:
    """Return the runs to check: those that are named, each once, or all that are pinned, oldest first.

    Raises:
        UsageError: none is named and none is pinned.
        RunNotFound: a name is no run's.
    """
    if words:
        pins = store.pins()
        ids = dict.fromkeys(find(store, word) for word in words)
        return _named([(run_id, pins.get(run_id) or _own_name(store, run_id)) for run_id in ids])
    if items := pinned(store):
        return items
    raise UsageError("no run is pinned", remedy="pin one with `reprokit pin RUN`, or name the runs to check")


def pinned(store: Store) -> tuple[Item, ...]:
    """Return the runs that are pinned, oldest first."""
    return _named(list(store.pins().items()))


def _own_name(store: Store, run_id: str) -> str:
    return store.load(run_id).name or run_id


def _named(runs: Sequence[tuple[str, str]]) -> tuple[Item, ...]:
    """Return items whose names tell them apart."""
    used = Counter(name for _, name in runs)
    return tuple(Item(run=run_id, name=name if used[name] == 1 else f"{name} ({run_id})") for run_id, name in runs)


def default_jobs(items: int) -> int:
    """Return how many replays run at the same time: one for each core, as far as there are runs."""
    return max(1, min(items, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def check(
    store: Store,
    items: Sequence[Item],
    *,
    conditions: Conditions,
    comparison: Comparison,
    timeout: int | None = None,
    jobs: int | None = None,
    progress: Progress = silent,
    start: Callable[..., Apart] = Apart,
) -> tuple[Checked, ...]:
    """Replay runs and return a verdict on each, in the order of ``items``.

    A replay that dies, or cannot be made, is a verdict as well (``unreplayable``) and does not end the others.
    An interruption (Ctrl-C) ends them all before it is passed on.

    Args:
        store: holds the runs, and will hold the replays.
        items: the runs.
        conditions: what each is run under.
        comparison: how strict the comparison is.
        timeout: seconds that one cell may take.
        jobs: how many run at the same time; ``default_jobs`` by default.
        progress: told of each that is done.
        start: starts a replay.
    """

    def begin(item: Item) -> Apart:
        return start(store.layout.project, item.run, conditions=conditions, comparison=comparison, timeout=timeout)

    crew = _Crew(begin)
    found: dict[str, Checked] = {}
    progress("replaying", 0, len(items))
    with ThreadPoolExecutor(jobs or default_jobs(len(items))) as pool:
        try:
            for done in as_completed([pool.submit(_checked, store, item, crew.replay) for item in items]):
                found[done.result().name] = done.result()
                progress(f"replayed {done.result().name}", len(found), len(items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            crew.end()
            raise
    return tuple(found[item.name] for item in items)


def _checked(store: Store, item: Item, replay: Callable[[Item], Verdict]) -> Checked:
    """Replay one run, when it is there."""
    began = time.monotonic()
    if _is_there(store, item.run):
        verdict = replay(item)
    else:
        remedy = f"get it back from a copy of the store, or `reprokit pin {item.run} --remove`"
        verdict = unreplayable(item.run, f"the run is gone from the store: {remedy}")
    return Checked(name=item.name, verdict=verdict, seconds=round(time.monotonic() - began, 3))


def _is_there(store: Store, run_id: str) -> bool:
    return store.layout.run_folder(run_id).is_dir()


class _Crew:
    """The replays that run, so that all of them can be ended."""

    def __init__(self, begin: Callable[[Item], Apart]) -> None:
        self._begin = begin
        self._lock = threading.Lock()
        self._running: list[Apart] = []
        self._ended = False

    def replay(self, item: Item) -> Verdict:
        """Replay one run and return the verdict."""
        with self._lock:
            if self._ended:
                return unreplayable(item.run, "interrupted")
            one = self._begin(item)
            self._running.append(one)
        verdict = one.verdict()
        with self._lock:
            self._running.remove(one)
        return verdict

    def end(self) -> None:
        """End all that run: all at once, then wait for each."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for one in running:
            one.stop()
        for one in running:
            one.end()

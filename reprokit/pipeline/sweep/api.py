"""Sweeps as calls: begin one, go on with one, and look at what became of it. Nothing is printed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprokit.errors import UsageError
from reprokit.pipeline.spec import Spec
from reprokit.pipeline.sweep import engines, environment, results
from reprokit.pipeline.sweep.book import Book, Sweep, create, find
from reprokit.pipeline.sweep.drive import Told, drive, prepare
from reprokit.pipeline.sweep.plan import located, plan
from reprokit.pipeline.sweep.points import Values
from reprokit.pipeline.sweep.results import Point
from reprokit.pipeline.sweep.task import Ended
from reprokit.store.store import Store

__all__ = ["Done", "Watch", "begin", "combinations", "go_on", "look", "resume", "sweep"]

Watch = Callable[[Book], Told]


def _unseen(book: Book) -> Told:
    """Watch nothing."""
    return lambda number, ended: None


def combinations(**values: Iterable[Any]) -> list[Values]:
    """Return all combinations of parameters' values; the last parameter varies fastest.

    >>> combinations(lr=[0.1, 0.01], depth=[3])
    [{'lr': 0.1, 'depth': 3}, {'lr': 0.01, 'depth': 3}]
    """
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


@dataclass(frozen=True, slots=True)
class Done:
    """A sweep that was run.

    Attributes:
        id: what ``reprokit sweep show`` calls it.
        points: its points, in their order.
    """

    id: str
    points: tuple[Point, ...]

    @property
    def is_done(self) -> bool:
        """Whether all points were run and none failed."""
        return all(point.is_done for point in self.points)

    def best(self, metric: str) -> Point | None:
        """Return the best point by ``METRIC``, ``METRIC:max`` or ``METRIC:min``; None when no point has it."""
        return results.best(self.points, *results.parse_metric(metric))


def sweep(
    what: str | Path,
    points: Iterable[Mapping[str, Any]],
    *,
    params: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    engine: str | Executor = "local",
    workers: int | None = None,
    name: str | None = None,
    seed: int | None = None,
    seed_each: bool = False,
    reuse: bool = False,
    store: Store | None = None,
    **options: Any,
) -> Done:
    """Run a notebook or script once for each point, and return what became of them.

    Args:
        what: the notebook or script.
        points: the parameters of each run.
        params: parameters that are the same for all.
        arguments: what a script is called with; ``{NAME}`` stands for a parameter.
        engine: "local", "dask" or "slurm", or any executor, which runs the points' processes.
        workers: how many points run at the same time.
        name: a name for the sweep.
        seed: what all generators are seeded with.
        seed_each: give each point a seed of its own, derived from ``seed`` and its number.
        reuse: take over the results of unchanged runs.
        store: where it is recorded; that of the notebook's project by default.
        options: those of the engine.

    Raises:
        UsageError: a point does not fit, or the engine cannot work like this; nothing was run.
    """
    spec = Spec(
        **{"script" if str(what).endswith(".py") else "notebook": str(what)},  # type: ignore[arg-type]
        arguments=tuple(arguments),
        params=dict(params or {}),
        reuse=reuse,
    )
    store = Store.open(Path(what).resolve().parent) if store is None else store
    chosen = engine if isinstance(engine, str) else type(engine).__name__
    about = {"name": name, "seed": seed, "seed_each": seed_each, "engine": chosen}
    planned = look(store, spec, [dict(point) for point in points], **about)
    book, _ = begin(store, planned, engine, workers=workers, **options)
    return Done(book.sweep.id, tuple(results.rows(book)))


def resume(
    word: str,
    *,
    engine: str | Executor = "local",
    workers: int | None = None,
    store: Store | None = None,
    **options: Any,
) -> Done:
    """Run the points of a sweep that are missing or failed, and return what became of all.

    Raises:
        UsageError: there is no such sweep, its code changed since, or another process is at it.
    """
    book = find(Store.open() if store is None else store, word)
    go_on(book, engine, workers=workers, **options)
    return Done(book.sweep.id, tuple(results.rows(book)))


def look(store: Store, spec: Spec, points: Sequence[Values], **about: Any) -> Sweep:
    """Check a sweep and return what it is to be; nothing is run, and nothing written.

    Args:
        store: where it is to be recorded.
        spec: the step, with paths relative to this process's folder.
        points: the parameters of each point.
        about: further fields of ``book.Sweep``.

    Raises:
        UsageError: a point does not fit, or what is to be run is not there.
    """
    if about.get("seed_each") and about.get("seed") is None:
        raise UsageError("there is no seed to derive those of the points from", remedy="give --seed N as well")
    return plan(store, located(spec, store), points, **about)


def begin(
    store: Store,
    planned: Sweep,
    engine: str | Executor,
    *,
    workers: int | None = None,
    remote: str | None = None,
    watch: Watch = _unseen,
    **options: Any,
) -> tuple[Book, list[Ended]]:
    """Write a sweep down and run it, once the engine is there; return it, and the points that were lost on the way.

    Args:
        store: where it is recorded.
        planned: what it is to be.
        engine: runs the points.
        workers: how many at the same time.
        remote: the remote that brings code and data to workers who do not see the project.
        watch: called with the sweep, returns what is told as points begin and end.
        options: those of the engine.

    Raises:
        UsageError: the engine cannot work like this; no sweep is written.
    """
    store.layout.create()
    seen = None if remote is not None else store.layout.root
    with engines.open(engine, workers=workers, book=seen, **options) as opened:
        if remote is not None:
            planned = _offered(store, planned, remote)
        book = create(store, planned)
        with book.driven():
            return book, _driven(book, opened, watch)


def _offered(store: Store, planned: Sweep, remote: str) -> Sweep:
    """Bring what the points start from to a remote."""
    from reprokit.pipeline.sweep.offer import known_inputs, offer

    inputs = [*planned.step.get("inputs", ()), *known_inputs(store, planned.what)]
    return dataclasses.replace(planned, remote=offer(store, remote, planned.id, inputs))


def _driven(book: Book, engine: engines.Engine, watch: Watch) -> list[Ended]:
    try:
        return drive(book, engine, told=watch(book))
    finally:
        environment.lock(book)


def go_on(
    book: Book, engine: str | Executor, *, workers: int | None = None, watch: Watch = _unseen, **options: Any
) -> list[Ended]:
    """Run the points of a sweep that are missing or failed; as ``begin``.

    Raises:
        UsageError: the engine cannot work like this, the code changed, or another process is at it.
    """
    with book.driven():
        prepare(book)
        seen = None if book.sweep.remote is not None else book.folder
        with engines.open(engine, workers=workers, book=seen, **options) as opened:
            return _driven(book, opened, watch)

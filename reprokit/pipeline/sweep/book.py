"""The folder of a sweep in the store: what is to be done, written once, and the code as it was then.

    sweep.json       the sweep
    frozen/          the notebook or script, and the modules of the project that it imports, where they lie in it
    points/N/        what became of each point (see ``claim``)
    driver           locked by the process that drives the sweep

All that is needed to go on is here: nothing is in anybody's memory. It knows files; it runs nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprokit import digest
from reprokit.errors import SchemaError, StoreError, UsageError
from reprokit.pipeline.sweep.claim import Point
from reprokit.records import Record
from reprokit.store.layout import is_run_id, new_run_id
from reprokit.store.lock import opened
from reprokit.store.store import Store

__all__ = ["SCHEMA", "Book", "Sweep", "create", "filled", "find", "folder", "ids", "new_id"]

SCHEMA = "reprokit.sweep/1"
_SEED_BYTES = 4  # as large as every generator takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep(Record):
    """What a sweep is to be.

    Attributes:
        id: tells it apart; sorts by time.
        name: the user's name for it.
        what: the notebook or script, relative to the project root where it lies in it.
        step: the spec of its step, without what differs from point to point.
        points: the parameters of each point; the first is number 1.
        code: path → digest of what ``frozen`` holds, the notebook or script first.
        seed: what the points are seeded with; None: they are not.
        seed_each: whether each has a seed of its own, derived from ``seed`` and its number.
        sample_seed: what random points were drawn with.
        best: the metric that it is about, as "NAME:max" or "NAME:min".
        engine: what it was begun with.
        apart: whether its points have the project to themselves.
        variables: environment variables as they were when it began (see ``task.variables_here``).
        remote: what workers need that do not see the project (see ``remote``); None: they see it.
        created: in seconds after the epoch.
    """

    id: str
    schema: str = SCHEMA
    name: str | None = None
    what: str
    step: dict[str, Any]
    points: tuple[dict[str, Any], ...]
    code: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    seed_each: bool = False
    sample_seed: int | None = None
    best: str | None = None
    engine: str = "local"
    apart: bool = False
    variables: dict[str, str | None] = field(default_factory=dict)
    remote: dict[str, Any] | None = None
    created: float = 0.0

    def seed_of(self, number: int) -> int | None:
        """Return what a point is seeded with.

        >>> Sweep(id="a", what="nb.ipynb", step={}, points=({}, {}), seed=7).seed_of(2)
        7
        """
        if self.seed is None or not self.seed_each:
            return self.seed
        root = digest.of_bytes(str(self.seed).encode("ascii"))
        return int.from_bytes(digest.derived(root, f"point {number}", _SEED_BYTES), "big")

    def spec(self, number: int) -> dict[str, Any]:
        """Return the spec of a point's step."""
        params = self.points[number - 1]
        found = {**self.step, "seed": self.seed_of(number)}
        if "script" in found:
            found["arguments"] = filled(found.get("arguments", ()), params)
        else:
            found["params"] = params
        if self.name is not None:
            found["name"] = f"{self.name}/{number}"
        return {key: value for key, value in found.items() if value is not None}


def filled(arguments: Sequence[str], params: Mapping[str, Any]) -> list[str]:
    """Return a script's arguments with the parameters in place of their names in braces.

    >>> filled(["--lr={lr}", "{lr}{x}"], {"lr": 0.1})
    ['--lr=0.1', '0.1{x}']
    """
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
    return [re.sub(r"\{(\w+)\}", lambda match: texts.get(match[1], match[0]), argument) for argument in arguments]


class Book:
    """A sweep and its folder.

    Args:
        store: the store that it lies in.
        sweep: what it is to be.
    """

    def __init__(self, store: Store, sweep: Sweep) -> None:
        self.store = store
        self.sweep = sweep
        self.folder = folder(store, sweep.id)

    @classmethod
    def read(cls, store: Store, sweep_id: str) -> Book:
        """Return a sweep of a store.

        Raises:
            StoreError: it cannot be read.
            SchemaError: it was made by a newer reprokit.
        """
        path = folder(store, sweep_id) / "sweep.json"
        try:
            told = json.loads(path.read_bytes())
            if told.get("schema") != SCHEMA:
                raise SchemaError(str(told.get("schema")))
            return cls(store, Sweep.from_dict(told))
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise StoreError(f"sweep {sweep_id} cannot be read ({error})", path=path) from error

    @property
    def frozen(self) -> Path:
        """The folder of the code as it was."""
        return self.folder / "frozen"

    def point(self, number: int) -> Point:
        """Return the folder of a point."""
        return Point(self.folder / "points" / str(number))

    def changed(self) -> list[str]:
        """Return the files of code that are not what they were when the sweep began."""
        project = self.store.layout.project
        return [path for path, known in self.sweep.code.items() if not digest.is_file_named(project / path, known)]

    @contextmanager
    def driven(self) -> Iterator[None]:
        """Be the one process that drives the sweep; the system lets go of that when the process is dead.

        Raises:
            UsageError: another one is.
        """
        with opened(self.folder / "driver") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                remedy = "wait for it, or end it with Ctrl-C"
                raise UsageError(f"sweep {self.sweep.id} is running in another process", remedy=remedy) from error
            yield


def folder(store: Store, sweep_id: str) -> Path:
    """Return where a sweep lies in a store."""
    return store.layout.root / "sweeps" / sweep_id


def create(store: Store, sweep: Sweep) -> Book:
    """Write a new sweep with its code, whole or not at all, and return it.

    Raises:
        StoreError: it cannot be written.
    """
    layout, _ = store.layout.create()
    if layout != store.layout:
        remedy = f"make {layout.project} writable"
        raise StoreError("a sweep needs a store in its project, and that cannot be written", remedy=remedy)
    place = folder(store, sweep.id)
    draft = place.with_name(f".{sweep.id}-{os.urandom(4).hex()}")
    try:
        (draft / "points").mkdir(parents=True)
        (draft / "frozen").mkdir()
        for path, known in sweep.code.items():
            _freeze(store, path, known, draft / "frozen")
        _write(draft / "sweep.json", sweep.to_dict())
        draft.rename(place)
    except OSError as error:
        raise StoreError(f"the sweep cannot be written ({error})", path=place, remedy="free some space") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Book(store, sweep)


def _freeze(store: Store, path: str, known: str, frozen: Path) -> None:
    """Keep a file of code, in the store and where a point can be given it; it must not have changed meanwhile."""
    source = store.layout.project / path
    kept = store.objects.put_file(source).digest
    if kept != known:
        raise StoreError(f"{path} changed while the sweep was prepared", path=source, remedy="start the sweep again")
    if not Path(path).is_absolute():
        (frozen / path).parent.mkdir(parents=True, exist_ok=True)
        store.objects.restore(known, frozen / path)
        shutil.copystat(source, frozen / path)  # its time: what was compiled from it stays good


def _write(path: Path, told: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(told, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def new_id() -> str:
    """Return the id of a new sweep."""
    return new_run_id()


def ids(store: Store) -> list[str]:
    """Return the ids of a store's sweeps, newest first."""
    top = store.layout.root / "sweeps"
    try:
        names = [entry.name for entry in os.scandir(top)]
    except FileNotFoundError:
        return []
    return sorted((name for name in names if is_run_id(name) and (top / name / "sweep.json").exists()), reverse=True)


def find(store: Store, word: str) -> Book:
    """Return the sweep that a user means: by its id, the beginning of one, its name (the newest), or ``latest``.

    Raises:
        UsageError: there is none, or several ids begin so.
    """
    known = ids(store)
    if word in known:
        return Book.read(store, word)
    if word == "latest" and known:
        return Book.read(store, known[0])
    for book in (Book.read(store, one) for one in known):
        if book.sweep.name == word:
            return book
    fitting = [one for one in known if word and one.startswith(word)]
    if len(fitting) == 1:
        return Book.read(store, fitting[0])
    if fitting:
        raise UsageError(
            f"{word!r} could be {len(fitting)} sweeps ({', '.join(fitting[:4])})", remedy="give more of it"
        )
    begin = "`reprokit sweep NOTEBOOK --grid NAME=A,B` makes one"
    remedy = f"there are {', '.join(known[:4])}" if known else begin
    raise UsageError(f"no sweep is called {word!r}", remedy=remedy)

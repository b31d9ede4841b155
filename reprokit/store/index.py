"""The index: a SQLite database derived from the journals, so that 100,000 runs are listed at once.

Knows summaries, search and SQL; it asks ``load`` for whole runs. It may be deleted at any time, and is
built anew when it is damaged or of another shape. Rules that keep it sound: never WAL (SQLite
3.7.0-3.51.2 can lose a database in it), one lock file around every write, no connection kept between
operations (so that none crosses a ``fork``), and in memory alone where the store cannot be written.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool

from reprokit.digest import canonical_json
from reprokit.errors import RunNotFound, StoreError, UsageError
from reprokit.records import Process, Run
from reprokit.store.layout import Layout, is_run_id
from reprokit.store.liveness import is_alive
from reprokit.store.lock import exclusive
from reprokit.store.summary import Summary, summarize
from reprokit.store.tables import facts as _facts
from reprokit.store.tables import metadata as _metadata
from reprokit.store.tables import runs as _runs
from reprokit.store.tables import state as _state
from reprokit.store.tables import text, use_rows, whole
from reprokit.store.tables import uses as _uses

__all__ = ["Index", "Summary", "summarize"]

T = TypeVar("T")
_Entry = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]  # of a run: its row, facts and uses

_SHAPE = 4  # PRAGMA user_version; raise it when the tables or what they hold change
_BUSY_S = 30.0  # how long to wait for another process, in seconds
_CLOCK_S = 2.0  # the coarsest clock of a filesystem: a folder changed less long ago may change unseen
_BATCH = 500  # runs written in one transaction
_CHECKED = 1000  # lists up to this long are compared with the journals of what they show
_PATIENCE = 3  # times that a database is replaced before giving up

_FIELDS = ("id", "name", "kind", "status", "notebook", "replay_of", "tier", "pin", "sweep")
_NEWEST_FIRST = (_runs.c.started.desc(), _runs.c.id.desc())


class Index:
    """The index of one store.

    Args:
        layout: the store.
        load: returns the run of an id as it is now.
    """

    def __init__(self, layout: Layout, load: Callable[[str], Run]) -> None:
        self._layout = layout
        self._load = load
        self._pid = os.getpid()
        self._inherited: list[sa.Engine] = []  # of the process before a fork: never touched, never closed
        self._in_memory = not os.access(layout.root, os.W_OK | os.X_OK)
        self._seeded = True  # a database in memory begins as a copy of the file, when that can be read
        self._troubles = 0
        self._engine: sa.Engine | None = None

    # --- what is asked of it -------------------------------------------------------------------

    def runs(self, *, limit: int | None = None, query: str | None = None) -> list[Summary]:
        """Return summaries of the runs that match, newest first; see ``Store.runs``."""
        conditions = _conditions(query or "")
        self.sync()
        select = sa.select(_runs.c.id, _runs.c.stamp, _runs.c.summary).where(*conditions)
        select = select.order_by(*_NEWEST_FIRST).limit(limit)
        rows = self._fetch(select)
        if len(rows) <= _CHECKED and (stale := [row.id for row in rows if row.stamp != self._stamp(row.id)]):
            self._update(stale)  # a finished run that was written to again, say by a tag
            rows = self._fetch(select)
        return [Summary(**json.loads(row.summary)) for row in rows]

    def has(self, run_id: str) -> bool:
        """Return whether there is a run of this id."""
        return bool(self._fetch(sa.select(_runs.c.id).where(_runs.c.id == text(run_id))))

    def with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Return the first ids that begin with ``prefix``, sorted."""
        begin = text(prefix)
        select = sa.select(_runs.c.id).where(_runs.c.id >= begin, _runs.c.id < begin + "~")  # ~ is after all
        return [row.id for row in self._fetch(select.order_by(_runs.c.id).limit(limit))]

    def named(self, name: str) -> str | None:
        """Return the newest run of this name that is not a replay."""
        return self._first(_originals().where(_runs.c.name == text(name)))

    def newest(
        self, back: int = 0, *, notebook: str | None = None, between: tuple[float, float] | None = None
    ) -> str | None:
        """Return the newest run that is not a replay, or the one ``back`` before it."""
        select = _originals()
        if notebook is not None:
            select = select.where(_is_notebook(text(notebook)))
        if between is not None:
            select = select.where(_runs.c.started >= between[0], _runs.c.started < between[1])
        return self._first(select.offset(back))

    @contextlib.contextmanager
    def asked(self) -> Iterator[Callable[[sa.Select[Any]], Sequence[sa.Row[Any]]]]:
        """Yield what answers questions about ``tables``, all as things are now."""
        self.sync()
        with self._ready().connect() as connection:
            yield lambda select: connection.execute(select).all()

    # --- keeping it true -----------------------------------------------------------------------

    def sync(self) -> None:
        """Bring the index up to the journals; only those of new and of unfinished runs are looked at."""
        token = _folder_token(self._layout.runs)  # before the listing: what comes later changes it again
        known = self._fetch(sa.select(_state.c.value).where(_state.c.key == "runs"))
        new, gone = (set(), set()) if known and known[0].value == token else self._compare()
        changed = {row.id for row in self._open_rows() if self._has_changed(row)}
        self._update(sorted(new | changed), gone)  # in both: another process has just added it
        if not known or known[0].value != token:
            self._remember(token)

    def refresh(self, run_id: str) -> None:
        """Read a run again that was written to after it ended."""
        self._update([run_id])

    def rebuild(self) -> int:
        """Throw the index away, build it again from the journals, and return how many runs it has."""
        self._seeded = False
        self._discard()
        self.sync()
        return int(self._fetch(sa.select(sa.func.count().label("n")).select_from(_runs))[0].n)

    def _compare(self) -> tuple[set[str], set[str]]:
        """Return the runs that the index lacks, and those it has that are gone."""
        # One long text: a row for each id takes three times as long. Before the listing: what another process
        # adds in between is then new once more, instead of gone.
        (row,) = self._fetch(sa.select(sa.func.group_concat(_runs.c.id, "\n").label("ids")))
        known = row.ids.split("\n") if row.ids else []
        there = self._layout.run_names()
        new = set(there)
        new.difference_update(known)
        gone = set()
        if len(known) + len(new) != len(there):  # seldom, and a second set takes its time
            gone = set(known).difference(there)
        return set(filter(is_run_id, new)), gone

    def _open_rows(self) -> Sequence[sa.Row[Any]]:
        columns = (_runs.c.id, _runs.c.status, _runs.c.stamp, _runs.c.writers)
        return self._fetch(sa.select(*columns).where(_runs.c.final == sa.false()))

    def _has_changed(self, row: sa.Row[Any]) -> bool:
        """Return whether an open run was written to, or its last writer has died (or, elsewhere, not)."""
        if row.stamp != self._stamp(row.id):
            return True
        writers = (Process.from_dict(writer) for writer in json.loads(row.writers))
        lives = any(is_alive(writer) is not False for writer in writers)
        return bool(row.status == "running") != lives

    def _update(self, ids: Iterable[str], gone: Iterable[str] = ()) -> None:
        """Read these runs (outside the lock) and write their rows, a batch at a time."""
        pending, removed = iter(ids), list(gone)
        while batch := list(islice(pending, _BATCH)):
            entries = [entry for run_id in batch if (entry := self._entry(run_id)) is not None]
            self._write(batch, entries)
        for start in range(0, len(removed), _BATCH):
            self._write(removed[start : start + _BATCH], [])

    def _entry(self, run_id: str) -> _Entry | None:
        stamp = self._stamp(run_id)  # before reading: what is written later makes it stale
        try:
            run = self._load(run_id)
        except RunNotFound:  # removed since it was listed
            return None
        summary = summarize(run)
        return _row(run, summary, stamp), _fact_rows(summary), use_rows(run)

    def _write(self, ids: list[str], entries: list[_Entry]) -> None:
        def work(connection: sa.Connection) -> None:
            old = sa.select(_runs.c.row).where(_runs.c.id.in_(ids))
            for table in (_facts, _uses):
                connection.execute(sa.delete(table).where(table.c.run.in_(old)))
            connection.execute(sa.delete(_runs).where(_runs.c.id.in_(ids)))
            first = 1 + (connection.execute(sa.select(sa.func.max(_runs.c.row))).scalar() or 0)
            rows = [{**row, "row": number} for number, (row, _, _) in enumerate(entries, first)]
            facts = [{**fact, "run": n} for n, (_, found, _) in enumerate(entries, first) for fact in found]
            uses = [{**use, "run": n} for n, (_, _, found) in enumerate(entries, first) for use in found]
            for table, new in ((_runs, rows), (_facts, facts), (_uses, uses)):
                if new:
                    connection.execute(sa.insert(table), new)

        self._transact(work)

    def _remember(self, token: str) -> None:
        def work(connection: sa.Connection) -> None:
            connection.execute(sa.delete(_state))
            connection.execute(sa.insert(_state), [{"key": "runs", "value": token}])

        if token:
            self._transact(work)

    def _stamp(self, run_id: str) -> str:
        folder = f"{self._layout.runs}/{run_id}"
        files = [f"{folder}/{name}.jsonl" for name in ("journal", "batch")]
        return " ".join(map(_file_stamp, [*files, f"{self._layout.marks}/{run_id}"]))

    # --- the database --------------------------------------------------------------------------

    def _fetch(self, select: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        def work() -> Sequence[sa.Row[Any]]:
            with self._ready().connect() as connection:
                return connection.execute(select).all()

        return self._healing(work)

    def _first(self, select: sa.Select[Any]) -> str | None:
        rows = self._fetch(select.order_by(*_NEWEST_FIRST).limit(1))
        return str(rows[0].id) if rows else None

    def _transact(self, work: Callable[[sa.Connection], None]) -> None:
        def attempt() -> None:
            engine = self._ready()
            with self._exclusive(), engine.execution_options(writes=True).begin() as connection:
                work(connection)

        self._healing(attempt)

    def _healing(self, work: Callable[[], T]) -> T:
        """Do ``work``; when the database is the trouble, replace it (all of it is derived) and try again."""
        try:
            return work()
        except (DatabaseError, OSError) as error:
            self._heal(error)
        self.sync()
        return work()

    def _heal(self, error: DatabaseError | OSError) -> None:
        self._troubles += 1
        said = str(getattr(error, "orig", error))
        if "locked" in said or self._troubles > _PATIENCE:
            remedy = "end what uses it, or remove the file: it is built again"
            raise StoreError(f"the index cannot be used ({said})", path=self._layout.index, remedy=remedy) from error
        damaged = isinstance(error, DatabaseError) and (not isinstance(error, OperationalError) or "no such" in said)
        if not damaged or self._troubles > 1:  # no space, no permission, a bad disk: do without the file
            self._in_memory = True
        self._seeded = not damaged
        self._discard()

    def _ready(self) -> sa.Engine:
        """Return the engine of this process, over a database of the right shape."""
        if self._pid != os.getpid():
            self._inherited += [] if self._engine is None else [self._engine]
            self._pid, self._engine = os.getpid(), None
        if self._engine is None:
            engine = _engine(self._layout.index, in_memory=self._in_memory, seeded=self._seeded)
            self._shape(engine)
            self._engine = engine
        return self._engine

    def _shape(self, engine: sa.Engine) -> None:
        if _shape_of(engine) == _SHAPE:
            return
        with self._exclusive(), engine.execution_options(writes=True).begin() as connection:
            if connection.exec_driver_sql("PRAGMA user_version").scalar() != _SHAPE:
                _drop_all(connection)
                _metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {_SHAPE}")

    def _discard(self) -> None:
        """Remove the database under the lock that every writer holds: no transaction is cut in two."""
        self._engine = None
        if self._in_memory:
            return
        with self._exclusive():
            for suffix in ("", "-journal", "-wal", "-shm"):
                Path(f"{self._layout.index}{suffix}").unlink(missing_ok=True)

    def _exclusive(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._in_memory else exclusive(self._layout.index_lock)


def _engine(path: Path, *, in_memory: bool, seeded: bool) -> sa.Engine:
    """Return an engine whose transactions are begun by us: the driver would begin them too late."""

    def connect() -> sqlite3.Connection:
        if in_memory:
            return _in_memory(path if seeded else None)
        return sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=StaticPool if in_memory else NullPool)

    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    sa.event.listen(engine, "begin", begin)
    return engine


def _in_memory(path: Path | None) -> sqlite3.Connection:
    """Return a database in memory, a copy of the one at ``path`` when that can be read."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    if path is not None and path.is_file():
        with contextlib.suppress(sqlite3.Error):
            source = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True)
            with contextlib.closing(source):
                source.backup(connection)
    return connection


def _shape_of(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def _drop_all(connection: sa.Connection) -> None:
    """Drop the tables of any older shape."""
    names = (
        connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .scalars()
        .all()
    )
    for name in names:
        connection.exec_driver_sql(f'DROP TABLE "{name}"')


def _folder_token(folder: Path) -> str:
    """Return what changes whenever a run is added or removed; "" when a change could go unseen."""
    try:
        found = folder.stat()
    except OSError:
        return ""
    if time.time() - max(found.st_mtime, found.st_ctime) < _CLOCK_S:
        return ""
    return f"{found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}"


def _file_stamp(path: str) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return "-"
    return f"{found.st_size}.{found.st_mtime_ns}.{found.st_ino}"


def _row(run: Run, summary: Summary, stamp: str) -> dict[str, Any]:
    dead = bool(run.writers) and all(is_alive(writer) is False for writer in run.writers)
    words = [summary.id, summary.name or "", summary.notebook or "", summary.pin or ""]
    words += [f"{key}={_spelt(value)}" for table in (summary.params, summary.tags) for key, value in table.items()]
    texts = {name: None if (value := getattr(summary, name)) is None else text(value) for name in _FIELDS}
    return {
        **texts,
        "started": 0.0 if math.isnan(summary.started) else summary.started,
        "ended": summary.ended,
        "point": whole(summary.point),
        "words": text("\n".join(words)).lower(),
        "final": summary.status in ("done", "failed") or dead,
        "stamp": stamp,
        "writers": canonical_json([writer.to_dict() for writer in run.writers]).decode("ascii"),
        "summary": canonical_json(summary.to_dict()).decode("ascii"),
    }


def _fact_rows(summary: Summary) -> list[dict[str, Any]]:
    tables = {"params": summary.params, "metrics": summary.metrics, "tags": summary.tags}
    return [
        {
            "key": text(f"{table}.{key}"),
            "text": text(_spelt(value)),
            "number": _number(value),
        }
        for table, values in tables.items()
        for key, value in values.items()
    ]


def _spelt(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode("ascii")


def _number(value: Any) -> float | None:
    """Return what a value is compared by; text that looks like a number counts as one, booleans do not."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _originals() -> sa.Select[Any]:
    """Select the ids of all runs that are no replays."""
    return sa.select(_runs.c.id).where(_runs.c.kind != "replay", _runs.c.replay_of.is_(None))


def _is_notebook(name: str) -> sa.ColumnElement[bool]:
    """Match a path by its end, at a folder's border, with or without ``.ipynb``."""
    column = _runs.c.notebook
    matches = []
    for ending in (name, f"{name}.ipynb"):
        matches += [column == ending, sa.func.substr(column, -len(ending) - 1) == f"/{ending}"]
    return sa.or_(*matches)


# --- queries -----------------------------------------------------------------------------------

_TERM = re.compile(r"(?P<key>[^<>=!]+)(?P<sign>!=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)
_SIGNS: dict[str, Callable[[Any, Any], sa.ColumnElement[bool]]] = {
    "=": lambda column, value: column == value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
}


def _conditions(query: str) -> list[sa.ColumnElement[bool]]:
    try:
        words = shlex.split(query)
    except ValueError as error:
        raise UsageError(f"the query {query!r} cannot be read ({error})", remedy="close the quote") from error
    return [_condition(word) for word in words]


def _condition(word: str) -> sa.ColumnElement[bool]:
    term = _TERM.fullmatch(word)
    if term is None:
        return sa.func.instr(_runs.c.words, text(word).lower()) > 0
    key, sign, value = term["key"], term["sign"], term["value"]
    if sign == "!=":
        return sa.not_(sa.func.coalesce(_comparison(key, "=", value), sa.false()))
    return _comparison(key, sign, value)


def _comparison(key: str, sign: str, value: str) -> sa.ColumnElement[bool]:
    if key in ("started", "ended"):
        return _SIGNS[sign](_runs.c[key], _moment(key, value))
    if key == "point" and value.isdecimal():
        return _SIGNS[sign](_runs.c.point, int(value))
    if key in _FIELDS:
        return _SIGNS[sign](_runs.c[key], text(value))
    keys = [text(key)] if key.partition(".")[0] in ("params", "metrics", "tags") else []
    keys += [text(f"{table}.{key}") for table in ("params", "metrics", "tags")]
    number = _number(value)
    column, wanted = (_facts.c.text, text(value)) if number is None else (_facts.c.number, number)
    found = sa.select(_facts.c.run).where(_facts.c.key.in_(keys), _SIGNS[sign](column, wanted))
    return (_runs.c.row + 0).in_(found)  # a sum: SQLite then walks from the newest and stops at the limit


def _moment(key: str, value: str) -> float:
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        remedy = f"write {key}>=2025-01-31"
        raise UsageError(f"{value!r} is not a date", remedy=remedy) from None

"""SQL that is sent to database servers: the text, and a digest of the rows as they are fetched.

Cursors are watched, so that everything above them is seen: SQLAlchemy, pandas.read_sql, plain DB-API code.
Where a driver's cursors cannot be watched, SQLAlchemy's own fetching is. Files (SQLite, DuckDB) are not remote.
Parameters are not recorded: they may be personal, and the digest of the result stands for them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from reprokit.capture.remote import addresses
from reprokit.capture.remote.hooks import Hooks, Marks
from reprokit.capture.remote.ledger import Use
from reprokit.capture.remote.results import Rows

__all__ = ["Queries", "kind_of"]

_COMMENTS = re.compile(r"\s*(?:--[^\n]*\n|/\*.*?\*/|\()", re.DOTALL)
_WORD = re.compile(r"\s*([a-zA-Z]+)")
_TALK = frozenset(
    (
        "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET", "RESET", "SHOW", "DISCARD",
        "PREPARE", "DEALLOCATE", "LISTEN", "UNLISTEN", "CLOSE", "DECLARE", "USE", "PRAGMA", "LOAD", "INSTALL",
    )
)  # fmt: skip
_READING = frozenset(
    ("SELECT", "VALUES", "TABLE", "FETCH", "EXPLAIN", "DESCRIBE", "DESC", "ANALYZE", "EXECUTE", "CALL", "FROM")
)
_CHANGES = re.compile(r"\b(?:INSERT\s+INTO|UPDATE\s+\w|DELETE\s+FROM|MERGE\s+INTO)\b", re.IGNORECASE)
_TEXTS = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)


class Queries:
    """Hooks that record queries."""

    def __init__(self, hooks: Hooks, note: Callable[[Use], None]) -> None:
        self.hooks = hooks
        self._note = note
        self._marks = Marks()  # uses by cursor, or by SQLAlchemy's context of it
        self._running: set[int] = set()  # cursors in a call: those that it makes in turn are part of it
        self._classes: set[type] = set()  # of cursors that are watched
        self._watched: dict[type, type] = {}  # cursors of C → their watched subclass

    def installers(self) -> dict[str, Callable[[Any], None]]:
        """Return what hooks which module."""
        return {
            "psycopg2": lambda module: self.hooks.wrap(module, "connect", self._connect),
            "psycopg2.extras": self._extras,
            "psycopg": self._psycopg,
            "pg8000.dbapi": lambda module: self._watch(module.Cursor, _of_pg8000),
            "pymysql.cursors": lambda module: self._watch(module.Cursor, _of_mysql),
            "mysql.connector.cursor": lambda module: self._watch(module.MySQLCursor, _of_mysql),
            "sqlalchemy": self._sqlalchemy,
            "sqlalchemy.engine.cursor": self._strategies,
        }

    def _began(self, source: str, text: Any) -> Use | None:
        """Record that a query was run, if it is one that reads or changes data."""
        if isinstance(text, (bytes, bytearray)):
            text = bytes(text).decode("utf-8", "replace")
        access = kind_of(str(text))
        if access is None:
            return None
        use = Use("sql", access, source, query=addresses.of_query(str(text)))
        self._note(use)
        return use

    # -- cursors --------------------------------------------------------------------------------

    def _watch(self, cursor: type, source_of: Callable[[Any], str]) -> None:
        """Watch a class of cursors written in Python."""
        self._classes.add(cursor)
        for name in ("execute", "executemany", "callproc"):
            self.hooks.wrap(cursor, name, lambda original: self._wrapped_run(original, source_of))
        for name in _FETCHES:
            self.hooks.wrap(cursor, name, self._fetching)
        if not hasattr(cursor, "__next__"):
            self.hooks.wrap(cursor, "__iter__", self._iterating)

    def _wrapped_run(self, original: Callable[..., Any], source_of: Callable[[Any], str]) -> Callable[..., Any]:
        def run(cursor: Any, *args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            if id(cursor) in self._running:
                return original(cursor, *args, **options)
            self._running.add(id(cursor))
            try:
                result = original(cursor, *args, **options)
            finally:
                self._running.discard(id(cursor))
            text = args[0] if args else next(iter(options.values()), "")
            self.hooks.safely(self._ran, cursor, original.__name__, text, source_of)
            return result

        return run

    def _ran(self, cursor: Any, name: str, text: Any, source_of: Callable[[Any], str]) -> None:
        self._marks.pop(cursor)
        if name == "callproc":
            text = f"CALL {text}"
        if not isinstance(text, (str, bytes)):  # composed from parts
            text = cursor.query if hasattr(cursor, "query") else _as_text(text, cursor)
        use = self._began(source_of(cursor), text)
        if use is not None:
            use.belongs_to(cursor)
            self._marks.put(cursor, Rows(use, self.hooks.later))
            _count(use, cursor)

    def _fetching(self, original: Callable[..., Any]) -> Callable[..., Any]:
        take = self._taking(original.__name__)
        marked = self._marks.get

        def fetch(cursor: Any, *args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            rows = marked(cursor)
            if rows is None or rows.busy:
                return original(cursor, *args, **options)
            rows.busy = True
            try:
                found = original(cursor, *args, **options)
            finally:
                rows.busy = False
            take(rows, found)
            return found

        return fetch

    def _taking(self, name: str) -> Callable[[Rows, Any], None]:
        """Return what takes the rows of a call of that name; where it is one row, a call more would be felt."""
        if name not in ("fetchone", "__next__"):
            return lambda rows, found: self.hooks.safely(rows.many, found)

        def take(rows: Rows, row: Any) -> None:
            try:
                rows.one(row)
            except Exception as error:
                self.hooks.failed(error)

        return take

    def _iterating(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def iterate(cursor: Any) -> Iterator[Any]:
            rows = self._marks.get(cursor)
            found: Iterator[Any] = original(cursor)
            return found if rows is None or rows.busy else self._through(rows, found)

        return iterate

    def _through(self, rows: Rows, found: Iterator[Any]) -> Iterator[Any]:
        __tracebackhide__ = True
        while True:
            rows.busy = True
            try:
                row = next(found)
            except StopIteration:
                return
            finally:
                rows.busy = False
            self.hooks.safely(rows.one, row)
            yield row

    # -- psycopg2, whose cursors are written in C -----------------------------------------------

    def _connect(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            connection = original(*args, **options)
            self.hooks.safely(self._connected, connection)
            return connection

        return connect

    def _connected(self, connection: Any) -> None:
        """Have the connection make cursors of a class that can be watched, unless it has one of its own."""
        kind = type(connection)
        if (kind.__module__, kind.__name__) != ("psycopg2.extensions", "connection"):
            return
        cursor = connection.cursor_factory or _base_cursor(connection)
        if not self._classes.isdisjoint(cursor.__mro__):
            return
        if cursor not in self._watched:
            watched = type(cursor.__name__, (cursor,), {"__module__": cursor.__module__, "__doc__": cursor.__doc__})
            self._watch(watched, _of_psycopg2)
            for name in ("copy_expert", "copy_to", "copy_from"):
                self.hooks.wrap(watched, name, self._copying)
            self._watched[cursor] = watched
        connection.cursor_factory = self._watched[cursor]

    def _copying(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def copy(cursor: Any, *args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            result = original(cursor, *args, **options)
            self.hooks.safely(self._copied, cursor, original.__name__, args, options)
            return result

        return copy

    def _copied(self, cursor: Any, name: str, args: Any, options: Any) -> None:
        text = str(args[0] if name == "copy_expert" and args else options.get("sql") or "")
        if name != "copy_expert":
            table = args[1] if len(args) > 1 else options.get("table")
            text = f"COPY {table} {'TO STDOUT' if name == 'copy_to' else 'FROM STDIN'}"
        access = "write" if re.search(r"\bFROM\s+STDIN\b", text, re.IGNORECASE) else "read"
        use = Use("sql", access, _of_psycopg2(cursor), query=addresses.of_query(text))
        use.spoil()
        use.empty = access == "write"
        use.over = True
        self._note(use)

    def _extras(self, module: Any) -> None:
        for name in ("DictCursor", "RealDictCursor", "NamedTupleCursor", "LoggingCursor"):
            self._watch(getattr(module, name), _of_psycopg2)

    def _psycopg(self, module: Any) -> None:
        self._watch(module.Cursor, _of_psycopg)

    # -- SQLAlchemy, above drivers that are not watched -----------------------------------------

    def _sqlalchemy(self, module: Any) -> None:
        engine = module.engine.Engine

        def after(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
            self.hooks.safely(self._executed, connection, cursor, statement, context)

        module.event.listen(engine, "after_cursor_execute", after)
        self.hooks.at_end(lambda: module.event.remove(engine, "after_cursor_execute", after))

    def _executed(self, connection: Any, cursor: Any, statement: str, context: Any) -> None:
        url = connection.engine.url
        backend = url.get_backend_name()
        if context is None or backend in _FILES or self._marks.get(cursor) is not None:
            return
        source = addresses.data_source(backend, url.host, url.port, url.database)
        use = self._began(source, statement)
        if use is not None:
            use.belongs_to(context)
            self._marks.put(context, Rows(use, self.hooks.later))
            _count(use, cursor)

    def _strategies(self, module: Any) -> None:
        for name in ("CursorFetchStrategy", "BufferedRowCursorFetchStrategy", "FullyBufferedCursorFetchStrategy"):
            strategy = getattr(module, name, None)
            for fetch in ("fetchone", "fetchmany", "fetchall"):
                if strategy is not None and fetch in vars(strategy):
                    self.hooks.wrap(strategy, fetch, self._strategy)

    def _strategy(self, original: Callable[..., Any]) -> Callable[..., Any]:
        take = self._taking(original.__name__)

        def fetch(strategy: Any, result: Any, *args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            rows = self._marks.get(result.context)
            if rows is None or rows.busy:
                return original(strategy, result, *args, **options)
            rows.busy = True
            try:
                found = original(strategy, result, *args, **options)
            finally:
                rows.busy = False
            take(rows, found)
            return found

        return fetch


_FETCHES = ("fetchone", "fetchmany", "fetchall", "__next__")
_FILES = frozenset(("sqlite", "duckdb", "access"))


def kind_of(text: str) -> str | None:
    """Return whether a statement reads or writes data, or None when it does neither.

    >>> [kind_of(text) for text in ("/* x */ select 1", "WITH a AS (DELETE FROM t) SELECT 1", "COMMIT")]
    ['read', 'write', None]
    """
    place = 0
    while (comment := _COMMENTS.match(text, place)) is not None:
        place = comment.end()
    word = _WORD.match(text, place)
    if word is None:
        return None
    first = word.group(1).upper()
    if first in _TALK:
        return None
    if first == "WITH":
        return "write" if _CHANGES.search(_TEXTS.sub("", text)) else "read"
    return "read" if first in _READING else "write"


def _base_cursor(connection: Any) -> type:
    base: type = sys.modules["psycopg2.extensions"].cursor
    return base


def _count(use: Use, cursor: Any) -> None:
    """Take the number of rows that were changed; those that are read are counted as they are fetched."""
    count = getattr(cursor, "rowcount", -1)
    if use.access == "write":
        use.rows = count if isinstance(count, int) and count >= 0 else None
        use.over = True


def _as_text(query: Any, cursor: Any) -> str:
    return str(query.as_string(cursor)) if hasattr(query, "as_string") else str(query)


def _of_psycopg2(cursor: Any) -> str:
    about = cursor.connection.get_dsn_parameters()
    return addresses.data_source("postgresql", about.get("host"), about.get("port"), about.get("dbname"))


def _of_psycopg(cursor: Any) -> str:
    about = cursor.connection.info
    return addresses.data_source("postgresql", about.host, about.port, about.dbname)


def _of_pg8000(cursor: Any) -> str:
    peer = cursor._c._usock.getpeername()  # its `connection` warns whoever asks
    return addresses.data_source("postgresql", *(peer[:2] if isinstance(peer, tuple) else (peer,)))


def _of_mysql(cursor: Any) -> str:
    connection = getattr(cursor, "connection", None) or cursor._connection
    database = getattr(connection, "db", None) or getattr(connection, "_database", None)
    database = database.decode() if isinstance(database, bytes) else database
    host = getattr(connection, "host", None) or getattr(connection, "_host", None)
    return addresses.data_source("mysql", host, getattr(connection, "port", None), database)

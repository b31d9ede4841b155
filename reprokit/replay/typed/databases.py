"""SQLite databases compared by their tables' rows, whatever pages those are stored in.

A database is opened from a temporary copy, read-only and as one that nobody changes, and no statement may do
anything but read tables: what a database from elsewhere defines (views, triggers, functions) is never run.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from reprokit.replay.typed.outcome import How, Outcome, same
from reprokit.replay.typed.shown import clip, limited
from reprokit.replay.typed.tables import Table, changes, summary

__all__ = ["compare_sqlite"]

_STEPS = 50 * 10**6  # of SQLite's machine, for one database
_ROWS = 200_000  # of a table that differs, for the summary
_ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)


def compare_sqlite(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two SQLite databases: what they define, and each table's rows in order."""
    with _opened(left) as ours, _opened(right) as theirs:
        schemas = _schema(ours), _schema(theirs)
        lines = list(_schema_lines(*schemas))
        close = False
        for name in sorted(schemas[0].keys() & schemas[1].keys()):
            if schemas[0][name] != schemas[1][name] or not _is_table(schemas[0][name]):
                continue
            apart, tolerated = _rows_apart(ours, theirs, name[1], how)
            close = close or tolerated
            lines += [f"table {clip(name[1])}\n  " + apart.replace("\n", "\n  ")] if apart else []
    if lines:
        return Outcome(
            before=_brief(schemas[0]), after=_brief(schemas[1]), detail="\n".join(limited(lines, len(lines)))
        )
    return same("sqlite layout", how.tolerance()) if close else same("sqlite layout")


@contextmanager
def _opened(content: bytes) -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory(prefix="reprokit-") as folder:
        path = Path(folder, "copy.sqlite")
        path.write_bytes(content)
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            database.execute("PRAGMA trusted_schema=OFF")
            database.execute("PRAGMA cell_size_check=ON")
            database.text_factory = _decoded
            database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY)
            steps = iter(range(_STEPS // 10_000))
            database.set_progress_handler(lambda: next(steps, None) is None, 10_000)
            yield database


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


_Schema = dict[tuple[str, str], str]  # (type, name) → the statement that made it


def _schema(database: sqlite3.Connection) -> _Schema:
    rows = database.execute("SELECT type, name, sql FROM sqlite_master")
    return {(str(kind), str(name)): str(sql or "") for kind, name, sql in rows}


def _is_table(sql: str) -> bool:
    return sql.upper().startswith("CREATE TABLE")  # a virtual table would run its module


def _schema_lines(left: _Schema, right: _Schema) -> Iterator[str]:
    for kind, name in sorted(left.keys() | right.keys()):
        ours, theirs = left.get((kind, name)), right.get((kind, name))
        if ours != theirs:
            word = "added" if ours is None else "removed" if theirs is None else "defined otherwise"
            yield f"{kind} {clip(name)} {word}"
        elif kind == "table" and not _is_table(ours or ""):
            raise ValueError(f"table {clip(name)} is virtual")


def _brief(schema: _Schema) -> str:
    return f"{sum(kind == 'table' for kind, _ in schema):,} tables"


def _rows_apart(ours: sqlite3.Connection, theirs: sqlite3.Connection, name: str, how: How) -> tuple[str, bool]:
    """Return how the rows of a table differ, "" when they do not, and whether it took the tolerance."""
    rows = (database.execute(f"SELECT * FROM {_quoted(name)}") for database in (ours, theirs))
    if all(_typed(one) == _typed(other) for one, other in zip_longest(*rows)):
        return "", False
    found = changes(one := _table(ours, name), other := _table(theirs, name), how)
    return ("", True) if found.none else (summary(one, other, found), False)


def _typed(row: tuple[Any, ...] | None) -> Any:
    """Return a row so that 1 and 1.0, and 0.0 and -0.0, are not equal."""
    return row and [(type(value), repr(value) if isinstance(value, float) else value) for value in row]


def _table(database: sqlite3.Connection, name: str) -> Table:
    rows = database.execute(f"SELECT * FROM {_quoted(name)}")
    heads = [column[0] for column in rows.description]
    kept = rows.fetchmany(_ROWS + 1)
    if len(kept) > _ROWS:
        raise ValueError(f"table {clip(name)} differs and has more than {_ROWS:,} rows")
    return Table(dict(zip(heads, zip(*kept, strict=True), strict=False)) or dict.fromkeys(heads, ()))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

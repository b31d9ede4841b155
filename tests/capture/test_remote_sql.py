"""Queries are recorded once, with the rows that came, whichever library sends them; parameters and passwords never."""

from __future__ import annotations

import datetime
import inspect
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg2
import psycopg2.extras
import pytest
import sqlalchemy
from postgres import PASSWORD, running
from remoted import Remoted, sha256
from sqlalchemy.pool import StaticPool

SELECT = "SELECT n, name FROM items ORDER BY n"
ROWS = [(n, f"item {n}") for n in range(5)]
ROWS_AS_JSON = b'[0,"item 0"],[1,"item 1"],[2,"item 2"],[3,"item 3"],[4,"item 4"]'


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with running() as access:
        with closing(psycopg2.connect(**access)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE items (n int, name text)")
            cursor.executemany("INSERT INTO items VALUES (%s, %s)", ROWS)
        yield access


@pytest.fixture
def remoted(tmp_path: Path) -> Iterator[Remoted]:
    probe = Remoted(tmp_path)
    yield probe
    probe.stop()


def source(access: dict[str, str]) -> str:
    return f"postgresql://127.0.0.1:{access['port']}/postgres"


def url(access: dict[str, str], driver: str = "psycopg2") -> str:
    return f"postgresql+{driver}://tester:{PASSWORD}@127.0.0.1:{access['port']}/postgres"


def with_cursor(read: Callable[[Any], Any], **options: Any) -> Callable[[dict[str, str]], Any]:
    def run(access: dict[str, str]) -> Any:
        with closing(psycopg2.connect(**access)) as connection, connection.cursor(**options) as cursor:
            cursor.execute(SELECT)
            return [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in read(cursor)]

    return run


def one_by_one(cursor: Any) -> list[Any]:
    return list(iter(cursor.fetchone, None))


def in_parts(cursor: Any) -> list[Any]:
    return [row for part in iter(lambda: cursor.fetchmany(2), []) for row in part]


def by_sqlalchemy(access: dict[str, str]) -> Any:
    engine = sqlalchemy.create_engine(url(access))
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(sqlalchemy.text(SELECT))]
    engine.dispose()
    return rows


def by_pandas(access: dict[str, str]) -> Any:
    engine = sqlalchemy.create_engine(url(access))
    with engine.connect() as connection:
        frame = pd.read_sql(SELECT, connection)
    engine.dispose()
    return [tuple(row) for row in frame.itertuples(index=False)]


def streaming(access: dict[str, str]) -> Any:
    engine = sqlalchemy.create_engine(url(access))
    with engine.connect().execution_options(stream_results=True, max_row_buffer=2) as connection:
        rows = [tuple(row) for row in connection.execute(sqlalchemy.text(SELECT))]
    engine.dispose()
    return rows


def by_server_cursor(access: dict[str, str]) -> Any:
    with closing(psycopg2.connect(**access)) as connection, connection.cursor(name="one") as cursor:
        cursor.execute(SELECT)
        return list(cursor)


def by_words(access: dict[str, str]) -> Any:
    words = " ".join(f"{key}={value}" for key, value in access.items())
    with closing(psycopg2.connect(words)) as connection, connection.cursor() as cursor:
        cursor.execute(query=SELECT)
        return cursor.fetchall()


WAYS: dict[str, Callable[[dict[str, str]], Any]] = {
    "fetchall": with_cursor(lambda cursor: cursor.fetchall()),
    "fetchone": with_cursor(one_by_one),
    "fetchmany": with_cursor(in_parts),
    "iteration": with_cursor(list),
    "dict cursor": with_cursor(list, cursor_factory=psycopg2.extras.DictCursor),
    "named tuple cursor": with_cursor(list, cursor_factory=psycopg2.extras.NamedTupleCursor),
    "server cursor": by_server_cursor,
    "words": by_words,
    "SQLAlchemy": by_sqlalchemy,
    "SQLAlchemy, streaming": streaming,
    "pandas": by_pandas,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_result_is_recorded_and_is_as_without(remoted: Remoted, server: dict[str, str], way: str) -> None:
    with remoted.cell() as told:
        assert WAYS[way](server) == ROWS
    use = next(use for use in told if use.query == SELECT)
    assert (use.kind, use.access, use.url, use.rows) == ("sql", "read", source(server), 5)
    assert use.digest == sha256(ROWS_AS_JSON)
    assert len([use for use in told if use.query == SELECT]) == 1
    assert PASSWORD not in repr(told) + repr(remoted.gaps)
    assert not any(gap.blocks for gap in remoted.gaps)


def test_a_real_dict_cursor(remoted: Remoted, server: dict[str, str]) -> None:
    with remoted.cell() as told:
        rows = with_cursor(list, cursor_factory=psycopg2.extras.RealDictCursor)(server)
    assert rows == ROWS
    assert [(use.rows, use.digest is not None) for use in told] == [(5, True)]


@pytest.mark.parametrize("kind", [psycopg2.extras.DictCursor, psycopg2.extras.RealDictCursor])
def test_rows_that_are_changed_after_they_came(remoted: Remoted, server: dict[str, str], kind: type) -> None:
    select = "SELECT n, name, ARRAY[n] AS several FROM items ORDER BY n"
    cells = []
    for change in (False, True):
        with remoted.cell() as told, closing(psycopg2.connect(**server, cursor_factory=kind)) as connection:
            cursor = connection.cursor()
            cursor.execute(select)
            for row in cursor:
                if change:
                    row["name"] = "changed"
                    row["several"].append(7)
        cells.append([(use.rows, use.digest) for use in told])
    assert cells[0] == cells[1]
    assert [rows for rows, _ in cells[0]] == [5]
    assert cells[0][0][1] is not None


def test_writes_count_rows_and_talk_is_no_data(remoted: Remoted, server: dict[str, str]) -> None:
    with (
        remoted.cell() as told,
        closing(psycopg2.connect(**server)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SET statement_timeout = 1000")
        cursor.execute("CREATE TEMP TABLE made (n int)")
        cursor.executemany("INSERT INTO made VALUES (%s)", [(1,), (2,)])
        cursor.execute("INSERT INTO made VALUES (3), (4) RETURNING n")
        assert cursor.fetchall() == [(3,), (4,)]
        cursor.execute("CREATE USER someone PASSWORD 'hidden-other'")
        cursor.execute("DROP USER someone")
    assert [(use.access, use.query) for use in told] == [
        ("write", "CREATE TEMP TABLE made (n int)"),
        ("write", "INSERT INTO made VALUES (%s)"),
        ("write", "INSERT INTO made VALUES (3), (4) RETURNING n"),
        ("write", "CREATE USER someone PASSWORD '[redacted]'"),
        ("write", "DROP USER someone"),
    ]
    assert told[2].rows == 2


def test_every_type_of_value_gives_the_same_digest_each_time(remoted: Remoted, server: dict[str, str]) -> None:
    query = """SELECT 1.10::numeric, 'NaN'::float8, now()::date - now()::date, '2025-05-03'::date, '14:02'::time,
        '\\x00ff'::bytea, NULL, ARRAY[1, 2], '{"a": [1]}'::jsonb, true, 'ü', '[1,3)'::int4range"""

    def run() -> tuple[Any, Any]:
        with remoted.cell() as told, closing(psycopg2.connect(**server)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            row = cursor.fetchone()
        return told[0], row

    (first, row), (second, _) = run(), run()
    assert first.digest == second.digest
    assert first.digest is not None
    assert row[0] == Decimal("1.10")
    assert row[3] == datetime.date(2025, 5, 3)
    with remoted.cell() as told, closing(psycopg2.connect(**server)) as connection, connection.cursor() as cursor:
        cursor.execute(query.replace("1.10", "1.1"))
        cursor.fetchone()
    assert told[0].digest != first.digest


def test_errors_are_as_without_and_are_no_data(remoted: Remoted, server: dict[str, str]) -> None:
    with remoted.cell() as told, closing(psycopg2.connect(**server)) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.errors.UndefinedTable) as raised:
            cursor.execute("SELECT * FROM nowhere")
        assert raised.value.cursor is cursor
    assert told == []


def test_what_copies_out_is_told_to_be_unseen(remoted: Remoted, server: dict[str, str], tmp_path: Path) -> None:
    with (
        remoted.cell() as told,
        closing(psycopg2.connect(**server)) as connection,
        connection.cursor() as cursor,
        open(tmp_path / "out.csv", "w") as out,
    ):
        cursor.copy_expert("COPY items TO STDOUT CSV", out)
    assert [(use.access, use.query, use.digest) for use in told] == [("read", "COPY items TO STDOUT CSV", None)]
    assert [gap.blocks for gap in remoted.gaps] == [True]


def test_sqlalchemy_above_cursors_that_are_not_watched(server: dict[str, str], tmp_path: Path) -> None:
    with closing(psycopg2.connect(**server)) as early:  # its cursors are psycopg2's own
        remoted = Remoted(tmp_path)
        engine = sqlalchemy.create_engine(url(server), creator=lambda: early, poolclass=StaticPool)
        with remoted.cell() as told, engine.connect() as connection:
            assert [tuple(row) for row in connection.execute(sqlalchemy.text(SELECT))] == ROWS
            assert connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
        remoted.stop()
    (use,) = [use for use in told if use.query == SELECT]
    assert (use.url, use.rows, use.digest) == (source(server), 5, sha256(ROWS_AS_JSON))


def test_a_file_is_not_remote(remoted: Remoted, tmp_path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/x.db")
    with remoted.cell() as told, engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1")).fetchall()
        with closing(sqlite3.connect(tmp_path / "x.db")) as plain:
            plain.execute("SELECT 1").fetchall()
    engine.dispose()
    assert told == []


def test_the_same_objects_come_out(remoted: Remoted, server: dict[str, str]) -> None:
    assert str(inspect.signature(psycopg2.connect)).startswith("(dsn=None, connection_factory=None")
    with closing(psycopg2.connect(**server)) as connection:
        assert type(connection) is psycopg2.extensions.connection
        with connection.cursor() as cursor:
            assert isinstance(cursor, psycopg2.extensions.cursor)
            assert repr(type(cursor)) == "<class 'psycopg2.extensions.cursor'>"
        with connection.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
            assert type(cursor) is psycopg2.extras.DictCursor


@pytest.mark.parametrize("driver", ["psycopg", "pg8000"])
def test_other_drivers(remoted: Remoted, server: dict[str, str], driver: str) -> None:
    pytest.importorskip(driver)
    engine = sqlalchemy.create_engine(url(server, driver))
    with remoted.cell() as told, engine.connect() as connection:
        assert [tuple(row) for row in connection.execute(sqlalchemy.text(SELECT))] == ROWS
    engine.dispose()
    (use,) = [use for use in told if use.query == SELECT]
    assert use.digest == sha256(ROWS_AS_JSON)
    assert use.url.startswith(f"postgresql://127.0.0.1:{server['port']}")


@pytest.mark.parametrize("ended", [[0], [1, 0], [0, 1], [1, 0, 2], [0, 2, 1]], ids=str)
def test_nothing_is_left_behind(ended: list[int], tmp_path: Path, server: dict[str, str]) -> None:
    """By one run or by runs within runs, in whichever order they end."""

    def looks() -> list[object]:
        code = psycopg2.connect.__code__
        strategy = sqlalchemy.engine.cursor.CursorFetchStrategy
        return [psycopg2.connect, code, strategy.fetchall.__code__, dict(vars(psycopg2.extras.DictCursor))]

    before = looks()
    remoted = [Remoted(tmp_path) for _ in ended]
    assert looks() != before
    for number in ended:
        remoted[number].stop()
    assert looks() == before
    with closing(psycopg2.connect(**server)) as connection:
        assert connection.cursor_factory is None

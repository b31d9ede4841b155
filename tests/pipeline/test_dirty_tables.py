"""Tables as they come: whatever is wrong with one is told in a line, never by a traceback."""

from __future__ import annotations

import io
from decimal import Decimal
from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import feather, parquet

from reprokit.errors import UsageError
from reprokit.pipeline.tables import Limits, differences

GOOD = "a,b,c\n1,x,2020-01-01\n2,y,2020-01-02\n3,é,2020-01-03\n"
CSV = {
    "good": GOOD.encode(),
    "empty": b"",
    "no rows": b"a,b,c\n",
    "one row": b"a,b,c\n1,x,2020-01-01\n",
    "blank lines": b"a,b,c\n\n1,x,\n\n",
    "a mark first": GOOD.encode("utf-8-sig"),
    "Latin-1": GOOD.encode("latin-1"),
    "Latin-1 names": b"a,\xe9,c\n1,x,2020-01-01\n",
    "UTF-16": GOOD.encode("utf-16"),
    "Windows": GOOD.replace("\n", "\r\n").encode(),
    "ragged": b"a,b,c\n1,2\n1,2,3,4\n",
    "a zero byte": b"a,b,c\n1,\0x,3\n",
    "nothing but missing": b"a,b,c\n,,\nNA,NaN,null\n",
    "mixed": b"a,b,c\n1,x,2020-01-01\nfoo,2.5,not a date\n",
    "twice one name": b"a,a,c\n1,2,3\n4,5,6\n",
    "no name": b",a,b\n0,1,2\n1,2,3\n",
    "infinite": b"a,b,c\ninf,1,2\n-inf,2,2\n1,nan,3\n",
    "huge": b"a,b,c\n1e308,1,2\n-1e308,99999999999999999999999,2\n",
    "an open quote": b'a,b,c\n1,"x\ny",2\n2,"open,3\n',
    "a long line": b"a,b,c\n" + b"x" * 2_000_000 + b",1,2\n",
    "no text": bytes(range(256)) * 10,
    "a page": b"<html><body>404</body></html>",
    "times": b"a,b,c\n10:00:00,2020-01-01T10:00:00Z,2020-01-01 10:00:00.123456789\n",
}
ROWS = 50
FRAMES = {
    "kinds": pd.DataFrame({"a": pd.Categorical(["x", None] * 25), "b": pd.Categorical([1, 2] * 25)}),
    "dates": pd.DataFrame({"a": pd.date_range("2020", periods=9), "b": pd.date_range("2020", periods=9, tz="UTC")}),
    "no dates": pd.DataFrame({"a": [pd.NaT] * ROWS, "b": [pd.NaT] * ROWS}),
    "far away": pd.DataFrame({"a": np.array(["0001-01-01", "9999-12-31"] * 25, dtype="datetime64[s]"), "b": 1}),
    "spans": pd.DataFrame({"a": pd.to_timedelta(range(9), unit="s"), "b": pd.period_range("2020", periods=9)}),
    "nullable": pd.DataFrame({"a": pd.array([1, None] * 25, "Int64"), "b": pd.array([True, None] * 25, "boolean")}),
    "nothing": pd.DataFrame({"a": [np.nan] * ROWS, "b": [None] * ROWS}),
    "nested": pd.DataFrame({"a": [[1, 2]] * ROWS, "b": [{"x": 1}] * ROWS}),
    "bytes": pd.DataFrame({"a": [b"\xff"] * ROWS, "b": np.array([2**64 - 1] * ROWS, dtype=np.uint64)}),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype=float), "b": pd.Series([], dtype=str)}),
    "no columns": pd.DataFrame(index=range(3)),
    "names of two parts": pd.DataFrame(np.zeros((3, 2)), columns=pd.MultiIndex.from_product([["a"], ["x", "y"]])),
}  # fmt: skip
ARROWS = {
    "decimals": pa.table({"a": pa.array([Decimal("1.23")], pa.decimal256(50, 2)), "b": pa.array([1.0])}),
    "times of day": pa.table({"a": pa.array([1, 2], pa.time32("ms")), "b": pa.array([1, 2], pa.time64("ns"))}),
    "fine and far": pa.table({"a": pa.array([1], pa.timestamp("ns")), "b": pa.array([2**62], pa.timestamp("s"))}),
    "nulls": pa.table({"a": pa.nulls(5), "b": pa.array([{"x": 1}] * 5)}),
    "twice one name": pa.Table.from_arrays([pa.array([1]), pa.array(["x"])], names=["a", "a"]),
    "other texts": pa.table({"a": pa.array(["x"], pa.large_string()), "b": pa.array(["x"]).dictionary_encode()}),
    "runs": pa.table({"a": pa.RunEndEncodedArray.from_arrays([2], [1]), "b": pa.array(["x", "y"], pa.string_view())}),
}
JSON = {
    "good": b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n',
    "nested": b'{"a":{"x":[1]},"b":null}\n',
    "empty": b"",
    "mixed": b'{"a":1}\n{"a":"x"}\n',
    "no JSON": b"{a:1}\n",
    "an array": b'[{"a":1}]',
    "ragged": b'{"a":1}\n{"b":1}\n',
    "Latin-1": '{"a":"é"}\n'.encode("latin-1"),
}


def as_parquet(frame: pd.DataFrame) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.Table.from_pandas(frame), stream)
    return stream.getvalue()


def as_feather(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    feather.write_feather(table, stream)
    return stream.getvalue()


TABLES = {
    "x.csv": CSV,
    "x.jsonl": JSON,
    "x.parquet": {name: as_parquet(frame) for name, frame in FRAMES.items()} | {"empty": b"", "torn": b"PAR1torn"},
    "x.feather": {name: as_feather(table) for name, table in ARROWS.items()} | {"empty": b"", "torn": b"ARROW1"},
}


def told(path: str, pinned: bytes, now: bytes) -> list[str]:
    try:
        return differences(path, pinned, now, Limits())
    except UsageError as error:
        return [error.message]


@pytest.mark.parametrize("path", TABLES)
def test_each_is_compared_and_is_like_itself(path: str) -> None:
    tables = TABLES[path]
    names = list(tables)
    for one, other in [*zip(names, names, strict=True), *product(names[:1], names), *product(names, names[:1])]:
        lines = told(path, tables[one], tables[other])
        assert all(lines)
        if one == other:
            assert lines == [] or "cannot be read as a table" in lines[0], f"{one}: {lines}"


@given(st.binary(max_size=200))
@example(b"\xff\xfea")
def test_any_bytes_are_refused_or_read(content: bytes) -> None:
    for path in TABLES:
        told(path, content, content)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Latin-1", "is Latin-1, UTF-8 before"),
        ("UTF-16", "is UTF-16, UTF-8 before"),
        ("no text", "x.csv cannot be read as a table"),
        ("mixed", "a: holds texts in place of numbers"),
        ("twice one name", "column a (2) is new"),
        ("times", "a: holds times of day in place of numbers"),
    ],
)
def test_what_is_wrong_is_told(name: str, line: str) -> None:
    lines = told("x.csv", CSV["good"], CSV[name])
    assert any(one.startswith(line) for one in lines), lines


def test_the_type_of_a_column_is_that_of_all_its_rows() -> None:
    """A text behind a million rows of numbers, far beyond the first block that is read."""
    numbers = b"a\n" + b"12\n" * 1_000_000
    assert told("x.csv", numbers, numbers + b"n/a?\n") == ["a: holds texts in place of numbers"]


def test_times_are_told_as_times() -> None:
    later = CSV["good"].replace(b"2020-01-03", b"2031-05-06")
    (line,) = told("x.csv", CSV["good"], later)
    assert line.startswith("c: lies between 2020-01-01 00:00:00 and")
    assert "2031-05-06" in line

"""Parquet, Feather and Arrow files compared as tables: types and values, whatever the layout on disk."""

from __future__ import annotations

import io
import json
from typing import Any

from reprokit.replay.typed.delimited import distinct
from reprokit.replay.typed.outcome import BUDGET, How, Outcome, TooLarge, same
from reprokit.replay.typed.tables import Table, changes, summary

__all__ = ["compare_arrow", "compare_parquet"]

_VALUES = 4 * 10**6  # of the columns that differ: they become objects of Python


def compare_parquet(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two Parquet files."""
    return _outcome("parquet layout", _read_parquet(left), _read_parquet(right), how)


def compare_arrow(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two Arrow files or streams, Feather among them."""
    return _outcome("arrow layout", _read_arrow(left), _read_arrow(right), how)


def _read_parquet(content: bytes) -> Any:
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(io.BytesIO(content))
    groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
    values = file.metadata.num_rows * file.metadata.num_columns  # a value that repeats takes hardly a byte
    if max(sum(group.total_byte_size for group in groups), values * 8) > BUDGET:
        raise TooLarge("the table")
    return _small(file.read())


def _read_arrow(content: bytes) -> Any:
    import pyarrow as arrow

    opener = arrow.ipc.open_file if content.startswith(b"ARROW1") else arrow.ipc.open_stream
    without_columns = opener(io.BytesIO(content), options=arrow.ipc.IpcReadOptions(included_fields=[0])).read_all()
    if without_columns.num_rows * 8 > BUDGET:
        raise TooLarge("the table")
    return _small(opener(io.BytesIO(content)).read_all())


def _small(table: Any) -> Any:
    if table.nbytes > 2 * BUDGET:
        raise TooLarge("the table")
    return table


def _outcome(layout: str, left: Any, right: Any, how: How) -> Outcome:
    ours, theirs = _columns(left), _columns(right)
    alike = {name for name in ours if name in theirs and _same_column(ours[name], theirs[name])}
    one, other = _table(ours, theirs, alike), _table(theirs, ours, alike)
    found = changes(one, other, how)
    if found.none and _notes(left) == _notes(right):
        return same(layout, how.tolerance()) if found.close else same(layout)
    detail = summary(one, other, found) or "the schema's metadata changed"
    return Outcome(before=_brief(left), after=_brief(right), detail=detail)


def _columns(table: Any) -> dict[str, Any]:
    return dict(zip(distinct(list(table.column_names)), table.columns, strict=True))


def _same_column(left: Any, right: Any) -> bool:
    """Return whether two columns are the same, fractions bit for bit (-0.0, NaN)."""
    import pyarrow as arrow

    if left.type != right.type:
        return False
    if arrow.types.is_floating(left.type):
        bits = {16: arrow.int16(), 32: arrow.int32(), 64: arrow.int64()}[left.type.bit_width]
        left, right = (
            arrow.chunked_array([chunk.view(bits) for chunk in side.chunks], type=bits) for side in (left, right)
        )
    elif arrow.types.is_nested(left.type) or arrow.types.is_dictionary(left.type):
        return False  # looked at value by value
    return bool(left.equals(right))


def _table(columns: dict[str, Any], other: dict[str, Any], alike: set[str]) -> Table:
    """Return the columns; of those that are the same, or that the other has not, only how long they are."""
    unlike = [name for name in columns if name in other and name not in alike]
    if sum(len(columns[name]) for name in unlike) > _VALUES:
        raise TooLarge("what differs")
    values = {name: _values(column) if name in unlike else range(len(column)) for name, column in columns.items()}
    return Table(values, {name: str(column.type) for name, column in columns.items()})


def _values(column: Any) -> list[Any]:
    """Return a column's values as Python's; moments of a nanosecond, which Python has not, as text."""
    import pyarrow as arrow

    if arrow.types.is_temporal(column.type):
        return list(column.cast(arrow.int64() if arrow.types.is_duration(column.type) else arrow.string()).to_pylist())
    return list(column.to_pylist())


def _brief(table: Any) -> str:
    return f"{table.num_rows:,} rows, {table.num_columns:,} columns"


def _notes(table: Any) -> dict[bytes, Any]:
    """Return what else is written in the schema, without the versions of who wrote it."""
    notes: dict[bytes, Any] = dict(table.schema.metadata or {})
    if b"pandas" in notes:
        pandas = json.loads(notes[b"pandas"])
        notes[b"pandas"] = {key: value for key, value in pandas.items() if key not in ("pandas_version", "creator")}
    return notes

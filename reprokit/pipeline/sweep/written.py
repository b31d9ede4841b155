"""The points of a sweep as a table in a file: CSV, Parquet, JSON or JSON lines. It knows formats, and no store."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reprokit.errors import UsageError
from reprokit.pipeline.sweep.results import Point, metrics

__all__ = ["columns", "write", "write_file"]

_BEFORE, _AFTER = ("point", "status"), ("seed", "seconds", "run", "reused", "reason")
_FORMATS = ".csv, .tsv, .json, .jsonl or .parquet"


def columns(points: Sequence[Point]) -> dict[str, list[Any]]:
    """Return the table column by column: number, status, parameters, metrics, and how it went.

    A parameter or metric whose name another column has is called ``params.NAME`` or ``metrics.NAME``.

    >>> list(columns([Point(number=1, params={"lr": 0.1}, metrics={"lr": 2})]))[:4]
    ['point', 'status', 'lr', 'metrics.lr']
    """
    found: dict[str, list[Any]] = {
        "point": [one.number for one in points],
        "status": [one.status for one in points],
    }
    taken = {*_BEFORE, *_AFTER}
    for name in dict.fromkeys(name for one in points for name in one.params):
        found[f"params.{name}" if name in taken else name] = [one.params.get(name) for one in points]
    taken |= found.keys()
    for name in metrics(points):
        found[f"metrics.{name}" if name in taken else name] = [one.metrics.get(name) for one in points]
    return found | {name: [getattr(one, name) for one in points] for name in _AFTER}


def write(points: Sequence[Point], path: Path) -> None:
    """Write the table in the format that the file's name says, whole or not at all.

    Raises:
        UsageError: it names no format, the library for it is missing, or the file cannot be written.
    """
    kind, table = path.suffix.lower(), columns(points)
    if kind in (".csv", ".tsv"):
        data = _csv(table, "\t" if kind == ".tsv" else ",").encode("utf-8")
    elif kind == ".json":
        data = json.dumps(_rows(table), indent=1).encode("utf-8")
    elif kind in (".jsonl", ".ndjson"):
        data = "".join(f"{json.dumps(row)}\n" for row in _rows(table)).encode("utf-8")
    elif kind == ".parquet":
        data = _parquet(table)
    else:
        raise UsageError(f"{path} names no format for a table", remedy=f"name a file that ends with {_FORMATS}")
    write_file(path, data)


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}-{os.urandom(4).hex()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written ({error.strerror})", remedy="name a file in a folder") from error


def _rows(table: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(table, line, strict=True)) for line in zip(*table.values(), strict=True)]


def _csv(table: dict[str, list[Any]], separator: str) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
    writer.writerow(table)
    writer.writerows([_cell(item) for item in line] for line in zip(*table.values(), strict=True))
    return stream.getvalue()


def _cell(item: Any) -> Any:
    return json.dumps(item) if isinstance(item, (list, dict, bool)) else item


def _parquet(table: dict[str, list[Any]]) -> bytes:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        remedy = "`pip install pyarrow`, or name a .csv file"
        raise UsageError("Parquet needs the library pyarrow", remedy=remedy) from error
    arrays = {}
    for name, values in table.items():
        try:
            arrays[name] = arrow.array(values)
        except (arrow.ArrowInvalid, arrow.ArrowTypeError):  # values of several types
            arrays[name] = arrow.array([None if one is None else str(_cell(one)) for one in values])
    stream = io.BytesIO()
    parquet.write_table(arrow.table(arrays), stream)
    return stream.getvalue()

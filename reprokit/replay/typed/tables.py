"""Tables compared column by column: what was added, removed and changed, with each column's figures before and after.

Knows columns of values; the readers of CSV, Parquet, HTML and databases make ``Table``s of what they read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reprokit.replay.typed.numbers import close_numbers
from reprokit.replay.typed.outcome import How
from reprokit.replay.typed.shown import aligned, clip, limited

__all__ = ["Changes", "Table", "changes", "summary"]

_NAMED, _COLUMNS = 6, 20  # changed cells and columns that are named


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of values by name, as many in each; ``labels`` name the rows, ``types`` the columns' types.

    A ``range`` stands for a column of which only the length is known, or that is the same in both.
    """

    columns: Mapping[str, Sequence[Any]]
    types: Mapping[str, str] = field(default_factory=dict)
    labels: Sequence[str] = ()

    @property
    def rows(self) -> int:
        return max((len(values) for values in self.columns.values()), default=0)


class Changes(NamedTuple):
    """What is not the same in two tables: ``cells`` are (column, row); ``close`` says that the tolerance was needed."""

    cells: dict[str, list[int]]
    shape: bool
    close: bool

    @property
    def none(self) -> bool:
        return not self.shape and not any(self.cells.values())


def changes(left: Table, right: Table, how: How) -> Changes:
    """Return which cells changed, of the columns and rows that both have."""
    shape = list(left.columns) != list(right.columns) or left.rows != right.rows
    shape = shape or any(left.types.get(name) != right.types.get(name) for name in left.columns)
    cells: dict[str, list[int]] = {}
    close = False
    for name in left.columns:
        ours, theirs = left.columns[name], right.columns.get(name)
        if theirs is None or (isinstance(ours, range) and isinstance(theirs, range)):  # known to be the same
            continue
        unlike = [at for at, (one, other) in enumerate(zip(ours, theirs, strict=False)) if not _equal(one, other)]
        cells[name] = [at for at in unlike if not _close(ours[at], theirs[at], how)]
        close = close or len(cells[name]) < len(unlike)
    return Changes(cells, shape, close)


def _equal(left: Any, right: Any) -> bool:
    """Return whether two values are the same: of one type, NaN like NaN, and -0.0 not like 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    return bool(left == right) or (left != left and right != right)


def _close(left: Any, right: Any, how: How) -> bool:
    """Return whether two values are numbers, at least one of them with a fraction, within the tolerance."""
    if not how.comparison.tolerant:
        return False
    if isinstance(left, float) and isinstance(right, float):
        return how.comparison.close(left, right)
    if isinstance(left, str) and isinstance(right, str):
        return (
            _as_number(left) is not None
            and _as_number(right) is not None
            and close_numbers(left, right, how.comparison)
        )
    return False


def _as_number(value: Any) -> float | None:
    """Return a value as a number, where it is one or is the text of one."""
    if isinstance(value, (bool, bytes)) or value is None or (isinstance(value, str) and "_" in value):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def summary(left: Table, right: Table, found: Changes) -> str:
    """Return what changed: rows and columns, a line for each column that did, and the first changed cells."""
    lines = list(_shape_lines(left, right))
    changed = [name for name, cells in found.cells.items() if cells]
    retyped = [name for name in found.cells if left.types.get(name) != right.types.get(name)]
    named = list(dict.fromkeys([*changed, *retyped]))
    if named:
        rows: list[tuple[str, ...]] = [("column", "changed", "type", "min", "mean", "max")]
        rows += [_column_row(name, left, right, found) for name in named[:_COLUMNS]]
        lines += limited(_without_empty(rows), len(named) + 1, _COLUMNS + 1)
    total = sum(map(len, found.cells.values()))
    shown = [(name, at) for name in changed for at in found.cells[name][:_NAMED]][:_NAMED]
    lines += limited((_cell_line(name, at, left, right) for name, at in shown), total, _NAMED) if shown else []
    return "\n".join(lines)


def _without_empty(rows: list[tuple[str, ...]]) -> list[str]:
    kept = [at for at in range(len(rows[0])) if any(row[at] for row in rows[1:])]
    return aligned([[row[at] for at in kept] for row in rows]).split("\n")


def _shape_lines(left: Table, right: Table) -> Iterator[str]:
    if left.rows != right.rows:
        yield f"rows {left.rows:,} → {right.rows:,}"
    added = [name for name in right.columns if name not in left.columns]
    removed = [name for name in left.columns if name not in right.columns]
    for word, names in (("added", added), ("removed", removed)):
        if names:
            yield f"columns {word}: {clip(', '.join(names), width=200)}"
    if not added and not removed and list(left.columns) != list(right.columns):
        yield "columns in another order"


def _column_row(name: str, left: Table, right: Table, found: Changes) -> tuple[str, ...]:
    before, after = _figures(left.columns[name]), _figures(right.columns[name])
    figures = [
        "" if None in (one, other) else _arrow(f"{one:.6g}", f"{other:.6g}")
        for one, other in zip(before, after, strict=True)
    ]
    count, most = len(found.cells.get(name, ())), max(left.rows, right.rows)
    types = _arrow(left.types.get(name, ""), right.types.get(name, ""))
    return (clip(name, width=30), f"{count:,} of {most:,}", types, *figures)


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _figures(values: Sequence[Any]) -> tuple[float | None, float | None, float | None]:
    """Return the least, the mean and the greatest of a column of numbers; None of one that is none."""
    present = [value for value in values if value not in ("", None) and value == value]
    numbers = [number for value in present if (number := _as_number(value)) is not None]
    if not numbers or len(numbers) != len(present):
        return None, None, None
    return (
        min(numbers),
        math.fsum(numbers) / len(numbers) if all(map(math.isfinite, numbers)) else math.nan,
        max(numbers),
    )


def _cell_line(name: str, at: int, left: Table, right: Table) -> str:
    label = left.labels[at] if at < len(left.labels) else f"row {at + 1:,}"
    before, after = left.columns[name][at], right.columns[name][at]
    return f"{label}, {clip(name, width=30)}: {clip(str(before))} → {clip(str(after))}"

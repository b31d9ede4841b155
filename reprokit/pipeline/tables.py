"""Tables compared with those of another run: columns, types, what is missing, ranges, and drift. Nothing is stored.

The readers are pyarrow's, the tests of drift SciPy's: two-sample Kolmogorov-Smirnov for numbers, chi-squared for texts.
A drift is told when it is larger than allowed *and* would be rare by chance.
"""

from __future__ import annotations

import io
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from reprokit.errors import UsageError

__all__ = ["Limits", "differences", "is_table"]

_READERS = (".csv", ".tsv", ".parquet", ".feather", ".jsonl", ".ndjson")
_RARE = 0.01  # how probable a drift may be by chance, at most, to be one
_MOST_KINDS = 50  # different texts of a column of kinds; more are names or numbers of things


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is allowed.

    Attributes:
        missing: by how much the share of missing values may rise.
        drift: the largest distance of two distributions, 0 to 1: the Kolmogorov-Smirnov statistic of numbers, the
            total variation of kinds.
        range: how far values may lie outside the other's range, as a share of its width.
        ignore: columns that are not looked at.
    """

    missing: float = 0.05
    drift: float = 0.2
    range: float = 0.5
    ignore: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class _Column:
    """One column: ``kind`` is "numbers", "times", "truths", "texts" or another type's name; missing ones left out."""

    kind: str
    values: Any
    rows: int

    @property
    def missing(self) -> float:
        return 1 - len(self.values) / self.rows if self.rows else 0.0


def is_table(path: str) -> bool:
    """Return whether a file of this name is a table that can be read.

    >>> is_table("data/Train.CSV"), is_table("model.pkl")
    (True, False)
    """
    return posixpath.splitext(path)[1].lower() in _READERS


def differences(path: str, pinned: bytes, now: bytes, limits: Limits) -> list[str]:
    """Return in what a table is not as another one was, beyond what is allowed.

    Args:
        path: its name, which says its format.
        pinned: the other one.
        now: the one in question.
        limits: what is allowed.

    Raises:
        UsageError: a table cannot be read, or the libraries that read it are missing.
    """
    before, after = _columns(path, pinned), _columns(path, now)
    found = [f"column {name} is gone" for name in before if name not in after and name not in limits.ignore]
    for name, column in after.items():
        if name in limits.ignore:
            continue
        if name not in before:
            found.append(f"column {name} is new")
        else:
            found += (f"{name}: {text}" for text in _unlike(before[name], column, limits))
    return found


def _unlike(before: _Column, after: _Column, limits: Limits) -> Iterator[str]:
    if before.kind != after.kind:
        if len(before.values) and len(after.values):  # a column without any value is of no kind
            yield f"holds {after.kind} in place of {before.kind}"
        elif len(before.values):
            yield "holds no value any more"
        return
    if after.missing > before.missing + limits.missing:
        yield f"{after.missing:.0%} missing, {before.missing:.0%} before"
    if not len(before.values) or not len(after.values):
        return
    if before.kind in ("numbers", "times"):
        yield from _outside(before, after, limits.range)
        yield from _drift(before.values, after.values, limits.drift)
    elif before.kind in ("texts", "truths"):
        yield from _drift_of_kinds(before.values, after.values, limits.drift)


def _outside(before: _Column, after: _Column, allowed: float) -> Iterator[str]:
    low, high = float(before.values.min()), float(before.values.max())
    lowest, highest = float(after.values.min()), float(after.values.max())
    room = (high - low) * allowed
    if lowest < low - room or highest > high + room:
        yield f"lies between {_shown(lowest)} and {_shown(highest)}, before between {_shown(low)} and {_shown(high)}"


def _drift(before: Any, after: Any, allowed: float) -> Iterator[str]:
    tested = _stats().ks_2samp(before, after, method="asymp")
    if tested.statistic > allowed and tested.pvalue < _RARE:
        yield f"its distribution drifted (Kolmogorov-Smirnov {tested.statistic:.2f}, p = {tested.pvalue:.1g})"


def _drift_of_kinds(before: Sequence[Any], after: Sequence[Any], allowed: float) -> Iterator[str]:
    ours, theirs = Counter(before), Counter(after)
    kinds = sorted(ours.keys() | theirs.keys(), key=str)
    if not 1 < len(kinds) <= _MOST_KINDS:
        if len(ours) == 1 and len(kinds) > 1:
            yield f"{len(kinds)} kinds of value in place of one"
        return
    shares = [(ours[kind] / len(before), theirs[kind] / len(after)) for kind in kinds]
    distance = sum(abs(one - other) for one, other in shares) / 2
    tested = _stats().chi2_contingency([[ours[kind] for kind in kinds], [theirs[kind] for kind in kinds]])
    if distance > allowed and tested.pvalue < _RARE:
        most = max(range(len(kinds)), key=lambda at: abs(shares[at][0] - shares[at][1]))
        told = f"{kinds[most]!r} {shares[most][0]:.0%} → {shares[most][1]:.0%}"
        yield f"its kinds drifted (total variation {distance:.2f}, p = {tested.pvalue:.1g}): {told}"


def _shown(value: float) -> str:
    return f"{value:.6g}"


# -- reading --------------------------------------------------------------------------------------


def _columns(path: str, content: bytes) -> dict[str, _Column]:
    table = _table(path, content)
    return {str(name): _column(table.column(at)) for at, name in enumerate(table.column_names)}


def _table(path: str, content: bytes) -> Any:
    suffix = posixpath.splitext(path)[1].lower()
    arrow = _arrow()
    source = io.BytesIO(content)
    try:
        if suffix == ".parquet":
            return arrow.parquet.read_table(source)
        if suffix == ".feather":
            return arrow.feather.read_table(source)
        if suffix in (".jsonl", ".ndjson"):
            return arrow.json.read_json(source)
        csv = arrow.csv
        first = content.partition(b"\n")[0]
        delimiter = max((",", ";", "\t"), key=lambda one: first.count(one.encode()))
        return csv.read_csv(
            source,
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(strings_can_be_null=True),
        )
    except (arrow.ArrowException, ValueError, OSError) as error:
        problem = " ".join(str(error).split())
        raise UsageError(f"{path} cannot be read as a table ({problem})", remedy="see the file") from error


def _column(column: Any) -> _Column:
    arrow = _arrow()
    kind, rows = column.type, len(column)
    types = arrow.types
    if types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        values = column.drop_null().cast(arrow.float64(), safe=False).to_numpy()
        return _Column("numbers", values[values == values], rows)  # NaN is missing, too
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind):
        values = column.drop_null()
        kind64 = arrow.timestamp("us") if not types.is_time(kind) else kind
        whole = values.cast(kind64).cast(arrow.int32() if types.is_time32(kind) else arrow.int64())
        return _Column("times", whole.to_numpy().astype(float), rows)
    if types.is_boolean(kind):
        return _Column("truths", column.drop_null().to_pylist(), rows)
    if types.is_string(kind) or types.is_large_string(kind):
        return _Column("texts", column.drop_null().to_pylist(), rows)
    return _Column(str(kind), column.drop_null().to_pylist(), rows)


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.feather
        import pyarrow.json
        import pyarrow.parquet
    except ImportError as error:
        raise _missing("pyarrow") from error
    return pyarrow


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise _missing("scipy") from error
    return stats


def _missing(name: str) -> UsageError:
    return UsageError(f"tables are compared with {name}, which is not here", remedy=f"`pip install {name}`")

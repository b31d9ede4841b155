"""Tables compared with those of another run: columns, types, what is missing, ranges, and drift. Nothing is stored.

The readers are pyarrow's, the tests of drift SciPy's: two-sample Kolmogorov-Smirnov for numbers, chi-squared for texts.
A drift is told when it is larger than allowed *and* would be rare by chance.

Looked at in 2026-11 instead: pandera and frictionless check schemas that somebody wrote, and know no drift; Great
Expectations (35 packages, 275 MB) wants its expectations, and a project of its own; evidently has SciPy's tests of
drift in 79 packages, 694 MB and seven seconds of import. Who works with tables has pyarrow and SciPy already.
"""

from __future__ import annotations

import io
import posixpath
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reprokit.errors import UsageError

__all__ = ["Limits", "differences", "is_table"]

_READERS = (".csv", ".tsv", ".parquet", ".feather", ".jsonl", ".ndjson")
_RARE = 0.01  # how probable a drift may be by chance, at most, to be one
_MOST_KINDS = 50  # different texts of a column of kinds; more are names or numbers of things
_LARGEST_BLOCK = 2**31 - 1  # bytes that pyarrow can look at in one go
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


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
    """One column; missing values are left out.

    ``kind`` is "numbers", "times", "times of day", "truths", "texts" or another type's name. ``values`` are numbers
    (of times: microseconds), or of texts and truths how often each occurs, of very many some, or None.
    """

    kind: str
    rows: int
    count: int
    values: Any = None

    @property
    def missing(self) -> float:
        return 1 - self.count / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class _Table:
    """A table's columns by name, and how its text is encoded, where it is text."""

    columns: Mapping[str, _Column]
    encoding: str | None = None


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
    one, other = _read(path, pinned), _read(path, now)
    before, after = one.columns, other.columns
    found = [f"is {other.encoding}, {one.encoding} before"] if one.encoding != other.encoding else []
    found += [f"column {name} is gone" for name in before if name not in after and name not in limits.ignore]
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
        if before.count and after.count:  # a column without any value is of no kind
            yield f"holds {after.kind} in place of {before.kind}"
        elif before.count:
            yield "holds no value any more"
        return
    if after.missing > before.missing + limits.missing:
        yield f"{after.missing:.0%} missing, {before.missing:.0%} before"
    if not before.count or not after.count:
        return
    if before.kind in ("texts", "truths"):
        yield from _drift_of_kinds(before, after, limits.drift)
    elif before.values is not None:
        yield from _outside(before, after, limits.range)
        yield from _drift(before.values, after.values, limits.drift)


def _outside(before: _Column, after: _Column, allowed: float) -> Iterator[str]:
    low, high = float(before.values.min()), float(before.values.max())
    lowest, highest = float(after.values.min()), float(after.values.max())
    room = (high - low) * allowed
    if lowest < low - room or highest > high + room:
        one, other, first, last = (_shown(value, before.kind) for value in (lowest, highest, low, high))
        yield f"lies between {one} and {other}, before between {first} and {last}"


def _drift(before: Any, after: Any, allowed: float) -> Iterator[str]:
    with warnings.catch_warnings():  # of infinite and of very few numbers: the result holds all the same
        warnings.simplefilter("ignore")
        tested = _stats().ks_2samp(before, after, method="asymp")
    if tested.statistic > allowed and tested.pvalue < _RARE:
        yield f"its distribution drifted (Kolmogorov-Smirnov {tested.statistic:.2f}, p = {tested.pvalue:.1g})"


def _drift_of_kinds(before: _Column, after: _Column, allowed: float) -> Iterator[str]:
    ours, theirs = before.values, after.values
    kinds = sorted(ours.keys() | theirs.keys(), key=str)
    if not 1 < len(kinds) <= _MOST_KINDS:
        if len(ours) == 1 and len(kinds) > 1:
            yield f"more than {_MOST_KINDS} kinds of value in place of one"
        return
    counts = [(ours.get(kind, 0), theirs.get(kind, 0)) for kind in kinds]
    shares = [(one / before.count, other / after.count) for one, other in counts]
    distance = sum(abs(one - other) for one, other in shares) / 2
    tested = _stats().chi2_contingency(list(zip(*counts, strict=True)))
    if distance > allowed and tested.pvalue < _RARE:
        most = max(range(len(kinds)), key=lambda at: abs(shares[at][0] - shares[at][1]))
        told = f"{kinds[most]!r} {shares[most][0]:.0%} → {shares[most][1]:.0%}"
        yield f"its kinds drifted (total variation {distance:.2f}, p = {tested.pvalue:.1g}): {told}"


def _shown(value: float, kind: str) -> str:
    if kind == "numbers":
        return f"{value:.6g}"
    arrow = _arrow()
    unit = arrow.timestamp("us") if kind == "times" else arrow.time64("us")
    return str(arrow.scalar(int(value), arrow.int64()).cast(unit).cast(arrow.string())).removesuffix(".000000")


# -- reading --------------------------------------------------------------------------------------


def _read(path: str, content: bytes) -> _Table:
    arrow = _arrow()
    try:
        encoding = _encoding(content) if posixpath.splitext(path)[1].lower() in (".csv", ".tsv") else None
        table = _table(path, content, encoding)
        return _Table(dict(_columns(table)), encoding)
    except (arrow.ArrowException, NotImplementedError, ValueError, OSError) as error:
        problem = " ".join(str(error).split())
        raise UsageError(f"{path} cannot be read as a table ({problem})", remedy="see the file") from error


def _encoding(content: bytes) -> str:
    """Return how a text is encoded; what is not UTF-8 can always be read as Latin-1, so what is no text is refused."""
    marked = _MARKS.get(content[:2])
    if marked is not None:
        return marked
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        if b"\0" in content:
            raise
        return "Latin-1"
    return "UTF-8"


def _table(path: str, content: bytes, encoding: str | None) -> Any:
    suffix = posixpath.splitext(path)[1].lower()
    arrow = _arrow()
    source = io.BytesIO(content)
    if suffix == ".parquet":
        return arrow.parquet.read_table(source)
    if suffix == ".feather":
        return arrow.feather.read_table(source)
    block = min(len(content) + 2, _LARGEST_BLOCK)  # a column's type is told from the first block alone
    if suffix in (".jsonl", ".ndjson"):
        content.decode("utf-8")  # nothing else is JSON
        return arrow.json.read_json(source, read_options=arrow.json.ReadOptions(block_size=block))
    csv = arrow.csv
    first = content.partition(b"\n")[0]
    delimiter = max((",", ";", "\t", "|"), key=lambda one: first.count(one.encode()))
    return csv.read_csv(
        source,
        read_options=csv.ReadOptions(block_size=2 * block if encoding != "UTF-8" else block, encoding=encoding),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=csv.ConvertOptions(strings_can_be_null=True),
    )


def _columns(table: Any) -> Iterator[tuple[str, _Column]]:
    """Yield the columns with their names; of several with one name, the second is told as ``name (2)``."""
    seen: dict[str, int] = {}
    for at, name in enumerate(map(str, table.column_names)):
        seen[name] = number = seen.get(name, 0) + 1
        yield name if number == 1 else f"{name} ({number})", _column(table.column(at))


def _column(column: Any) -> _Column:
    arrow = _arrow()
    types, kind, rows = arrow.types, column.type, len(column)
    if types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    found = column.drop_null()
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        values = found.cast(arrow.float64(), safe=False).to_numpy()
        values = values[values == values]  # NaN is missing, too
        return _Column("numbers", rows, len(values), values)
    if types.is_date(kind) or types.is_timestamp(kind):
        return _Column("times", rows, len(found), _microseconds(found, arrow.timestamp("us")))
    if types.is_time(kind):
        return _Column("times of day", rows, len(found), _microseconds(found, arrow.time64("us")))
    if types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind):
        counted = found.value_counts().slice(0, _MOST_KINDS + 1)
        texts, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
        values = dict(zip(texts, counts, strict=True))
        return _Column("truths" if types.is_boolean(kind) else "texts", rows, len(found), values)
    return _Column(str(kind), rows, len(found))


def _microseconds(column: Any, kind: Any) -> Any:
    """Return times as numbers; what is finer, or very far away, comes as near as it can."""
    return column.cast(kind, safe=False).cast(_arrow().int64(), safe=False).to_numpy().astype(float)


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

"""CSV and TSV files compared as tables of what is written in them: line ends and quotes do not count."""

from __future__ import annotations

import csv
import io
from collections import Counter

from reprokit.replay.typed import text
from reprokit.replay.typed.outcome import How, Outcome, same
from reprokit.replay.typed.tables import Table, changes, summary

__all__ = ["compare_csv", "compare_tsv", "distinct"]

_READ = 32 * 10**6  # bytes; as objects of Python many times as much


def compare_csv(left: bytes, right: bytes, how: How, separator: str = ",") -> Outcome:
    """Compare two CSV files by their text, else value by value."""
    plain = text.compare_text(left, right, how)
    if plain.rules is not None or max(len(left), len(right)) > _READ:
        return plain
    ours, theirs = _table(left, separator), _table(right, separator)
    if ours is None or theirs is None:
        return plain
    found = changes(ours, theirs, how)
    if found.none:
        close = (how.tolerance(),) if found.close else ()
        layout = () if close and _layout(left) == _layout(right) else ("csv layout",)
        return same(*layout, *close)
    return Outcome(before=plain.before, after=plain.after, detail=summary(ours, theirs, found) or plain.detail)


def compare_tsv(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two files of values separated by tabs."""
    return compare_csv(left, right, how, "\t")


def _layout(content: bytes) -> tuple[int, ...]:
    """Return what a layout shows itself in, beside the values."""
    return content.count(b"\r\n"), content.count(b"\n"), content.count(b'"')


def _table(content: bytes, separator: str) -> Table | None:
    """Return a file as a table; None when its lines are not all as long as the first."""
    try:
        decoded = text.text_of(content)
        rows = list(csv.reader(io.StringIO(decoded, newline=""), delimiter=separator, strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        return None
    heads = distinct(rows[0])
    return Table(dict(zip(heads, zip(*rows[1:], strict=True), strict=False)) or dict.fromkeys(heads, ()))


def distinct(names: list[str]) -> list[str]:
    """Return names with those that appear again numbered.

    >>> distinct(["x", "y", "x"])
    ['x', 'y', 'x (2)']
    """
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found

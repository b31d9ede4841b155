"""The numbers in a text: which there are, whether they are close, and a table of those that changed.

A number is what stands alone: digits in dates, times, versions, names and digests are none. Whole numbers are
counts and labels: they must be equal whatever the tolerance.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from reprokit.replay.comparison import Comparison
from reprokit.replay.typed.shown import aligned, limited

__all__ = ["changed_numbers", "close_numbers", "close_texts", "relative"]

_TOKEN = re.compile(
    r"[^\W\d]\w*(?:\.\w+)*"  # words and dotted names
    r"|\d+(?:[-/:.]\d+){2,}|\d+(?:[:/]\d+)+(?:\.\d+)?"  # dates, times, versions, addresses
    r"|(?P<number>[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?)(?!\w|\.\w)"
    r"|\w+"
)
_SPACES = re.compile(r"[ \t]+")
_MOST = 10**6  # numbers of one text


class _Number(NamedTuple):
    text: str
    end: int


class _Split(NamedTuple):
    """A text as its numbers, and what stands between them."""

    between: list[str]
    numbers: list[_Number]


def _split(text: str) -> _Split:
    between, numbers, last = [], [], 0
    for match in _TOKEN.finditer(text):
        if match["number"] is not None:
            between.append(_spaced(text[last : match.start()]))
            numbers.append(_Number(match[0], match.end()))
            last = match.end()
        if len(numbers) > _MOST:
            break
    return _Split([*between, _spaced(text[last:])], numbers)


def _spaced(text: str) -> str:
    """Return what stands between two numbers without the spaces that align them."""
    return _SPACES.sub(" ", text).strip(" ")


def close_numbers(left: str, right: str, comparison: Comparison) -> bool:
    """Return whether two numbers, as they were written, count as the same.

    >>> close_numbers("0.1", "0.10000001", Comparison(rtol=1e-6)), close_numbers("100", "101", Comparison(rtol=0.1))
    (True, False)
    """
    if left == right:
        return True
    if not (_is_float(left) or _is_float(right)):
        return False
    one, other = float(left), float(right)
    return math.isfinite(one) and math.isfinite(other) and comparison.tolerant and comparison.close(one, other)


def _is_float(text: str) -> bool:
    return not text.lstrip("+-").isdigit()


def close_texts(left: str, right: str, comparison: Comparison) -> bool:
    """Return whether two texts are the same but for numbers that are close, and the spaces that align them."""
    if not comparison.tolerant:
        return False
    ours, theirs = _split(left), _split(right)
    return ours.between == theirs.between and all(
        close_numbers(one.text, other.text, comparison) for one, other in zip(ours.numbers, theirs.numbers, strict=True)
    )


def relative(before: float, after: float) -> str:
    """Return a change in percent, or "" where that says nothing.

    >>> relative(0.912, 0.905)
    '-0.77 %'
    """
    if not (math.isfinite(before) and math.isfinite(after)) or before == 0:
        return ""
    percent = (after - before) / abs(before) * 100
    if percent == 0:
        return ""
    return f"{percent:+.2g} %" if math.isfinite(percent) else ""


def changed_numbers(left: str, right: str) -> str:
    """Return a table of the numbers that changed; "" where more than numbers changed, or only one did.

    >>> print(changed_numbers("   x    y\\n0  1  0.5\\n1  2  0.7", "   x    y\\n0  1  0.6\\n1  3  0.7"))
    row 0, y  0.5  →  0.6  +20 %
    row 1, x  2    →  3    +50 %
    """
    ours, theirs = _split(left), _split(right)
    if ours.between != theirs.between or "\n" not in left.strip():
        return ""
    pairs = zip(ours.numbers, theirs.numbers, strict=True)
    changed = [(one, other) for one, other in pairs if one.text != other.text]
    if len(changed) < 2:
        return ""
    rows = list(limited_rows(left, changed))
    return "\n".join(limited(aligned(rows).split("\n"), len(changed), len(rows)))


def limited_rows(left: str, changed: list[tuple[_Number, _Number]], most: int = 20) -> Iterator[tuple[str, ...]]:
    """Yield the first changed numbers as rows, each with its place."""
    starts = [0, *(match.end() for match in re.finditer("\n", left))]
    for one, other in changed[:most]:
        line = bisect_right(starts, one.end - 1) - 1
        where = _place(left, starts, line, one.end - starts[line])
        yield where, one.text, "→", other.text, relative(float(one.text), float(other.text))


def _place(text: str, starts: list[int], line: int, end: int) -> str:
    """Return where a number is: in the row and column of a table whose columns end flush, else in which line."""
    top = line
    while top > 0 and line - top < 100 and _line(text, starts, top - 1).strip():
        top -= 1
    columns = {match.end(): match[0] for match in re.finditer(r"\S+", _line(text, starts, top))}
    label = _line(text, starts, line).split()[:1]
    if top == line or end not in columns or not label or end <= len(label[0]):
        return f"line {line + 1}"
    return f"row {label[0][:20]}, {columns[end][:30]}"


def _line(text: str, starts: list[int], number: int) -> str:
    return text[starts[number] : starts[number + 1] if number + 1 < len(starts) else None].rstrip("\r\n")

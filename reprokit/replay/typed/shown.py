"""How a difference is shown in few words: a short text, the first line that changed, a diff, a table of numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

__all__ = ["aligned", "clip", "first_change", "limited", "line_diff", "unlike_lines"]

_LINES, _WIDTH = 40, 60  # lines of a diff, characters of a short text


def clip(text: str, around: int = 0, width: int = _WIDTH) -> str:
    """Return at most ``width`` characters of a text, among them the one at ``around``.

    >>> clip("accuracy: 0.912", width=9)
    'accuracy…'
    """
    if len(text) <= width:
        return text
    start = max(0, min(around - width // 3, len(text) - width + 1))
    shown = text[start + 1 : start + width] if start else text[: width - 1]
    return ("…" if start else "") + shown + ("…" if start + width < len(text) or not start else "")


def first_change(left: str, right: str) -> tuple[str, str]:
    """Return the first line that differs in two texts, from both, short.

    >>> first_change("fit\\nscore 0.912", "fit\\nscore 0.905")
    ('score 0.912', 'score 0.905')
    """
    ours, theirs = left.splitlines(), right.splitlines()
    line = _common(ours, theirs)
    words = [[" ".join(one.split()) for one in side] for side in (ours, theirs)]
    if words[0] != words[1]:  # more than spaces changed: that is what to show
        line = _common(*words)
    mine, yours = "".join(ours[line : line + 1]), "".join(theirs[line : line + 1])
    at = _common(mine, yours)
    return clip(mine.strip(), at), clip(yours.strip(), at)


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Return how many leading items two sequences share."""
    unlike = (at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(unlike, min(len(left), len(right)))


def line_diff(left: str, right: str) -> str:
    """Return a unified diff of two texts from where they part, at most 40 lines; "" for single lines."""
    ours, theirs = left.splitlines(), right.splitlines()
    if max(len(ours), len(theirs)) <= 1 and max(len(left), len(right)) <= _WIDTH:
        return ""
    # difflib is quadratic: a window after the first change is enough to show what happened.
    start = max(0, _common(ours, theirs) - 3)
    window = slice(start, start + 10 * _LINES)
    lines = list(difflib.unified_diff(ours[window], theirs[window], lineterm=""))[2:]
    hunks = [re.sub(r"^@@ -(\d+).*", lambda m: f"@@ line {start + int(m[1])} @@", line) for line in lines[:_LINES]]
    more = [f"… {len(lines) - _LINES} more lines"] if len(lines) > _LINES else []
    return "\n".join([*(clip(line, width=200) for line in hunks), *more])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines of aligned columns.

    >>> aligned([("a", "1"), ("bcd", "22")])
    'a    1\\nbcd  22'
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def limited(lines: Iterable[str], total: int, most: int = 12) -> list[str]:
    """Return the first lines, and how many more there are."""
    kept = [line for line, _ in zip(lines, range(most), strict=False)]
    return kept + ([f"… and {total - len(kept):,} more"] if total > len(kept) else [])


def unlike_lines(left: str, right: str) -> tuple[str, str]:
    """Return two texts without the lines that both begin with, and those that both end with.

    >>> unlike_lines("a\\nb\\nc\\n", "a\\nx\\nc\\n")
    ('b\\n', 'x\\n')
    """
    start = left.rfind("\n", 0, _shared(left, right)) + 1
    left, right = left[start:], right[start:]
    most = min(len(left), len(right))
    shared = _shared(left[len(left) - most :][::-1], right[len(right) - most :][::-1])
    line = left.find("\n", len(left) - shared) + 1
    ending = len(left) - line if shared and line else 0
    return left[: len(left) - ending], right[: len(right) - ending]


def _shared(left: str, right: str) -> int:
    """Return how many characters two texts begin with alike; halving, for comparing slices is fast."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle - 1)
    return low

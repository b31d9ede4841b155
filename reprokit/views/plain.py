"""The words views are made of: safe text, sizes, durations, times and aligned columns.

Knows what a terminal must not be given (control characters, direction overrides, lone surrogates:
a file name or an output may hold any) and nothing of records.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

__all__ = [
    "block",
    "clip",
    "count",
    "hexes",
    "indent",
    "plain",
    "seconds",
    "size",
    "spans",
    "table",
    "value",
    "when",
]

# C0 and C1 controls, the Unicode line and direction controls, and surrogates (undecodable file names).
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: object) -> str:
    """Return ``text`` on one line with every unsafe character spelled out.

    >>> plain("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return _UNSAFE.sub(lambda match: _NAMED.get(match[0], _spelled(match[0])), str(text))


def _spelled(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def block(text: str) -> list[str]:
    """Return the lines of a text, each made safe; tabs become spaces."""
    return [plain(line.expandtabs(4)) for line in re.split(r"\r?\n", text)]


def clip(text: str, width: int) -> str:
    """Return at most ``width`` characters of a text.

    >>> clip("train_model.ipynb", 10)
    'train_mod…'
    """
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def indent(lines: Iterable[str], by: str = "  ") -> list[str]:
    """Return the lines, those that are not empty moved to the right."""
    return [by + line if line else "" for line in lines]


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Return rows as aligned lines, two spaces between columns; columns in ``right`` end flush.

    >>> table([["a", "1"], ["bcd", "22"]], right=[1])
    ['a     1', 'bcd  22']
    """
    if not rows:
        return []
    flush = set(right)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in flush else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "cell"), count(1200, "file")
    ('1 cell', '1,200 files')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def spans(numbers: Iterable[int]) -> str:
    """Return numbers in order, neighbours as one span.

    >>> spans([9, 3, 5, 6, 7])
    '3, 5–7, 9'
    """
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(f"{span[0]}–{span[-1]}" if len(span) > 1 else str(span[0]) for span in found)


def size(number: int | None) -> str:
    """Return a number of bytes in powers of ten.

    >>> size(999), size(1_234_567), size(None)
    ('999 B', '1.2 MB', '?')
    """
    if number is None:
        return "?"
    amount, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.5:
            break
        amount, unit = amount / 1000, larger
    return f"{number} B" if unit == "B" else f"{amount:.1f} {unit}"


def seconds(duration: float | None) -> str:
    """Return a duration, given in seconds, in the unit that suits it.

    >>> seconds(0.0042), seconds(3.21), seconds(192), seconds(7300), seconds(None)
    ('4 ms', '3.2 s', '3 min 12 s', '2 h 1 min', '')
    """
    if duration is None or not math.isfinite(duration):
        return ""
    if duration < 0.9995:
        return f"{duration * 1000:.0f} ms"
    if duration < 59.95:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def when(moment: float | None) -> str:
    """Return a moment, in seconds after the epoch, as local time; nothing for one that no calendar has."""
    try:
        return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S") if moment else ""
    except (ValueError, OverflowError, OSError):
        return ""


def hexes(digest: str | None) -> str:
    """Return the first 12 hexadecimal digits of a digest or commit.

    >>> hexes("sha256:e3b0c44298fc1c149afb")
    'e3b0c44298fc'
    """
    return plain((digest or "").removeprefix("sha256:")[:12])


def value(item: object) -> str:
    """Return a metric's or parameter's value: floats to six digits, the rest as they are.

    >>> value(0.9123456789), value("adam"), value(True)
    ('0.912346', 'adam', 'true')
    """
    if item is None:
        return "none"
    if isinstance(item, bool):
        return "true" if item else "false"
    return f"{item:.6g}" if isinstance(item, float) else plain(item)

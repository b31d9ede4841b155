"""What the difference between two texts looks like: a clock, a token, another order."""

from __future__ import annotations

import re
from collections import Counter

from reprokit.replay.typed.charts import UUID
from reprokit.replay.typed.text import SPAN

__all__ = ["looks_like_clock", "looks_like_token", "reordered"]

_TIMES = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\b\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?: ?[AP]M)?\b"
    r"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b"
    r"|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* +\d{1,2}\b"
    r"|\bdatetime\.(?:datetime|date|time)\([\d, ]+\)"
    rf"|\b1[5-9]\d{{8}}(?:\.\d+)?\b|{SPAN}"
)
# The digits of a number are no token.
_TOKENS = re.compile(rf"{UUID}|(?<!\.)\b(?=\d*[a-f])[0-9a-f]{{16,}}\b|'?b'[^'\n]{{8,}}'")


def looks_like_clock(left: str, right: str) -> bool:
    """Return whether two texts differ only in dates, times and durations.

    >>> looks_like_clock("at 2026-05-03 14:02:11", "at 2026-05-04 09:00:00")
    True
    """
    return left != right and _TIMES.sub("<t>", left) == _TIMES.sub("<t>", right)


def looks_like_token(left: str, right: str) -> bool:
    """Return whether two texts differ only in UUIDs and other random tokens.

    >>> looks_like_token("key 9f8e7d6c5b4a39281706", "key 0a1b2c3d4e5f60718293")
    True
    >>> looks_like_token("2.0096023429777494", "2.0096023429777943")
    False
    """
    return left != right and _TOKENS.sub("<t>", left) == _TOKENS.sub("<t>", right)


def reordered(left: str, right: str) -> bool:
    """Return whether two texts hold the same words in another order.

    >>> reordered("{'b', 'a'}", "{'a', 'b'}")
    True
    """
    return left != right and Counter(_words(left)) == Counter(_words(right))


def _words(text: str) -> list[str]:
    return re.findall(r"[\w.+\-]+|[^\w\s]", text)

"""JSON compared as values: the order of keys and the layout do not count, every value does.

Numbers are read as decimals, so that no digit is lost; 1 and 1.0 are not the same value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from reprokit.replay.typed import text
from reprokit.replay.typed.numbers import close_numbers, relative
from reprokit.replay.typed.outcome import How, Outcome, same
from reprokit.replay.typed.shown import aligned, clip, limited

__all__ = ["compare_json"]

_SHOWN = 12
_READ = 16 * 10**6  # bytes; objects of Python take many times as much


class _Change(NamedTuple):
    where: str
    before: str
    after: str


def compare_json(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two JSON documents by their text, else value by value."""
    plain = text.compare_text(left, right, how, "json")
    if plain.rules is not None or max(len(left), len(right)) > _READ:
        return plain
    try:
        ours, theirs = _loaded(left), _loaded(right)
        used: set[str] = {"json layout"}
        changes = list(_changes("$", ours, theirs, how, used))
    except (ValueError, RecursionError):
        return plain
    if not changes:
        return same(*sorted(used))
    rows = [(one.where, one.before, "→", one.after, _percent(one)) for one in changes[:_SHOWN]]
    detail = "\n".join(limited(aligned(rows).split("\n"), len(changes), _SHOWN))
    return Outcome(before=plain.before, after=plain.after, detail=detail)


def _loaded(content: bytes) -> Any:
    def no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key appears twice")
        return found

    return json.loads(text.text_of(content), parse_float=Decimal, object_pairs_hook=no_twice)


def _changes(where: str, left: Any, right: Any, how: How, used: set[str]) -> Iterator[_Change]:
    """Yield each value that is not the same, and note the rules that made others the same."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in [*left, *(key for key in right if key not in left)]:
            place = f"{where}.{key}"
            if key in left and key in right:
                yield from _changes(place, left[key], right[key], how, used)
            else:
                yield _Change(clip(place), _brief(left, key), _brief(right, key))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _changes(f"{where}[{number}]", one, other, how, used)
    elif not _same(left, right, how, used):
        yield _Change(clip(where), _shown(left), _shown(right))


def _same(left: Any, right: Any, how: How, used: set[str]) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        rules = text.same_text(left, right, how=how)
        used |= set(rules or ())
        return rules is not None
    if type(left) is type(right) and (left == right or (left != left and right != right)):
        return True
    return _number(left) and _number(right) and _close(left, right, how, used)


def _number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _close(left: Any, right: Any, how: How, used: set[str]) -> bool:
    close = how.comparison.tolerant and close_numbers(_written(left), _written(right), how.comparison)
    used |= {how.tolerance()} if close else set()
    return close


def _written(value: Any) -> str:
    return f"{value:e}" if isinstance(value, Decimal) else str(value)


def _brief(values: dict[str, Any], key: str) -> str:
    return _shown(values[key]) if key in values else "absent"


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,}"
    return clip(str(value) if _number(value) else json.dumps(value, ensure_ascii=False))


def _percent(change: _Change) -> str:
    try:
        return relative(float(change.before), float(change.after))
    except ValueError:
        return ""

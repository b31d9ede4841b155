"""Sets in a checkpoint: made again so that their items come in the same order as before.

That order follows from the hashes, and from the order in which items came that wanted the same place. So a set that is
simply filled again comes out in another order, about every second time. Here the table is looked at as CPython has
it, and items are put in so that each finds its place taken where it was taken, in a table that has grown alike.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reprokit.capture.checkpoint.refused import Refused

__all__ = ["make", "plan"]

_LINEAR, _SHIFT = 9, 5  # Objects/setobject.c: how a place is looked for
_WORD = ctypes.sizeof(ctypes.c_ssize_t)
_BITS = (1 << 8 * _WORD) - 1
_SMALL, _LARGER = 8, 5  # places of a table at first, and items from which it is a larger one
_TRIES = 24

Plan = tuple[list[Any], int, list[int], int]  # see ``make``


@dataclass(frozen=True, slots=True)
class _Table:
    """A set's table: places and hashes of its items in their order, places of items that are gone, the mask."""

    slots: list[tuple[int, int]]
    gone: list[int]
    mask: int


def plan(value: Any) -> Plan | None:
    """Return what ``make`` needs to make a set anew; None when its order cannot be kept anyway, or keeps itself.

    Raises:
        Refused: its order would be another one.
    """
    items = list(value)
    if len(items) < 2 or any(map(_is_by_address, items)) or not _is_known():
        return None  # by address: another order in each process, whatever one does
    table, kind = _table(value), type(value)
    if _table(kind(items)) == table:
        return None
    order = _order(table)
    second: Plan | None = None
    for way in () if order is None else _ways(items, order, table):
        made = make(kind, *way)
        if _table(made) == table:
            return way
        if second is None and len(made) == len(items) and all(map(_is, made, items)):
            second = way  # items that are added later may come at other places
    if second is None:
        raise Refused("a set whose order cannot be kept")
    return second


def make(kind: type, items: Sequence[Any], at_once: int, gone: Sequence[int], fillers: int) -> Any:
    """Return a set with these items.

    Args:
        kind: ``set`` or ``frozenset``.
        items: put in one after another.
        at_once: so many of them determine how large the table is from the start; 0: it grows.
        gone: places that are taken meanwhile, and given up in the end.
        fillers: items that come and go early on, so that the table grows after fewer that stay.
    """
    marks = [_Mark(place) for place in gone]
    if at_once:
        made: set[Any] = set(dict.fromkeys([*marks, *items[:at_once]]))
    else:
        made = set(items[:1])
        for number in range(fillers):
            filler = _Mark(number)
            made.add(filler)
            made.discard(filler)
    made.update(iter([*marks, *items]))
    made.difference_update(marks)
    return made if kind is set else frozenset(items) if not at_once and not fillers else frozenset(made)


class _Mark:
    """Takes a place in a table."""

    def __init__(self, place: int) -> None:
        self._place = place

    def __hash__(self) -> int:
        return self._place


def _ways(items: list[Any], order: list[int], table: _Table) -> Iterator[Plan]:
    """Yield how a table may have come to be like this: it grew item by item, or was that large from the start."""
    arranged, size = [items[at] for at in order], table.mask + 1
    fits = max(size // 2 - 1 - len(table.gone), 1)
    yield arranged, min(len(items), fits), table.gone, 0
    home = [items[at] for at in order if table.slots[at][0] == table.slots[at][1] & table.mask]
    kept = set(map(id, home))
    rest = [item for item in arranged if id(item) not in kept]
    for turn in range(min(len(rest) + 1, _TRIES)):  # which of them come before the table grows the last time
        yield [*rest[:turn], *home, *rest[turn:]], 0, table.gone, 0
        yield [*home, *rest], 0, table.gone, turn + 1
    taken = {place for place, _ in table.slots} | set(table.gone)
    free = [place for place in range(size) if place not in taken]
    lack = max(0, max(size // 4, _LARGER) - len(items) - len(table.gone)) if size > _SMALL else 0
    yield arranged, min(len(items), fits), [*table.gone, *free[-lack:]] if lack else table.gone, 0


def _is_by_address(item: Any) -> bool:
    how: Any = type(item).__hash__
    return how is object.__hash__


def _is(one: Any, other: Any) -> bool:
    return one is other


def _table(value: Any) -> _Table:
    start = id(value) + object.__basicsize__
    mask, table = _word(start + 2 * _WORD), _word(start + 3 * _WORD)
    words = (ctypes.c_ssize_t * (2 * (mask + 1))).from_address(table)[:]
    slots, gone = [], []
    for place, (key, hashed) in enumerate(zip(words[::2], words[1::2], strict=True)):
        if key and hashed != -1:
            slots.append((place, hashed & _BITS))
        elif key:
            gone.append(place)
    return _Table(slots, gone, mask)


def _word(address: int) -> int:
    return ctypes.c_ssize_t.from_address(address).value


def _order(table: _Table) -> list[int] | None:
    """Return an order (numbers of items) in which each finds its place; None when there is none."""
    at = {place: number for number, (place, _) in enumerate(table.slots)}
    gone, waits = set(table.gone), []
    for place, hashed in table.slots:
        passed = _passed(place, hashed, table.mask)
        if passed is None or not passed <= at.keys() | gone:
            return None
        waits.append({at[one] for one in passed - gone})
    order: list[int] = []
    done: set[int] = set()
    left = list(range(len(waits)))
    while left:
        ready = [number for number in left if waits[number] <= done]
        if not ready:
            return None
        order += ready
        done |= set(ready)
        left = [number for number in left if number not in done]
    return order


def _passed(place: int, hashed: int, mask: int) -> set[int] | None:
    """Return the places that are looked at before this one."""
    passed: set[int] = set()
    at, perturb = hashed & mask, hashed
    for _ in range(mask + 64):
        last = at + _LINEAR if at + _LINEAR <= mask else at
        for one in range(at, last + 1):
            if one == place:
                return passed
            passed.add(one)
        perturb >>= _SHIFT
        at = (at * 5 + 1 + perturb) & mask
    return None


@functools.cache
def _is_known() -> bool:
    """Return whether this interpreter's sets are as they are read here."""
    if sys.implementation.name != "cpython":
        return False
    for count in (3, 5, 40):
        probe = {f"probe {number}" for number in range(count)}
        start = id(probe) + object.__basicsize__
        fill, used, mask = (_word(start + number * _WORD) for number in range(3))
        if (fill, used) != (count, count) or mask & (mask + 1) or not used <= mask < 8 * count + 8:
            return False
        if [hashed for _, hashed in _table(probe).slots] != [hash(item) & _BITS for item in probe]:
            return False
    return True

"""The cells that some cells need, directly and through others, and why each of them is there. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from reprokit.replay.extract.known import Level
from reprokit.replay.extract.needs import Need, Needs

__all__ = ["chosen", "reasons", "soft"]


def chosen(needs: Needs, wanted: Iterable[int], *, level: Level, without: Collection[int] = ()) -> tuple[int, ...]:
    """Return the wanted cells and all that they need, in the order in which they ran.

    Args:
        needs: who needs whom.
        wanted: cells that are taken in any case.
        level: how unsure a need may be to count.
        without: cells that are left out, with what is needed for them alone.

    >>> needs = Needs(cells=(1, 2, 3), of={3: (Need(3, 1, Level.HARD, "defines `a`"),)})
    >>> chosen(needs, [3], level=Level.LIKELY)
    (1, 3)
    """
    taken = set(wanted)
    waiting = list(taken)
    while waiting:
        for need in needs.of.get(waiting.pop(), ()):
            if need.level <= level and need.on not in taken and need.on not in without:
                taken.add(need.on)
                waiting.append(need.on)
    return tuple(seq for seq in needs.cells if seq in taken)


def soft(needs: Needs, kept: Collection[int], wanted: Collection[int]) -> dict[int, Level]:
    """Return the kept cells that may be left out on trial, with how surely they are needed."""
    surest = dict.fromkeys(kept, Level.POSSIBLE)
    for need in _among(needs, kept):
        surest[need.on] = min(need.level, surest[need.on])
    return {seq: level for seq, level in surest.items() if level > Level.HARD and seq not in wanted}


def reasons(needs: Needs, kept: Collection[int]) -> dict[int, list[Need]]:
    """Return why each cell is kept: each thing that it does for a kept cell, told once, as surely as it is needed."""
    told: dict[int, dict[str, Need]] = {seq: {} for seq in kept}
    for need in sorted(_among(needs, kept), key=lambda need: (need.level, need.cell)):
        told[need.on].setdefault(need.what, need)
    return {seq: _surest(list(found.values())) for seq, found in told.items()}


def _surest(found: list[Need]) -> list[Need]:
    return [need for need in found if need.level == found[0].level or found[0].level > Level.SURE]


def _among(needs: Needs, kept: Collection[int]) -> Iterator[Need]:
    """Yield what kept cells need of one another."""
    inside = set(kept)
    for seq in kept:
        yield from (need for need in needs.of.get(seq, ()) if need.on in inside)

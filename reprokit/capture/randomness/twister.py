"""Reads Mersenne Twisters as they lie in memory, and counts what was drawn between two states.

A copy of the bytes takes a microsecond where asking for the state takes ten to thirty, twice for each
cell. How a generator lies in memory is found by looking at one of our own whose state is known; where that
does not come out as expected (another interpreter, another library version), there is no reader, and the
state is asked for.
"""

from __future__ import annotations

import _random
import ctypes
import functools
import random
import struct
import sys
from typing import Any

__all__ = ["SIZE", "legacy_reader", "pcg_steps", "python_reader", "unpacked", "words_between"]

_WORDS = 624
SIZE = 4 * (_WORDS + 1)  # bytes: the words and the position
_FORMAT = f"<{_WORDS}I"
_MOST_TWISTS = 800  # half a million words: some milliseconds of the background thread
_PCG_STEPS_LIMIT = 1 << 62


@functools.cache
def python_reader() -> int | None:
    """Return where the position and the words of a ``random.Random`` begin in the object; None when unknown."""
    if sys.implementation.name != "cpython" or sys.byteorder != "little":
        return None
    offset = object.__basicsize__
    if _random.Random.__basicsize__ < offset + SIZE:
        return None
    probe = random.Random(1)
    for size in (32, 32 * 700):
        probe.getrandbits(size)
        *words, position = probe.getstate()[1]
        if ctypes.string_at(id(probe) + offset, SIZE) != struct.pack(f"<i{_WORDS}I", position, *words):
            return None
    return offset


@functools.cache
def legacy_reader(kind: Any) -> int | None:
    """Return where ``has_gauss`` and the kept number begin in numpy's ``RandomState``; None when unknown.

    They stand behind a pointer that every such object holds to a part of itself.
    """
    if sys.implementation.name != "cpython" or sys.byteorder != "little":
        return None
    probe = kind(sys.modules["numpy.random"].MT19937(1))  # `kind(1)` would ask for entropy first
    offset = _own_pointer(probe, kind.__basicsize__)
    if offset is None:
        return None
    for _ in range(3):
        probe.standard_normal()
        asked = probe.get_state(legacy=False)
        has_gauss, gauss = unpacked(ctypes.string_at(id(probe) + offset, 16))
        words = ctypes.string_at(probe._bit_generator.ctypes.state_address, SIZE)
        expected = asked["state"]["key"].tobytes() + struct.pack("<i", asked["state"]["pos"])
        if (has_gauss, gauss, words) != (asked["has_gauss"], asked["gauss"], expected):
            return None
    return offset


def _own_pointer(probe: Any, size: int) -> int | None:
    """Return the place behind the one word of an object that points into the object itself."""
    begin = id(probe)
    words = struct.unpack(f"<{size // 8}Q", ctypes.string_at(begin, size // 8 * 8))
    inside = [index for index, word in enumerate(words) if begin <= word < begin + size]
    offset = 8 * (inside[0] + 1) if inside else size
    return offset if len(inside) == 1 and offset + 16 <= size else None


def unpacked(memory: bytes) -> tuple[int, float]:
    """Return ``has_gauss`` and the number that is kept."""
    has_gauss, gauss = struct.unpack("<i4xd", memory)
    return has_gauss, gauss


def words_between(before: tuple[bytes, int], after: tuple[bytes, int]) -> int:
    """Return how many words of 32 bits were drawn between two states (the words' bytes, and the position).

    Returns:
        The count; -1 when the second does not follow from the first, or only after half a million words.
    """
    if before[0] == after[0]:
        return after[1] - before[1] if after[1] >= before[1] else -1
    walker = _random.Random(0)
    walker.setstate((*struct.unpack(_FORMAT, before[0]), _WORDS))
    for twists in range(1, _MOST_TWISTS + 1):
        walker.getrandbits(32 * _WORDS)
        if _words(walker) == after[0]:
            return twists * _WORDS + after[1] - before[1]
    return -1


def _words(walker: _random.Random) -> bytes:
    offset = python_reader()
    if offset is None:
        return struct.pack(_FORMAT, *walker.getstate()[:-1])
    return ctypes.string_at(id(walker) + offset + 4, SIZE - 4)


def pcg_steps(before: int, after: int, multiplier: int, increment: int) -> int:
    """Return how many steps a 128-bit linear generator made between two states; -1 for too many to be true.

    >>> pcg_steps(1, (1 * 5 + 3) * 5 + 3, 5, 3)
    2
    """
    mask = (1 << 128) - 1
    bit, steps = 1, 0
    while before != after and bit <= mask:
        if (before ^ after) & bit:
            before = (before * multiplier + increment) & mask
            steps |= bit
        increment = (multiplier + 1) * increment & mask
        multiplier = multiplier * multiplier & mask
        bit <<= 1
    return steps if before == after and steps < _PCG_STEPS_LIMIT else -1

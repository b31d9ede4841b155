"""numpy's generators: the global one, ``RandomState``, ``Generator`` and the bit generators themselves."""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

from reprokit.capture.randomness import twister
from reprokit.capture.randomness.states import Generator, to_bytes, to_text

__all__ = ["kinds", "of_library", "of_variable"]

_TWISTER = "MT19937"
_MULTIPLIERS = {"PCG64": 0x2360ED051FC65DA44385DF649FCCF645, "PCG64DXSM": 0xDA942042E4DD58B5}
_SMALL = 1000  # characters of what is written with each cell: those of numpy's own generators take 300
_PHILOX_WORDS = 4  # that one step of the counter gives


def kinds() -> tuple[type, ...]:
    """Return the classes of numpy's generators, none when numpy is not loaded."""
    module = sys.modules.get("numpy.random")
    names = ("Generator", "RandomState", "BitGenerator")
    return tuple(kind for name in names if (kind := getattr(module, name, None)) is not None)


def of_library(module: Any) -> Iterator[Generator]:
    """Yield the global generator of ``numpy.random``."""
    yield _legacy("numpy", module.mtrand._rand)


def of_variable(name: str, value: Any) -> Generator:
    """Return the generator that a variable holds."""
    if isinstance(value, kinds()[1]):
        return _legacy(name, value)
    bits = getattr(value, "bit_generator", value)  # a Generator, or its bit generator itself
    if type(bits).__name__ == _TWISTER and twister.python_reader() is not None:
        return _twister(name, bits)
    return Generator(name, lambda: _frozen(bits.state), lambda data: _set_bits(bits, data), _pack, _count, _parted)


def _set_bits(bits: Any, data: Any) -> None:
    bits.state = _thawed(data)


# -- the old interface: a Mersenne Twister, and the second of a pair of normal numbers ---------------


def _legacy(name: str, value: Any) -> Generator:
    put_back = type(value).set_state
    return Generator(name, _legacy_reader(value), lambda data: put_back(value, _thawed(data)), _pack, _count, _parted)


def _legacy_reader(value: Any) -> Callable[[], Any]:
    kind = kinds()[1]
    offset = twister.legacy_reader(kind)
    if offset is None:
        return lambda: _frozen(kind.get_state(value, legacy=False))  # type: ignore[attr-defined]
    read, extra = ctypes.string_at, id(value) + offset
    known: list[Any] = [None, 0]  # the bit generator (it may be exchanged), and where its words are

    def get() -> Any:
        bits = value._bit_generator
        if bits is not known[0]:
            known[:] = [bits, bits.ctypes.state_address if type(bits).__name__ == _TWISTER else 0]
        if not known[1]:
            return _frozen(kind.get_state(value, legacy=False))  # type: ignore[attr-defined]
        return read(known[1], twister.SIZE), read(extra, 16)

    return get


def _twister(name: str, bits: Any) -> Generator:
    address = bits.ctypes.state_address

    def get() -> Any:
        return ctypes.string_at(address, twister.SIZE), None

    return Generator(name, get, lambda data: _set_bits(bits, data), _pack, _count, _parted)


# -- states as values ---------------------------------------------------------------------------


def _frozen(value: Any) -> Any:
    """Return a state dictionary with its arrays as bytes, so that it can be compared."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    if hasattr(value, "tobytes") and hasattr(value, "dtype") and getattr(value, "ndim", False):
        return {"array": value.tobytes(), "dtype": value.dtype.str}
    return value.item() if hasattr(value, "item") else value


def _parted(state: Any) -> tuple[Any, dict[str, Any] | None]:
    """Part a state into the words of a twister, or no more than its kind, and what changes with each draw."""
    if isinstance(state, tuple):
        words, extra = state
        key, position = _split(words)
        moves: dict[str, Any] = {"state": {"pos": position}}
        if extra is not None:
            moves["has_gauss"], moves["gauss"] = twister.unpacked(extra)
        kind = _TWISTER
    else:
        moves, kind = _pack_values(state), state["bit_generator"]
        del moves["bit_generator"]
        key = to_bytes(moves["state"].pop("key")["base64"]) if kind == _TWISTER else b""
    is_small = len(repr(moves)) < _SMALL
    return ((kind, key), moves) if is_small and isfinite(moves.get("gauss", 0.0)) else (state, None)


def _pack(stays: Any) -> Any:
    if isinstance(stays, dict):
        return _pack_values(stays)
    if isinstance(stays[0], str):
        kind, key = stays
        return {"bit_generator": kind, "state": {"key": {"base64": to_text(key), "dtype": "<u4"}} if key else {}}
    words, extra = stays
    key, position = _split(words)
    packed = _pack((_TWISTER, key))
    packed["state"]["pos"] = position
    if extra is not None:
        packed["has_gauss"], packed["gauss"] = twister.unpacked(extra)
    return packed


def _pack_values(state: Any) -> Any:
    if "array" in state:
        return {"base64": to_text(state["array"]), "dtype": state["dtype"]}
    return {key: _pack_values(item) if isinstance(item, dict) else item for key, item in state.items()}


def _split(words: bytes) -> tuple[bytes, int]:
    return words[:-4], struct.unpack_from("<i", words, len(words) - 4)[0]


def _thawed(data: Any) -> Any:
    if isinstance(data, dict) and "base64" in data:
        return sys.modules["numpy"].frombuffer(to_bytes(data["base64"]), dtype=data["dtype"]).copy()
    return {key: _thawed(item) for key, item in data.items()} if isinstance(data, dict) else data


# -- how much was drawn -------------------------------------------------------------------------


def _count(before: Any, after: Any) -> int:
    if isinstance(before, tuple) and isinstance(after, tuple):
        return twister.words_between(_split(before[0]), _split(after[0]))
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return -1
    kind = before["bit_generator"]
    if kind != after["bit_generator"]:
        return -1
    if kind in _MULTIPLIERS:
        return _pcg(before["state"], after["state"], _MULTIPLIERS[kind])
    return _philox(before, after) if kind == "Philox" else -1


def _pcg(before: Any, after: Any, multiplier: int) -> int:
    if before["inc"] != after["inc"]:
        return -1
    return twister.pcg_steps(before["state"], after["state"], multiplier, before["inc"])


def _philox(before: Any, after: Any) -> int:
    if before["state"]["key"] != after["state"]["key"]:
        return -1
    first, second = (int.from_bytes(state["state"]["counter"]["array"], "little") for state in (before, after))
    words = (second - first) * _PHILOX_WORDS + after["buffer_pos"] - before["buffer_pos"]
    return words if words >= 0 else -1

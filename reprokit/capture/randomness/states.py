"""A generator as the randomness probe sees it, and the one of Python's own ``random``."""

from __future__ import annotations

import base64
import ctypes
import json
import math
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reprokit.capture.randomness import twister
from reprokit.digest import canonical_json

__all__ = ["Generator", "nothing", "pack_python", "python", "to_bytes", "to_text", "uncounted", "whole"]


def uncounted(_before: Any, _after: Any) -> int:
    """Return -1: it is not known how much was drawn."""
    return -1


def nothing(*_: Any) -> None:
    """Do nothing."""


def whole(state: Any) -> tuple[Any, None]:
    """Return that all of a state is kept as one object."""
    return state, None


@dataclass(frozen=True, slots=True)
class Generator:
    """One generator of the process.

    Attributes:
        name: "random", "numpy", "torch", "torch.cuda", "torch.mps", "tensorflow" or "variable NAME".
        get: returns a copy of the state that is cheap to take and to compare with ``==`` (None: nothing to record).
        set: puts back a state from what ``pack`` returned.
        pack: makes JSON-ready values of what ``split`` says stays.
        count: returns how many words were drawn between two states, -1 when that is not known; None for what
            is no generator but a key, from which nothing is drawn.
        split: parts a state into what stays as it is for many draws, which is kept as an object, and JSON-ready
            values that change with each: these stand in the record itself (None: there are none).
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    pack: Callable[[Any], Any]
    count: Callable[[Any, Any], int] | None = uncounted
    split: Callable[[Any], tuple[Any, dict[str, Any] | None]] = whole

    def parts(self, state: Any) -> tuple[Any, dict[str, Any] | None]:
        """Return what ``split`` says, all of it where that cannot be said."""
        try:
            return self.split(state)
        except Exception:  # a class of the user's own
            return state, None

    def encode(self, stays: Any) -> bytes:
        """Return what stays of a state as bytes for the store."""
        return canonical_json({"generator": self.name, "state": self.pack(stays)})

    def restore(self, data: bytes, position: dict[str, Any] | None = None) -> None:
        """Put back a state from what ``encode`` returned, and what changes."""
        state = json.loads(data)["state"]
        self.set(state if position is None else _joined(state, position))


def _joined(state: dict[str, Any], position: dict[str, Any]) -> dict[str, Any]:
    """Return one of two nested dictionaries."""
    inner = {key: _joined(state[key], value) for key, value in position.items() if isinstance(state.get(key), dict)}
    return {**state, **position, **inner}


def to_text(data: bytes) -> str:
    """Return bytes as they stand in a record."""
    return base64.b64encode(data).decode("ascii")


def to_bytes(text: str) -> bytes:
    """Return the bytes of ``to_text``."""
    return base64.b64decode(text)


# -- random -------------------------------------------------------------------------------------

_VERSION = 3  # of the state, as `random` calls it


def python(name: str, value: random.Random) -> Generator:
    """Return Python's own generator, of the module or a variable's."""
    offset = twister.python_reader()
    get = (lambda: _asked(value)) if offset is None else _reader(value, offset)
    return Generator(name, get, lambda data: random.Random.setstate(value, _unpacked(data)), _pack, _count, _split)


def _reader(value: random.Random, offset: int) -> Callable[[], tuple[bytes, Any]]:
    address, read = id(value) + offset, ctypes.string_at
    own = object.__getattribute__(value, "__dict__")
    return lambda: (read(address, twister.SIZE), own.get("gauss_next"))


def _asked(value: random.Random) -> tuple[bytes, Any]:
    _, (*words, position), gauss = random.Random.getstate(value)
    return struct.pack("<i624I", position, *words), gauss


def pack_python(state: tuple[bytes, Any]) -> Any:
    """Return a state of Python's own generator as JSON-ready values."""
    memory, gauss = state
    return {"version": _VERSION, "key": to_text(memory[4:] + memory[:4]), "gauss": gauss}


def _split(state: tuple[bytes, Any]) -> tuple[Any, dict[str, Any] | None]:
    memory, gauss = state
    if gauss is not None and not (type(gauss) is float and math.isfinite(gauss)):  # anything can be put there
        return state, None
    return memory[4:], {"gauss": gauss, "position": struct.unpack_from("<i", memory)[0]}


def _pack(stays: Any) -> Any:
    return {"version": _VERSION, "key": to_text(stays)} if isinstance(stays, bytes) else pack_python(stays)


def _unpacked(data: dict[str, Any]) -> tuple[Any, ...]:
    words = to_bytes(data["key"])
    position = (data["position"],) if "position" in data else ()
    return data["version"], (*struct.unpack(f"<{len(words) // 4}I", words), *position), data["gauss"]


def _count(before: tuple[bytes, Any], after: tuple[bytes, Any]) -> int:
    first, second = ((memory[4:], struct.unpack_from("<i", memory)[0]) for memory, _ in (before, after))
    return twister.words_between(first, second)

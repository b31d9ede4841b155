"""How to read and set the state of each kind of random generator.

Libraries are only ever found in ``sys.modules``, never imported. A state travels as JSON, so that
a record can be read without running anything.
"""

from __future__ import annotations

import base64
import json
import random
import re
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reprokit.digest import canonical_json

__all__ = ["Generator", "find", "newborn", "reseed", "seed_all", "seed_newborn"]


_OUTPUTS = re.compile(r"_+\d*")  # IPython's names for results


@dataclass(frozen=True, slots=True)
class Generator:
    """One generator of the process.

    Attributes:
        name: "random", "numpy", "torch", "torch.cuda" or "variable NAME".
        get: returns the state as something cheap to compare with ``==`` (None: nothing to record).
        set: puts back a state that ``unpack`` returned.
        pack: makes JSON-ready values of a state.
        unpack: the inverse of ``pack``.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]

    def encode(self, state: Any) -> bytes:
        """Return a state as bytes for the store."""
        return canonical_json({"generator": self.name, "state": self.pack(state)})

    def restore(self, data: bytes) -> None:
        """Put back a state from what ``encode`` returned."""
        self.set(self.unpack(json.loads(data)["state"]))


def find(namespace: Mapping[str, Any]) -> Iterator[Generator]:
    """Yield every generator that exists now: the libraries' global ones, and the user's variables."""
    yield Generator("random", random.getstate, random.setstate, _pack_python, _unpack_python)
    if (numpy_random := _numpy_random()) is not None:
        yield _numpy_global(numpy_random)
    if (torch := _loaded("torch")) is not None:
        yield from _torch(torch)
    yield from _variables(namespace, numpy_random)


def newborn(module: str) -> Iterator[Generator]:
    """Yield the generators of "numpy.random" or "torch", whose import has just run its code."""
    if module == "numpy.random":
        yield _numpy_global(sys.modules[module])
    else:
        yield from _torch(sys.modules[module])


_SEEDERS: dict[str, Callable[[Any, int], object]] = {
    "random": lambda module, seed: module.seed(seed),
    "numpy.random": lambda module, seed: module.seed(seed % 2**32),
    "torch": lambda module, seed: module.manual_seed(seed),
    "tensorflow": lambda module, seed: module.random.set_seed(seed),
}


def seed_all(seed: int) -> list[str]:
    """Seed every library that is loaded and return the names of those seeded."""
    loaded = [name for name in _SEEDERS if _loaded(name) is not None]
    for name in loaded:
        _SEEDERS[name](sys.modules[name], seed)
    return loaded


def seed_newborn(module: str, seed: int) -> None:
    """Seed one library whose import has just run its code."""
    _SEEDERS[module](sys.modules[module], seed)


def reseed(module: str) -> None:
    """Seed a library whose import has just run its code as it seeds itself, from the patched entropy."""
    if module == "numpy.random":  # torch starts with the same seed in every process
        sys.modules[module].__dict__["seed"]()


def _loaded(name: str) -> Any | None:
    """Return a module that is imported completely; None while it is still being imported."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return None if module is None or getattr(spec, "_initializing", False) else module


def _numpy_random() -> Any | None:
    return _loaded("numpy.random") if _loaded("numpy") is not None else None


# -- random -------------------------------------------------------------------------------------


def _pack_python(state: tuple[Any, ...]) -> Any:
    version, key, gauss = state
    return {"version": version, "key": _text(struct.pack(f"<{len(key)}I", *key)), "gauss": gauss}


def _unpack_python(data: dict[str, Any]) -> tuple[Any, ...]:
    words = _bytes(data["key"])
    return data["version"], struct.unpack(f"<{len(words) // 4}I", words), data["gauss"]


# -- numpy --------------------------------------------------------------------------------------


class _ArrayState:
    """A numpy bit generator's state dictionary, comparable and with its arrays as bytes."""

    __slots__ = ("value",)

    def __init__(self, state: Any) -> None:
        self.value = _freeze(state)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ArrayState) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    if hasattr(value, "tobytes") and hasattr(value, "dtype") and getattr(value, "ndim", False):
        return {"array": value.tobytes(), "dtype": value.dtype.str}
    return value.item() if hasattr(value, "item") else value


def _pack_array(state: _ArrayState) -> Any:
    return _map_arrays(state.value, lambda array: {"base64": _text(array["array"]), "dtype": array["dtype"]})


def _unpack_array(data: Any) -> Any:
    if isinstance(data, dict) and "base64" in data:
        numpy = sys.modules["numpy"]
        return numpy.frombuffer(_bytes(data["base64"]), dtype=data["dtype"]).copy()
    return {key: _unpack_array(item) for key, item in data.items()} if isinstance(data, dict) else data


def _map_arrays(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return change(value) if "array" in value else {key: _map_arrays(item, change) for key, item in value.items()}
    return value


def _numpy_global(numpy_random: Any) -> Generator:
    return Generator(
        "numpy",
        lambda: _ArrayState(numpy_random.get_state(legacy=False)),
        numpy_random.set_state,
        _pack_array,
        _unpack_array,
    )


# -- torch --------------------------------------------------------------------------------------


def _torch(torch: Any) -> Iterator[Generator]:
    yield Generator(
        "torch",
        lambda: _tensor_bytes(torch.get_rng_state()),
        lambda data: torch.set_rng_state(_tensor(torch, data)),
        _text,
        _bytes,
    )
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        yield Generator(
            "torch.cuda",
            lambda: [_tensor_bytes(state) for state in torch.cuda.get_rng_state_all()],
            lambda states: torch.cuda.set_rng_state_all([_tensor(torch, data) for data in states]),
            lambda states: [_text(data) for data in states],
            lambda states: [_bytes(data) for data in states],
        )


def _tensor_bytes(tensor: Any) -> bytes:
    try:
        return bytes(tensor.numpy().tobytes())
    except RuntimeError:  # torch without numpy
        return bytes(tensor.tolist())


def _tensor(torch: Any, data: bytes) -> Any:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


# -- the user's own generators ------------------------------------------------------------------


def _variables(namespace: Mapping[str, Any], numpy_random: Any | None) -> Iterator[Generator]:
    kinds = tuple(_own_kinds(numpy_random))
    variables = dict(namespace)
    # By the set of types first: a long session has thousands of variables, and hardly ever a generator.
    # Not isinstance(): it asks a proxy for its `__class__`, and so runs code of the user's.
    own = {kind for kind in set(map(type, variables.values())) if issubclass(kind, kinds)}
    for name, value in variables.items() if own else ():
        if type(value) in own and not _OUTPUTS.fullmatch(name):
            yield _variable(f"variable {name}", value)


def _own_kinds(numpy_random: Any | None) -> Iterator[type]:
    yield random.Random
    if numpy_random is not None:
        yield numpy_random.Generator
        yield numpy_random.RandomState
        yield numpy_random.BitGenerator


def _variable(name: str, value: Any) -> Generator:
    if isinstance(value, random.SystemRandom):
        return Generator(name, lambda: None, lambda _: None, lambda _: None, lambda _: None)
    if isinstance(value, random.Random):
        return Generator(name, value.getstate, value.setstate, _pack_python, _unpack_python)
    if not hasattr(value, "get_state"):  # a Generator, or its bit generator itself
        bits = getattr(value, "bit_generator", value)
        return Generator(
            name,
            lambda: _ArrayState(bits.state),
            lambda state: setattr(bits, "state", state),
            _pack_array,
            _unpack_array,
        )
    return Generator(
        name, lambda: _ArrayState(value.get_state(legacy=False)), value.set_state, _pack_array, _unpack_array
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)

"""JAX's keys, where a variable holds one: values that never change, so they are recorded and never put back."""

from __future__ import annotations

import sys
from typing import Any

from reprokit.capture.randomness.states import Generator, nothing, to_text

__all__ = ["kinds", "of_variable"]

_MOST = 64  # words of a key's data: what is longer is an array of keys for something else
_RAW = ("uint32", 2)
_PLACES = ("jax._src.prng", "jax._src.random.prng")


def kinds() -> tuple[type, ...]:
    """Return the classes that keys have, none when JAX is not loaded."""
    if "jax" not in sys.modules:
        return ()
    raw = getattr(sys.modules.get("jax._src.array"), "ArrayImpl", None)
    return tuple(kind for kind in (_typed(), raw) if kind is not None)


def _typed() -> type | None:
    modules = (sys.modules.get(name) for name in _PLACES)
    return next((kind for module in modules if (kind := getattr(module, "PRNGKeyArray", None)) is not None), None)


def of_variable(name: str, value: Any) -> Generator:
    """Return the key that a variable holds; its state is the key itself, which is read in the background."""
    return Generator(name, lambda: _Key(value) if _is_key(value) else None, nothing, lambda key: key.packed(), None)


class _Key:
    """A key, not yet read: reading it may wait for everything that its device was given to do before."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]

    def packed(self) -> Any:
        jax, numpy = sys.modules["jax"], sys.modules["numpy"]
        is_typed = type(self.value) is _typed()
        array = numpy.asarray(jax.random.key_data(self.value) if is_typed else self.value)
        return {"base64": to_text(array.tobytes()), "shape": list(array.shape)}


def _is_key(value: Any) -> bool:
    if value.size > _MOST or value.is_deleted():
        return False
    if type(value) is _typed():
        return True
    return str(value.dtype) == _RAW[0] and value.ndim > 0 and value.shape[-1] == _RAW[1]

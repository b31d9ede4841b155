"""TensorFlow's generators: the seeds its operations get, and ``tf.random.Generator`` objects.

With a global seed, each operation in eager mode gets a seed of its own from a Python generator inside
the context: that one is recorded. Without any seed the operation's kernel asks the operating system.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

from reprokit.capture.randomness import states
from reprokit.capture.randomness.recode import divert
from reprokit.capture.randomness.states import Generator, to_bytes, to_text
from reprokit.capture.swallowed import guarded, pass_on

__all__ = ["kinds", "of_library", "of_variable", "watch"]

_CONTEXT = "tensorflow.python.eager.context"
_SEEDS = "tensorflow.python.framework.random_seed"
_STATEFUL = "tensorflow.python.ops.stateful_random_ops"


def kinds() -> tuple[type, ...]:
    """Return the class of TensorFlow's generators, none when it is not loaded."""
    kind = getattr(sys.modules.get(_STATEFUL), "Generator", None)
    return () if kind is None else (kind,)


def of_library(_tensorflow: Any) -> Iterator[Generator]:
    """Yield the generator of operations' seeds, which has a state once a global seed was set, and the global one."""
    yield Generator("tensorflow", _seeds, _set_seeds, _pack_seeds)
    yield Generator("tensorflow.generator", _global_state, _set_global, _pack)


def of_variable(name: str, value: Any) -> Generator:
    """Return the generator that a variable holds."""
    return Generator(name, lambda: _state(value), lambda data: _set(value, data), _pack)


def watch(unseeded: Callable[[], None], draw: Callable[[int], bytes]) -> list[Callable[[], None]]:
    """Call back when an operation draws without any seed, and let generators made without one take it from ``draw``.

    Returns:
        What undoes it; nothing while TensorFlow is not loaded.
    """
    seeds = getattr(sys.modules.get(_SEEDS), "get_seed", None)
    integers = getattr(sys.modules.get(_STATEFUL), "non_deterministic_ints", None)
    if seeds is None or integers is None:
        return []
    unseeded = guarded("randomness", unseeded)
    undos = (
        divert(seeds, lambda original: _noticing(original, unseeded)),
        divert(integers, lambda original: _deriving(original, unseeded, draw)),
    )
    return [undo for undo in undos if undo is not None]


def _noticing(original: Callable[..., Any], unseeded: Callable[[], None]) -> Callable[..., Any]:
    def get_seed(op_seed: Any) -> Any:
        seeds = original(op_seed)
        if seeds == (None, None):
            unseeded()
        return seeds

    return get_seed


def _deriving(
    original: Callable[..., Any], unseeded: Callable[[], None], draw: Callable[[int], bytes]
) -> Callable[..., Any]:
    def non_deterministic_ints(shape: Any, dtype: Any) -> Any:
        try:
            if sys.modules["tensorflow"].executing_eagerly():
                return _integers(shape, dtype, draw)
        except Exception as error:  # whatever is asked for, the library's own answer is never worse than before
            pass_on(error)
        unseeded()  # in a graph a constant would be the same for every call
        return original(shape=shape, dtype=dtype)

    return non_deterministic_ints


def _integers(shape: Any, dtype: Any, draw: Callable[[int], bytes]) -> Any:
    tensorflow, numpy = sys.modules["tensorflow"], sys.modules["numpy"]
    kind = tensorflow.as_dtype(dtype).as_numpy_dtype
    size = [int(length) for length in numpy.atleast_1d(numpy.asarray(shape))]
    data = draw(int(numpy.prod(size)) * numpy.dtype(kind).itemsize)
    return tensorflow.constant(numpy.frombuffer(data, dtype=kind).reshape(size))


# -- the seeds of operations --------------------------------------------------------------------


def _generator() -> random.Random | None:
    context = getattr(sys.modules.get(_CONTEXT), "_context", None)
    found = getattr(context, "_rng", None)
    return found if isinstance(found, random.Random) else None


def _seeds() -> Any:
    found = _generator()
    if found is None:
        return None
    return sys.modules[_CONTEXT].global_seed(), states.python("tensorflow", found).get()


def _pack_seeds(state: Any) -> Any:
    seed, words = state
    return {"seed": seed, "operations": states.pack_python(words)}


def _set_seeds(data: Any) -> None:
    found = _generator()
    if found is None or sys.modules[_CONTEXT].global_seed() != data["seed"]:
        sys.modules["tensorflow"].random.set_seed(data["seed"])
        found = _generator()
    if found is not None:
        states.python("tensorflow", found).set(data["operations"])


# -- generator objects --------------------------------------------------------------------------


def _global_state() -> Any:
    found = getattr(sys.modules.get(_STATEFUL), "global_generator", None)
    return None if found is None else _state(found)


def _set_global(data: Any) -> None:
    found = getattr(sys.modules.get(_STATEFUL), "global_generator", None)
    if found is not None:
        _set(found, data)


def _state(value: Any) -> Any:
    if not sys.modules["tensorflow"].executing_eagerly():
        return None
    array = value.state.numpy()
    return array.tobytes(), array.dtype.str


def _set(value: Any, data: Any) -> None:
    numpy = sys.modules["numpy"]
    value.state.assign(numpy.frombuffer(to_bytes(data["base64"]), dtype=data["dtype"]))


def _pack(state: Any) -> Any:
    return {"base64": to_text(state[0]), "dtype": state[1]}

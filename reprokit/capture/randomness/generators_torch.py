"""torch's generators: of the CPU, of CUDA and MPS devices, and ``torch.Generator`` objects."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

from reprokit.capture.randomness import twister
from reprokit.capture.randomness.states import Generator, to_bytes, to_text, uncounted

__all__ = ["kinds", "of_library", "of_variable", "when_cuda_starts"]

_WORDS = 624


def kinds() -> tuple[type, ...]:
    """Return the class of torch's generators, none when torch is not loaded."""
    kind = getattr(sys.modules.get("torch"), "Generator", None)
    return () if kind is None else (kind,)


def of_library(torch: Any) -> Iterator[Generator]:
    """Yield the global generators of ``torch``; those of devices have no state until the device is used."""
    yield _of("torch", torch, torch.default_generator, _count)
    if hasattr(torch, "cuda"):
        yield Generator("torch.cuda", lambda: _cuda_states(torch), lambda data: _set_cuda(torch, data), _pack_all)
    if _has_mps(torch):
        yield Generator(
            "torch.mps",
            lambda: _memory(torch.mps.get_rng_state()),
            lambda text: torch.mps.set_rng_state(_tensor(torch, text)),
            to_text,
        )


def of_variable(name: str, value: Any) -> Generator:
    """Return the generator that a variable holds."""
    return _of(name, sys.modules["torch"], value, _count if value.device.type == "cpu" else uncounted)


def when_cuda_starts(call: Callable[[], None]) -> Callable[[], None] | None:
    """Let torch call back when it has started CUDA, whose generators are born then.

    torch keeps such calls in a list, with which it also seeds devices that are not started yet.

    Returns:
        What undoes it; None while torch is not loaded, or when CUDA runs already.
    """
    entry = (call, ["reprokit\n"])
    cuda = sys.modules.get("torch.cuda")
    queue = getattr(cuda, "_queued_calls", None)
    if not isinstance(queue, list) or getattr(cuda, "_initialized", True):
        return None
    queue.insert(0, entry)

    def undo() -> None:
        queue[:] = [item for item in queue if item is not entry]

    return undo


def _of(name: str, torch: Any, generator: Any, count: Callable[[Any, Any], int]) -> Generator:
    def get() -> bytes:
        return _memory(generator.get_state())

    return Generator(name, get, lambda text: generator.set_state(_tensor(torch, text)), to_text, count)


def _has_mps(torch: Any) -> bool:
    backend = getattr(getattr(torch, "backends", None), "mps", None)
    return sys.platform == "darwin" and backend is not None and bool(backend.is_available())


def _cuda(torch: Any) -> tuple[Any, ...]:
    """Return the generators of the GPUs, none before CUDA is started; torch's own functions would start it."""
    cuda = torch.cuda
    if cuda.is_initialized() or hasattr(getattr(cuda, "_tls", None), "is_initializing"):
        return tuple(cuda.default_generators)
    return ()


def _cuda_states(torch: Any) -> list[bytes] | None:
    return [_memory(generator.get_state()) for generator in _cuda(torch)] or None


def _set_cuda(torch: Any, texts: list[str]) -> None:
    for generator, text in zip(_cuda(torch), texts, strict=False):
        generator.set_state(_tensor(torch, text))


def _pack_all(states: list[bytes]) -> list[str]:
    return [to_text(data) for data in states]


def _memory(tensor: Any) -> bytes:
    try:
        data: bytes = tensor.numpy().tobytes()
    except RuntimeError:  # torch without numpy
        data = bytes(tensor.tolist())
    return data


def _tensor(torch: Any, text: str) -> Any:
    return torch.frombuffer(bytearray(to_bytes(text)), dtype=torch.uint8)


def _count(before: bytes, after: bytes) -> int:
    """Return how many words of 32 bits a CPU generator gave out; its state begins with seed, left, seeded, next."""
    first, second = (_split(state) for state in (before, after))
    return -1 if first is None or second is None else twister.words_between(first, second)


def _split(state: bytes) -> tuple[bytes, int] | None:
    if len(state) < 24 + 8 * _WORDS:
        return None
    left, _, position = struct.unpack_from("<iiQ", state, 8)
    words = struct.unpack_from(f"<{_WORDS}Q", state, 24)
    return struct.pack(f"<{_WORDS}I", *words), _WORDS if left == 1 else position

"""States are read from memory exactly as the libraries tell them, and draws between two states are counted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from reprokit.capture.randomness import generators_numpy, states, twister
from reprokit.capture.randomness.states import Generator


def of(value: Any) -> Generator:
    return (
        states.python("x", value)
        if isinstance(value, random.Random)
        else generators_numpy.of_variable("variable x", value)
    )


def stored(generator: Generator) -> tuple[bytes, dict[str, Any] | None]:
    """Return a state as it is kept: what stays, as bytes, and what changes with each draw."""
    stays, position = generator.parts(generator.get())
    return generator.encode(stays), position


MAKERS: dict[str, Callable[[], Any]] = {
    "random": lambda: random.Random(3),
    "legacy": lambda: np.random.RandomState(3),
    "legacy on PCG64": lambda: np.random.RandomState(np.random.PCG64(3)),
    **{
        name: lambda name=name: np.random.Generator(getattr(np.random, name)(3))  # type: ignore[misc]
        for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
    },
    "bit generator": lambda: np.random.MT19937(3),
}


def draw(value: Any) -> Any:
    """Draw something of every kind; pairs and halves are kept back."""
    if isinstance(value, random.Random):
        return value.gauss(0, 1), value.random(), value.getrandbits(77)
    if isinstance(value, np.random.RandomState):
        return value.standard_normal(3).tolist(), value.rand()
    if isinstance(value, np.random.Generator):
        return value.integers(10, size=3, dtype=np.uint32).tolist(), value.random()
    return value.random_raw(3).tolist()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_state_that_was_put_back_draws_the_same(kind: str) -> None:
    value = MAKERS[kind]()
    draw(value)
    generator = of(value)
    kept = stored(generator)
    first = draw(value), draw(value)
    generator.restore(*kept)
    assert (draw(value), draw(value)) == first
    other = MAKERS[kind]()
    of(other).restore(*kept)
    assert (draw(other), draw(other)) == first


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "random"])
def test_a_state_that_was_kept_in_one_piece_is_put_back(kind: str) -> None:
    """Records of before had all of it in the object."""
    value = MAKERS[kind]()
    draw(value)
    generator = of(value)
    kept = generator.encode(generator.get())
    first = draw(value), draw(value)
    generator.restore(kept)
    assert (draw(value), draw(value)) == first


def test_a_state_of_pythons_own_that_was_kept_in_one_piece_is_put_back() -> None:
    value = random.Random(3)
    draw(value)
    kept = json.dumps({"generator": "random", "state": states.pack_python(of(value).get())}).encode()
    first = draw(value)
    of(value).restore(kept)
    assert draw(value) == first


@pytest.mark.parametrize("kind", MAKERS)
def test_a_draw_writes_nothing_new(kind: str) -> None:
    value = MAKERS[kind]()
    draw(value)
    before = stored(of(value))
    draw(value)
    after = stored(of(value))
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_what_cannot_be_written_as_json_is_kept_in_one_piece() -> None:
    value = random.Random(3)
    value.gauss_next = float("inf")
    assert stored(of(value))[1] is None
    legacy = np.random.RandomState(3)
    asked = legacy.get_state(legacy=False)
    legacy.set_state({**asked, "has_gauss": 1, "gauss": float("nan")})
    assert stored(of(legacy))[1] is None


@pytest.mark.parametrize("kind", MAKERS)
def test_every_draw_changes_the_state(kind: str) -> None:
    """The second of a pair of normal numbers moves no word, and changes the state all the same."""
    value = MAKERS[kind]()
    generator = of(value)
    seen = [generator.get()]
    for _ in range(2 * 624):
        if isinstance(value, random.Random):
            value.gauss(0, 1)
        elif isinstance(value, np.random.RandomState):
            value.standard_normal()
        elif isinstance(value, np.random.Generator):
            value.integers(2, dtype=np.uint32)
        else:
            value.random_raw()
        assert generator.get() != seen[-1]
        seen.append(generator.get())


def test_what_is_read_from_memory_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the layout is not known the state is asked for, and the record is the same."""
    for kind in ("random", "legacy", "MT19937"):
        value = MAKERS[kind]()
        draw(value)
        fast = of(value)
        assert twister.python_reader() is not None
        with monkeypatch.context() as patched:
            patched.setattr(twister, "python_reader", lambda: None)
            patched.setattr(twister, "legacy_reader", lambda _: None)
            slow = of(value)
        assert stored(fast) == stored(slow)


def test_another_bit_generator_in_the_same_state_object() -> None:
    value = np.random.RandomState(1)
    generator = of(value)
    before = generator.get()
    value.set_state(np.random.RandomState(2).get_state())
    assert generator.get() != before
    kept = stored(generator)
    first = value.rand()
    generator.restore(*kept)
    assert value.rand() == first


def words(kind: str, count: int, start: int) -> int:
    """Return what is counted after ``count`` words that are drawn at ``start``."""
    value = MAKERS[kind]()
    give: Callable[[], Any] = {
        "random": lambda: value.getrandbits(32),
        "legacy": lambda: value.randint(2**32, dtype=np.uint32),
        "bit generator": lambda: value.random_raw(),
    }.get(kind, lambda: value.bit_generator.random_raw())
    for _ in range(start):
        give()
    generator = of(value)
    before = generator.get()
    for _ in range(count):
        give()
    assert generator.count is not None
    return generator.count(before, generator.get())


@pytest.mark.parametrize("kind", ["random", "legacy", "bit generator", "PCG64", "PCG64DXSM", "Philox"])
@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 624), (3, 700), (623, 2), (100, 3000), (5, 0)])
def test_words_are_counted_exactly(kind: str, start: int, count: int) -> None:
    assert words(kind, count, start) == count


def test_what_cannot_be_counted_is_not_guessed() -> None:
    value = random.Random(1)
    generator = states.python("x", value)
    before = generator.get()
    value.seed(2)
    assert generator.count is not None
    assert generator.count(before, generator.get()) == -1
    rng = np.random.default_rng(1)
    other = np.random.default_rng(2)
    assert generators_numpy._count(of(rng).get(), of(other).get()) == -1
    assert generators_numpy._count(of(rng).get(), of(np.random.Generator(np.random.Philox(1))).get()) == -1
    assert generators_numpy._count(*(of(np.random.SFC64(seed)).get() for seed in (1, 1))) == -1


def test_far_apart() -> None:
    """Very many steps of a linear generator are counted at once; those of a twister are given up."""
    rng = np.random.default_rng(1)
    generator = of(rng)
    before = generator.get()
    rng.bit_generator.advance(10**18 + 7)
    assert generator.count is not None
    assert generator.count(before, generator.get()) == 10**18 + 7
    python = random.Random(1)
    asked = states.python("x", python)
    first = asked.get()
    python.getrandbits(32 * 624 * (twister._MOST_TWISTS + 2))
    assert asked.count is not None
    assert asked.count(first, asked.get()) == -1

"""A diverted function is the same object to everybody, and its calls go elsewhere."""

from __future__ import annotations

import inspect
import itertools
import pickle
import random
import traceback
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from reprokit.capture.randomness.recode import divert, precede


def everything(a: int, /, b: int, *rest: int, c: int = 3, **more: int) -> tuple[Any, ...]:
    """Take parameters of every kind."""
    return a, b, rest, c, more


def plain(a: int, b: int = 2) -> tuple[int, int]:
    return a, b


def keywords(*, a: int, b: int = 5) -> tuple[int, int]:
    return a, b


def noting(calls: list[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            return original(*args, **kwargs)

        return call

    return make


def test_calls_of_every_form_arrive_as_they_were_made() -> None:
    uses: list[Callable[[], Any]] = [
        lambda: everything(1, 2),
        lambda: everything(1, 2, 3, 4, c=5, d=6),
        lambda: everything(1, b=2, a=7),
        lambda: plain(1),
        lambda: plain(b=1, a=2),
        lambda: keywords(a=1),
        lambda: keywords(b=1, a=2),
    ]
    before = [use() for use in uses]
    calls: list[Any] = []
    undo = [divert(function, noting(calls)) for function in (everything, plain, keywords)]
    assert [use() for use in uses] == before
    assert len(calls) == len(uses)
    for one in undo:
        assert one is not None
        one()
    assert [use() for use in uses] == before
    assert len(calls) == len(uses)


def test_nothing_of_it_can_be_seen() -> None:
    held, signature, source = uuid.uuid4, inspect.signature(uuid.uuid4), inspect.getsource(uuid.uuid4)
    calls: list[Any] = []
    undo = divert(uuid.uuid4, noting(calls))
    assert undo is not None
    try:
        assert uuid.uuid4 is held
        assert held().version == 4
        assert len(calls) == 1
        assert (inspect.signature(held), inspect.getsource(held)) == (signature, source)
        assert pickle.loads(pickle.dumps(held)) is held
        assert vars(held) == {}
    finally:
        undo()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_it_is_undone_in_any_order(order: tuple[int, ...]) -> None:
    def own() -> str:
        return "own"

    code, calls = own.__code__, [[], [], []]  # type: ignore[var-annotated]
    undo = [divert(own, noting(one)) for one in calls]
    assert own() == "own"
    assert [len(one) for one in calls] == [1, 1, 1]
    for number in order:
        one = undo[number]
        assert one is not None
        one()
    assert own.__code__ is code


def test_an_exception_passes_through() -> None:
    def failing() -> None:
        raise ValueError("its own")

    undo = divert(failing, noting([]))
    assert undo is not None
    with pytest.raises(ValueError, match="its own"):
        failing()


def test_what_cannot_be_diverted_is_left_alone() -> None:
    assert divert(len, noting([])) is None
    assert divert(None, noting([])) is None
    assert precede(len, "a", lambda: 1) is None
    assert precede(plain, "c", lambda: 1) is None
    assert precede(eval("lambda a: a"), "a", lambda: 1) is None
    assert plain(1) == (1, 2)


def test_closures_too() -> None:
    kept, other = 1, 2

    def closure(a: int = 3) -> tuple[int, int, int]:
        return a, kept, other

    calls: list[Any] = []
    undo = divert(closure, noting(calls))
    assert undo is not None
    assert (closure(), closure(5)) == ((3, 1, 2), (5, 1, 2))
    assert len(calls) == 2
    undo()
    assert closure() == (3, 1, 2)


def test_what_precedes_leaves_everything_else_as_it_was() -> None:
    def look() -> tuple[Any, ...]:
        generator = random.Random(7)
        try:
            generator.seed([1])  # type: ignore[arg-type]
        except (TypeError, DeprecationWarning):  # the latter in Python 3.10
            text = traceback.format_exc()
        draws = []
        for seed in (1, "a", b"a", 2.5, bytearray(b"x")):
            generator.seed(seed)
            draws.append(generator.random())
        generator.seed("a", version=1)
        draws.append(generator.random())
        return text, draws, inspect.signature(random.Random.seed), inspect.getsource(random.Random.seed)

    before, code = look(), random.Random.seed.__code__
    undo = precede(random.Random.seed, "a", lambda: 5)
    assert undo is not None
    try:
        assert random.Random.seed.__code__ is not code
        assert look() == before
        drawn = [random.Random().random(), random.Random(None).random(), random.Random(5).random()]
        assert len(set(drawn)) == 1
    finally:
        undo()
    assert random.Random.seed.__code__ is code
    assert look() == before


def test_code_that_somebody_else_put_in_stays() -> None:
    def function() -> int:
        return 1

    def theirs() -> int:
        return 2

    undo = divert(function, noting([]))
    assert undo is not None
    function.__code__ = theirs.__code__
    undo()
    assert function() == 2

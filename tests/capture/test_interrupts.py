"""Ctrl-C during a capture waits until the capture is over, and is handed to the user's own code."""

from __future__ import annotations

import ast
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from reprokit.capture import interrupts
from reprokit.capture.interrupts import Held, Owed, deliver


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """A shell lets what runs in its background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    finished = False
    with Held() as held:
        interrupt()
        finished = True
    assert finished
    assert held.came
    with pytest.raises(KeyboardInterrupt):
        held.deliver()
    held.deliver()  # once is enough


def test_two_interrupts_are_one() -> None:
    with Held() as held:
        interrupt()
        interrupt()
    with pytest.raises(KeyboardInterrupt):
        held.deliver()
    held.deliver()


def test_without_an_interrupt_nothing_happens() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Held() as held:
        assert signal.getsignal(signal.SIGINT) is held
    held.deliver()
    assert signal.getsignal(signal.SIGINT) is before


def test_blocks_may_lie_in_each_other() -> None:
    with Held() as outer:
        with Held() as inner:
            interrupt()
        inner.deliver()
        assert outer.came
    with pytest.raises(KeyboardInterrupt):
        outer.deliver()


def test_an_exception_in_the_block_puts_the_handler_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    def fail() -> None:
        with Held():
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        fail()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_handler_of_the_system_is_let_be(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with Held():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_of_the_user_is_called() -> None:
    called: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: called.append(number))
    try:
        with Held() as held:
            interrupt()
            assert called == []
        held.deliver()
    finally:
        signal.signal(signal.SIGINT, before)
    assert called == [signal.SIGINT]


class Late(Exception):
    """What a handler of the user's raises: their time is over."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """A handler that ends what takes too long."""

    def end(number: int, frame: Any) -> None:
        raise Late(signal.Signals(number).name)

    before = signal.signal(signal.SIGALRM, end)
    yield
    signal.signal(signal.SIGALRM, before)


def test_other_signals_that_have_a_handler_wait_too(alarm: None) -> None:
    with Held() as held:
        os.kill(os.getpid(), signal.SIGALRM)
        interrupt()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert held.others() == [signal.SIGALRM]
    assert held.numbers == (signal.SIGINT,)
    with pytest.raises(Late, match="SIGALRM"):
        deliver([signal.SIGALRM])


def test_what_one_handler_raises_keeps_no_other_from_being_called(alarm: None) -> None:
    with pytest.raises(Late) as raised:
        deliver([signal.SIGINT, signal.SIGALRM])
    assert isinstance(raised.value.__context__, KeyboardInterrupt)


def test_the_next_code_is_where_it_is_raised(alarm: None) -> None:
    with Held() as held:
        os.kill(os.getpid(), signal.SIGALRM)
    owed = Owed()
    owed.add(held)
    with pytest.raises(Late) as raised:
        run(owed, "x = 1")
    assert [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)][-2:] == ["<module>", "end"]


def test_other_threads_are_let_be() -> None:
    seen = []
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        with Held():
            seen.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


# -- what is owed to the user's next code -------------------------------------------------------------


def held_back() -> Held:
    with Held() as held:
        interrupt()
    return held


def run(owed: Owed, source: str) -> dict[str, object]:
    """Run a cell as IPython does: its tree goes through the transformer."""
    namespace: dict[str, object] = {}
    exec(compile(owed.visit(ast.parse(source)), "<cell>", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("source", ["x = 1", "", "# nothing", "def f():\n    pass", "import sys; x = 1"])
def test_the_next_code_begins_with_the_interrupt(source: str) -> None:
    owed = Owed()
    assert not owed
    owed.add(held_back())
    assert owed
    with pytest.raises(KeyboardInterrupt):
        run(owed, source)
    assert not owed
    assert "x" not in run(owed, "y = 1")


def test_nothing_owed_changes_nothing() -> None:
    owed = Owed()
    owed.add(Held())
    tree = ast.parse("x = 1")
    assert owed.visit(tree) is tree
    assert ast.unparse(tree) == "x = 1"


def test_one_that_came_long_before_the_next_code_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_AT_ONCE_S", 0.0)
    owed = Owed()
    owed.add(held_back())
    assert run(owed, "x = 1")["x"] == 1
    assert not owed

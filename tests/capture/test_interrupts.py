"""Ctrl-C during a capture waits until the capture is over, and is never lost."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from reprokit.capture.interrupts import deferred


def wait_for_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt):
        time.sleep(10)


def test_an_interrupt_comes_after_the_block() -> None:
    finished = False
    with deferred():
        os.kill(os.getpid(), signal.SIGINT)
        finished = True
    assert finished
    wait_for_interrupt()


def test_two_interrupts_are_one() -> None:
    with deferred():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    wait_for_interrupt()
    time.sleep(0.02)


def test_a_sleeping_system_call_is_woken() -> None:
    began = time.monotonic()
    with deferred():
        os.kill(os.getpid(), signal.SIGINT)
    wait_for_interrupt()
    assert time.monotonic() - began < 5


def test_blocks_may_lie_in_each_other() -> None:
    with deferred():
        with deferred():
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)  # the inner one's reminder comes while the outer one still holds it back
    wait_for_interrupt()


def test_an_exception_in_the_block_is_not_swallowed() -> None:
    def fail() -> None:
        with deferred():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        fail()
    wait_for_interrupt()


def test_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_handler_of_the_system_is_let_be(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with deferred():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_of_the_user_is_called() -> None:
    called: list[int] = []
    arrived = threading.Event()

    def handler(number: int, frame: object) -> None:
        called.append(number)
        arrived.set()

    before = signal.signal(signal.SIGINT, handler)
    try:
        with deferred():
            os.kill(os.getpid(), signal.SIGINT)
            assert called == []
        assert arrived.wait(10)
    finally:
        signal.signal(signal.SIGINT, before)
    assert called == [signal.SIGINT]


def test_other_threads_are_let_be() -> None:
    seen = []
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        with deferred():
            seen.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]

"""What a signal handler of the user's raises is theirs, wherever our code happens to be when the signal comes."""

from __future__ import annotations

import importlib
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reprokit.capture import swallowed
from reprokit.capture.files.audit import Audit
from reprokit.capture.outputs import KernelTap
from reprokit.capture.randomness.entropy import AfterImport, Entropy
from reprokit.capture.remote.hooks import Hooks


class Late(Exception):
    """What the handler raises."""


def ring(*_: Any) -> None:
    """Have the signal come now, in the middle of whatever calls this."""
    signal.raise_signal(signal.SIGUSR1)


def plainly(number: int, frame: Any) -> None:
    raise Late


class Handler:
    """A handler that is an object, and hands on what it is given."""

    def __call__(self, *given: Any) -> None:
        self.again(*given)

    def again(self, *given: Any) -> None:
        raise Late


@pytest.fixture(params=[plainly, Handler(), lambda *given: plainly(*given)], ids=["function", "object", "lambda"])
def handler(request: pytest.FixtureRequest) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, request.param)
    swallowed.take()
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_guarded_step(handler: None) -> None:
    with pytest.raises(Late) as raised:
        swallowed.guarded("files", ring)()
    assert swallowed.take() == {}
    assert "ring" not in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]


def test_a_failure_of_ours_is_kept(handler: None) -> None:
    def fail(frame: Any) -> None:
        raise Late

    def asked() -> Any:
        return swallowed.guarded("files", fail)(sys._getframe(1))

    assert asked() is None
    assert set(swallowed.take()) == {"files"}


def test_the_audit_hook(handler: None, tmp_path: Path) -> None:
    audit = Audit(ring, ring)
    audit.start()
    try:
        with pytest.raises(Late):
            (tmp_path / "new.txt").write_text("x")
    finally:
        audit.stop()
    assert list(tmp_path.iterdir()) == []
    assert swallowed.take() == {}


def test_the_wraps_of_libraries(handler: None) -> None:
    hooks = Hooks(lambda work: None)
    with pytest.raises(Late):
        hooks.safely(ring)
    assert hooks.error is None


def test_an_import(handler: None) -> None:
    imports = AfterImport(("colorsys",), ring)
    sys.modules.pop("colorsys", None)
    imports.install()
    try:
        with pytest.raises(Late):
            importlib.import_module("colorsys")
    finally:
        imports.remove()
    assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0, 0, 0)


@pytest.mark.parametrize("asks", [random.Random, threading.Thread(target=int).start], ids=["draw", "thread"])
def test_entropy(handler: None, asks: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    entropy = Entropy()
    for name in ("draw", "_number"):
        monkeypatch.setattr(entropy, name, ring)
    entropy.activate()
    try:
        with pytest.raises(Late):
            asks()
    finally:
        entropy.deactivate()
    assert swallowed.take() == {}


class Wire:
    """A kernel's way to its front ends, as far as a tap needs it."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, stream: Any, message: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(message)
        return message


def display(text: str) -> dict[str, Any]:
    content = {"data": {"text/plain": text}, "metadata": {}}
    return {"header": {"msg_type": "display_data"}, "parent_header": {"msg_id": "request"}, "content": content}


@pytest.mark.timeout(60)
def test_garbage_that_displays_while_a_display_is_heard() -> None:
    """It is sent in the middle of another message, and waits until what another thread prints is sent as well."""
    wire, told = Wire(), []
    tap = KernelTap(wire, lambda seq, area: told.append(area.outputs), lambda seq: [])

    class Garbage(dict[str, Any]):
        """A content that is collected, so to speak, when it is looked into."""

        def get(self, *key: Any) -> Any:
            if len(wire.sent) == 1:
                wire.send(None, display("garbage"))
                other = threading.Thread(target=wire.send, args=(None, display("other")))
                other.start()
                other.join()
            return super().get(*key)

    tap.start()
    tap.begin(1, "request")
    message = display("first")
    wire.send(None, {**message, "content": Garbage(message["content"])})
    tap.flush()
    tap.stop()
    assert [one["data"]["text/plain"] for one in told[-1]] == ["first", "garbage", "other"]

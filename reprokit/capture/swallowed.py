"""Failures of ours in the middle of the user's code: swallowed there, and kept until they can be told.

What a signal handler of the user's raises while our code happens to run (a timeout, say) is theirs: it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

__all__ = ["described", "guarded", "keep", "pass_on", "take"]

_kept: dict[str, Exception] = {}


def keep(aspect: str, error: Exception) -> None:
    """Keep the first failure of an aspect, without the frames it went through: they hold the user's objects.

    Raises:
        Exception: ``error`` itself, when it is none of ours.
    """
    __tracebackhide__ = True
    pass_on(error)
    if aspect not in _kept:
        error.__traceback__ = error.__context__ = error.__cause__ = None
        _kept[aspect] = error


def take() -> dict[str, Exception]:
    """Return what was kept since the last call, by aspect."""
    kept: dict[str, Exception] = {}
    while _kept:
        kept.update([_kept.popitem()])
    return kept


def guarded(aspect: str, step: Callable[..., Any], otherwise: Callable[..., Any] = lambda *_: None) -> Any:
    """Return ``step`` as the user's code may call it: when it fails, that is kept, and ``otherwise`` answers.

    >>> half = guarded("doc", lambda n: 1 / n, lambda n: n)
    >>> half(2), half(0), "doc" in take()
    (0.5, 0, True)
    """

    def call(*args: Any) -> Any:
        __tracebackhide__ = True
        try:
            return step(*args)
        except Exception as error:
            keep(aspect, error)
        return otherwise(*args)

    return call


def described(error: BaseException) -> str:
    """Return an exception as one line; a class of the user's own may refuse to be shown.

    >>> described(ValueError("no"))
    'ValueError: no'
    """
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def pass_on(error: Exception) -> None:
    """Raise an exception again that is none of ours: a signal handler raised it in the middle of our code."""
    __tracebackhide__ = True
    if (trace := _from_handler(error)) is not None:
        raise error.with_traceback(trace)


def _from_handler(error: BaseException) -> TracebackType | None:
    """Return where in a traceback a signal handler or a trace function begins: it is given the frame it interrupts."""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if any(one is frame.f_back for one in _given(frame)):
            return trace
        trace = trace.tb_next
    return None


def _given(frame: FrameType) -> Iterator[FrameType]:
    for name in frame.f_code.co_varnames:
        one = frame.f_locals.get(name)
        if type(one) is FrameType:
            yield one
        elif type(one) is tuple:  # of a function that takes whatever there is
            yield from (item for item in one if type(item) is FrameType)

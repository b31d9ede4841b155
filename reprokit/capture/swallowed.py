"""Failures of ours in the middle of the user's code: swallowed there, and kept until they can be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["described", "guarded", "keep", "take"]

_kept: dict[str, Exception] = {}


def keep(aspect: str, error: Exception) -> None:
    """Keep the first failure of an aspect, without the frames it went through: they hold the user's objects."""
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

"""Notices that the user's own code asked for what can never be repeated: keys, tokens and unique ids.

What it was given is never looked at. Libraries ask too, for names of temporary files or messages; that
is nobody's result and goes unnoticed: only the code that asked decides, never what stands behind it.
"""

from __future__ import annotations

import functools
import os
import pkgutil
import random
import sys
import sysconfig
import types
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from reprokit.capture.randomness.recode import divert
from reprokit.capture.swallowed import guarded

__all__ = ["Asked", "is_of_the_user"]

_UUIDS = ("uuid1", "uuid4", "uuid6", "uuid7")
_BUILTIN: Any = types.BuiltinFunctionType
_SYSTEM = ("random", "getrandbits", "randbytes")
_ASKED = frozenset(("os", "random", "secrets", "uuid"))  # modules in whose name the user asks
_LIBRARIES = ("/site-packages/", "/dist-packages/", "<frozen ")
_STANDARD = tuple(
    f"{os.path.normpath(path)}{os.sep}" for name in ("stdlib", "platstdlib") if (path := sysconfig.get_path(name))
)
_OWN = f"{Path(__file__).resolve().parents[2]}{os.sep}"


class Asked:
    """The functions that give what cannot be repeated, and which of them the user's code called."""

    def __init__(self) -> None:
        self.names: set[str] = set()  # called since this was last emptied
        self._undo: list[Callable[[], None]] = []
        self._notice = guarded("randomness", self._look)

    def watch(self) -> None:
        """Begin to notice."""
        functions: Iterable[Any] = (
            *(getattr(uuid, name, None) for name in _UUIDS),
            *(vars(random.SystemRandom).get(name) for name in _SYSTEM),
        )
        undone = (divert(function, self._noticing) for function in functions)
        self._undo += [undo for undo in undone if undo is not None]
        self._replace_urandom()

    def unwatch(self) -> None:
        """Undo everything, unless somebody else replaced it meanwhile."""
        while self._undo:
            self._undo.pop()()

    def take(self) -> list[str]:
        """Return what was called since the last time."""
        names, self.names = self.names, set()
        return sorted(names)

    def _noticing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._notice(sys._getframe(1))
            return original(*args, **kwargs)

        return call

    def _replace_urandom(self) -> None:
        before = os.urandom
        if type(before) is _Urandom:
            return
        after = _Urandom(before, self._notice)
        os.urandom = after  # a function of C: there is no code in it to divert

        def undo() -> None:
            if os.urandom is after:
                os.urandom = before
            after.forget()

        self._undo.append(undo)

    def _look(self, frame: FrameType | None) -> None:
        name = ""
        while frame is not None:
            module = frame.f_globals.get("__name__")
            if type(module) is str and module in _ASKED:  # anything may stand in a frame of the user's
                name = _called(module, frame.f_code.co_name)
            elif module != __name__ and frame.f_code.co_filename != "<string>":
                break
            frame = frame.f_back
        if frame is not None and is_of_the_user(frame.f_code.co_filename):
            self.names.add(name or "os.urandom")


class _Urandom:
    """``os.urandom`` as it is, but for being noticed; pickled and copied by its name."""

    __name__ = __qualname__ = "urandom"
    __text_signature__ = "(size, /)"
    __class__ = property(lambda self: _BUILTIN)

    def __init__(self, original: Callable[[int], bytes], notice: Callable[[FrameType | None], None]) -> None:
        self._original = original
        self._notice: Callable[[FrameType | None], None] | None = notice
        self.__doc__ = original.__doc__
        self.__module__ = original.__module__
        self.__self__ = getattr(original, "__self__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> bytes:
        if (notice := self._notice) is not None:
            notice(sys._getframe(1))
        return self._original(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(self._original)

    def __reduce__(self) -> tuple[Any, ...]:
        return pkgutil.resolve_name, ("os:urandom",)

    def forget(self) -> None:
        """Only be ``os.urandom``, for those who still hold this."""
        self._notice = None


_Urandom.__name__ = _Urandom.__qualname__ = _BUILTIN.__name__
_Urandom.__module__ = _BUILTIN.__module__


@functools.lru_cache(maxsize=1000)
def is_of_the_user(file: str) -> bool:
    """Return whether a code object's file is the user's: a cell, a script or a module of theirs.

    >>> is_of_the_user("<ipython-input-3-5d2f>"), is_of_the_user(os.__file__)
    (True, False)
    """
    if any(part in file for part in _LIBRARIES):
        return False
    return not os.path.normpath(file).startswith((*_STANDARD, _OWN))


def _called(module: str, name: str) -> str:
    return "random.SystemRandom" if module == "random" else f"{module}.{name}"

"""Wraps functions of other people's libraries, and takes every wrap off again.

A wrapped function has the signature, name and documentation it had; what a wrap does beside the call can
fail without anybody but the record noticing. Nothing is left in the objects of others. It knows no library.
"""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from reprokit.capture.randomness.entropy import AfterImport
from reprokit.capture.randomness.recode import divert
from reprokit.capture.swallowed import pass_on

__all__ = ["Hooks", "Marks"]

_ABSENT = object()
# What was undone while a later wrap lay over it, and what it had replaced: it goes when the later one does.
_undone: dict[int, tuple[Any, Any]] = {}


class Hooks:
    """The wraps that are on now; ``error`` is the first thing of ours that failed.

    Args:
        later: hands a piece of work to the background thread.
    """

    def __init__(self, later: Callable[[Callable[[], None]], None]) -> None:
        self.later = later
        self._whole: ContextVar[Any] = ContextVar("reprokit_whole", default=None)
        self._installers: Mapping[str, Callable[[Any], None]] = {}
        self._imports = AfterImport((), self._imported)
        self._undo: list[Callable[[], None]] = []
        self._hooked: set[str] = set()
        self._diverted: dict[int, Any] = {}
        self.error: Exception | None = None

    def install(self, installers: Mapping[str, Callable[[Any], None]]) -> None:
        """Wrap what is loaded, and whatever is imported from now on.

        Args:
            installers: module name → what wraps that module's functions, called with the module once it is loaded.
        """
        self._installers = installers
        self._imports = AfterImport(tuple(installers), self._imported)
        for name in installers:
            self._imported(name)
        self._imports.install()

    def remove(self) -> None:
        """Put everything back, unless somebody else replaced it meanwhile."""
        self._imports.remove()
        while self._undo:
            self.safely(self._undo.pop())
        self._hooked.clear()
        self._diverted.clear()

    def safely(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call, and keep what fails from the user's code."""
        __tracebackhide__ = True
        try:
            return call(*args)
        except Exception as error:
            self.failed(error)
            return None

    def failed(self, error: Exception) -> None:
        """Keep what failed, unless it is none of ours."""
        __tracebackhide__ = True
        pass_on(error)
        self.error = self.error or error

    def wrap(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Have calls of a function of a class or module go to ``make(function)``, if there is one of that name.

        A plain function stays the same object, so that those who imported it by name are reached too.
        """
        original = getattr(owner, name, None)
        if not callable(original) or id(original) in self._diverted:
            return
        undo = None if _is_special(original) else divert(original, make)
        if undo is None:
            self.replace(owner, name, functools.wraps(original)(make(original)))
        else:
            self._diverted[id(original)] = original
            self._undo.append(undo)

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute until the hooks are removed."""
        before = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)

        def undo() -> None:
            if vars(owner).get(name) is not value:
                _undone[id(value)] = value, before
                return
            last = before
            while id(last) in _undone:
                last = _undone.pop(id(last))[1]
            if last is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, last)

        self._undo.append(undo)

    @property
    def whole(self) -> Any:
        """What the calls in this context are part of; None when they are made for themselves."""
        return self._whole.get()

    @contextmanager
    def within(self, whole: Any) -> Iterator[None]:
        """Have calls in the body, in tasks and threads of event loops that it starts too, be part of ``whole``."""
        token = self._whole.set(whole)
        try:
            yield
        finally:
            self._whole.reset(token)

    def at_end(self, call: Callable[[], None]) -> None:
        """Have something done when the hooks are removed."""
        self._undo.append(call)

    def _imported(self, name: str) -> None:
        module = sys.modules.get(name)
        if module is not None and name not in self._hooked:
            self._hooked.add(name)
            self.safely(self._installers[name], module)


def _is_special(function: Any) -> bool:
    """Return whether a function is more than a plain one: its kind hangs on its compiled form."""
    kinds = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & kinds)


class Marks:
    """What is recorded of objects, for as long as they live; nothing is put into the objects themselves."""

    def __init__(self) -> None:
        self._marks: dict[int, tuple[Any, weakref.ref[Any]]] = {}

    def put(self, thing: Any, value: Any, owner: Any = None) -> None:
        """Remember a value for an object; ``owner`` lives as long as it, where it takes no weak reference."""
        name, marks = id(thing), self._marks

        def forget(reference: weakref.ref[Any]) -> None:
            if name in marks and marks[name][1] is reference:
                del marks[name]

        marks[name] = value, weakref.ref(thing if owner is None else owner, forget)

    def get(self, thing: Any) -> Any:
        """Return what is remembered for an object, or None."""
        entry = self._marks.get(id(thing))
        return None if entry is None else entry[0]

    def pop(self, thing: Any) -> Any:
        """Forget what is remembered for an object and return it."""
        entry = self._marks.pop(id(thing), None)
        return None if entry is None else entry[0]

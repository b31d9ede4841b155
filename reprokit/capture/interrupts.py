"""Keeps Ctrl-C, and the user's own signal handlers, out of the middle of a capture, without losing them.

A KeyboardInterrupt inside an IPython event callback is printed and forgotten by IPython: the record
would be torn and the user's wish ignored. One that is delivered a little later may hit the kernel's own
work, and the reply to the front end is lost. So it is handed to the user's code itself, as its first
statement: to this cell, or, when the cell has just ended, to one that follows at once ("run all cells").

The same holds for the signals that people set handlers for (a timeout by SIGALRM, say): what such a handler raises
is the user's, and must not be taken for a failure of ours. One that comes after a cell is handled when we are done.
"""

from __future__ import annotations

# What ``signal`` wraps: it turns each number and handler into an enum and back, eight times for every cell.
import _signal  # type: ignore[import-not-found]
import ast
import signal
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any

__all__ = ["Held", "Owed", "deliver"]

_AT_ONCE_S = 1.0  # a cell that begins later was not what the user wanted to stop
_SIGINT = int(signal.SIGINT)
_OTHERS = ("SIGALRM", "SIGHUP", "SIGPROF", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGVTALRM")
_HELD = (_SIGINT, *(int(getattr(signal, name)) for name in _OTHERS if hasattr(signal, name)))


class Held:
    """Holds back signals while a ``with`` block runs, and remembers those that came, which the caller delivers.

    Only those that Python code handles. In another thread than the main one there is nothing to hold back.

    Attributes:
        numbers: the signals that came, each once.
    """

    numbers: Sequence[int] = ()
    _handlers: Sequence[tuple[int, Any]] = ()

    @property
    def came(self) -> bool:
        """Whether any came."""
        return bool(self.numbers)

    def __enter__(self) -> Held:
        handlers: list[tuple[int, Any]] = []
        self._handlers = handlers
        for number in _HELD:
            handler = _signal.getsignal(number)
            if callable(handler):
                try:
                    _signal.signal(number, self)
                except ValueError:  # not the main thread
                    break
                handlers.append((number, handler))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers:
            _signal.signal(number, handler)

    def __call__(self, number: int, frame: Any) -> None:
        if number not in self.numbers:
            self.numbers = (*self.numbers, number)

    def deliver(self) -> None:
        """Deliver now what came; to be called where the user's own code is the caller."""
        numbers, self.numbers = self.numbers, ()
        deliver(numbers)

    def others(self) -> list[int]:
        """Return what came besides Ctrl-C, which the caller delivers."""
        others = [number for number in self.numbers if number != _SIGINT]
        self.numbers = tuple(number for number in self.numbers if number == _SIGINT)
        return others


def deliver(numbers: Sequence[int]) -> None:
    """Have signals that were held back handled now, each of them, whatever the handlers of others raise."""
    if not numbers:
        return
    try:
        if numbers[0] == _SIGINT:
            signal.raise_signal(signal.SIGINT)
        # Not raised again: asyncio, for one, has been told of the signal itself when it came.
        elif callable(handler := _signal.getsignal(numbers[0])):
            handler(numbers[0], sys._getframe(1))
    finally:
        deliver(numbers[1:])


def _first(number: int) -> str:
    """Return the statement that has a signal handled where it stands."""
    if number == _SIGINT:
        return f"__import__('signal').raise_signal({number})"
    return f"__import__('signal').getsignal({number})({number}, __import__('sys')._getframe())"


class Owed:
    """Signals that wait for the user's next code.

    It is a transformer of syntax trees, as IPython takes them: while one is owed, the code it is shown
    begins with that interrupt.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._numbers: Sequence[int] = ()

    def __bool__(self) -> bool:
        return self._since is not None

    def add(self, held: Held) -> None:
        """Owe what was held back."""
        if held.came:
            self._since = monotonic()
            self._numbers = held.numbers

    def visit(self, tree: ast.Module) -> ast.Module:
        """Return a cell's syntax tree, with the interrupt in front if one is owed."""
        since, self._since = self._since, None
        if since is None or monotonic() - since > _AT_ONCE_S:
            return tree
        for number in reversed(self._numbers):
            first = ast.parse(_first(number)).body[0]
            tree.body.insert(0, ast.copy_location(first, tree.body[0]) if tree.body else first)
        return ast.fix_missing_locations(tree)

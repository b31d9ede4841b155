"""Keeps Ctrl-C out of the middle of a capture, without losing it.

A KeyboardInterrupt inside an IPython event callback is printed and forgotten by IPython: the record
would be torn and the user's wish ignored. One that is delivered a little later may hit the kernel's own
work, and the reply to the front end is lost. So it is handed to the user's code itself, as its first
statement: to this cell, or, when the cell has just ended, to one that follows at once ("run all cells").
"""

from __future__ import annotations

# What ``signal`` wraps: it turns each number and handler into an enum and back, eight times for every cell.
import _signal  # type: ignore[import-not-found]
import ast
import signal
from time import monotonic
from typing import Any

__all__ = ["Held", "Owed"]

_AT_ONCE_S = 1.0  # a cell that begins later was not what the user wanted to stop
_SIGINT = int(signal.SIGINT)
_FIRST = f"__import__('signal').raise_signal({_SIGINT})"


class Held:
    """Holds back SIGINT while a ``with`` block runs, and remembers that it came; the caller says what becomes of it.

    In another thread than the main one there is nothing to hold back.
    """

    came = False
    _handler: Any = None

    def __enter__(self) -> Held:
        handler = _signal.getsignal(_SIGINT)
        if callable(handler):
            try:
                _signal.signal(_SIGINT, self)
                self._handler = handler
            except ValueError:  # not the main thread
                pass
        return self

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            _signal.signal(_SIGINT, self._handler)

    def __call__(self, number: int, frame: Any) -> None:
        self.came = True

    def deliver(self) -> None:
        """Deliver the signal now, if one came; to be called where the user's own code is the caller."""
        if self.came:
            self.came = False
            signal.raise_signal(signal.SIGINT)


class Owed:
    """Interrupts that wait for the user's next code.

    It is a transformer of syntax trees, as IPython takes them: while one is owed, the code it is shown
    begins with that interrupt.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def __bool__(self) -> bool:
        return self._since is not None

    def add(self, held: Held) -> None:
        """Owe what was held back."""
        if held.came:
            self._since = monotonic()

    def visit(self, tree: ast.Module) -> ast.Module:
        """Return a cell's syntax tree, with the interrupt in front if one is owed."""
        since, self._since = self._since, None
        if since is None or monotonic() - since > _AT_ONCE_S:
            return tree
        first = ast.parse(_FIRST).body[0]
        tree.body.insert(0, ast.copy_location(first, tree.body[0]) if tree.body else first)
        return ast.fix_missing_locations(tree)

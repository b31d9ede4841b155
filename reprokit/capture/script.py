"""Scripts as runs: a block of one, or one as a whole, which a parent process ordered.

It knows how such a run begins and ends, and how Python runs a script. A whole script ends with its process: what
its threads and its exit handlers still do belongs to it.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from reprokit.capture import drive
from reprokit.capture.drive import Drive
from reprokit.capture.fronts import ScriptFront
from reprokit.capture.request import Request
from reprokit.capture.session import Session

__all__ = ["Opened", "begin", "is_whole", "main", "source", "whole"]

_INTERRUPTED = 130  # what a shell reports for SIGINT

whole: list[Session] = []  # the run of this process's script as a whole, if it is one


@dataclass(frozen=True, slots=True)
class Opened:
    """A run with one cell, which is open."""

    session: Session
    front: ScriptFront

    def close(self, status: str, said: str | None) -> None:
        """End the cell, and the run."""
        self.session.close_cell(status, error=said)
        self.front.flush()
        self.session.stop(status, said)
        self.front.stop()


def begin(
    request: Request, namespace: Callable[[], Mapping[str, Any]], text: str, *, entered: str, order: Drive | None
) -> Opened:
    """Begin a run whose one cell is a script, or what follows in it.

    Args:
        request: what was asked for.
        namespace: returns the script's variables.
        text: the script's source.
        entered: "start" for all of it, "inside" for a block.
        order: what the parent process ordered, if there is one.
    """
    front = ScriptFront()
    session = Session(request, namespace, front.warn)
    front.start(session)
    answers = order.cells[0].answers if order is not None and order.cells else ()
    front.begin(session.open_cell(text, entered=entered), answers)
    return Opened(session, front)


def source(script: str | None) -> str:
    """Return the source of a script; empty when it cannot be read."""
    if script is None:
        return ""
    try:
        return Path(script).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def is_whole(order: Drive) -> bool:
    """Return whether a script is run as a whole: a batch run is, a replay when the run it repeats was."""
    return order.kind == "batch" or bool(order.cells and order.cells[0].entered == "start")


def main(arguments: Sequence[str]) -> None:
    """Run a script as the main program, recorded as a parent process ordered; it ends as the script ends.

    Args:
        arguments: the script's path and what follows it on its command line.
    """
    order = drive.peek()
    path = arguments[0]
    module = _main_module(path)
    if order is None or not is_whole(order):  # a block of it takes the order
        _run(path, module)
        return
    drive.take()
    request = Request(
        kind=order.kind, front="script", script=os.path.relpath(path), seed=order.seed, params={}, drive=order
    )
    opened = begin(request, lambda: vars(module), source(path), entered="start", order=order)
    whole.append(opened.session)
    ending = _Ending(opened)
    atexit.register(ending.close)  # first of all, and so after everything that the script registers
    try:
        _run(path, module)
    except SystemExit as error:
        ending.says(error)
        raise
    except BaseException as error:
        ending.says(error)
        opened.front.show_error(error, _of_the_script(error, path))
        sys.exit(_INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1)


class _Ending:
    """How a whole script ended; closes its run at the very end of the process."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._pid = os.getpid()
        self._status = "done"
        self._said: str | None = None

    def says(self, error: BaseException) -> None:
        if isinstance(error, SystemExit):
            if error.code not in (None, 0):
                self._status, self._said = "failed", f"SystemExit: {error.code}"
            return
        self._status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self._said = f"{type(error).__name__}: {error}"

    def close(self) -> None:
        if os.getpid() == self._pid:  # not in a child that the script forked
            self._opened.close(self._status, self._said)


def _main_module(path: str) -> ModuleType:
    """Return the module that the script's code runs in, as Python makes it."""
    where = os.path.abspath(path)
    module = ModuleType("__main__")
    module.__dict__.update(
        __file__=where, __cached__=None, __package__=None, __loader__=SourceFileLoader("__main__", where)
    )
    return module


def _run(path: str, module: ModuleType) -> None:
    """Run a script's code; its module stays, for the threads and handlers that outlive the code."""
    global _launcher
    _launcher = sys.modules["__main__"]
    where = os.path.abspath(path)
    with io.open_code(where) as file:
        code = compile(file.read(), where, "exec")
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


_launcher: ModuleType | None = None  # kept: its functions are still running


def _of_the_script(error: BaseException, path: str) -> TracebackType | None:
    """Return the traceback from the script on, as Python would show it."""
    at, where = error.__traceback__, os.path.abspath(path)
    while at is not None and at.tb_frame.f_code.co_filename != where:
        at = at.tb_next
    return at

"""Connects a session to IPython: its cell events, its outputs and its ``input()``.

It needs kernel events alone, never the notebook's file name, so that JupyterLab, VS Code, Colab,
papermill and a terminal give the same record.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from reprokit.capture import installs
from reprokit.capture.drive import Drive
from reprokit.capture.fronts import Front, KernelFront, TerminalFront
from reprokit.capture.interrupts import Held, Owed, deliver
from reprokit.capture.request import Request
from reprokit.capture.session import Session
from reprokit.capture.swallowed import described
from reprokit.errors import UsageError

__all__ = ["Notebook", "attach", "detach", "finish", "of"]

_attached: weakref.WeakKeyDictionary[Any, Notebook] = weakref.WeakKeyDictionary()


def attach(shell: Any) -> Notebook:
    """Return the notebook of a shell, connecting it at the first call."""
    notebook = _attached.get(shell)
    if notebook is None:
        notebook = _attached[shell] = Notebook(shell)
    return notebook


def of(shell: Any) -> Notebook | None:
    """Return the notebook of a shell that is connected, else None."""
    return None if shell is None else _attached.get(shell)


def detach(shell: Any) -> None:
    """Stop the open run, if any, and disconnect the shell."""
    notebook = _attached.pop(shell, None)
    if notebook is not None:
        notebook.close()


def finish() -> None:
    """Stop every open run of this process; a parent process asks for this before it ends a kernel."""
    for notebook in list(_attached.values()):
        notebook.finish()


class Notebook:
    """One IPython shell, and the run that is open in it, if any."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.session: Session | None = None
        self.front: Front = KernelFront(shell) if getattr(shell, "kernel", None) is not None else TerminalFront(shell)
        self._depth = 0
        self._cell: Any = None  # what IPython said of the cell that runs
        self._one_cell = False
        self._interrupted: set[int | None] = set()  # execution counts of cells, also of those before a run
        self._owed = Owed()
        self._waiting = False  # whether it looks out for the user's next code
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)
        atexit.register(self._at_exit)

    def start(self, request: Request, *, one_cell: bool = False) -> Session:
        """Start a run, in the middle of the cell that asks for it if there is one.

        Raises:
            UsageError: a run is open already.
        """
        if self.session is not None:
            if self.session.request.drive is not None:
                self._reenter()
                return self.session
            raise UsageError(f"run {self.session.run_id} is open already", remedy="`%repro stop` ends it")
        running = self._depth > 0 or request.drive is None
        request = replace(
            request,
            front=self.front.kind,
            notebook=request.notebook or self._notebook_hint(),
            before=self._earlier_cells() if running else (),
        )
        self.session = session = Session(request, lambda: self.shell.user_ns, self.front.warn)
        self._one_cell = one_cell
        self._guard(lambda: self.front.start(session))
        if running:
            self._guard(lambda: self._enter(self._current_source(), entered="inside"))
        return session

    def stop(self, status: str = "done", reason: str | None = None) -> str:
        """Stop the run that is open and return its id.

        Raises:
            UsageError: no run is open.
        """
        session = self.session
        if session is None:
            raise UsageError("no run is open", remedy="`%repro start` begins one")
        if session.request.drive is None:
            self._end(status, reason)
        elif session.is_last_cell:
            with Held() as held:
                self.front.cut(session.close_cell(status) or 0)
            held.deliver()
        return session.run_id

    def finish(self) -> None:
        """Stop the run that is open, whoever opened it."""
        if self.session is not None:
            self._end("done", None)

    def close(self) -> None:
        """Stop the run that is open and stop listening."""
        self.finish()
        self.shell.events.unregister("pre_run_cell", self._before)
        self.shell.events.unregister("post_run_cell", self._after)
        atexit.unregister(self._at_exit)

    def _end(self, status: str, reason: str | None) -> None:
        session, self.session = self.session, None
        if session is not None:
            with Held() as held:
                for step in (self.front.flush, lambda: session.stop(status, reason), self.front.stop):
                    self._guard(step, session=session)
            held.deliver()

    def _at_exit(self) -> None:
        if self.session is not None:
            self._end("done", None)

    # -- IPython's events -----------------------------------------------------------------------

    def _before(self, info: Any) -> None:
        self._depth += 1
        if self._depth == 1:
            self._cell = info
            if self.session is not None:
                self._guard(self._undisturbed, self._enter_cell, info)

    def _after(self, result: Any) -> None:
        self._depth = max(0, self._depth - 1)
        if self._depth == 0:
            self._cell = None
            self._guard(self._remember, result)
            if self.session is not None:
                late: list[int] = []
                self._guard(self._undisturbed, self._leave_cell, result, late)
                if late:
                    deliver(late)

    def _remember(self, result: Any) -> None:
        if result.error_in_exec is not None and _status(result.error_in_exec) == "interrupted":
            self._interrupted.add(result.execution_count)

    def _undisturbed(self, step: Callable[[Any], object], told: Any, late: list[int] | None = None) -> None:
        """Take a step with what IPython told; a signal that comes meanwhile is for the user's code, or is ``late``."""
        with Held() as held:
            self._guard(step, told)
        if held.came or self._waiting:
            if late is not None:
                late += held.others()
            self._owe(held)

    def _enter_cell(self, info: Any) -> None:
        self._enter(info.raw_cell, cell_id=_id_of(info))

    def _leave_cell(self, result: Any) -> None:
        try:
            self._leave(result)
        finally:
            self.number_next()

    def _enter(self, source: str, *, cell_id: str | None = None, entered: str = "start") -> None:
        session = self.session
        if session is None:
            return
        seq = session.open_cell(source, cell_id=cell_id, entered=entered)
        recorded = session.recorded_cell
        self.front.begin(seq, () if recorded is None else recorded.answers)

    def _reenter(self) -> None:
        """A replayed cell reached the place where its run once began: now it counts."""
        session = self.session
        if session is not None and session.recorded_cell is not None and session.recorded_cell.entered == "inside":
            with Held() as held:
                self.front.restart(session.restart_cell())
            held.deliver()

    def _leave(self, result: Any) -> None:
        session = self.session
        if session is None or not session.is_cell_open:
            return
        error = result.error_in_exec or result.error_before_exec
        seq = session.close_cell(
            _status(error),
            execution_count=result.execution_count,
            error=None if error is None else described(error),
            silent=self.front.is_silent(),
        )
        if seq is not None:
            self.front.end(seq)
        if self._one_cell and session.request.drive is None:
            self._one_cell = False
            self._end("done" if error is None else "failed", None if error is None else "the cell raised")

    def number_next(self) -> None:
        """In a replay, give the next cell the number it had: it is printed in every traceback.

        Some versions of IPython take the number before they say that a cell begins.
        """
        following = None if self.session is None else self.session.next_recorded_cell
        if following is not None and following.execution_count is not None:
            self.shell.execution_count = following.execution_count

    def _owe(self, held: Held) -> None:
        """Keep an interrupt for the user's next code, and look out for that code only as long as one is owed."""
        self._owed.add(held)
        self._waiting = self._owed in self.shell.ast_transformers
        if held.came and not self._waiting:
            self.shell.ast_transformers.append(self._owed)
            self._waiting = True
        elif self._waiting and not self._owed:
            self.shell.ast_transformers.remove(self._owed)
            self._waiting = False

    def _guard(self, action: Callable[..., object], *told: Any, session: Session | None = None) -> None:
        """Keep a failure of ours out of the user's cell; IPython would print it in each one."""
        try:
            action(*told)
        except Exception as error:
            session = session or self.session
            if session is not None:
                session.failed("session", error)

    # -- what IPython knows ---------------------------------------------------------------------

    def _current_source(self) -> str:
        if self._cell is not None:
            return str(self._cell.raw_cell)
        return str(self.shell.history_manager.input_hist_raw[-1])

    def _earlier_cells(self) -> tuple[tuple[str, str], ...]:
        earlier = list(self.shell.history_manager.input_hist_raw)[1:]
        if earlier and earlier[-1] == self._current_source():
            earlier.pop()
        status = dict.fromkeys(self._interrupted, "interrupted")  # one that never ends would keep a replay for ever
        return tuple((source, status.get(n, "done")) for n, source in enumerate(earlier, start=1) if source.strip())

    def _notebook_hint(self) -> str | None:
        hint = os.environ.get("JPY_SESSION_NAME") or self.shell.user_ns.get("__vsc_ipynb_file__")
        return os.path.relpath(hint) if hint and os.path.exists(hint) else None


def start_driven(shell: Any, drive: Drive) -> None:
    """Open the run that a parent process ordered, before the first cell."""
    notebook = attach(shell)
    notebook.start(Request(kind=drive.kind, seed=drive.seed, drive=drive))
    notebook.front.imitate(drive.front)
    if drive.kind == "replay":
        installs.skip(shell)
    notebook.number_next()


def _id_of(info: Any) -> str | None:
    """Return a cell's id; older versions of IPython do not know it."""
    return getattr(info, "cell_id", None)


def _status(error: BaseException | None) -> str:
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "done"
    # A cell that awaits is interrupted by cancelling it.
    interrupted = isinstance(error, KeyboardInterrupt) or type(error).__name__ == "CancelledError"
    return "interrupted" if interrupted else "failed"

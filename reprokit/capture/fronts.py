"""What a user sits at, and how outputs and answers are heard there: a kernel, a terminal, a script."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol

from reprokit.capture import swallowed
from reprokit.capture.outputs import OWN, KernelTap, StreamTap
from reprokit.capture.questions import Questions
from reprokit.capture.session import Session

__all__ = ["Front", "KernelFront", "ScriptFront", "TerminalFront"]


class Front(Protocol):
    """Hears what a cell displays and what its user answers, and can show something itself."""

    kind: str

    def start(self, session: Session) -> None:
        """Begin to listen for a session."""

    def begin(self, seq: int, answers: Sequence[str]) -> None:
        """Cell ``seq`` begins; in a replay its ``input()`` gets the recorded ``answers``."""

    def restart(self, seq: int) -> None:
        """Forget what cell ``seq`` displayed so far."""

    def is_silent(self) -> bool:
        """Return whether the open cell displayed nothing so far, and nothing will be reported unless it does."""

    def end(self, seq: int) -> None:
        """Cell ``seq`` ended."""

    def cut(self, seq: int) -> None:
        """The run ends in the middle of cell ``seq``: what it displays from now on is no output of it."""

    def flush(self) -> None:
        """Report everything displayed so far."""

    def stop(self) -> None:
        """Stop listening and undo every change."""

    def imitate(self, kind: str) -> None:
        """Display things in the form that another front would have used."""

    def show(self, text: str, html: str | None = None) -> None:
        """Show something of reprokit's own, which is no output of the cell."""

    def warn(self, line: str) -> None:
        """Show one line of warning."""


class _Answers:
    """Hears the answers to ``input()``, or gives the recorded ones."""

    def __init__(self) -> None:
        self._recorded: Iterator[str] = iter(())

    def expect(self, answers: Sequence[str]) -> None:
        self._recorded = iter(answers)

    def wrap(self, ask: Callable[..., str], session: Session) -> Callable[..., str]:
        def listening_input(prompt: object = "", /) -> str:
            recorded = next(self._recorded, None)
            answer = ask(prompt) if recorded is None else recorded
            try:
                session.answer(answer)
            except Exception as error:
                swallowed.keep("outputs", error)
            return answer

        return listening_input


class KernelFront:
    """A Jupyter kernel, whatever its user looks at."""

    kind = "kernel"

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._kernel = shell.kernel
        self._answers = _Answers()
        self._tap: KernelTap | None = None
        self._questions: Questions | None = None
        self._session: Session | None = None

    def start(self, session: Session) -> None:
        _flush_streams()  # what the cell printed before the run began is none of its outputs
        self._questions = Questions(self._kernel.session, session.answer, session.password_asked)
        self._tap = KernelTap(
            self._kernel.session, session.outputs, session.displayed.recall, asked=self._questions.asked
        )
        self._tap.start()
        self._session = session
        if not session.is_replay:
            self._questions.start()

    def begin(self, seq: int, answers: Sequence[str]) -> None:
        self._expect(answers)
        if self._tap is not None:
            self._tap.begin(seq, self._request())

    def _expect(self, answers: Sequence[str]) -> None:
        """Give a cell its recorded answers; one that has none asks as ever, and raises what it raised, from there."""
        if answers and self._session is not None:
            self._answers.expect(answers)
            self._kernel.raw_input = self._answers.wrap(self._kernel.raw_input, self._session)
            builtins.input = self._kernel.raw_input  # the kernel has put its own there by now

    def restart(self, seq: int) -> None:
        if self._tap is not None:
            _flush_streams()
            self._tap.restart(self._request())

    def is_silent(self) -> bool:
        return self._tap is not None and self._tap.is_silent(self._request())

    def end(self, seq: int) -> None:
        """Ask again; the outputs are reported when the kernel says that it is idle."""
        self._kernel.__dict__.pop("raw_input", None)

    def cut(self, seq: int) -> None:
        self.flush()
        if self._tap is not None:
            self._tap.forget(self._request())

    def flush(self) -> None:
        if self._tap is not None:
            _flush_streams()
            self._tap.flush()

    def stop(self) -> None:
        if self._tap is not None:
            self._tap.stop()
            self._tap = None
        if self._questions is not None:
            self._questions.stop()
            self._questions = None
        self._kernel.__dict__.pop("raw_input", None)

    def imitate(self, kind: str) -> None:
        if kind == "terminal":
            self._shell.display_formatter.active_types = ["text/plain"]

    def show(self, text: str, html: str | None = None) -> None:
        data = {"text/plain": text} if html is None else {"text/plain": text, "text/html": html}
        self._shell.display_pub.publish(data, metadata={OWN: {"own": True}})

    def warn(self, line: str) -> None:
        self.show(line)

    def _request(self) -> str:
        return str(self._kernel.get_parent()["header"].get("msg_id", ""))


class ScriptFront:
    """A plain Python process."""

    kind = "script"

    def __init__(self) -> None:
        self._session: Session | None = None
        self._tap = StreamTap()
        self._answers = _Answers()
        self._input = builtins.input
        self._seq = 0

    def start(self, session: Session) -> None:
        self._session = session
        self._input = builtins.input
        # Whether a prompt passes through sys.stdout depends on there being a terminal: it is not recorded.
        builtins.input = self._answers.wrap(self._tap.quietly(self._input), session)

    def begin(self, seq: int, answers: Sequence[str]) -> None:
        self._seq = seq
        self._answers.expect(answers)
        self._tap.start()

    def restart(self, seq: int) -> None:
        self._tap.stop()
        self._tap.start()

    def is_silent(self) -> bool:
        return False  # ``end`` reports at once

    def end(self, seq: int) -> None:
        if self._session is not None:
            self._session.outputs(seq, self._tap.stop())
            self._seq = 0

    def cut(self, seq: int) -> None:
        self.end(seq)

    def flush(self) -> None:
        if self._seq:
            self.end(self._seq)

    def stop(self) -> None:
        builtins.input = self._input
        self._session = None
        self._tap.stop()

    def imitate(self, kind: str) -> None:
        """Nothing to do: a script is replayed as a script."""

    def show(self, text: str, html: str | None = None) -> None:
        self._tap.quietly(_print)(text)

    def warn(self, line: str) -> None:
        self._tap.quietly(_print)(line, error=True)

    def show_error(self, error: BaseException, traceback: TracebackType | None) -> None:
        """Show what ended the script as Python does; the cell's own status tells it in the record."""
        self._tap.quietly(sys.excepthook)(type(error), error.with_traceback(traceback), traceback)


class TerminalFront(ScriptFront):
    """IPython in a terminal: results, displays and tracebacks are recorded as what they are."""

    kind = "terminal"

    def __init__(self, shell: Any) -> None:
        super().__init__()
        self._shell = shell

    def start(self, session: Session) -> None:
        super().start(session)
        hook, publisher, shell = self._shell.displayhook, self._shell.display_pub, self._shell
        self._replace(hook, "write_output_prompt", lambda *args: None)
        self._replace(hook, "write_format_data", self._on_result)
        self._replace(hook, "finish_displayhook", lambda *args: None)
        self._replace(publisher, "publish", self._on_display)
        self._replace(shell, "_showtraceback", self._on_error)

    def stop(self) -> None:
        for owner, name in (
            (self._shell.displayhook, "write_output_prompt"),
            (self._shell.displayhook, "write_format_data"),
            (self._shell.displayhook, "finish_displayhook"),
            (self._shell.display_pub, "publish"),
            (self._shell, "_showtraceback"),
        ):
            owner.__dict__.pop(name, None)
        super().stop()

    def _replace(self, owner: Any, name: str, heard: Callable[..., None]) -> None:
        original = self._tap.quietly(getattr(owner, name))

        def listening(*args: Any, **kwargs: Any) -> Any:
            try:
                heard(*args, **kwargs)
            except Exception as error:
                swallowed.keep("outputs", error)
            return original(*args, **kwargs)

        owner.__dict__[name] = listening

    def _on_result(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        content = {"data": data, "metadata": metadata or {}, "execution_count": self._shell.execution_count}
        self._tap.area.add("execute_result", content)

    def _on_display(self, data: dict[str, Any], metadata: Any = None, *args: Any, **kwargs: Any) -> None:
        self._tap.area.add("display_data", {"data": data, "metadata": metadata or {}})

    def _on_error(self, kind: type[BaseException], error: BaseException, lines: list[str]) -> None:
        self._tap.area.add("error", {"ename": kind.__name__, "evalue": _shown(error), "traceback": list(lines)})


def _shown(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # of a class of the user's own
        return "<exception str() failed>"


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _print(text: str, *, error: bool = False) -> None:
    stream = sys.stderr if error else sys.stdout
    stream.write(text + "\n")
    stream.flush()

"""Face: ``%repro`` and ``%%repro``. Each verb parses its words, calls the session, and shows one answer.

Verbs that look at other runs are done by the command line in a process of its own, so that nothing
of the parent's side is ever imported into a kernel.
"""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class

from reprokit.capture import drive, notebook
from reprokit.capture.files import keeping
from reprokit.capture.notebook import Notebook
from reprokit.capture.request import Request
from reprokit.capture.session import Session
from reprokit.errors import ReprokitError, StoreError, UsageError
from reprokit.views.data import data_text
from reprokit.views.status import started_line, status_html, status_text, stopped_line

__all__ = ["ReproMagics", "load", "unload"]

_ONE_CELL = "--one-cell"  # how the transformed `%%repro` asks for a run of this cell alone


@dataclass(frozen=True, slots=True)
class Verb:
    """One word after ``%repro``: the form to show when it is used wrongly, and what it does."""

    form: str
    help: str
    do: Callable[[ReproMagics, list[str]], None]


@magics_class
class ReproMagics(Magics):  # type: ignore[misc]
    """The ``%repro`` magic of one shell."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.notebook: Notebook = notebook.attach(shell)

    @line_cell_magic  # type: ignore[untyped-decorator]
    def repro(self, line: str, cell: str | None = None) -> None:
        """Capture this session so that it can be repeated.

        %repro start [NAME] [--seed N] [--config FILE] [--tag K=V]   begin a run
        %repro stop                    end it
        %repro status                  what is captured, and: would this run replay?
        %repro seed N                  seed everything, also what is imported later
        %repro config FILE             record a configuration file by key
        %repro assume "TEXT"           state what the results rest on
        %repro param K=V …             record parameters
        %repro metric K=V …            record results worth comparing
        %repro artifact PATH           keep a file as a result
        %repro data PATH [--store]     what is known of a data file; --store keeps its bytes whatever the limit
        %repro note "TEXT"             add a note
        %repro runs [QUERY]            list the runs of this project
        %repro show [RUN]              show a run (the latest)
        %repro diff RUN [RUN]          compare two runs (the second: the latest)
        %repro replay RUN              repeat a run and say whether it is the same

        %%repro [NAME]                 in the first line of a cell: this cell as one run
        """
        try:
            if cell is not None:
                self._cell(line, cell)
            else:
                self._line(line)
        except ReprokitError as error:
            self.notebook.front.warn(f"reprokit: {error}")
        except Exception as error:  # a defect of ours must not stop the cell that the magic stands in
            message = f"`%repro {line}` could not be done: {type(error).__name__}: {error}"
            with suppress(Exception):  # it may be the telling that fails
                self.notebook.front.warn(f"reprokit: {message} (please report this)")

    def _line(self, line: str) -> None:
        words = _split(line)
        if not words:
            raise UsageError("say what to do", remedy=f"%repro {'|'.join(VERBS)}   (%repro? explains)")
        verb = VERBS.get(words[0])
        if verb is None:
            close = get_close_matches(words[0], VERBS, n=1)
            meant = f"did you mean `%repro {close[0]}`?" if close else f"%repro {'|'.join(VERBS)}"
            raise UsageError(f"%repro knows no {words[0]!r}", remedy=meant)
        try:
            verb.do(self, words[1:])
        except _WrongForm as error:
            raise UsageError(f"{error}" if str(error) else "that is not the form", remedy=verb.form) from None

    def _cell(self, line: str, cell: str) -> None:
        """Run a cell as one run where the input was not transformed, as from ``run_cell_magic``."""
        self._line(f"start {line}")
        try:
            self.shell.run_cell(cell)
        finally:
            self.notebook.stop()

    # -- what the verbs use ---------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The session that is open.

        Raises:
            UsageError: none is.
        """
        if self.notebook.session is None:
            raise UsageError("no run is open", remedy="`%repro start` begins one")
        return self.notebook.session

    @property
    def is_replay(self) -> bool:
        """Whether a parent process drives this kernel: then nothing is shown and no process started."""
        session = self.notebook.session
        return session is not None and session.request.drive is not None

    def show(self, text: str, html: str | None = None) -> None:
        """Show an answer, unless nobody is there to read it."""
        if not self.is_replay:
            self.notebook.front.show(text, html)


class _WrongForm(Exception):
    """The words after a verb are not of its form."""


def _start(magics: ReproMagics, words: list[str]) -> None:
    one_cell = _ONE_CELL in words
    words = [word for word in words if word != _ONE_CELL]
    names, options = _options(words, ("--seed", "--config", "--tag"))
    if len(names) > 1:
        raise _WrongForm(f"a run has one name, not {len(names)}")
    request = Request(
        name=names[0] if names else None,
        kind="block" if one_cell else "session",
        seed=_seed_number(options["--seed"][-1]) if options["--seed"] else None,
        configs=tuple(_existing(path) for path in options["--config"]),
        tags={key: str(value) for key, value in _pairs(options["--tag"]).items()} if options["--tag"] else {},
    )
    session = magics.notebook.start(request, one_cell=one_cell)
    magics.show(started_line(session.run()))


def _stop(magics: ReproMagics, words: list[str]) -> None:
    _no_more(words)
    session = magics.session
    magics.notebook.stop()
    run = session.run()
    if run.status == "running" and not magics.is_replay:
        why = session.unwritten or "it is not there any more"
        raise StoreError(
            f"the end of run {run.id} could not be written to {session.journal.path}: {why}",
            remedy="what is there is kept, as an interrupted run; make room on the disk for the next one",
        )
    magics.show(stopped_line(run))


def _status(magics: ReproMagics, words: list[str]) -> None:
    _no_more(words)
    if magics.notebook.session is None:
        magics.show("No run is open. `%repro start` begins one.")
        return
    magics.session.catch_up()
    run = magics.session.run()
    magics.show(status_text(run), status_html(run))


def _seed(magics: ReproMagics, words: list[str]) -> None:
    seed = _seed_number(_one(words))
    told = f"seeded {', '.join(magics.session.seed(seed))} with {seed}"
    if "jax" in sys.modules:  # its generators are keys in the user's own hands
        told += f"; JAX has no generator of its own to seed: begin with `jax.random.key({seed})`"
    magics.show(told)


def _config(magics: ReproMagics, words: list[str]) -> None:
    path = _existing(_one(words))
    count = magics.session.add_config(path)
    magics.show(f"recorded {count} keys of {path}")


def _assume(magics: ReproMagics, words: list[str]) -> None:
    magics.session.assume(_text(words))
    magics.show(f"assumed: {_text(words)}")


def _note(magics: ReproMagics, words: list[str]) -> None:
    magics.session.note(_text(words))
    magics.show("noted")


def _param(magics: ReproMagics, words: list[str]) -> None:
    params = _pairs(words)
    magics.session.say(params=params)
    magics.show("recorded " + ", ".join(f"{key}={value!r}" for key, value in params.items()))


def _metric(magics: ReproMagics, words: list[str]) -> None:
    metrics = _pairs(words)
    for key, value in metrics.items():
        magics.session.metric(key, value)
    magics.show("recorded " + ", ".join(f"{key}={value!r}" for key, value in metrics.items()))


def _artifact(magics: ReproMagics, words: list[str]) -> None:
    use = magics.session.artifact(_existing(_one(words)))
    magics.show(f"kept {use.path} ({use.digest})")


def _data(magics: ReproMagics, words: list[str]) -> None:
    store = "--store" in words
    path = Path(_one([word for word in words if word != "--store"])).expanduser()
    if not path.exists():
        raise UsageError(f"there is no file {path}", remedy="check the path")
    session = magics.session
    kept = keeping.keep(session, path) if store else None
    session.catch_up()
    magics.show(data_text(session.run(), keeping.name_of(session, path), kept))


def _outside(verb: str, least: int, most: int, default: Sequence[str] = ()) -> Callable[[ReproMagics, list[str]], None]:
    """Return the action of a verb that the command line does."""

    def do(magics: ReproMagics, words: list[str]) -> None:
        positional = [word for word in words if not word.startswith("-")]
        if not least <= len(positional) <= most:
            raise _WrongForm
        if magics.is_replay:
            return
        missing = default[len(positional) - least :] if len(positional) < most else ()
        done = subprocess.run(
            [sys.executable, "-m", "reprokit", verb, *words, *missing],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        magics.show((done.stdout + done.stderr).rstrip("\n"))

    return do


VERBS = {
    "start": Verb("%repro start [NAME] [--seed N] [--config FILE] [--tag K=V]", "begin a run", _start),
    "stop": Verb("%repro stop", "end the run", _stop),
    "status": Verb("%repro status", "what is captured, and would it replay?", _status),
    "seed": Verb("%repro seed N", "seed everything", _seed),
    "config": Verb("%repro config FILE", "record a configuration file", _config),
    "assume": Verb('%repro assume "TEXT"', "state an assumption", _assume),
    "param": Verb("%repro param K=V …", "record parameters", _param),
    "metric": Verb("%repro metric K=V …", "record results", _metric),
    "artifact": Verb("%repro artifact PATH", "keep a file", _artifact),
    "data": Verb("%repro data PATH [--store]", "what is known of a data file", _data),
    "note": Verb('%repro note "TEXT"', "add a note", _note),
    "runs": Verb("%repro runs [QUERY]", "list runs", _outside("runs", 0, 1)),
    "show": Verb("%repro show [RUN]", "show a run", _outside("show", 0, 1, ("latest",))),
    "diff": Verb("%repro diff RUN [RUN]", "compare two runs", _outside("diff", 1, 2, ("latest",))),
    "replay": Verb("%repro replay RUN", "repeat a run", _outside("replay", 1, 1)),
}


# -- words → values -------------------------------------------------------------------------------


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"the quotes do not match ({error})", remedy='%repro assume "TEXT"') from None


def _options(words: Sequence[str], known: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    names: list[str] = []
    options: dict[str, list[str]] = {name: [] for name in known}
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if not word.startswith("-"):
            names.append(word)
        elif option not in options:
            raise _WrongForm(f"{option} is no option here")
        else:
            given = value if equals else next(rest, None)
            if given is None:
                raise _WrongForm(f"{option} wants a value")
            options[option].append(given)
    return names, options


def _pairs(words: Sequence[str]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise _WrongForm(f"{word!r} is not K=V")
        pairs[key] = _literal(text)
    if not pairs:
        raise _WrongForm
    return pairs


def _literal(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "null": None}.get(text, text)
    return value if isinstance(value, (int, float, str, bool, list, dict, type(None))) else text


def _seed_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _WrongForm(f"{text!r} is not a whole number") from None


def _existing(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise UsageError(f"there is no file {text}", remedy="check the path")
    return path


def _one(words: Sequence[str]) -> str:
    if len(words) != 1:
        raise _WrongForm
    return words[0]


def _text(words: Sequence[str]) -> str:
    if not words:
        raise _WrongForm
    return " ".join(words)


def _no_more(words: Sequence[str]) -> None:
    if words:
        raise _WrongForm(f"{words[0]!r} has no meaning here")


# -- the extension --------------------------------------------------------------------------------


def load(shell: Any) -> None:
    """Connect a shell, register the magic, and take up the order of a parent process if there is one."""
    if notebook.of(shell) is not None:
        return
    shell.register_magics(ReproMagics(shell))
    shell.input_transformer_manager.cleanup_transforms.insert(0, whole_cell)
    for key in ("%repro", "%%repro"):
        shell.set_hook("complete_command", _complete, str_key=key)
    order = drive.take()
    if order is not None:
        notebook.start_driven(shell, order)


def unload(shell: Any) -> None:
    """Undo ``load``; a run that is open is stopped."""
    notebook.detach(shell)
    transforms = shell.input_transformer_manager.cleanup_transforms
    if whole_cell in transforms:
        transforms.remove(whole_cell)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("repro", None)


def whole_cell(lines: list[str]) -> list[str]:
    """Turn ``%%repro NAME`` into a line that starts a run of this cell alone.

    The rest of the cell then runs as the user's own code: with await, results and exceptions as ever.

    >>> whole_cell(["%%repro try --seed 1\\n", "x = 1\\n"])
    ['%repro start --one-cell try --seed 1\\n', 'x = 1\\n']
    """
    if lines and (lines[0].rstrip() == "%%repro" or lines[0].startswith("%%repro ")):
        return [
            f"%repro start {_ONE_CELL}{lines[0].removeprefix('%%repro').rstrip()}\n".replace("  ", " "),
            *lines[1:],
        ]
    return lines


def _complete(shell: Any, event: Any) -> list[str]:
    words = event.line[: len(event.text_until_cursor)].split()
    first = len(words) == 1 or (len(words) == 2 and not event.line.endswith(" "))
    if first:
        return list(VERBS)
    return ["--seed", "--config", "--tag"] if len(words) > 1 and words[1] == "start" else []

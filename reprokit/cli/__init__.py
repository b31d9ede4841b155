"""The command line: a thin face over the core, one file per group of commands.

This module knows the names of the commands, how an error becomes one line and an exit code, and how
one JSON document is printed. Commands are loaded when they are asked for, and import what they need
inside, so that ``reprokit --help`` is at once there. A command returns its exit code:
0 same or done, 1 diverged or a cell failed, 2 could not run, 3 consent needed.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reprokit.errors import ConsentNeeded, ReprokitError, UsageError

if TYPE_CHECKING:
    from reprokit.records import Verdict

__all__ = ["DIFFERENT", "DONE", "REFUSED", "app", "emit_json", "json_option", "main", "verdict_code"]

DONE, DIFFERENT, REFUSED, CONSENT = 0, 1, 2, 3
_INTERRUPTED, _BROKEN_PIPE = 130, 141  # what a shell reports for SIGINT and SIGPIPE

_HOMES = {
    "run": "reprokit.cli.run",
    "resume": "reprokit.cli.resume",
    "params": "reprokit.cli.params",
    "runs": "reprokit.cli.look",
    "show": "reprokit.cli.look",
    "diff": "reprokit.cli.look",
    "replay": "reprokit.cli.replay",
    "step": "reprokit.cli.step",
    "sweep": "reprokit.cli.sweep",
    "stale": "reprokit.cli.stale",
    "validate": "reprokit.cli.validate",
    "explain": "reprokit.cli.explain",
    "extract": "reprokit.cli.extract",
    "check": "reprokit.cli.check",
    "pin": "reprokit.cli.mark",
    "tag": "reprokit.cli.mark",
    "env": "reprokit.cli.env",
    "export": "reprokit.cli.export",
    "lint": "reprokit.cli.lint",
    "gc": "reprokit.cli.upkeep",
    "fsck": "reprokit.cli.upkeep",
    "reindex": "reprokit.cli.upkeep",
    "push": "reprokit.cli.exchange",
    "pull": "reprokit.cli.exchange",
    "trust": "reprokit.cli.exchange",
    "lineage": "reprokit.cli.lineage",
    "doctor": "reprokit.cli.doctor",
    "install": "reprokit.cli.install",
    "uninstall": "reprokit.cli.install",
}

F = TypeVar("F", bound=Callable[..., Any])


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = _HOMES.get(cmd_name)
        command = getattr(import_module(home), cmd_name) if home else None
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _HOMES and not name.startswith("-") and not ctx.resilient_parsing:
            raise UsageError(f"there is no command {name!r}", remedy=_suggestion(name))
        return super().resolve_command(ctx, args)


def _suggestion(name: str) -> str:
    if name.endswith((".ipynb", ".py")):
        return f"did you mean `reprokit run {name}`?"
    close = difflib.get_close_matches(name, _HOMES, n=1)
    return f"did you mean `reprokit {close[0]}`?" if close else "`reprokit --help` lists the commands"


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from reprokit.version import VERSION

        click.echo(f"reprokit {VERSION}")
        ctx.exit()


@click.group(cls=_LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
@click.pass_context
def app(ctx: click.Context) -> int:
    """Repeat what a notebook session really did, and prove that it is the same.

    RUN is an id, the start of one, a run's name, `latest`, `latest~2`, `yesterday` or NOTEBOOK@yesterday.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    return DONE


def json_option(command: F) -> F:
    """Give a command ``--json``, as its argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)


def emit_json(document: Any) -> None:
    """Print one JSON document, in ASCII so that every name a file can have comes through."""
    click.echo(json.dumps(document, indent=2))


def verdict_code(verdict: Verdict) -> int:
    """Return the exit code that a verdict stands for."""
    return {"identical": DONE, "equivalent": DONE, "diverged": DIFFERENT}.get(verdict.verdict, REFUSED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's mistake is one line on stderr, never a traceback.

    With ``REPROKIT_DEBUG=1`` the traceback is shown too.

    Args:
        argv: the arguments after the program's name; those of this process by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    if "_REPROKIT_COMPLETE" in os.environ:
        app.main(prog_name="reprokit")
    try:
        code = _invoke(arguments)
        sys.stdout.flush()  # here, where a closed pipe is still caught
        return code
    except BrokenPipeError:
        _drop_stdout()
        return _BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", "", _INTERRUPTED)
    except ConsentNeeded as error:
        _refuse(error.message, error.remedy, arguments)
        return CONSENT
    except ReprokitError as error:
        return _refuse(error.message, error.remedy, arguments)
    except click.UsageError as error:
        remedy = f"see `{_command_path(error, arguments)} --help`"
        return _refuse(error.format_message().rstrip("."), remedy, arguments)
    except click.ClickException as error:
        return _refuse(error.format_message(), "", arguments)
    except OSError as error:
        return _refuse(str(error), "see that the path is there and that you may use it", arguments)
    except Exception as error:
        problem = f"unexpected {type(error).__name__}: {error}"
        return _refuse(problem, "this is a fault of reprokit; REPROKIT_DEBUG=1 shows where", arguments)


def _invoke(arguments: list[str]) -> int:
    try:
        with app.make_context("reprokit", list(arguments)) as context:
            code = app.invoke(context)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    return code if isinstance(code, int) else DONE


def _command_path(error: click.UsageError, arguments: Sequence[str]) -> str:
    if error.ctx is not None:
        return error.ctx.command_path
    return " ".join(["reprokit", *(name for name in arguments[:1] if name in _HOMES)])


def _refuse(message: str, remedy: str, arguments: Sequence[str]) -> int:
    """Say why nothing was done: a line for people, and for ``--json`` a document."""
    if "--json" in arguments:
        emit_json({"error": message, "remedy": remedy})
    return _complain(message, remedy, REFUSED)


def _complain(message: str, remedy: str, code: int) -> int:
    if os.environ.get("REPROKIT_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
    from reprokit.views.plain import plain

    text = f"{message}: {remedy}" if remedy else message
    click.echo(f"reprokit: {plain(' '.join(text.split()))}", err=True)
    return code


def _drop_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not complain when it ends."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())

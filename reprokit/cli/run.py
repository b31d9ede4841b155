"""``reprokit run``: execute a notebook from top to bottom, or a script, captured in full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DIFFERENT, DONE, emit_json, json_option
from reprokit.errors import UsageError

if TYPE_CHECKING:
    from reprokit.pipeline.result import Result
    from reprokit.pipeline.spec import Spec
    from reprokit.records import Run
    from reprokit.store.store import Store

__all__ = ["exit_code", "params", "print_run", "run"]

_CHECKPOINT, _AFTER_S = "--checkpoint", 60  # as in ``notebook.checkpoint``, which is not imported for --help
_STDERR = 2  # with --json nothing but the document is on stdout


class _Command(click.Command):
    """``--checkpoint`` alone means the default: what comes after it is never its value, unless it is a number."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        at = args.index(_CHECKPOINT) if _CHECKPOINT in args else -1
        if at >= 0 and "--" not in args[:at] and not _is_number(args[at + 1 : at + 2]):
            args = [*args[:at], f"{_CHECKPOINT}={_AFTER_S}", *args[at + 1 :]]
        return super().parse_args(ctx, args)


def _is_number(words: Sequence[str]) -> bool:
    return bool(words) and words[0].replace(".", "", 1).isdigit()


@click.command(cls=_Command)
@click.argument("what", metavar="NOTEBOOK|SCRIPT", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]")
@click.option("-p", "--param", "given", nargs=2, multiple=True, metavar="NAME VALUE", help="Set a parameter.")
@click.option(
    "-f", "--params", "file", metavar="FILE[:KEY]", help="A YAML, JSON or TOML file of parameters, or a part of it."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the executed notebook here.")
@click.option("--name", help="A name for the run.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tag the run.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed everything before the first cell.")
@click.option("--input", "inputs", multiple=True, metavar="PATH", help="A file or folder that it depends on.")
@click.option("--reuse", is_flag=True, help="Take over the results of an earlier run when nothing changed since.")
@click.option("--reuse-anyway", is_flag=True, help="Also those of a run that could have come out otherwise.")
@click.option(
    _CHECKPOINT,
    type=click.FloatRange(min=0),
    metavar="[=SECONDS]",
    help="Keep the kernel's state after each so many seconds of work, to resume from; 60 by default.",
)
@click.option("--timeout", type=click.IntRange(min=1), help="The longest that one cell may take, in seconds.")
@click.option("--kernel", metavar="NAME", help="The kernel to use in place of the notebook's own.")
@click.option("--cwd", metavar="DIR", help="The working directory; by default the notebook's own folder.")
@click.option("-v", "--verbose", is_flag=True, help="Tell each step.")
@json_option
def run(what: Path, verbose: bool, as_json: bool, **given: Any) -> int:
    """Execute a notebook from top to bottom, or a Python script, as one captured run.

    Parameters replace the defaults of the notebook's cell tagged "parameters" (`reprokit params` shows them); -p wins
    over -f. A script gets the arguments after --, and its own exit code is returned. Otherwise the exit code is 1 when
    a cell failed, and 130 or 143 when it was stopped by SIGINT or SIGTERM.
    """
    from reprokit.cli.progress import reporter
    from reprokit.pipeline.step import Streams, perform
    from reprokit.store.store import Store

    spec = _spec(what, given)
    store = Store.open()
    streams = Streams(stdin=None, stdout=_STDERR if as_json else None)
    with reporter(verbose) as progress:
        result = perform(spec, store=store, isolated=False, progress=progress, streams=streams, told=_tell)
    if result.run is None:
        return result.exit_code
    print_run(store, store.load(result.run), as_json)
    return exit_code(result)


def _tell(line: str) -> None:
    click.echo(line, err=True)


def exit_code(result: Result) -> int:
    """Return the exit code: a script's own; else what every command has, or that of the signal that stopped it."""
    if result.script_code is not None and result.script_code > 0:
        return result.script_code
    if result.exit_code > 128:
        return result.exit_code
    return DONE if result.status == "done" else DIFFERENT


def _spec(what: Path, given: dict[str, Any]) -> Spec:
    from reprokit.pipeline.spec import Spec

    common: dict[str, Any] = {
        "name": given["name"],
        "tags": _labels(given["tags"]),
        "seed": given["seed"],
        "inputs": tuple(given["inputs"]),
        "reuse": "anyway" if given["reuse_anyway"] else given["reuse"],
        "cwd": given["cwd"],
    }
    if _is_python(what):
        names = ("given", "file", "output", "kernel", "checkpoint")
        _refuse(given, "a script", "give a script its arguments after --", *names)
        return Spec(script=str(what), arguments=tuple(given["arguments"]), timeout=given["timeout"], **common)
    _refuse(given, "a notebook", "give a notebook its parameters with -p", "arguments")
    return Spec(
        notebook=str(what),
        params=params(what, given["given"], given["file"]),
        output_notebook=None if given["output"] is None else str(given["output"]),
        cell_timeout=given["timeout"],
        kernel=given["kernel"],
        checkpoint=given["checkpoint"],
        **common,
    )


def _is_python(what: Path) -> bool:
    """Return whether a file is to be run as a script: by its name, or one without that by its first line."""
    if what.suffix or not what.is_file():
        return what.suffix.lower() in (".py", ".pyw")
    with what.open("rb") as file:
        line = file.readline(200)
    return line.startswith(b"#!") and b"python" in line


def _refuse(given: dict[str, Any], what: str, remedy: str, *names: str) -> None:
    for name in names:
        if given[name] not in (None, "", (), False):
            shown = {"given": "-p", "file": "-f", "output": "-o"}.get(
                name, name if name == "arguments" else f"--{name}"
            )
            raise UsageError(f"{what} takes no {shown}", remedy=remedy)


def _labels(tags: Sequence[str]) -> dict[str, str]:
    labels = {}
    for tag in tags:
        key, equals, value = tag.partition("=")
        if not key or not equals:
            raise UsageError(f"{tag!r} is not a tag", remedy="write `--tag KEY=VALUE`")
        labels[key] = value
    return labels


def params(notebook: Path, given: Sequence[tuple[str, str]], file: str | None) -> dict[str, Any]:
    """Return the given parameters; the step checks them before anything is started."""
    if not given and file is None:
        return {}
    from reprokit.notebook.given import parse_assignments, read_named
    from reprokit.notebook.parameters import declared, read_notebook

    known = declared(read_notebook(notebook))
    return (read_named(file) if file is not None else {}) | parse_assignments(given, known)


def print_run(store: Store, record: Run, as_json: bool) -> None:
    if as_json:
        from reprokit.cli.look import outputs_in
        from reprokit.views.json import run_json

        emit_json(run_json(record, outputs_in(store)))
    else:
        click.echo("\n".join(_lines(record)))


def _lines(record: Run) -> list[str]:
    """Return how a run ended, what is missing in it, and what can be done with it."""
    from reprokit.views import gaps
    from reprokit.views.plain import count, indent, plain, seconds
    from reprokit.views.text import checkpoint_words

    if record.reuse_of is not None:
        files = count(len(record.artifacts), "file")
        return [f"{record.id} reused {record.reuse_of}, {files}", f"next: reprokit replay {record.reuse_of}"]
    took = f" in {seconds(record.ended - record.started)}" if record.ended is not None else ""
    reason = f": {plain(record.reason)}" if record.reason else ""
    lines = [f"{record.id} {record.status}{took}, {count(len(record.cells), 'cell')}{reason}"]
    lines += indent(gaps.lines(gaps.still_open(record)))
    kept = [cell for cell in record.cells if cell.checkpoint is not None]
    can_go_on = record.status in ("failed", "interrupted") and bool(kept)
    lines += [f"  checkpoint after cell {cell.seq}: {checkpoint_words(cell)}" for cell in kept[-1:] if can_go_on]
    command = "replay" if record.status == "done" else "resume" if can_go_on else "show"
    return [*lines, f"next: reprokit {command} {record.id}"]

"""``reprokit check``: replay pinned runs, as a CI system does it, and say of each whether it gave the same."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DIFFERENT, DONE, REFUSED, emit_json, json_option
from reprokit.cli.conditions import options
from reprokit.errors import UsageError

if TYPE_CHECKING:
    from reprokit.cli.conditions import Asked
    from reprokit.records import Checked
    from reprokit.settings import Settings

__all__ = ["check", "parse"]


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@options
@click.option(
    "--jobs", "-j", type=click.IntRange(min=1), help="Replay so many at the same time: one a core by default."
)
@click.option("--timeout", type=click.IntRange(min=1), help="The longest that one cell may take, in seconds.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Also write JUnit XML, for CI systems, here."
)
@click.option("-v", "--verbose", is_flag=True, help="Tell of each run that is done.")
@json_option
def check(
    runs: tuple[str, ...],
    asked: Asked,
    jobs: int | None,
    timeout: int | None,
    junit: Path | None,
    verbose: bool,
    as_json: bool,
) -> int:
    """Replay the pinned runs, or those named, at the same time, and compare.

    The exit code is 1 when one of them diverged, else 2 when one could not be replayed, else 0: all are the
    same. `reprokit pin RUN` pins a run.
    """
    from reprokit.cli.progress import reporter
    from reprokit.replay import check as checking
    from reprokit.store.store import Store

    store = Store.open()
    items = checking.select(store, runs)
    conditions, comparison = asked.conditions(store.settings), asked.comparison()
    if junit is not None:
        _prepare(junit)  # before hours of work
    started = time.time()
    with reporter(verbose) as progress:
        results = checking.check(
            store,
            items,
            conditions=conditions,
            comparison=comparison,
            timeout=timeout,
            jobs=jobs,
            progress=progress,
        )
    if junit is not None:
        _write(junit, results, started)
    if as_json:
        from reprokit.views.checked import checked_json

        emit_json(checked_json(results))
    else:
        from reprokit.views.checked import checked_text

        click.echo(checked_text(results, width=shutil.get_terminal_size((120, 24)).columns))
    return _code(results)


@click.command("reprokit_options", add_help_option=False)
@options
@click.option("--timeout", type=click.IntRange(min=1))
@click.pass_context
def _words(context: click.Context, asked: Asked, timeout: int | None) -> dict[str, Any]:
    settings = context.obj
    return {"conditions": asked.conditions(settings), "comparison": asked.comparison(), "timeout": timeout}


def parse(words: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Return the arguments of ``replay.check.check`` that these options of ``reprokit check`` stand for.

    Raises:
        UsageError: one of them is none of the options that say how a run is replayed.
    """
    try:
        with _words.make_context("reprokit_options", list(words), obj=settings) as context:
            return dict(_words.invoke(context))
    except click.UsageError as error:
        raise UsageError(error.format_message().rstrip("."), remedy="see `reprokit check --help`") from error


def _code(results: Sequence[Checked]) -> int:
    """Return 1 before 2: that something changed is known; what could not be replayed is not known to have."""
    found = {one.verdict.verdict for one in results}
    if "diverged" in found:
        return DIFFERENT
    return REFUSED if "unreplayable" in found else DONE


def _prepare(path: Path) -> None:
    """Make the folder of a report, and an empty file there; what an earlier check said is gone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    except OSError as error:
        raise _unwritable(path, error) from error


def _write(path: Path, results: Sequence[Checked], started: float) -> None:
    from reprokit.views.junit import junit

    try:
        path.write_bytes(junit(results, started=started))
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path} cannot be written ({error})", remedy="name another file with --junit")

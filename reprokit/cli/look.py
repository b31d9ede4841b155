"""``reprokit runs``, ``show`` and ``diff``: looking at what was recorded, which never runs anything of it."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DONE, emit_json, json_option, verdict_code
from reprokit.cli.conditions import comparison_options
from reprokit.errors import StoreError, UsageError

if TYPE_CHECKING:
    from reprokit.records import Run, Verdict
    from reprokit.store.index import Summary
    from reprokit.store.store import Store

__all__ = ["diff", "outputs_in", "runs", "show", "write_page"]


@click.command()
@click.argument("query", nargs=-1)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show at most so many.")
@json_option
def runs(query: tuple[str, ...], limit: int, as_json: bool) -> int:
    """List the runs of this project, newest first.

    QUERY is words that all must match: key=value (also !=, <, <=, >, >=) for a field, parameter, metric or
    tag; any other word is looked for in ids, names, notebooks, parameters and tags.
    """
    from reprokit.store.store import Store

    words = query[0] if len(query) == 1 else shlex.join(query)  # one argument may be a whole query
    entries = [_entry(summary) for summary in Store.open().runs(limit=limit, query=words or None)]
    if as_json:
        from reprokit.views.json import summary_json

        emit_json([summary_json(entry) for entry in entries])
    elif words and not entries:
        click.echo("No run matches. `reprokit runs` lists them all.")
    else:
        from reprokit.views.text import runs_table

        click.echo(runs_table(entries, width=shutil.get_terminal_size((120, 24)).columns))
    return DONE


def _entry(summary: Summary) -> dict[str, Any]:
    """Return what the index knows of a run in the form that the views read."""
    capture = {"tier": summary.tier, "complete": summary.complete} if summary.tier else None
    return summary.to_dict() | {"capture": capture}


@click.command()
@click.argument("run", default="latest")
@click.option("--cell", type=click.IntRange(min=1), help="Show this cell alone, counted in the order they ran.")
@json_option
def show(run: str, cell: int | None, as_json: bool) -> int:
    """Show what RUN did.

    Its cells, data, randomness, code, environment, and what could not be captured.
    """
    from reprokit.store.store import Store

    store = Store.open()
    record = store.load(store.resolve(run))
    if as_json:
        from reprokit.views.json import run_json

        emit_json(run_json(_only(record, cell), outputs_in(store)))
    else:
        from reprokit.views.text import show_run

        click.echo(show_run(record, cell=cell))
    return DONE


def _only(record: Run, cell: int | None) -> Run:
    """Return the run with one of its cells alone."""
    from reprokit.views.text import find_cell

    return record if cell is None else replace(record, cells=(find_cell(record, cell),))


def outputs_in(store: Store) -> Callable[[str], list[Any]]:
    """Return a function from the digest of a cell's outputs to the outputs, which raises ``StoreError``."""

    def read(digest: str) -> list[Any]:
        try:
            found = json.loads(store.objects.get_bytes(digest))
        except ValueError as error:
            raise StoreError(f"object {digest} does not hold outputs") from error
        return found if isinstance(found, list) else [found]

    return read


@click.command()
@click.argument("a", metavar="RUN")
@click.argument("b", metavar="RUN")
@comparison_options
@click.option("--exact", is_flag=True, hidden=True)  # what --compare exact was called before
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Also write a page, with pictures, here.")
@json_option
def diff(a: str, b: str, mode: str, exact: bool, rtol: float, atol: float, html: Path | None, as_json: bool) -> int:
    """Compare two runs.

    Names the first cell that differs, how, and the likely cause; what follows from it; code, data (column by
    column), configuration, packages and metrics. The exit code is 1 when they differ.
    """
    from reprokit.replay.changes import changed_files, code_changes
    from reprokit.replay.compare import compare
    from reprokit.replay.comparison import Comparison
    from reprokit.replay.contents import reader
    from reprokit.store.store import Store

    comparison = Comparison(exact=exact or mode == "exact", rtol=rtol, atol=atol)
    store = Store.open()
    before, after = (store.load(store.resolve(name)) for name in (a, b))
    read = reader(store.objects, before, after)
    verdict = compare(before, after, read, comparison, code=changed_files(before.code, after.code))
    if before.code and after.code:
        verdict = replace(verdict, code=code_changes(before.code, after.code))
    if html:
        write_page(html, verdict, read)
    if as_json:
        from reprokit.views.json import verdict_json

        emit_json(verdict_json(verdict))
    else:
        from reprokit.views.verdict import verdict_text

        click.echo(verdict_text(verdict))
    return verdict_code(verdict)


def write_page(path: Path, verdict: Verdict, read: Callable[[str], bytes]) -> None:
    """Write a verdict as a page of its own, with the pictures that differ.

    Args:
        path: the file to write.
        verdict: what to show.
        read: returns the bytes of a content by its digest.

    Raises:
        UsageError: the file cannot be written.
    """
    from reprokit.replay.pictures import pictures_of
    from reprokit.views.html import verdict_page

    page = verdict_page(verdict, pictures=pictures_of(verdict, read))
    try:
        path.write_text(page, "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error})", remedy="name a file in a folder that exists") from error

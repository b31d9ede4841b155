"""``reprokit run``: execute a notebook from top to bottom, with parameters, captured in full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DIFFERENT, DONE, emit_json, json_option
from reprokit.errors import UsageError

if TYPE_CHECKING:
    from reprokit.records import Run
    from reprokit.store.store import Store

__all__ = ["run"]


@click.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("-p", "--param", "given", nargs=2, multiple=True, metavar="NAME VALUE", help="Set a parameter.")
@click.option("-f", "--params", "file", type=click.Path(path_type=Path), help="A YAML or JSON file of parameters.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the executed notebook here.")
@click.option("--name", help="A name for the run.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tag the run.")
@click.option("--timeout", type=click.IntRange(min=1), help="The longest that one cell may take, in seconds.")
@click.option("--kernel", metavar="NAME", help="The kernel to use in place of the notebook's own.")
@click.option("-v", "--verbose", is_flag=True, help="Tell each step.")
@json_option
def run(
    notebook: Path,
    given: tuple[tuple[str, str], ...],
    file: Path | None,
    output: Path | None,
    name: str | None,
    tags: tuple[str, ...],
    timeout: int | None,
    kernel: str | None,
    verbose: bool,
    as_json: bool,
) -> int:
    """Execute NOTEBOOK from top to bottom as one captured run.

    Parameters replace the defaults of the cell tagged "parameters"; -p wins over -f.
    The exit code is 1 when a cell failed.
    """
    labels = _labels(tags)
    params = _params(notebook, given, file)
    from reprokit.cli.progress import reporter
    from reprokit.notebook.engine import run_notebook
    from reprokit.store.store import Store

    store = Store.open()
    with reporter(verbose) as progress:
        record = run_notebook(
            store,
            notebook,
            params=params,
            output=output,
            name=name,
            tags=labels,
            timeout=timeout,
            kernel=kernel,
            progress=progress,
        )
    _print(store, record, as_json)
    return DONE if record.status == "done" else DIFFERENT


def _labels(tags: Sequence[str]) -> dict[str, str]:
    labels = {}
    for tag in tags:
        key, equals, value = tag.partition("=")
        if not key or not equals:
            raise UsageError(f"{tag!r} is not a tag", remedy="write `--tag KEY=VALUE`")
        labels[key] = value
    return labels


def _params(notebook: Path, given: Sequence[tuple[str, str]], file: Path | None) -> dict[str, Any]:
    """Return the checked parameters, before anything is started."""
    from reprokit.notebook.parameters import check, declared, parse_assignments, read_file, read_notebook

    content = read_notebook(notebook)
    if not given and file is None:
        return {}
    from_file = read_file(file) if file is not None else {}
    return check(content, from_file | parse_assignments(given, declared(content)))


def _print(store: Store, record: Run, as_json: bool) -> None:
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

    took = f" in {seconds(record.ended - record.started)}" if record.ended is not None else ""
    reason = f": {plain(record.reason)}" if record.reason else ""
    lines = [f"{record.id} {record.status}{took}, {count(len(record.cells), 'cell')}{reason}"]
    lines += indent(gaps.lines(gaps.still_open(record)))
    command = "replay" if record.status == "done" else "show"
    return [*lines, f"next: reprokit {command} {record.id}"]

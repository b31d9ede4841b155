"""``reprokit sweep show``, ``list`` and ``take``: what became of sweeps, and the files of their points."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DONE, emit_json, json_option
from reprokit.errors import UsageError

if TYPE_CHECKING:
    from reprokit.pipeline.sweep.book import Book
    from reprokit.pipeline.sweep.results import Point

__all__ = ["listed", "show", "show_document", "take"]


def show_document(document: dict[str, Any], as_json: bool, *, limit: int | None = 50) -> None:
    """Print a sweep."""
    from reprokit.views.sweep import sweep_table

    if as_json:
        emit_json(document)
    else:
        click.echo(sweep_table(document, width=shutil.get_terminal_size((120, 24)).columns, limit=limit))


@click.command("show")
@click.argument("which", metavar="[SWEEP]", default="latest")
@click.option("--sort", metavar="METRIC|PARAMETER", help="Sort by it: a metric the best first.")
@click.option("--best", metavar="METRIC[:max|min]", help="Name the best point by a metric.")
@click.option("--all", "everything", is_flag=True, help="Show all points of a long sweep.")
@click.option("--export", type=click.Path(path_type=Path), help="Write the table: .csv, .tsv, .json, .jsonl, .parquet.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the metric against each parameter: .html or .svg.")
@json_option
def show(
    which: str,
    sort: str | None,
    best: str | None,
    everything: bool,
    export: Path | None,
    plot: Path | None,
    as_json: bool,
) -> int:
    """Show the points of SWEEP: an id, the start of one, a name, or `latest`.

    Nothing of it is run.
    """
    from reprokit.pipeline.sweep import document, results, written
    from reprokit.pipeline.sweep.book import find
    from reprokit.store.store import Store

    book = find(Store.open(), which)
    points = results.rows(book)
    if sort is not None:
        points = results.sort(points, sort)
    told = document.of(book, points, best)
    if export is not None:
        written.write(points, export)
    if plot is not None:
        _plot(told, points, best or book.sweep.best or sort, plot)
    show_document(told, as_json, limit=None if everything else 50)
    for file in (export, plot):
        if file is not None and not as_json:
            click.echo(f"wrote {file}")
    return DONE


def _plot(document: dict[str, Any], points: Sequence[Point], wanted: str | None, path: Path) -> None:
    from reprokit.pipeline.sweep import results, written
    from reprokit.views.sweep_plot import plot_page, plot_svg

    have = results.metrics(points)
    name = results.parse_metric(wanted)[0] if wanted else (have[0] if have else "")
    if name not in have:
        remedy = (
            f"--best METRIC chooses one of: {', '.join(have)}"
            if have
            else "let the notebook record one: `%repro metric NAME=VALUE`"
        )
        raise UsageError(f"no point has the metric {name!r}" if name else "no point has a metric", remedy=remedy)
    if path.suffix.lower() not in (".html", ".svg"):
        raise UsageError(f"{path} names no format for a plot", remedy="name a file that ends with .html or .svg")
    draw = plot_svg if path.suffix.lower() == ".svg" else plot_page
    written.write_file(path, draw(document, name).encode("utf-8"))


@click.command("list")
@json_option
def listed(as_json: bool) -> int:
    """List the sweeps of this project, newest first."""
    from reprokit.pipeline.sweep.book import Book, ids
    from reprokit.pipeline.sweep.drive import left
    from reprokit.store.store import Store
    from reprokit.views.plain import plain, table, when

    store = Store.open()
    books = [Book.read(store, one) for one in ids(store)]
    entries = [
        {
            "id": book.sweep.id,
            "name": book.sweep.name,
            "what": book.sweep.what,
            "created": book.sweep.created,
            "points": len(book.sweep.points),
            "left": sum(1 for _ in left(book)),
        }
        for book in books
    ]
    if as_json:
        emit_json(entries)
    elif not entries:
        click.echo("No sweeps yet. `reprokit sweep NOTEBOOK --grid NAME=A,B` makes the first.")
    else:
        rows = [["sweep", "name", "of", "created", "points", "left"]]
        for book, one in zip(books, entries, strict=True):
            told = book.sweep
            words = [told.id, plain(told.name or ""), plain(told.what), when(told.created)[:16]]
            rows.append([*words, str(one["points"]), str(one["left"])])
        click.echo("\n".join(table(rows, right=(4, 5))))
    return DONE


@click.command("take")
@click.argument("which", metavar="SWEEP")
@click.argument("point", metavar="POINT|best", default="best")
@click.option("--best", metavar="METRIC[:max|min]", help="What `best` means, when the sweep does not say.")
@click.option("--to", type=click.Path(path_type=Path), help="The folder to put them into (SWEEP's name and POINT).")
@json_option
def take(which: str, point: str, best: str | None, to: Path | None, as_json: bool) -> int:
    """Put the files that POINT of SWEEP wrote into a folder."""
    from reprokit.pipeline.sweep import results
    from reprokit.pipeline.sweep.book import find
    from reprokit.pipeline.sweep.take import take as fetch
    from reprokit.pipeline.sweep.task import Ended
    from reprokit.store.store import Store

    book = find(Store.open(), which)
    number = int(point) if point.isdecimal() else _best_of(book, point, best)
    if not 1 <= number <= len(book.sweep.points):
        raise UsageError(f"the sweep has no point {number}", remedy=f"its points are 1 to {len(book.sweep.points)}")
    told = book.point(number).result()
    row = results.point(book, number, None if told is None else Ended.from_dict(told))
    folder = to or Path(f"{book.sweep.name or book.sweep.id}-{number}")
    files = fetch(book, row, folder)
    if as_json:
        emit_json({"sweep": book.sweep.id, "point": number, "run": row.run, "to": str(folder), "files": files})
    else:
        from reprokit.views.plain import count

        click.echo(f"point {number}, run {row.run}: {count(len(files), 'file')} in {folder}")
    return DONE


def _best_of(book: Book, word: str, best: str | None) -> int:
    from reprokit.pipeline.sweep import results

    wanted = best or book.sweep.best
    if word != "best" or wanted is None:
        remedy = "give a number, or `best` with --best METRIC"
        raise UsageError(f"{word!r} is no point" if word != "best" else "what is best is not said", remedy=remedy)
    metric, direction = results.parse_metric(wanted)
    found = results.best(results.rows(book), metric, direction)
    if found is None:
        raise UsageError(f"no point has the metric {metric!r}", remedy="`reprokit sweep show` lists them")
    return found.number

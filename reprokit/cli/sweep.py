"""``reprokit sweep``: many runs of one notebook or script over parameter points; what became of them; their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DIFFERENT, DONE, json_option
from reprokit.cli.engine import chosen, engine_options
from reprokit.cli.sweep_look import listed, show, show_document, take
from reprokit.errors import RunNotFound, UsageError

if TYPE_CHECKING:
    from reprokit.pipeline.spec import Spec
    from reprokit.pipeline.sweep.book import Book
    from reprokit.pipeline.sweep.task import Ended
    from reprokit.store.store import Store

__all__ = ["sweep"]

_BEGIN = "begin"  # the command that is meant when none is named
_OF_A_NEW_ONE = (
    "given", "file", "grids", "points", "sample", "spaces", "sample_seed", "name", "seed", "seed_each", "inputs",
    "reuse", "timeout", "kernel", "cwd",
)  # fmt: skip


class _Sweep(click.Group):
    """A group in which ``sweep NOTEBOOK …`` begins a sweep."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands:
            args = [_BEGIN, *args]
        return super().parse_args(ctx, args)


class _Begin(click.Command):
    """The command that needs no name of its own."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.parent.command_path if ctx.parent else "", " ".join(self.collect_usage_pieces(ctx)))


@click.group(cls=_Sweep, options_metavar="[OPTIONS]", invoke_without_command=True)
@click.pass_context
def sweep(ctx: click.Context) -> int:
    """Run a notebook or script over many parameter points."""
    if ctx.invoked_subcommand is None:
        raise UsageError("nothing to sweep over is named", remedy="`reprokit sweep NOTEBOOK --grid NAME=A,B`")
    return DONE


@sweep.command(_BEGIN, cls=_Begin)
@click.argument("what", metavar="NOTEBOOK|SCRIPT|RUN", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]")
@click.option("--grid", "grids", multiple=True, metavar="NAME=A,B,…", help="Values of a parameter; several multiply.")
@click.option("--points", type=click.Path(path_type=Path), metavar="FILE", help="Points from CSV, YAML, JSON or JSONL.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="So many random points of the --space.")
@click.option(
    "--space",
    "spaces",
    multiple=True,
    metavar="NAME=DIST",
    help="uniform(a,b), loguniform(a,b), int(a,b) or choice(x,y,…).",
)
@click.option("--sample-seed", type=click.IntRange(min=0), metavar="N", help="What the sample is drawn with (0).")
@click.option("-p", "--param", "given", nargs=2, multiple=True, metavar="NAME VALUE", help="Set for all points.")
@click.option("-f", "--params", "file", metavar="FILE[:KEY]", help="A file of parameters for all points.")
@click.option("--name", help="A name for the sweep.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed everything in every point with this.")
@click.option("--seed-each", is_flag=True, help="Each point has a seed of its own, derived from --seed and its number.")
@click.option("--input", "inputs", multiple=True, metavar="PATH", help="A file or folder that the points depend on.")
@click.option("--reuse", is_flag=True, help="Take over the results of earlier runs when nothing changed since.")
@click.option("--timeout", type=click.IntRange(min=1), help="The longest that one cell may take, in seconds.")
@click.option("--kernel", metavar="NAME", help="The kernel to use in place of the notebook's own.")
@click.option("--cwd", metavar="DIR", help="The working directory; by default the notebook's own folder.")
@click.option("--best", metavar="METRIC[:max|min]", help="Name the best point by a metric.")
@engine_options
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="How many points run at the same time.")
@click.option("--remote", metavar="NAME", help="The remote that brings code and data to workers without a shared disk.")
@click.option("--resume", metavar="SWEEP", help="Run the points of a sweep that are missing or failed.")
@json_option
def begin(what: str | None, resume: str | None, as_json: bool, best: str | None, **given: Any) -> int:
    """Run a notebook or script over many parameter points, each a captured run in a process of its own.

    `--grid lr=0.1,0.01 --grid depth=3,5` is four points. Values are checked against the notebook's parameters cell
    before anything runs. A script gets the arguments after --, with {NAME} for a parameter. What a point writes in the
    project is its own where the machine can do that: `reprokit sweep take` fetches it. Ctrl-C leaves a sweep that
    --resume SWEEP goes on with. The exit code is 1 when a point failed.

    `reprokit sweep list`, `show` and `take` look at sweeps; each has --help.
    """
    from reprokit.cli.sweep_progress import watching
    from reprokit.pipeline.stopping import Stopped, stoppable
    from reprokit.pipeline.sweep import api
    from reprokit.pipeline.sweep.book import find
    from reprokit.pipeline.sweep.results import parse_metric
    from reprokit.store.store import Store

    if best is not None:
        parse_metric(best)
    options = {"workers": given.pop("workers"), **chosen(given, "remote")}
    store = Store.open()
    book: Book | None = None
    try:
        with stoppable(), watching() as watch:
            if resume is not None:
                _refuse_new(what, given, options)
                book = find(store, resume)
                engine = options.pop("engine") or _same_engine(book)
                lost = api.go_on(book, engine, watch=watch, **options)
            else:
                planned = _planned(store, what, given, best)
                engine = options.pop("engine") or "local"
                book, lost = api.begin(store, planned, engine, watch=watch, **options)
    except Stopped as stopped:
        _tell_stopped(watch.book)
        return 128 + stopped.signal
    return _tell(book, lost, best, as_json)


def _tell_stopped(book: Book | None) -> None:
    if book is None:
        click.echo("reprokit: interrupted", err=True)
        return
    from reprokit.pipeline.sweep.drive import left
    from reprokit.views.plain import count

    total = len(book.sweep.points)
    done = total - sum(1 for _ in left(book))
    next_line = f"`reprokit sweep --resume {book.sweep.id}` goes on"
    click.echo(f"reprokit: interrupted after {done:,} of {count(total, 'point')}: {next_line}", err=True)


def _tell(book: Book, lost: Sequence[Ended], best: str | None, as_json: bool) -> int:
    from reprokit.pipeline.sweep import document, results

    points = results.rows(book)
    show_document(document.of(book, points, best, lost={one.point: one.reason for one in lost}), as_json)
    return DONE if all(point.is_done for point in points) else DIFFERENT


# --- what is asked for


def _same_engine(book: Book) -> str:
    """Return the engine that a sweep was begun with; an executor of somebody's program is not at hand here."""
    from reprokit.pipeline.sweep.engines import NAMES

    return book.sweep.engine if book.sweep.engine in NAMES else "local"


def _refuse_new(what: str | None, given: dict[str, Any], options: dict[str, Any]) -> None:
    told = [name for name in _OF_A_NEW_ONE if given.get(name)]
    if what is not None or given["arguments"] or told or "remote" in options:
        remedy = "leave NOTEBOOK and the options of its points out, or start a new sweep, with --reuse"
        raise UsageError("a sweep is resumed as it was begun", remedy=remedy)


def _planned(store: Store, what: str | None, given: dict[str, Any], best: str | None) -> Any:
    from reprokit.pipeline.sweep import api

    if what is None:
        remedy = "`reprokit sweep NOTEBOOK --grid NAME=A,B`, or --resume SWEEP"
        raise UsageError("nothing to sweep over is named", remedy=remedy)
    spec, declared = _spec(store, what, given)
    seed = given["sample_seed"]
    if seed is not None and given["sample"] is None:
        raise UsageError("--sample-seed draws nothing", remedy="give --sample N")
    seed = 0 if seed is None and given["sample"] else seed
    points = _points(given, declared, seed)
    about = {name: given[name] for name in ("name", "seed", "seed_each")}
    engine = {"engine": given.get("engine") or "local"}
    return api.look(store, spec, points, sample_seed=seed, best=best, **about, **engine)


def _spec(store: Store, what: str, given: dict[str, Any]) -> tuple[Spec, Any]:
    """Return the step, and the parameters that its notebook declares."""
    from reprokit.notebook.given import parse_assignments, read_named
    from reprokit.notebook.parameters import declared, read_notebook
    from reprokit.pipeline.spec import Spec

    path, params = _meant(store, what)
    is_script = path.suffix.lower() in (".py", ".pyw")
    known = None if is_script else declared(read_notebook(path))
    params |= (read_named(given["file"]) if given["file"] else {}) | parse_assignments(given["given"], known)
    common = {name: given[name] for name in ("inputs", "reuse", "cwd", "kernel")}
    if is_script:
        if given["kernel"]:
            raise UsageError("a script takes no --kernel", remedy="leave it out")
        return Spec(
            script=str(path), arguments=given["arguments"], params=params, timeout=given["timeout"], **common
        ), None
    if given["arguments"]:
        raise UsageError("a notebook takes no arguments", remedy="give a notebook its parameters with -p or --grid")
    return Spec(notebook=str(path), params=params, cell_timeout=given["timeout"], **common), known


def _meant(store: Store, what: str) -> tuple[Path, dict[str, Any]]:
    """Return the notebook or script that a word means, and the parameters that a run of it had."""
    path = Path(what)
    if path.suffix.lower() in (".ipynb", ".py", ".pyw") or path.exists():
        return path, {}
    try:
        run = store.load(store.resolve(what))
    except RunNotFound as error:
        remedy = "name a notebook, a script, or a run of one"
        raise UsageError(f"there is no notebook, script or run {what}", remedy=remedy) from error
    if run.kind != "batch" or run.notebook is None:
        remedy = f"`reprokit extract {run.id} -o clean.ipynb` makes a notebook of it"
        if run.script is not None:
            remedy = f"name its script: `reprokit sweep {run.script} --grid NAME=A,B -- --NAME {{NAME}}`"
        raise UsageError(f"run {run.id} is of no notebook with parameters", remedy=remedy)
    return store.layout.project / run.notebook, dict(run.params)


def _points(given: dict[str, Any], declared: Any, seed: int | None) -> list[dict[str, Any]]:
    from reprokit.pipeline.sweep import points

    if bool(given["sample"]) != bool(given["spaces"]):
        raise UsageError("--sample and --space go together", remedy="--sample 20 --space lr=loguniform(1e-4,1e-1)")
    parts = []
    if given["points"] is not None:
        parts.append(points.from_file(given["points"], declared))
    if given["grids"]:
        parts.append(points.grid(given["grids"], declared))
    if given["sample"]:
        spaces = [points.space(word, declared) for word in given["spaces"]]
        parts.append(points.sample(spaces, given["sample"], seed or 0))
    if not parts:
        remedy = "give --grid NAME=A,B, --points FILE, or --sample N --space NAME=uniform(0,1)"
        raise UsageError("there are no points", remedy=remedy)
    fixed = dict(given["given"])
    found = points.products(*parts)
    for name in {name for point in found for name in point} & fixed.keys():
        raise UsageError(f"parameter {name!r} is given twice", remedy=f"leave -p {name} out")
    return found


sweep.add_command(show)
sweep.add_command(listed)
sweep.add_command(take)

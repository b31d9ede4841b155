"""``reprokit extract``: the cells of a run that make one of its results, as a notebook that is known to make it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reprokit.cli import DIFFERENT, DONE, REFUSED, emit_json, json_option
from reprokit.cli.conditions import comparison_options
from reprokit.errors import Unreplayable, UsageError

if TYPE_CHECKING:
    from reprokit.records.extraction import Extraction
    from reprokit.replay.comparison import Comparison
    from reprokit.replay.conditions import Conditions
    from reprokit.replay.extract.extract import Request
    from reprokit.store.store import Store

__all__ = ["extract"]

_BUDGET_S = 600


@click.command()
@click.argument("run")
@click.argument("number", required=False, metavar="")
@click.option(
    "--for",
    "wanted",
    multiple=True,
    required=True,
    metavar="PATH|METRIC|cell N",
    help="The result: a file that RUN wrote, a metric, or what a cell showed. May be given several times.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="The notebook to write.")
@click.option("--force", is_flag=True, help="Replace the notebook if it is there.")
@click.option("--unverified", is_flag=True, help="Write the notebook even if its cells do not give the same.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=_BUDGET_S,
    show_default=True,
    metavar="SECONDS",
    help="Begin no new attempt after this time.",
)
@click.option("--env", type=click.Choice(["auto", "locked", "current"]), help="The environment, as for `replay`.")
@click.option("--offline", is_flag=True, help="Build the environment without network, from what is cached.")
@comparison_options
@click.option("--timeout", type=click.IntRange(min=1), help="The longest that one cell may take, in seconds.")
@click.option("--dry-run", is_flag=True, help="Print which cells are likely to be needed and why, and run nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Tell each attempt.")
@json_option
def extract(
    run: str,
    number: str | None,
    wanted: tuple[str, ...],
    output: Path | None,
    force: bool,
    unverified: bool,
    budget: float,
    env: str | None,
    offline: bool,
    mode: str,
    rtol: float,
    atol: float,
    timeout: int | None,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Write the smallest notebook of RUN's executed cells that makes one of its results.

    The cells are run by themselves, and the result is compared with the recorded one: only a notebook that makes
    the same is written. The exit code is 0 when there is one, 1 when not even all cells give the same.
    """
    from reprokit.notebook.clean import require_free
    from reprokit.replay.comparison import Comparison
    from reprokit.replay.conditions import Conditions
    from reprokit.replay.extract.extract import Request, planned
    from reprokit.store.store import Store

    if output is not None:
        require_free(output, force=force)
    elif not dry_run:
        raise UsageError("no notebook is named", remedy="name it with `-o clean.ipynb`, or look first with `--dry-run`")
    store = Store.open()
    record = store.load(store.resolve(run))
    request = Request(record, _wanted(wanted, number), Path.cwd())
    if dry_run:
        return _show(planned(request), as_json=as_json, verbose=verbose)
    conditions = Conditions(environment=env or store.settings.replay_env, offline=offline)
    comparison = Comparison(exact=mode == "exact", rtol=rtol, atol=atol)
    found = _found(store, request, conditions, comparison, budget, timeout, unverified=unverified, verbose=verbose)
    if output is not None and (unverified or found.verdict == "certified"):
        found = _written(found, request, output)
    return _show(found, as_json=as_json, verbose=verbose)


def _wanted(wanted: tuple[str, ...], number: str | None) -> list[str]:
    """Return what is asked for; ``--for cell 17`` need not be quoted."""
    words = list(wanted)
    if number is None:
        return words
    if words[-1].lower() != "cell" or not number.isdecimal():
        raise UsageError(f"{number!r} is one word too many", remedy="see `reprokit extract --help`")
    return [*words[:-1], f"cell {number}"]


def _found(
    store: Store,
    request: Request,
    conditions: Conditions,
    comparison: Comparison,
    budget: float,
    timeout: int | None,
    *,
    unverified: bool,
    verbose: bool,
) -> Extraction:
    from reprokit.cli.progress import reporter
    from reprokit.replay.extract import extract as taking

    try:
        with reporter(verbose) as progress:
            return taking.extract(
                store,
                request,
                conditions=conditions,
                comparison=comparison,
                budget_s=budget,
                timeout=timeout,
                progress=lambda words: progress(words, 0, 0),
            )
    except Unreplayable as error:
        if not unverified:
            raise
        return taking.unverified(request, error)


def _written(found: Extraction, request: Request, output: Path) -> Extraction:
    from dataclasses import replace

    from reprokit.replay.extract.written import write

    write(found, request.run, request.tags, output)
    return replace(found, notebook=str(output))


def _show(found: Extraction, *, as_json: bool, verbose: bool) -> int:
    if as_json:
        emit_json(found.to_dict())
    else:
        from reprokit.views.extracted import extraction_text

        click.echo(extraction_text(found, verbose=verbose))
    return {"certified": DONE, "planned": DONE, "different": DIFFERENT}.get(found.verdict, REFUSED)

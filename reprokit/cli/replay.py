"""``reprokit replay``: run again what was recorded, and say whether it gave the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reprokit.cli import DONE, REFUSED, emit_json, json_option, verdict_code
from reprokit.cli.conditions import options
from reprokit.cli.explain import BUDGET_S
from reprokit.errors import Unreplayable

if TYPE_CHECKING:
    from reprokit.cli.conditions import Asked
    from reprokit.cli.progress import Progress
    from reprokit.records import Run, Verdict
    from reprokit.replay.comparison import Comparison
    from reprokit.replay.conditions import Conditions
    from reprokit.store.store import Store

__all__ = ["replay"]


@click.command()
@click.argument("run")
@options
@click.option("--to", type=click.Path(path_type=Path), help="Leave the restored files and results in this folder.")
@click.option("--timeout", type=click.IntRange(min=1), help="The longest that one cell may take, in seconds.")
@click.option("--explain", "why", is_flag=True, help="When it diverged, find out why (see `reprokit explain`).")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write the verdict as a page here.")
@click.option("--trust", is_flag=True, help="Run it even though it came from elsewhere (see `reprokit trust`).")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Tell each step.")
@json_option
def replay(
    run: str,
    asked: Asked,
    to: Path | None,
    timeout: int | None,
    why: bool,
    html: Path | None,
    trust: bool,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Run RUN again in a place of its own, and compare.

    The verdict is identical, equivalent, or diverged: at which cell, how, and the likely cause. The exit
    code is 0 when it is the same, 1 when it diverged, 2 when it could not be replayed, 3 when RUN came from
    elsewhere and you did not say yet that it may be run here.
    """
    from reprokit.cli.progress import reporter
    from reprokit.store.store import Store

    store = Store.open()
    record = store.load(store.resolve(run))
    if record.reuse_of is not None:  # nothing ran in it: what it took over is what can be repeated
        record = store.load(record.reuse_of)
    conditions = asked.conditions(store.settings)
    comparison = asked.comparison()
    if dry_run:
        return _print_plan(store, record, conditions, as_json)
    if trust:
        from reprokit.store import origin

        origin.trust(store.layout, record)
    if conditions.environment == "current":
        _tell_difference(record)
    try:
        with reporter(verbose) as progress:
            verdict, restored = _replay(
                store,
                record,
                conditions=conditions,
                to=to,
                comparison=comparison,
                timeout=timeout,
                progress=progress,
            )
    except Unreplayable as error:
        verdict, restored = _as_verdict(error), ()
    if html is not None:
        _write_page(store, record, verdict, html)
    if not as_json:
        from reprokit.views.text import verdict_text

        click.echo(verdict_text(verdict, restored=restored))
    found = None
    if why and verdict.verdict == "diverged":
        from reprokit.cli.explain import find_cause

        found = find_cause(
            store, record, conditions, comparison, first=verdict, budget=BUDGET_S, timeout=timeout, verbose=verbose
        )
    if as_json:
        from reprokit.views.json import verdict_json

        emit_json({**verdict_json(verdict), **({} if found is None else {"explanation": found.to_dict()})})
    elif found is not None:
        from reprokit.views.explanation import explanation_text

        click.echo(f"\n{explanation_text(found)}")
    return verdict_code(verdict)


def _write_page(store: Store, record: Run, verdict: Verdict, path: Path) -> None:
    from reprokit.cli.look import write_page
    from reprokit.replay.contents import reader

    runs = [record, *([store.load(verdict.replay)] if verdict.replay else [])]
    write_page(path, verdict, reader(store.objects, *runs))


def _tell_difference(record: Run) -> None:
    """Say, before anything runs, how this environment is not the recorded one."""
    from reprokit.replay import environment
    from reprokit.views.env import differences_text

    if record.environment is not None:
        found = environment.differences(record.environment, environment.current(record.environment))
        if found:
            click.echo(differences_text(record.id, "current", found), err=True)


def _print_plan(store: Store, record: Run, conditions: Conditions, as_json: bool) -> int:
    from reprokit.replay.facts import plan_replay

    plan = plan_replay(store, record, conditions)
    if as_json:
        emit_json(plan.to_dict())
    else:
        click.echo(plan.text())
    return REFUSED if plan.reasons else DONE


def _replay(
    store: Store,
    record: Run,
    *,
    conditions: Conditions,
    to: Path | None,
    comparison: Comparison,
    timeout: int | None,
    progress: Progress,
) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict, and what was restored before the run, one line each."""
    from reprokit.replay import execute

    result = execute.replay(
        store, record, conditions=conditions, to=to, comparison=comparison, timeout=timeout, progress=progress
    )
    return result.verdict, result.restored


def _as_verdict(error: Unreplayable) -> Verdict:
    from reprokit.records import Verdict

    reasons = tuple(f"{why}: {fix}" if fix else why for why, fix in error.reasons)
    return Verdict(verdict="unreplayable", run=error.run, reasons=reasons)

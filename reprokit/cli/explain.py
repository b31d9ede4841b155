"""``reprokit explain``: why a replay is not the same, found out by making it again with one thing changed at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reprokit.cli import DIFFERENT, DONE, emit_json, json_option
from reprokit.cli.conditions import options
from reprokit.errors import Unreplayable

if TYPE_CHECKING:
    from reprokit.cli.conditions import Asked
    from reprokit.records import Explanation, Run, Verdict
    from reprokit.replay.comparison import Comparison
    from reprokit.replay.conditions import Conditions
    from reprokit.store.store import Store

__all__ = ["BUDGET_S", "explain", "find_cause"]

BUDGET_S = 900


@click.command()
@click.argument("run")
@options
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=BUDGET_S,
    show_default=True,
    metavar="SECONDS",
    help="Begin no new experiment after this time.",
)
@click.option("--resume", is_flag=True, help="Go on with the experiments of the last search.")
@click.option("--timeout", type=click.IntRange(min=1), help="The longest that one cell may take, in seconds.")
@click.option("-v", "--verbose", is_flag=True, help="Tell each experiment.")
@json_option
def explain(
    run: str,
    asked: Asked,
    budget: float,
    resume: bool,
    timeout: int | None,
    verbose: bool,
    as_json: bool,
) -> int:
    """Find out why a replay of RUN is not the same, by making it again with one thing changed at a time.

    RUN may be a replay: then what it ran under is asked about. The exit code is 0 when the replay is the same,
    1 when it diverged, 2 when it could not be made.
    """
    from reprokit.store.store import Store

    store = Store.open()
    record = store.load(store.resolve(run))
    conditions = asked.conditions(store.settings)
    if record.replay_of is not None:
        record, conditions = _original(store, record, conditions)
    found = find_cause(
        store, record, conditions, asked.comparison(), budget=budget, resume=resume, timeout=timeout, verbose=verbose
    )
    if as_json:
        emit_json(found.to_dict())
    else:
        from reprokit.views.explanation import explanation_text

        click.echo(explanation_text(found))
    return DONE if found.cell is None else DIFFERENT


def find_cause(
    store: Store,
    record: Run,
    conditions: Conditions,
    comparison: Comparison,
    *,
    budget: float,
    first: Verdict | None = None,
    resume: bool = False,
    timeout: int | None = None,
    verbose: bool = False,
) -> Explanation:
    """Make experiments until one shows the cause; ``first`` is the verdict of the replay in question, if it is known.

    Raises:
        Unreplayable: not even the replay in question could be made.
    """
    from reprokit.cli.progress import reporter
    from reprokit.replay import explain as search
    from reprokit.replay.experiments import Experiments, is_as_recorded, packages_today

    with reporter(verbose) as progress:
        laboratory = Experiments(
            store,
            record,
            comparison=comparison,
            budget_s=budget,
            resume=resume,
            timeout=timeout,
            progress=lambda words: progress(f"replaying: {words}", 0, 0),
        )
        if first is not None:
            laboratory.know(conditions, first)
        today = packages_today(record.environment) if conditions.environment == "current" else {}
        same = is_as_recorded(record.environment)
        found = search.explain(record, conditions, laboratory, packages=today, same_environment=same)
    if found.cell is None and found.experiments[0].outcome == "failed":
        raise Unreplayable(
            record.id, [(found.experiments[0].difference, f"see `reprokit replay {record.id} --dry-run`")]
        )
    return found


def _original(store: Store, replayed: Run, asked: Conditions) -> tuple[Run, Conditions]:
    """Return what a replay repeated, and what it ran under unless something else was asked for."""
    from reprokit.replay.conditions import Conditions

    given = Conditions.from_dict({**replayed.conditions, **asked.changed()})
    return store.load(str(replayed.replay_of)), given

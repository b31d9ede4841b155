"""``reprokit replay``: run again what was recorded, and say whether it gave the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reprokit.cli import DONE, REFUSED, emit_json, json_option, verdict_code
from reprokit.errors import Unreplayable

if TYPE_CHECKING:
    from reprokit.cli.progress import Progress
    from reprokit.records import Run, Verdict
    from reprokit.store.store import Store

__all__ = ["replay"]


@click.command()
@click.argument("run")
@click.option(
    "--env",
    type=click.Choice(["auto", "locked", "current"]),
    help="The environment: the recorded one, this one, or what fits (the setting replay_env by default).",
)
@click.option("--to", type=click.Path(path_type=Path), help="Leave the restored files and results in this folder.")
@click.option(
    "--compare",
    "mode",
    type=click.Choice(["exact", "typed"]),
    default="typed",
    show_default=True,
    help="Whether clocks, addresses and the like may differ.",
)
@click.option("--timeout", type=click.IntRange(min=1), help="The longest that one cell may take, in seconds.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Tell each step.")
@json_option
def replay(
    run: str,
    env: str | None,
    to: Path | None,
    mode: str,
    timeout: int | None,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Run RUN again in a place of its own, and compare.

    The verdict is identical, equivalent, or diverged: at which cell, how, and the likely cause. The exit
    code is 0 when it is the same, 1 when it diverged, 2 when it could not be replayed.
    """
    from reprokit.cli.progress import reporter
    from reprokit.store.store import Store

    store = Store.open()
    record = store.load(store.resolve(run))
    env = env or store.settings.replay_env
    if dry_run:
        return _print_plan(store, record, env, as_json)
    try:
        with reporter(verbose) as progress:
            verdict, restored = _replay(
                store, record, env=env, to=to, exact=mode == "exact", timeout=timeout, progress=progress
            )
    except Unreplayable as error:
        verdict, restored = _as_verdict(error), ()
    if as_json:
        from reprokit.views.json import verdict_json

        emit_json(verdict_json(verdict))
    else:
        from reprokit.views.text import verdict_text

        click.echo(verdict_text(verdict, restored=restored))
    return verdict_code(verdict)


def _print_plan(store: Store, record: Run, env: str, as_json: bool) -> int:
    from reprokit.replay.facts import plan_replay

    plan = plan_replay(store, record, env=env)
    if as_json:
        emit_json(plan.to_dict())
    else:
        click.echo(plan.text())
    return REFUSED if plan.reasons else DONE


def _replay(
    store: Store,
    record: Run,
    *,
    env: str,
    to: Path | None,
    exact: bool,
    timeout: int | None,
    progress: Progress,
) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict, and what was restored before the run, one line each."""
    from reprokit.replay import execute

    result = execute.replay(store, record, env=env, to=to, exact=exact, timeout=timeout, progress=progress)
    return result.verdict, result.restored


def _as_verdict(error: Unreplayable) -> Verdict:
    from reprokit.records import Verdict

    reasons = tuple(f"{why}: {fix}" if fix else why for why, fix in error.reasons)
    return Verdict(verdict="unreplayable", run=error.run, reasons=reasons)

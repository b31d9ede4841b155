"""``reprokit stale``: which pinned runs and stages are out of date, for people and for schedulers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from reprokit.cli import DIFFERENT, DONE, emit_json, json_option
from reprokit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reprokit.pipeline.stale import Item

__all__ = ["stale"]


@click.command()
@click.argument("words", metavar="[PIN|STAGE]...", nargs=-1)
@click.option("--older-than", "age", metavar="AGE", help="Also what ran longer ago than this, such as 12h or 7d.")
@click.option("--watch", is_flag=True, help="Run what is out of date again, and go on looking until Ctrl-C.")
@click.option(
    "--every", type=click.FloatRange(min=0.1), default=60.0, show_default=True, help="Seconds between two looks."
)
@json_option
def stale(words: tuple[str, ...], age: str | None, watch: bool, every: float, as_json: bool) -> int:
    """Tell which pinned runs and stages of dvc.yaml are out of date, and why.

    Each is judged by its newest finished run: data, code, configuration and environment as they are now. The exit
    code is 1 when one is out of date, 0 when all are fresh. With --watch stages run again by `dvc repro` and pinned
    runs as new runs; a pin stays where it is.
    """
    from reprokit.pipeline.stale import look, parse_age
    from reprokit.pipeline.watch import Watch
    from reprokit.store.store import Store

    older_than = None if age is None else parse_age(age)
    store = Store.open()
    if watch:
        if as_json:
            raise UsageError("--watch and --json exclude each other", remedy="leave one of them out")
        watching = Watch(store, words, older_than, lambda line: click.echo(_plain(line), err=True))
        while True:
            watching.once()
            time.sleep(every)
    items = look(store, words, older_than=older_than)
    if as_json:
        emit_json([{**item.to_dict(), "stale": bool(item.reasons)} for item in items])
    else:
        click.echo("\n".join(_lines(items)))
    return DIFFERENT if any(item.reasons for item in items) else DONE


def _lines(items: Sequence[Item]) -> list[str]:
    lines = []
    for item in items:
        what = "pinned run" if item.kind == "pin" else "stage"
        state = "out of date" if item.reasons else "fresh"
        lines.append(_plain(f"{item.name} ({what}, {item.run or 'never run'}): {state}"))
        lines += [_plain(f"  {reason.cause}: {reason.text}") for reason in item.reasons]
    return lines


def _plain(text: str) -> str:
    from reprokit.views.plain import plain

    return plain(text)

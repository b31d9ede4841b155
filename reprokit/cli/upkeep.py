"""``reprokit gc``, ``fsck`` and ``reindex``: remove what nobody needs, find what is damaged, build the index again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from reprokit.cli import DIFFERENT, DONE, emit_json, json_option
from reprokit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reprokit.records.upkeep import Removable

__all__ = ["fsck", "gc", "reindex"]

_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "y": 365.0}


def _days(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Return how many days a text such as "90d" means."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([hdwy]?)", text.strip().lower())
    if found is None:
        raise UsageError(f"{text!r} is not a span of time", remedy="write it like 90d, 12w or 1y")
    return float(found[1]) * _DAYS[found[2] or "d"]


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--older-than", callback=_days, metavar="SPAN", help="Also remove runs older than this: 90d, 12w, 1y.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Also remove runs, but for the newest N.")
@json_option
def gc(dry_run: bool, older_than: float | None, keep: int | None, as_json: bool) -> int:
    """Remove what nobody needs: what killed processes left, objects no run names, environments unused for a month.

    Runs are removed only when --older-than or --keep asks for it; with both, those that both would remove. A pinned
    run, an open one, and one that a run that stays repeats are never removed.
    """
    from reprokit.cli.progress import reporter
    from reprokit.replay.upkeep import clean, removable
    from reprokit.store.collect import Choice
    from reprokit.store.store import Store
    from reprokit.views.upkeep import removed_text

    store, choice = Store.open(), Choice(older_than=older_than, keep=keep)
    if dry_run:
        found = removable(store, choice)
        if as_json:
            _emit("would_remove", found)
        else:
            click.echo(removed_text(found, planned=True))
        return DONE
    with reporter(False) as progress:
        swept = clean(store, choice, lambda what: progress(what, 0, 0))
    if as_json:
        _emit("removed", swept.removed)
    else:
        click.echo(removed_text(swept.removed, swept.kept))
    return DONE


def _emit(verb: str, items: Sequence[Removable]) -> None:
    emit_json({verb: [item.to_dict() for item in items], "bytes": sum(item.size for item in items)})


@click.command()
@click.option("--quick", is_flag=True, help="Look whether everything is there, without reading it.")
@click.option("--repair", is_flag=True, help="Mend what follows from what is sound; move damaged objects aside.")
@json_option
def fsck(quick: bool, repair: bool, as_json: bool) -> int:
    """Check the store: journals, objects, locks, code snapshots and the index.

    The exit code is 1 when something is damaged and was not repaired.
    """
    from reprokit.cli.progress import reporter
    from reprokit.replay import snapshots
    from reprokit.store import collect
    from reprokit.store.fsck import damages, runs
    from reprokit.store.store import Store
    from reprokit.views.upkeep import damages_text

    store = Store.open()
    if not store.layout.exists():
        raise UsageError(f"there is no store in {store.layout.project}", remedy="`reprokit run` makes one")
    with reporter(False) as progress:
        found = runs(store)
        told = list(damages(store, found, quick=quick, repair=repair, progress=progress))
        progress("looking at code snapshots", 0, 0)
        told += snapshots.damages(found.values(), store.layout.project, quick=quick, repair=repair)
    objects = sum(1 for _ in collect.held(store.layout))
    left = [damage for damage in told if not damage.repaired]
    if as_json:
        counts = {"runs": len(found), "objects": objects}
        emit_json({"sound": not left, **counts, "damages": [damage.to_dict() for damage in told]})
    else:
        click.echo(damages_text(told, {"run": len(found), "object": objects}))
    return DIFFERENT if left else DONE


@click.command()
@json_option
def reindex(as_json: bool) -> int:
    """Build the index again from the journals; nothing else is read or changed."""
    from reprokit.store.store import Store

    store = Store.open()
    if not store.layout.exists():
        raise UsageError(f"there is no store in {store.layout.project}", remedy="`reprokit run` makes one")
    number = store.reindex()
    if as_json:
        emit_json({"runs": number})
    else:
        click.echo(f"indexed {number:,} runs" if number != 1 else "indexed 1 run")
    return DONE

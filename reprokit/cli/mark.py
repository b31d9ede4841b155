"""``reprokit pin`` and ``reprokit tag``: what is said of a run after it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reprokit.cli import DONE, emit_json, json_option
from reprokit.errors import UsageError

if TYPE_CHECKING:
    from reprokit.store.store import Store

__all__ = ["pin", "tag"]


@click.command()
@click.argument("run", required=False)
@click.option("--name", help="What to call it in a check: the run's own name by default.")
@click.option("--remove", is_flag=True, help="Release it: it is not checked any more.")
@json_option
def pin(run: str | None, name: str | None, remove: bool, as_json: bool) -> int:
    """Pin RUN: `reprokit check` replays it, and its data is kept. Without RUN, list what is pinned."""
    from reprokit.replay.check import find
    from reprokit.store.store import Store

    store = Store.open()
    if run is None:
        _refuse_options(name, remove)
        return _list(store, as_json)
    run_id = find(store, run)
    if remove:
        return _release(store, run_id, name, as_json)
    chosen = _name(store, run_id, name)
    store.pin(run_id, chosen)
    if as_json:
        emit_json({"run": run_id, "name": chosen, "pinned": True})
    else:
        click.echo(f"pinned {run_id} as {_plain(chosen)}: `reprokit check` replays it")
    _warn(store, run_id)
    return DONE


def _warn(store: Store, run_id: str) -> None:
    """Say when a check of the run could not succeed."""
    from reprokit.records.replayable import replayable

    if not replayable(store.load(run_id)):
        click.echo(f"reprokit: it could not be replayed exactly: `reprokit show {run_id}` says why", err=True)


def _refuse_options(name: str | None, remove: bool) -> None:
    if name is not None or remove:
        raise UsageError("no run is named", remedy="write `reprokit pin RUN`; `reprokit runs` lists them")


def _list(store: Store, as_json: bool) -> int:
    pins = store.pins()
    if as_json:
        emit_json([{"run": run_id, "name": name} for run_id, name in pins.items()])
    else:
        from reprokit.views.plain import plain, table

        rows = [[run_id, plain(name)] for run_id, name in pins.items()]
        click.echo("\n".join(table(rows)) or "No run is pinned. `reprokit pin RUN` pins one.")
    return DONE


def _release(store: Store, run_id: str, name: str | None, as_json: bool) -> int:
    if name is not None:
        raise UsageError("--name and --remove exclude each other", remedy="leave one of them out")
    if run_id not in store.pins():
        raise UsageError(f"run {run_id} is not pinned", remedy="`reprokit pin` lists those that are")
    store.pin(run_id, None)
    if as_json:
        emit_json({"run": run_id, "name": None, "pinned": False})
    else:
        click.echo(f"released {run_id}")
    return DONE


def _name(store: Store, run_id: str, wanted: str | None) -> str:
    """Return what to pin a run as.

    Raises:
        UsageError: the run is still open, or another one is pinned under the wanted name.
    """
    run = store.load(run_id)
    if run.status == "running":
        raise UsageError(f"run {run_id} is still open", remedy="`%repro stop` ends it; pin it then")
    if wanted is not None and not wanted.strip():
        raise UsageError("the name of a pin cannot be empty", remedy="leave --name out, or write one")
    others = {name: other for other, name in store.pins().items() if other != run_id}
    if wanted is None:
        own = run.pin or run.name or run_id
        return own if own not in others else run_id
    if wanted in others:
        remedy = f"release it with `reprokit pin {others[wanted]} --remove`, or choose another name"
        raise UsageError(f"{others[wanted]} is pinned as {wanted}", remedy=remedy)
    return wanted


@click.command()
@click.argument("run")
@click.argument("tags", nargs=-1, required=True, metavar="KEY=VALUE...")
@json_option
def tag(run: str, tags: tuple[str, ...], as_json: bool) -> int:
    """Give RUN tags, also when it ended long ago; `reprokit runs KEY=VALUE` finds it by them."""
    from reprokit.store.store import Store

    given = dict(map(_pair, tags))
    store = Store.open()
    run_id = _meant(store, run)
    store.tag(run_id, given)
    found = store.load(run_id).tags
    if as_json:
        emit_json({"run": run_id, "tags": found})
    else:
        click.echo(f"{run_id}  " + "  ".join(f"{_plain(key)}={_plain(value)}" for key, value in found.items()))
    return DONE


def _meant(store: Store, word: str) -> str:
    """Return the run to tag: a replay when its own id is given, else the run that it repeats."""
    from reprokit.replay.check import find

    found = store.resolve(word)
    return found if found.startswith(word) else find(store, word)


def _pair(word: str) -> tuple[str, str]:
    key, sign, value = word.partition("=")
    if not key or not sign:
        raise UsageError(f"{word!r} is no tag", remedy="write KEY=VALUE")
    return key, value


def _plain(text: str) -> str:
    from reprokit.views.plain import plain

    return plain(text)

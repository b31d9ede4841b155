"""``reprokit push``, ``pull`` and ``trust``: bring runs to others, get theirs, and say that these may be run here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reprokit.cli import DIFFERENT, DONE, emit_json, json_option
from reprokit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reprokit.replay.exchange import Moved
    from reprokit.store.store import Store
    from reprokit.store.transport import Remote

__all__ = ["pull", "push", "trust"]

_NO_REMOTE = "name a folder or an address (`reprokit push s3://bucket/path`), or set `remote` in [tool.reprokit]"


@click.command()
@click.argument("words", nargs=-1, metavar="[REMOTE] [RUN]...")
@json_option
def push(words: tuple[str, ...], as_json: bool) -> int:
    """Bring runs, with all that a replay needs, to REMOTE: those that are named, or all that are over but replays.

    REMOTE is a folder, an address such as s3://bucket/path, or a remote of DVC's. The exit code is 1 when a run went
    without something that it needs.
    """
    from reprokit.cli.progress import reporter
    from reprokit.replay import exchange
    from reprokit.store.store import Store
    from reprokit.views.exchange import pushed_text

    store = Store.open()
    remote, names = _split(store, words)
    ids = [store.resolve(name) for name in names] if names else _finished(store)
    with reporter(False) as progress:
        moved = exchange.push(store, remote, dict.fromkeys(ids), progress)
    _tell(moved, pushed_text([one.to_dict() for one in moved], remote.name), as_json)
    return DIFFERENT if any(one.lacking for one in moved) else DONE


def _finished(store: Store) -> list[str]:
    runs = [run.id for run in store.runs() if run.status != "running" and run.replay_of is None]
    return list(reversed(runs))


@click.command()
@click.argument("words", nargs=-1, metavar="[REMOTE] [RUN]...")
@json_option
def pull(words: tuple[str, ...], as_json: bool) -> int:
    """Get runs from REMOTE: those that are named, by id or name, or all. None of them is run before you `trust` it."""
    from reprokit.cli.progress import reporter
    from reprokit.replay import exchange
    from reprokit.store.store import Store
    from reprokit.views.exchange import pulled_text

    store = Store.open()
    remote, names = _split(store, words)
    with reporter(False) as progress:
        moved = exchange.pull(store, remote, names, progress)
    _tell(moved, pulled_text([one.to_dict() for one in moved], remote.name), as_json)
    return DONE


def _split(store: Store, words: Sequence[str]) -> tuple[Remote, list[str]]:
    """Return the remote and the runs that are meant.

    Raises:
        UsageError: no remote is named, here or in the settings.
    """
    from reprokit.store.transport import connect, is_remote

    project = store.layout.project
    if words and is_remote(words[0], project):
        return connect(words[0], project), list(words[1:])
    if not store.settings.remote:
        raise UsageError("no remote is named", remedy=_NO_REMOTE)
    return connect(store.settings.remote, project), list(words)


def _tell(moved: Sequence[Moved], text: str, as_json: bool) -> None:
    if as_json:
        emit_json({"runs": [one.to_dict() for one in moved], "bytes": sum(one.bytes for one in moved)})
    else:
        click.echo(text)


@click.command()
@click.argument("run")
@click.option("--remove", is_flag=True, help="Do not trust it any more.")
@json_option
def trust(run: str, remove: bool, as_json: bool) -> int:
    """Say that RUN, which was pulled, may be run here: as it is now, and not when anything in it changes."""
    from reprokit.store import origin
    from reprokit.store.store import Store
    from reprokit.views.exchange import trusted_text

    store = Store.open()
    found = store.load(store.resolve(run))
    if origin.source(store.layout, found) is None:
        raise UsageError(f"run {found.id} was made here", remedy="it needs no trust: `reprokit replay` runs it")
    digest = origin.trust(store.layout, found, not remove)
    if as_json:
        emit_json({"run": found.id, "origin": found.origin, "digest": digest, "trusted": not remove})
    else:
        click.echo(trusted_text(found, digest, not remove))
    return DONE

"""``reprokit gc``: remove what killed processes left."""

from __future__ import annotations

import click

from reprokit.cli import DONE, emit_json, json_option

__all__ = ["gc"]


@click.command()
@json_option
def gc(as_json: bool) -> int:
    """Remove what killed replays left: workspaces, sockets, orders, refs. No run and no object is touched."""
    from reprokit.replay import leftovers
    from reprokit.store.store import Store

    removed = leftovers.remove(Store.open())
    if as_json:
        emit_json({"removed": removed})
    else:
        click.echo("\n".join(removed) or "nothing was left over")
    return DONE

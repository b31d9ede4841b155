"""``reprokit lineage``: which runs made a file, from what, and who read it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reprokit.cli import DONE, emit_json, json_option
from reprokit.errors import RunNotFound, UsageError

if TYPE_CHECKING:
    from reprokit.records.lineage import Lineage
    from reprokit.store.store import Store

__all__ = ["lineage"]


@click.command()
@click.argument("what", metavar="PATH|RUN")
@json_option
def lineage(what: str, as_json: bool) -> int:
    """Tell which run made the file at PATH, from which files by which runs, back to the sources, and who read it.

    For RUN, tell where what it read came from, and who read what it wrote. Files are known by their bytes.
    """
    from reprokit.store.store import Store
    from reprokit.views.lineage import lineage_text

    found = _found(Store.open(), what)
    if as_json:
        emit_json(found.to_dict())
    else:
        click.echo(lineage_text(found))
    return DONE


def _found(store: Store, what: str) -> Lineage:
    """Return the lineage of a file, or of a run.

    Raises:
        UsageError: it is neither a file that a run used nor a run.
    """
    from reprokit.digest import of_file
    from reprokit.store.lineage import History

    path = Path(what).absolute()
    digest = of_file(path) if path.is_file() else None
    with store.index.asked() as answer:
        found = History(answer).of_file(_recorded(path, store.layout.project), digest)
    if found is not None:
        return found
    if digest is not None:
        raise UsageError(f"no run read or wrote {what}", remedy="`reprokit runs` lists the runs of this project")
    try:
        run_id = store.resolve(what)
        with store.index.asked() as answer:
            return History(answer).of_run(run_id)
    except RunNotFound as error:
        remedy = "name a file that a run used, or a run"
        raise UsageError(f"{what!r} is no file that a run used, and no run", remedy=remedy) from error


def _recorded(path: Path, project: Path) -> str:
    """Return a path as records have it."""
    normal = Path(os.path.normpath(path))
    return normal.relative_to(project).as_posix() if normal.is_relative_to(project) else str(normal)

"""The tables of the index, and the rows of what runs did with files. What is asked of them, others know."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from reprokit.records import Run

__all__ = ["facts", "metadata", "runs", "state", "text", "use_rows", "uses", "whole"]

_MOST = 10_000  # uses of files of one run; datasets are one each

metadata = sa.MetaData()
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
    sa.Column("name", sa.Text, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("notebook", sa.Text),
    sa.Column("replay_of", sa.Text),
    sa.Column("tier", sa.Text),
    sa.Column("pin", sa.Text),
    sa.Column("sweep", sa.Text),
    sa.Column("point", sa.Integer),
    sa.Column("words", sa.Text, nullable=False),  # lower case, what a word of a query is looked for in
    sa.Column("final", sa.Boolean, nullable=False),  # its status can no longer change by itself
    sa.Column("stamp", sa.Text, nullable=False),  # of the journals when they were read
    sa.Column("writers", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Index("runs_by_time", "started", "id"),
    sa.Index("runs_of_sweeps", "sweep", "point", sqlite_where=sa.text("sweep IS NOT NULL")),
    sa.Index("runs_open", "final", sqlite_where=sa.text("final = 0")),
)
facts = sa.Table(
    "facts",
    metadata,
    sa.Column("run", sa.Integer, nullable=False, index=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("number", sa.Float),
    sa.Index("facts_by_text", "key", "text", "run"),
    sa.Index("facts_by_number", "key", "number", "run"),
)
state = sa.Table(
    "state",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
uses = sa.Table(
    "uses",
    metadata,
    sa.Column("run", sa.Integer, nullable=False, index=True),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("access", sa.Text, nullable=False),
    sa.Column("cell", sa.Integer, nullable=False),
    sa.Index("uses_by_digest", "digest", "access"),
    sa.Index("uses_by_path", "path", "access"),
)


def use_rows(run: Run) -> list[dict[str, Any]]:
    """Return a row for each content that a run read or left, with the first cell that did.

    Without what it read of its own, and without replays, which only do again what others did.
    """
    if run.replay_of is not None:
        return []
    found: dict[tuple[str, str, str], int] = {}
    for cell in run.cells:
        for use in (*cell.reads, *cell.writes):
            if use.digest is not None and not use.own:
                found.setdefault((text(use.path), text(use.digest), text(use.access)), whole(cell.seq) or 0)
    keys = list(found.items())[:_MOST]
    return [{"path": path, "digest": digest, "access": access, "cell": at} for (path, digest, access), at in keys]


def text(value: str) -> str:
    """Return text that SQLite can hold: lone surrogates (from odd file names) are spelt out."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def whole(value: int | None) -> int | None:
    """Return a number that SQLite can hold; None for one that it cannot."""
    return value if value is None or -(2**63) <= value < 2**63 else None

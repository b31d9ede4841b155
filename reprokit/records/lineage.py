"""Where a file came from and where it went, as a tree."""

from __future__ import annotations

from dataclasses import dataclass

from reprokit.records.base import Record

__all__ = ["Lineage", "Maker", "Origin", "Reader"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker(Record):
    """A run that made a content, in a cell (``Cell.seq``), from others.

    ``seen`` says that its own inputs are told elsewhere in the tree, or too many to be told.
    """

    run: str
    name: str | None
    started: float
    cell: int
    inputs: tuple[Origin, ...] = ()
    seen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin(Record):
    """A content by path, and the run that made it: the newest before it was used. None: no run did, a source.

    ``others`` counts earlier runs that made the same bytes.
    """

    path: str
    digest: str
    maker: Maker | None = None
    others: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader(Record):
    """A run that read a content, what it wrote after that, and who read that in turn (``seen``: told elsewhere)."""

    run: str
    name: str | None
    started: float
    path: str
    outputs: tuple[Output, ...] = ()
    seen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(Record):
    """A content that a run wrote, and who read it: the newest, and how many ``more`` there are."""

    path: str
    digest: str
    readers: tuple[Reader, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage(Record):
    """What is known of a file, or of all that a run used.

    ``of`` is the path, or the run's id. ``note`` says when the bytes of the file today are no run's, and which were
    taken instead. ``origins`` are where they came from, ``readers`` the newest who read them, ``more`` how many else.
    """

    of: str
    note: str = ""
    origins: tuple[Origin, ...] = ()
    readers: tuple[Reader, ...] = ()
    more: int = 0

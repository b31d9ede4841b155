"""The records that say which cells of a run make one of its results, and what shows it."""

from __future__ import annotations

from dataclasses import dataclass

from reprokit.records.base import Record
from reprokit.records.verdict import Verdict

__all__ = ["Attempt", "Extraction", "KeptCell", "Reason"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason(Record):
    """Why a cell is kept: ``what`` it does for cell ``by``, such as "defines `df`"; ``certain`` without a trial."""

    what: str
    by: int
    certain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCell(Record):
    """A cell that is kept, by its ``Cell.seq``; ``title`` is its first line, ``makes`` the results it makes itself.

    ``raises`` is the error that it ends with, as it did.
    """

    cell: int
    title: str = ""
    makes: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    raises: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Record):
    """One run of some cells, to see whether they give the same.

    ``plain`` tells whether nothing was put back: neither states of generators nor the order of sets.
    ``outcome`` is "same", "different" or "failed"; ``difference`` says how it was not the same. ``replay`` is its
    run id, ``seconds`` what it took.
    """

    cells: tuple[int, ...]
    plain: bool = False
    outcome: str = "failed"
    difference: str = ""
    replay: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction(Record):
    """The cells of ``run`` that make the results ``wanted``.

    ``verdict`` is "certified", "different" (no set of cells that was tried gives the same), "planned" (nothing
    was run) or "unreplayable" (nothing could be run). ``comparison`` is the replay's verdict on the results alone.
    ``total`` counts the cells of the run.
    ``plain`` says whether a plain Jupyter gives the same, nothing put back; None when that was not tried.
    ``minimal`` says that leaving out any other cell was tried, or can only fail; ``complete`` is False when there
    was no time for all that could be tried. ``unseeded`` are the generators
    that kept cells draw from and that no cell seeded.
    """

    run: str
    wanted: tuple[str, ...]
    verdict: str
    comparison: Verdict | None = None
    total: int = 0
    cells: tuple[KeptCell, ...] = ()
    plain: bool | None = None
    minimal: bool = False
    complete: bool = True
    unseeded: tuple[str, ...] = ()
    replay: str | None = None
    attempts: tuple[Attempt, ...] = ()
    notebook: str | None = None

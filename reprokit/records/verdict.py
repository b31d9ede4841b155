"""The records that say how two runs compare."""

from __future__ import annotations

from dataclasses import dataclass

from reprokit.records.base import Record

__all__ = ["CellVerdict", "Difference", "Divergence", "FileVerdict", "Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Record):
    """One thing that is not the same in two runs.

    ``what`` is "source", "output", "status", "read", "write", "metric", "assumption", "param", "config",
    "random", "missing" or "extra"; ``where`` names it (a path, an output's number and type, a key); ``before`` and
    ``after`` are short; ``detail`` may be a longer readable difference. ``objects`` are the digests of what holds
    the two contents: of a file its bytes, of an output the list of the cell's outputs.
    """

    what: str
    where: str
    before: str = ""
    after: str = ""
    detail: str = ""
    objects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CellVerdict(Record):
    """How one cell of a run (``cell``, a ``Cell.seq``) compares with the same cell of another.

    ``rules`` names the comparison rules that made unequal bytes equivalent. ``consequence_of`` is the cell from
    whose divergence this one's follows, None of an origin and of cells that did not diverge; ``cause`` is of origins.
    """

    cell: int
    verdict: str
    rules: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    cause: str | None = None
    consequence_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerdict(Record):
    """How one file used in ``cell`` compares; ``before`` and ``after`` are digests."""

    path: str
    access: str
    cell: int
    verdict: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence(Record):
    """The first cell that differs, the most likely cause, and the difference in one line."""

    cell: int
    cause: str
    difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Record):
    """The outcome of comparing ``replay`` with ``run``.

    ``verdict`` is "identical", "equivalent", "diverged" or "unreplayable". ``environment`` lists
    packages that differ, one line each; ``code`` lists files of the two snapshots that differ, where
    it was looked up. ``reasons`` says why a run is unreplayable.
    """

    verdict: str
    run: str
    replay: str | None = None
    first_divergence: Divergence | None = None
    cells: tuple[CellVerdict, ...] = ()
    files: tuple[FileVerdict, ...] = ()
    environment: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    code: tuple[str, ...] = ()

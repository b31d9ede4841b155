"""The record of one run that was replayed to see whether it still gives the same."""

from __future__ import annotations

from dataclasses import dataclass

from reprokit.records.base import Record
from reprokit.records.verdict import Verdict

__all__ = ["Checked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked(Record):
    """The verdict on one of several runs that were replayed; the run is ``verdict.run``.

    ``name`` is what it is pinned under or called, and no other of the same check has it; ``seconds`` is how long
    the replay took, with all that it needed.
    """

    name: str
    verdict: Verdict
    seconds: float = 0.0

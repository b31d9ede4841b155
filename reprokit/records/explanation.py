"""The records that say why a replay was not the same, and what was tried to find out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reprokit.records.base import Record

__all__ = ["Experiment", "Explanation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment(Record):
    """One replay that was made to find a cause.

    ``changed`` are the conditions that were not the default ones, by name; ``again`` counts repetitions under the
    same ones. ``outcome`` is "same", "diverged" (in ``cell``, by ``difference``) or "failed" (it could not be made,
    ``difference`` says why). ``replay`` is its run id, ``seconds`` what it took.
    """

    changed: dict[str, Any] = field(default_factory=dict)
    again: int = 0
    outcome: str
    cell: int | None = None
    difference: str = ""
    replay: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(Record):
    """Why a replay of ``run`` under ``conditions`` is not the same from ``cell`` on.

    ``cause`` is None when it is the same. ``how`` says what shows the cause: "restored" (with ``factor`` as it was
    recorded the replay is the same), "settled" (with ``factor`` fixed replays are the same as one another, which
    they are not without), "refused" (without the network the cell cannot do what it did), "repeated" (the same
    replay gives another result each time, whatever is fixed) or "evidence" (no experiment shows it; the two records
    make it likely). A cause may be "unknown": the replays are the same as one another, and nothing tells why they are
    not as it was recorded. ``packages`` are the changes of versions that are enough
    to make the difference. ``stable`` tells whether two replays under the same conditions were the same as one
    another, None when that was not tried; ``complete`` is False when there was no time for all experiments.
    """

    run: str
    conditions: dict[str, Any] = field(default_factory=dict)
    cell: int | None = None
    difference: str = ""
    cause: str | None = None
    how: str = ""
    factor: str = ""
    packages: tuple[str, ...] = ()
    stable: bool | None = None
    complete: bool = True
    experiments: tuple[Experiment, ...] = ()

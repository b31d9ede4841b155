"""One run as a list shows it. Pure; does not know how runs are found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reprokit.records import Record, Run
from reprokit.records.replayable import replayable

__all__ = ["Summary", "summarize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Record):
    """One run as a list shows it.

    ``metrics`` has the last value of each key. ``tier`` and ``complete`` say how files were observed.
    ``pin`` is the name it is pinned under, ``reuse_of`` the run whose results it took over, ``resumed_from`` the one
    from whose checkpoint it went on. ``sweep`` and ``point`` say of which sweep it is which point. ``replayable``
    is False when something that a replay needs was not kept.
    """

    id: str
    name: str | None
    kind: str
    status: str
    reason: str | None
    started: float
    ended: float | None
    notebook: str | None
    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    replay_of: str | None = None
    pin: str | None = None
    reuse_of: str | None = None
    resumed_from: str | None = None
    sweep: str | None = None
    point: int | None = None
    tier: str | None = None
    complete: bool = False
    replayable: bool = True


def summarize(run: Run) -> Summary:
    """Return what a list shows of a run."""
    return Summary(
        id=run.id,
        name=run.name,
        kind=run.kind,
        status=run.status,
        reason=run.reason,
        started=run.started,
        ended=run.ended,
        notebook=run.notebook,
        params=run.params,
        metrics={metric.key: metric.value for metric in run.metrics},
        tags=run.tags,
        replay_of=run.replay_of,
        pin=run.pin,
        reuse_of=run.reuse_of,
        resumed_from=run.resumed_from,
        sweep=run.sweep,
        point=run.point,
        tier=run.capture.tier if run.capture else None,
        complete=bool(run.capture and run.capture.complete),
        replayable=replayable(run),
    )

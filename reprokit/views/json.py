"""The JSON of ``runs --json`` and ``show --json``: the schema that other programs rely on.

Keys are added, never renamed. Times are seconds after the epoch, durations and sizes are in seconds
and bytes. Numbers that JSON does not know (NaN, Infinity) are given as strings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from reprokit.errors import StoreError
from reprokit.records import Cell, Run, Verdict
from reprokit.records.replayable import is_settled, kept_digests, replayable
from reprokit.views.used import resources_of

__all__ = ["run_json", "summary", "summary_json", "verdict_json"]

_SUMMARY = [
    "id",
    "name",
    "kind",
    "status",
    "started",
    "ended",
    "notebook",
    "params",
    "metrics",
    "tags",
    "replay_of",
    "reuse_of",
    "resumed_from",
    "sweep",
    "point",
    "pin",
    "capture",
    "replayable",
    "cells",
]


def summary(run: Run) -> dict[str, Any]:
    """Return the short form of a run, as ``runs`` lists it; ``cells`` is how many ran."""
    capture = {"tier": run.capture.tier, "complete": run.capture.complete} if run.capture else None
    return {
        **{key: getattr(run, key) for key in ("id", "name", "kind", "status", "started", "ended", "notebook")},
        "params": dict(run.params),
        "metrics": {metric.key: metric.value for metric in run.metrics},
        "tags": dict(run.tags),
        "replay_of": run.replay_of,
        "reuse_of": run.reuse_of,
        "resumed_from": run.resumed_from,
        "sweep": run.sweep,
        "point": run.point,
        "pin": run.pin,
        "capture": capture,
        "replayable": replayable(run),
        "cells": sum(cell.observed for cell in run.cells),
    }


def summary_json(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary with exactly the documented keys; those it does not have are null."""
    return {key: _jsonable(entry.get(key)) for key in _SUMMARY}


def run_json(run: Run, outputs: Callable[[str], list[Any]]) -> dict[str, Any]:
    """Return the whole run as JSON-ready values.

    Args:
        run: the run.
        outputs: returns the nbformat outputs stored under a digest; may raise ``StoreError``, and the
            cell's ``outputs`` are then null.
    """
    whole = run.to_dict()
    more = [
        "reason",
        "origin",
        "root",
        "cwd",
        "argv",
        "script",
        "step",
        "seed",
        "notes",
        "assumptions",
        "artifacts",
        "code",
        "config",
        "machine",
        "libraries",
        "verdict",
    ]
    kept, used = kept_digests(run), resources_of(run)
    result = {
        **summary(run),
        **{key: whole[key] for key in more},
        "schema": run.schema,
        "environment": run.environment.to_dict() if run.environment else None,
        "environments": whole["environments"],
        "cells": [_cell(cell, outputs) for cell in run.cells],
        "gaps": [{**gap.to_dict(), "open": not is_settled(gap, kept)} for gap in run.gaps],
        "resources": used.to_dict() if used else None,
    }
    return {key: _jsonable(item) for key, item in result.items()}


def _cell(cell: Cell, outputs: Callable[[str], list[Any]]) -> dict[str, Any]:
    return {**cell.to_dict(), "outputs": _outputs(cell.outputs, outputs), "outputs_digest": cell.outputs}


def _outputs(digest: str | None, outputs: Callable[[str], list[Any]]) -> list[Any] | None:
    if digest is None:
        return []
    try:
        return outputs(digest)
    except StoreError:  # the digest beside it says that there were some
        return None


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as ``replay``, ``diff`` and ``check`` give it with ``--json``.

    ``cells[]`` are ``{cell, verdict, rules, differences[], cause, consequence_of}``: of those that diverged, an origin
    has its most likely ``cause`` and ``consequence_of`` null; any other says in ``consequence_of`` from which cell's
    divergence it follows. Cell 0 is the run as a whole. ``differences[]`` are ``{what, where, before, after, detail,
    objects}``; ``objects`` are the digests of the two contents (of an output: of the cell's list of outputs).
    """
    result: dict[str, Any] = _jsonable(verdict.to_dict())
    return result


def _jsonable(item: Any) -> Any:
    if isinstance(item, float) and not math.isfinite(item):
        return "NaN" if math.isnan(item) else "Infinity" if item > 0 else "-Infinity"
    if isinstance(item, Mapping):
        return {str(key): _jsonable(entry) for key, entry in item.items()}
    return [_jsonable(entry) for entry in item] if isinstance(item, (list, tuple)) else item

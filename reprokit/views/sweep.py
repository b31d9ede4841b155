"""A sweep as text: its points in a table, what failed, and the best of them. Pure.

It is given the values of ``sweep show --json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reprokit.views.plain import clip, count, indent, plain, seconds, spans, table, value, when

__all__ = ["counted", "failed_line", "point_words", "summary", "sweep_table"]

_SHOWN = 50  # points of a long table
_FAILURES = 5


def sweep_table(document: Mapping[str, Any], *, width: int = 120, limit: int | None = _SHOWN) -> str:
    """Return a sweep with its points, in the order given.

    Args:
        document: the value of ``sweep show --json``.
        width: longest line, in characters.
        limit: at most so many points; None: all.
    """
    name = f"  {plain(document['name'])}" if document.get("name") else ""
    lines = [f"sweep {plain(document['id'])}{name}  {plain(document['what'])}, {when(document['created'])[:16]}"]
    points = document["points"]
    lines += [clip(line, width) for line in _table(points[:limit])]
    if limit is not None and len(points) > limit:
        lines.append(f"… and {count(len(points) - limit, 'more point')} (--all shows them)")
    return "\n".join([*lines, "", *summary(document)])


def _table(points: Sequence[Mapping[str, Any]]) -> list[str]:
    params, metrics = _names(points, "params"), _names(points, "metrics")
    has_seed = len({point["seed"] for point in points}) > 1
    seeds = ["seed"] if has_seed else []
    heads = ["point", *map(plain, params), "status", *map(plain, metrics), *seeds, "took", "run"]
    rows = [heads]
    for point in points:
        row = [str(point["number"])]
        row += [_cell(point["params"], name) for name in params]
        row.append(_status(point))
        row += [_cell(point["metrics"], name) for name in metrics]
        row += [str(point["seed"])] if has_seed else []
        rows.append([*row, seconds(point["seconds"]), plain(point["run"] or "")])
    numbers = {0, *range(len(params) + 2, len(params) + 2 + len(metrics)), len(heads) - 2}
    return table(rows, right=numbers)


def _names(points: Iterable[Mapping[str, Any]], part: str) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point[part]))


def _cell(values: Mapping[str, Any], name: str) -> str:
    return clip(value(values[name]), 24) if name in values else ""


def _status(point: Mapping[str, Any]) -> str:
    return "reused" if point["reused"] else plain(point["status"])


def summary(document: Mapping[str, Any]) -> list[str]:
    """Return how many points are done, what failed and why, the best one, and what to do next."""
    points = document["points"]
    lines = [counted(document["counts"])]
    failures = [point for point in points if point["status"] not in ("done", "missing")]
    lines += indent(failed_line(point) for point in failures[:_FAILURES])
    if len(failures) > _FAILURES:
        lines.append(f"  … and {count(len(failures) - _FAILURES, 'more failure')}")
    missing = [point["number"] for point in points if point["status"] == "missing"]
    lines += [f"not run: {clip(spans(missing), 60)}"] if missing else []
    best = document.get("best")
    if best is not None:
        chosen = next((point for point in points if point["number"] == best["point"]), None)
        lines += _best(best, chosen)
    lines += [f"note: {plain(note)}" for note in document.get("notes", ())]
    if failures or missing:
        lines.append(f"next: reprokit sweep --resume {plain(document['id'])}")
    elif best is not None and best["point"] is not None and chosen is not None and chosen["run"]:
        lines.append(f"next: reprokit replay {plain(chosen['run'])}")
    return lines


def counted(counts: Mapping[str, int]) -> str:
    """Return how many points there are of each kind.

    >>> counted({"done": 3, "failed": 1, "missing": 0, "total": 4})
    '4 points: 3 done, 1 failed'
    """
    kinds = [f"{counts[kind]:,} {kind}" for kind in ("done", "failed", "missing") if counts[kind]]
    return f"{count(counts['total'], 'point')}: {', '.join(kinds) or 'none run'}"


def failed_line(point: Mapping[str, Any]) -> str:
    """Return why a point is not done, and where."""
    at = "" if point["cell"] is None else f" at cell {point['cell']}"
    reason = f": {plain(point['reason'])}" if point["reason"] else ""
    return clip(f"point {point['number']} ({point_words(point)}) {plain(point['status'])}{at}{reason}", 200)


def point_words(point: Mapping[str, Any]) -> str:
    """Return the parameters of a point on one line.

    >>> point_words({"params": {"lr": 0.1, "kind": "adam"}})
    'lr=0.1 kind=adam'
    """
    return clip(" ".join(f"{plain(name)}={value(item)}" for name, item in point["params"].items()), 80)


def _best(best: Mapping[str, Any], chosen: Mapping[str, Any] | None) -> list[str]:
    what = f"{best['which']} {plain(best['metric'])}"
    if chosen is None:
        return [f"best ({what}): no point has this metric"]
    found = value(chosen["metrics"].get(best["metric"]))
    return [f"best ({what}): point {chosen['number']} ({point_words(chosen)}), {found}, run {plain(chosen['run'])}"]

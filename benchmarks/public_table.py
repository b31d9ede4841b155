"""What the replays of public notebooks gave, as a table: a line for each, and the sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

__all__ = ["table"]

_VERDICTS = ("identical", "equivalent", "diverged", "unreplayable", "broken")


def table(found: Sequence[dict[str, Any]]) -> str:
    """Return all that was found, as Markdown."""
    ran = [one for one in found if one["kind"] != "skipped"]
    lines = ["| notebook | cells | raised | replay | papermill twice | cause |", "|---|---|---|---|---|---|"]
    lines += [_line(one) for one in sorted(ran, key=lambda one: str(one["notebook"]))]
    return "\n".join([*lines, "", *_sums(found, ran)])


def _line(one: dict[str, Any]) -> str:
    plain = one.get("papermill", {})
    columns = [one["notebook"], one.get("cells", "?"), len(one.get("raised", ())), one["kind"], plain.get("kind", "–")]
    return f"| {' | '.join(map(str, columns))} | {_why(one)} |".replace("\n", " ")


def _why(one: dict[str, Any]) -> str:
    """Return why it is not identical: the rules used, the cause found, or what stood in the way."""
    if one["kind"] == "equivalent":
        return ", ".join(one["rules"])
    if one["kind"] == "diverged":
        return f"{_first(one)} ({one['first']['difference'][:80]})"
    return str(one.get("why", ""))[:160]


def _first(one: dict[str, Any]) -> str:
    return f"{one['first']['cause']}, cell {one['first']['cell']}"


def _sums(found: Sequence[dict[str, Any]], ran: Sequence[dict[str, Any]]) -> list[str]:
    skipped = Counter(_group(one["why"]) for one in found if one["kind"] == "skipped")
    lines = [f"{len(found)} notebooks; not run: {_counted(skipped)}", f"run: {len(ran)}"]
    lines.append(f"replayed: {_counted(Counter(one['kind'] for one in ran), _VERDICTS)}")
    causes = Counter(one["first"]["cause"] for one in ran if one["kind"] == "diverged")
    lines.append(f"causes of divergence: {_counted(causes)}")
    twice = [one["papermill"] for one in ran if "papermill" in one]
    lines.append(f"papermill twice: {_counted(Counter(one['kind'] for one in twice), (*_VERDICTS, 'failed'))}")
    rules = Counter(rule for one in ran for rule in one.get("rules", ()))
    lines.append(f"rules used, by notebooks: {_counted(rules)}")
    ratios = [one["replay_s"] / median(one["papermill"]["seconds"]) for one in ran if _timed(one)]
    if ratios:
        lines.append(f"time of a replay: {median(ratios):.2f} × papermill (median of {len(ratios)})")
    return lines


def _timed(one: dict[str, Any]) -> bool:
    return bool(one.get("replay_s") and one.get("papermill", {}).get("seconds"))


def _group(why: str) -> str:
    return why.partition(":")[0].partition(" took longer")[0]


def _counted(counts: Counter[str], order: Sequence[str] = ()) -> str:
    known = [key for key in order if counts[key]]
    rest = [key for key, _ in counts.most_common() if key not in known]
    return ", ".join(f"{counts[key]} {key}" for key in [*known, *rest]) or "none"

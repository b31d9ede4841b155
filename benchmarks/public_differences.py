"""What capture changed in public notebooks, as a table: a line for each, and the sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

__all__ = ["table"]


def table(found: Sequence[dict[str, Any]]) -> str:
    """Return all that was found, as Markdown."""
    ran = sorted((one for one in found if "why" not in one), key=lambda one: str(one["notebook"]))
    lines = [
        "| notebook | cells | raised | differ by themselves in | differ with capture | time | gaps |",
        "|" + "---|" * 7,
    ]
    lines += [_line(one) for one in ran]
    return "\n".join([*lines, "", *_sums(found, ran)])


def _line(one: dict[str, Any]) -> str:
    blocks = sum(gap["blocks"] for gap in one["gaps"])
    gaps = f"{len(one['gaps'])}, {blocks} block" if blocks else str(len(one["gaps"]))
    columns = [one["notebook"], one["cells"], len(one["raised"]), _apart(one), len(one["different"])]
    return f"| {' | '.join(map(str, columns))} | {_ratio(one, 'seconds'):.2f} × | {_ratio(one, 'cpu'):.2f} × | {gaps} |"


def _ratio(one: dict[str, Any], what: str) -> float:
    return float(one[what]["captured"] / median(one[what]["plain"][:2]))


def _apart(one: dict[str, Any]) -> str:
    """Return what plain executions did not have in common, and in how many cells."""
    counts = Counter(one["apart"].values())
    told = [f"{count} {'cell' if count == 1 else 'cells'}: {name}" for name, count in counts.items()]
    return ", ".join([*told, *([f"{len(one['files_apart'])} files"] if one["files_apart"] else [])])


def _sums(found: Sequence[dict[str, Any]], ran: Sequence[dict[str, Any]]) -> list[str]:
    skipped = Counter(one["why"].partition(":")[0] for one in found if "why" in one)
    lines = [f"{len(found)} notebooks; not run: {_counted(skipped)}"]
    if not ran:
        return lines
    apart = Counter(name for one in ran for name in one["apart"].values())
    gaps = Counter(gap["aspect"] for one in ran for gap in one["gaps"])
    cells, files = (sum(one[what] for one in ran) for what in ("cells", "files"))
    return [
        *lines,
        f"run: {len(ran)}, with {cells} cells, which wrote {files} files",
        f"behave differently with capture: {sum(bool(one['different']) for one in ran)}",
        f"differ by themselves: {sum(bool(one['apart'] or one['files_apart']) for one in ran)} notebooks,"
        f" cells in {_counted(apart)}; {sum(len(one['files_apart']) for one in ran)} files",
        f"with capture: {_cost(ran, 'seconds')} the time, {_cost(ran, 'cpu')} the CPU time",
        f"without a gap that blocks: {sum(not any(gap['blocks'] for gap in one['gaps']) for one in ran)};"
        f" without any: {sum(not one['gaps'] for one in ran)}; gaps: {_counted(gaps)}",
    ]


def _cost(ran: Sequence[dict[str, Any]], what: str) -> str:
    captured = sum(one[what]["captured"] for one in ran)
    plain = sum(median(one[what]["plain"][:2]) for one in ran)
    return f"median {median(_ratio(one, what) for one in ran):.3f} × (in all {captured / plain:.3f} ×)"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"

"""Several runs that were replayed, as text for a terminal and as JSON. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from reprokit.records import Checked
from reprokit.views.json import verdict_json
from reprokit.views.plain import clip, count, indent, plain, table
from reprokit.views.verdict import verdict_headline, verdict_text

__all__ = ["checked_json", "checked_text", "summary_line"]

_ORDER = ("identical", "equivalent", "diverged", "unreplayable")


def checked_json(results: Sequence[Checked]) -> list[dict[str, Any]]:
    """Return what ``check --json`` prints: a list of verdicts, each with a name and how long it took.

    The keys are those of ``replay --json`` (see ``verdict_json``), and ``name`` and ``seconds``. The order is
    that of the runs as they were named, or of the pinned runs, oldest first.
    """
    return [{"name": one.name, **verdict_json(one.verdict), "seconds": one.seconds} for one in results]


def checked_text(results: Sequence[Checked], *, width: int = 120) -> str:
    """Return what differs of each run that does, then all of them in a table, and how many there are of each kind.

    Args:
        results: the verdicts.
        width: longest line of the table, in characters.
    """
    lines: list[str] = []
    for one in results:
        if one.verdict.verdict in ("diverged", "unreplayable"):
            lines += [f"{plain(one.name)} ({plain(one.verdict.run)})", *indent(_told(one)), ""]
    heads = ["run", "name", "verdict", "cell", "cause", "seconds"]
    rows = table([heads, *(_row(one) for one in results)], right=[3, 5])
    lines += [clip(row, width) for row in rows]
    return "\n".join([*lines, "", summary_line(results)])


def summary_line(results: Sequence[Checked]) -> str:
    """Return how many runs there are of each verdict.

    >>> from reprokit.records import Verdict
    >>> summary_line([Checked(name="a", verdict=Verdict(verdict="identical", run="20240101-000000-aaaaaaaa"))])
    '1 run: 1 identical'
    """
    found = Counter(one.verdict.verdict for one in results)
    return f"{count(len(results), 'run')}: {', '.join(f'{found[kind]} {kind}' for kind in _ORDER if found[kind])}"


def _told(one: Checked) -> list[str]:
    if one.verdict.verdict == "unreplayable":
        return [verdict_headline(one.verdict)]
    return verdict_text(one.verdict).split("\n")


def _row(one: Checked) -> list[str]:
    first = one.verdict.first_divergence
    return [
        plain(one.verdict.run),
        clip(plain(one.name), 34),
        plain(one.verdict.verdict),
        str(first.cell) if first and first.cell else "",
        plain(first.cause) if first else "",
        f"{one.seconds:.1f}",
    ]

"""Verdicts as plain text: the headline, the origins of what differs with what follows from each, and the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from reprokit.records import CellVerdict, Difference, Verdict
from reprokit.views.plain import block, count, indent, plain, spans, table

__all__ = [
    "difference_line",
    "follow_line",
    "followers",
    "origin_cells",
    "place",
    "verdict_headline",
    "verdict_sections",
    "verdict_text",
]

_NOTED = 12  # lines of what was noticed without effect
_ORIGINS = 5  # that are shown in detail
_KEYS = {
    "param": "parameters that differ",
    "config": "configuration that differs",
    "metric": "metrics that differ",
}
_MOST_KEYS = 40


def verdict_headline(verdict: Verdict) -> str:
    """Return the verdict in one line."""
    if verdict.verdict == "unreplayable":
        return "unreplayable: " + ("; ".join(map(plain, verdict.reasons)) or "the run cannot be repeated")
    first = verdict.first_divergence
    if first:
        where = f" at cell {first.cell}" if first.cell else ""
        return f"diverged{where}: {plain(first.difference)}"
    cells = [cell for cell in verdict.cells if cell.cell]
    same = sum(cell.verdict != "diverged" for cell in cells)
    files = len({file.path for file in verdict.files})
    line = f"{plain(verdict.verdict)}: {same} of {count(len(cells), 'cell')}, {count(files, 'file')}"
    return line + (f", allowing for {', '.join(map(plain, verdict.rules))}" if verdict.rules else "")


def verdict_text(verdict: Verdict, *, restored: Sequence[str] = ()) -> str:
    """Return a verdict: headline, cause, the first divergence in detail, and what else is known.

    Args:
        verdict: the outcome of a comparison.
        restored: what a replay put back before it ran, one line each.
    """
    lines = [verdict_headline(verdict)]
    if verdict.first_divergence:
        lines.append(f"  most likely cause: {plain(verdict.first_divergence.cause)}")
    for heading, content in verdict_sections(verdict, restored):
        lines += ["", heading, *indent(content)] if content else []
    return "\n".join(lines)


def verdict_sections(verdict: Verdict, restored: Sequence[str] = ()) -> list[tuple[str, list[str]]]:
    """Return the parts of a verdict by heading; those without content are empty."""
    origins = origin_cells(verdict)
    first = origins[0] if origins else None
    return [
        (place(first) if first else "", _origin_lines(first, verdict) if first else []),
        ("cells", table(cell_spans(verdict.cells)) if first or verdict.rules else []),
        ("also different", [line for cell in origins[1:] for line in _further_lines(cell, verdict)]),
        ("noticed, without effect on the results", _noticed(verdict)),
        *_by_key(verdict),
        ("code that differs", [plain(line) for line in verdict.code]),
        ("packages that differ", [plain(line) for line in verdict.environment]),
        ("restored", [plain(line) for line in restored]),
        ("counted as the same", [", ".join(map(plain, verdict.rules))] if first and verdict.rules else []),
    ]


def origin_cells(verdict: Verdict) -> list[CellVerdict]:
    """Return the cells that diverged, without those that only follow from an earlier one.

    What differs in the run as a whole is one, unless only keys with sections of their own do.
    """
    return [
        cell
        for cell in verdict.cells
        if cell.verdict == "diverged" and cell.consequence_of is None and (cell.cell or _shown_in_place(cell))
    ]


def _shown_in_place(cell: CellVerdict) -> list[Difference]:
    """Return the differences that are told where they are; those of the run as a whole by key have sections."""
    return [one for one in cell.differences if cell.cell or one.what not in _KEYS]


def followers(cell: CellVerdict, verdict: Verdict) -> list[int]:
    """Return the numbers of the cells that follow from an origin."""
    return [one.cell for one in verdict.cells if one.consequence_of == cell.cell and one.cell]


def follow_line(cell: CellVerdict, verdict: Verdict) -> str:
    """Return which cells follow from an origin, in words; "" when none does."""
    numbers = followers(cell, verdict)
    if not numbers:
        return ""
    verb = "follows" if len(numbers) == 1 else "follow"
    return f"and {count(len(numbers), 'cell')} that {verb} from it: {spans(numbers)}"


def _origin_lines(cell: CellVerdict, verdict: Verdict) -> list[str]:
    lines = difference_lines(_shown_in_place(cell))
    follow = follow_line(cell, verdict)
    return [*lines, follow] if follow else lines


def _further_lines(cell: CellVerdict, verdict: Verdict) -> list[str]:
    """Return a further origin: in full while there are few of them, else a line for each difference."""
    why = f" (most likely cause: {plain(cell.cause)})" if cell.cause else ""
    shown = _shown_in_place(cell)
    if origin_cells(verdict).index(cell) < _ORIGINS:
        return [f"{place(cell)}{why}", *indent(_origin_lines(cell, verdict))]
    return [f"{place(cell)}{why}: {difference_line(shown[0])}" if shown else f"{place(cell)}{why}"]


def _noticed(verdict: Verdict) -> list[str]:
    cells = [cell for cell in verdict.cells if cell.verdict != "diverged"]
    noted = [f"{place(cell)}: {difference_line(one)}" for cell in cells for one in _shown_in_place(cell)]
    return noted[:_NOTED] + ([f"… and {len(noted) - _NOTED} more"] if len(noted) > _NOTED else [])


def _by_key(verdict: Verdict) -> list[tuple[str, list[str]]]:
    """Return what differs by key in the runs as wholes."""
    whole = [one for cell in verdict.cells if not cell.cell for one in cell.differences]
    found = []
    for what, name in _KEYS.items():
        rows = [[plain(one.where), plain(one.before), "→", plain(one.after)] for one in whole if one.what == what]
        more = [f"… and {len(rows) - _MOST_KEYS} more"] if len(rows) > _MOST_KEYS else []
        found.append((name, table(rows[:_MOST_KEYS]) + more))
    return found


def place(cell: CellVerdict) -> str:
    """Return where a cell's differences are; cell 0 is the run as a whole."""
    return f"cell {cell.cell}" if cell.cell else "the run as a whole"


def difference_line(difference: Difference) -> str:
    """Return a difference in one line."""
    what, where = difference.what, plain(difference.where)
    if what in ("missing", "extra"):
        where = "not run in the second" if what == "missing" else "run only in the second"
    elif what not in ("output", "status", "source", "read", "write"):
        where = f"{plain(what)} {where}"
    elif what in ("read", "write"):
        where = f"{where} ({'read' if what == 'read' else 'written'})"
    return f"{where}: {plain(difference.before)} → {plain(difference.after)}"


def difference_lines(differences: Iterable[Difference]) -> list[str]:
    """Return differences, each with its detail under it."""
    lines = []
    for difference in differences:
        lines += [difference_line(difference)]
        lines += indent(block(difference.detail), "    ") if difference.detail else []
    return lines


def cell_spans(cells: Sequence[CellVerdict]) -> list[list[str]]:
    """Return cells as rows, neighbours that compare alike in one.

    >>> cell_spans([CellVerdict(cell=n, verdict="identical") for n in (1, 2, 3)])
    [['1–3', 'identical', '']]
    """
    rows = []
    for (verdict, why), group in groupby((cell for cell in cells if cell.cell), key=_alike):
        numbers = [cell.cell for cell in group]
        span = f"{numbers[0]}–{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
        rows.append([span, plain(verdict), plain(why)])
    return rows


def _alike(cell: CellVerdict) -> tuple[str, str]:
    follows = f"follows from cell {cell.consequence_of}" if cell.consequence_of else ""
    return cell.verdict, cell.cause or follows or ", ".join(cell.rules)

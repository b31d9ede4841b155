"""Runs and verdicts as HTML for a notebook: self-contained, in the reader's theme, without scripts.

The same words as the text views, each escaped where it is put into the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reprokit.records import CellVerdict, Run, Verdict
from reprokit.views import gaps, text
from reprokit.views import verdict as told
from reprokit.views.page import code, document, page, rows, triptych
from reprokit.views.page import text as safe
from reprokit.views.plain import value
from reprokit.views.status import status_html

__all__ = ["runs_html", "show_html", "status_html", "verdict_html", "verdict_page"]

_TONES = {"identical": "good", "equivalent": "good", "diverged": "bad", "unreplayable": "warn"}


def runs_html(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Return runs, in the order given, as a table."""
    if not summaries:
        return page([f"<div>{safe(text.runs_table(()))}</div>"])
    heads = ("run", "name", "pinned as", "notebook", "status", "started", "cells", "metrics")
    return page([rows(heads, (text.run_row(entry) for entry in summaries))])


def show_html(run: Run, *, cell: int | None = None) -> str:
    """Return all there is to know about a run, or about one of its cells.

    Raises:
        UsageError: the run has no such cell.
    """
    if cell is not None:
        return _cell_html(run, cell)
    name = f" <span class='rk-dim'>{safe(run.name)}</span>" if run.name else ""
    parts = [f'<div class="rk-head">run {safe(run.id)}{name}</div>', rows((), text.run_facts(run))]
    for title, heads, lines in _tables(run):
        parts += [f"<h4>{title}</h4>", rows(heads, lines)] if lines else []
    for title, listed in (("gaps", gaps.still_open(run)), ("secured", gaps.secured(run))):
        parts += [f"<h4>{title}</h4>", gaps.html(listed)] if listed else []
    return page(parts)


def _tables(run: Run) -> list[tuple[str, Sequence[str], list[list[str]]]]:
    params = [[key, value(item)] for key, item in run.params.items()]
    metrics = [[key, value(item)] for key, item in {m.key: m.value for m in run.metrics}.items()]
    file_heads = ("path", "size", "sha256", "contents")
    return [
        ("parameters", (), params),
        ("metrics", (), metrics),
        ("tags", (), [[key, item] for key, item in run.tags.items()]),
        ("notes", (), [[note] for note in run.notes]),
        ("assumptions", (), [[line] for line in text.assumption_lines(run)]),
        ("data read", file_heads, [text.file_row(use) for use in text.used_files(run, "reads")]),
        ("data written", file_heads, [text.file_row(use) for use in text.used_files(run, "writes")]),
        ("artifacts", file_heads, [text.file_row(use) for use in run.artifacts]),
        ("data from elsewhere", ("", "address", "size", "version", "contents"), text.remote_rows(run.cells)),
        ("configuration", ("key", "value", "from"), text.config_rows(run)),
        ("cells", ("cell", "status", "took", "source"), [text.cell_row(cell) for cell in run.cells]),
    ]


def _cell_html(run: Run, seq: int) -> str:
    cell = text.find_cell(run, seq)
    parts = [f'<div class="rk-head">cell {cell.seq} ({safe(cell.status)})</div>', code(cell.source)]
    parts += [f"<div>{safe(cell.error)}</div>"] if cell.error else []
    for title, lines in text.cell_sections(cell):
        parts += [f"<h4>{title}</h4>", code("\n".join(lines))] if lines else []
    return page(parts)


Pictures = Mapping[tuple[int, str], Sequence[str]]
"""Of a cell and a difference in it (its ``where``): addresses of the picture before, after, and where they differ."""


def verdict_html(verdict: Verdict, *, restored: Sequence[str] = (), pictures: Pictures | None = None) -> str:
    """Return a verdict: headline, cause, the origins in detail, and what else is known.

    Args:
        verdict: the outcome of a comparison.
        restored: what a replay put back before it ran, one line each.
        pictures: ``data:`` addresses to show beside the differences that they are of.
    """
    tone = _TONES.get(verdict.verdict, "warn")
    parts = [f'<div class="rk-head rk-{tone}">{safe(told.verdict_headline(verdict))}</div>']
    if verdict.first_divergence:
        parts.append(f"<div>most likely cause: <b>{safe(verdict.first_divergence.cause)}</b></div>")
    for number, cell in enumerate(told.origin_cells(verdict)):
        parts += _origin_html(cell, verdict, pictures or {}, further=number > 0)
    for title, lines in told.verdict_sections(verdict, restored)[1:]:
        items = "".join(f"<li>{safe(line)}</li>" for line in lines)
        parts += [f"<h4>{safe(title)}</h4><ul>{items}</ul>"] if lines and title != "also different" else []
    return page(parts)


def verdict_page(verdict: Verdict, *, restored: Sequence[str] = (), pictures: Pictures | None = None) -> str:
    """Return a verdict as a page of its own, to be saved and sent."""
    title = f"{verdict.verdict}: {verdict.run}"
    return document(title, verdict_html(verdict, restored=restored, pictures=pictures))


def _origin_html(cell: CellVerdict, verdict: Verdict, pictures: Pictures, *, further: bool) -> list[str]:
    why = f" (most likely cause: {cell.cause})" if further and cell.cause else ""
    parts = [f"<h4>{safe(told.place(cell) + why)}</h4>", *_differences_html(cell, pictures)]
    following = [one for one in verdict.cells if one.consequence_of == cell.cell and one.cell]
    if following:
        inside = "".join(
            f"<h4>{safe(told.place(one))}</h4>" + "".join(_differences_html(one, pictures)) for one in following
        )
        parts.append(f"<details><summary>{safe(told.follow_line(cell, verdict))}</summary>{inside}</details>")
    return parts


def _differences_html(cell: CellVerdict, pictures: Pictures) -> list[str]:
    parts = []
    for difference in cell.differences:
        parts.append(f"<div>{safe(told.difference_line(difference))}</div>")
        parts += [code(difference.detail)] if difference.detail else []
        shown = pictures.get((cell.cell, difference.where), ())
        parts += [triptych(shown)] if shown else []
    return parts

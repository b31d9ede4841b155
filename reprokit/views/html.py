"""Runs and verdicts as HTML for a notebook: self-contained, in the reader's theme, without scripts.

The same words as the text views, each escaped where it is put into the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reprokit.records import CellVerdict, Run, Verdict
from reprokit.views import gaps, text
from reprokit.views.page import code, page, rows
from reprokit.views.page import text as safe
from reprokit.views.plain import value
from reprokit.views.status import status_html

__all__ = ["runs_html", "show_html", "status_html", "verdict_html"]

_TONES = {"identical": "good", "equivalent": "good", "diverged": "bad", "unreplayable": "warn"}


def runs_html(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Return runs, in the order given, as a table."""
    if not summaries:
        return page([f"<div>{safe(text.runs_table(()))}</div>"])
    heads = ("run", "name", "notebook", "status", "started", "cells", "metrics")
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
    for title, told in (("gaps", gaps.still_open(run)), ("secured", gaps.secured(run))):
        parts += [f"<h4>{title}</h4>", gaps.html(told)] if told else []
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


def verdict_html(verdict: Verdict, *, restored: Sequence[str] = ()) -> str:
    """Return a verdict: headline, cause, the first divergence in detail, and what else is known."""
    tone = _TONES.get(verdict.verdict, "warn")
    parts = [f'<div class="rk-head rk-{tone}">{safe(text.verdict_headline(verdict))}</div>']
    if verdict.first_divergence:
        parts.append(f"<div>most likely cause: <b>{safe(verdict.first_divergence.cause)}</b></div>")
    first = text.first_cell(verdict)
    parts += _first_html(first) if first else []
    for title, lines in text.verdict_sections(verdict, restored)[1:]:
        items = "".join(f"<li>{safe(line)}</li>" for line in lines)
        parts += [f"<h4>{safe(title)}</h4><ul>{items}</ul>"] if lines else []
    return page(parts)


def _first_html(cell: CellVerdict) -> list[str]:
    parts = [f"<h4>{safe(text.place(cell))}</h4>"]
    for difference in cell.differences:
        parts.append(f"<div>{safe(text.difference_line(difference))}</div>")
        parts += [code(difference.detail)] if difference.detail else []
    return parts

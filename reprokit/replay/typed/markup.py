"""HTML compared as text, and the tables in it as tables.

A table that pandas made counts as the same when all it shows is the same, whatever style it comes with; other
HTML must be the same but for ids. Reads tags; runs nothing of a page.
"""

from __future__ import annotations

import re
from html import unescape

from reprokit.replay.typed import text
from reprokit.replay.typed.delimited import distinct
from reprokit.replay.typed.outcome import How, Outcome
from reprokit.replay.typed.tables import Table, changes, summary

__all__ = ["compare_html"]

_READ = 10**7  # bytes
_CELLS = 10**6
# What pandas puts around the tables that it shows: its style, and how wide the border is.
_PANDAS_STYLE = re.compile(r"<style scoped>\s*(?:\.dataframe [\w\s>.:-]+\{[^{}<]*\}\s*)+</style>\s*")
_PANDAS_TABLE = re.compile(r'<table (?:border="\d"\s*)?class="dataframe">')
_TAG = re.compile(r"<(/?)(\w+)([^<>]*)>")  # linear in anything that is no page
_BETWEEN_TAGS = re.compile(r"(?<=>)\s+(?=<)")


def compare_html(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two pages."""
    plain = text.compare_text(left, right, how, "html")
    if plain.rules is not None or max(len(left), len(right)) > _READ:
        return plain
    try:
        pages = text.text_of(left), text.text_of(right)
    except UnicodeDecodeError:
        return plain
    ours, theirs = (_without_style(page) for page in pages)
    if all("dataframe" in page for page in pages):
        used = text.same_text(ours, theirs, "html", how)
        if used is not None:
            return Outcome(rules=("table style", *used))
    detail = _tables_differ(*pages, how)
    return Outcome(before=plain.before, after=plain.after, detail=detail or plain.detail)


def _without_style(page: str) -> str:
    page = _PANDAS_TABLE.sub("<table>", _PANDAS_STYLE.sub("", page))
    return _BETWEEN_TAGS.sub("", page).strip() if "<pre" not in page else page


def _tables_differ(left: str, right: str, how: How) -> str:
    """Return how the tables of two pages differ; "" when they have none, or not as many."""
    ours, theirs = _tables(left), _tables(right)
    if len(ours) != len(theirs):
        return ""
    told = []
    for one, other in zip(ours, theirs, strict=True):
        found = changes(one, other, how)
        told += [] if found.none else [summary(one, other, found)]
    return "\n\n".join(told)


def _tables(page: str) -> list[Table]:
    """Return the tables of a page, those inside others apart; a cell that spans several columns is in each."""
    tables: list[list[list[str]]] = []
    span, cells, start = 0, 0, 0
    for match in _TAG.finditer(page):
        closing, tag, attributes = match[1], match[2].lower(), match[3]
        if span and tables and tables[-1]:  # the text before this tag is in a cell
            row, text = tables[-1][-1], unescape(page[start : match.start()]).strip()
            row[-span:] = [cell + text for cell in row[-span:]]
        start = match.end()
        if tag not in ("table", "tr", "td", "th"):
            continue
        span = 0
        if closing:
            continue
        if tag == "table":
            tables.append([])
        elif tag == "tr" and tables:
            tables[-1].append([])
        elif tables and tables[-1] and cells < _CELLS:
            span = _span(attributes)
            cells += span
            tables[-1][-1] += [""] * span
    return [table for rows in tables if (table := _as_table(rows)) is not None]


def _span(attributes: str) -> int:
    match = re.search(r"colspan=[\"']?(\d{1,3})", attributes)
    return max(int(match[1]), 1) if match else 1


def _as_table(rows: list[list[str]]) -> Table | None:
    width = max(map(len, rows), default=0)
    if len(rows) < 2 or not width:
        return None
    even = [row + [""] * (width - len(row)) for row in rows]
    heads = distinct([head or f"column {at + 1}" for at, head in enumerate(even[0])])
    labelled = not even[0][0]
    labels = [f"row {row[0]}" for row in even[1:]] if labelled else []
    return Table(dict(zip(heads, zip(*even[1:], strict=True), strict=True)), labels=labels)

"""The answer to "would this run replay?": yes, or each thing that prevents it, with what to do.

Also the one line at the start of a run and the one at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from reprokit.records import Gap, Run
from reprokit.views.page import page
from reprokit.views.plain import block, clip, count, hexes, indent, plain, seconds

__all__ = ["gap_lines", "replayable", "started_line", "status_html", "status_text", "stopped_line"]


def replayable(run: Run) -> bool:
    """Return whether nothing recorded so far prevents an exact replay."""
    return not _blocking(run)


def _blocking(run: Run) -> list[Gap]:
    return [gap for gap in run.gaps if gap.blocks]


def status_text(run: Run) -> str:
    """Return the answer for a run, the gaps with their remedies, and what was captured so far."""
    lines = [_answer(run), *indent(gap_lines(_blocking(run)))]
    others = [gap for gap in run.gaps if not gap.blocks]
    if others:
        lines += ["", "Good to know:", *indent(gap_lines(others))]
    return "\n".join([*lines, "", *(f"{label:<9} {text}" for label, text in _facts(run))])


def _answer(run: Run) -> str:
    """Return the headline; it never promises more than the capture tier can have seen."""
    blocking = _blocking(run)
    if blocking:
        things = "1 thing prevents" if len(blocking) == 1 else f"{len(blocking)} things prevent"
        return f"Would this run replay? Not exactly: {things} it."
    if not run.cells:
        return "Would this run replay? Nothing has run yet."
    if run.capture and not run.capture.complete:
        return "Would this run replay? Yes, as far as it could be observed."
    return "Would this run replay? Yes."


def gap_lines(gaps: Sequence[Gap]) -> list[str]:
    """Return each gap on a line, and under it what to do about it."""
    lines = []
    for gap in gaps:
        where = f"cell {gap.cell}: " if gap.cell is not None else ""
        lines.append(f"- {where}{plain(gap.message)}")
        lines += indent([f"→ {plain(gap.remedy)}"] if gap.remedy else [])
    return lines


def _facts(run: Run) -> list[tuple[str, str]]:
    name = f" ({plain(run.name)})" if run.name else ""
    facts = [("run", f"{plain(run.id)}{name}, {plain(run.status)}"), ("cells", _cells(run))]
    if run.cells:
        facts.append(("last cell", _last_cell(run)))
    facts += [("files", _files(run)), ("capture", capture_words(run))]
    if run.code:
        state = "with uncommitted changes" if run.code.dirty else "clean"
        facts.append(("code", f"{hexes(run.code.commit or run.code.snapshot)} ({state})"))
    if run.environment:
        packages = count(len(run.environment.distributions), "package")
        facts.append(("packages", f"Python {plain(run.environment.python)}, {packages}"))
    return facts


def capture_words(run: Run) -> str:
    """Return how files were observed, and why not better."""
    if run.capture is None:
        return "not known"
    why = "; ".join(plain(reason) for reason in run.capture.reasons)
    return plain(run.capture.tier) + (f" ({why})" if why else "")


def _cells(run: Run) -> str:
    failed = sum(cell.status == "failed" for cell in run.cells)
    return f"{len(run.cells):,}" + (f", {failed} failed" if failed else "")


def _last_cell(run: Run) -> str:
    cell = run.cells[-1]
    line = clip(next((line for line in block(cell.source) if line.strip()), "").strip(), 60)
    took = f", {seconds(cell.duration_s)}" if cell.duration_s is not None else ""
    return f"{cell.seq}: {line} ({plain(cell.status)}{took})"


def _files(run: Run) -> str:
    read = {use.path for cell in run.cells for use in cell.reads}
    written = {use.path for cell in run.cells for use in cell.writes}
    return f"{count(len(read), 'file')} read, {len(written):,} written"


def status_html(run: Run) -> str:
    """Return ``status_text`` as a self-contained piece of HTML."""
    tone = "good" if replayable(run) else "bad"
    parts = [f'<div class="rk-head rk-{tone}">{escape(_answer(run))}</div>']
    for title, gaps in (("", _blocking(run)), ("Good to know", [gap for gap in run.gaps if not gap.blocks])):
        parts += [f"<h4>{title}</h4>"] if title and gaps else []
        parts += [gaps_html(gaps)] if gaps else []
    rows = "".join(f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in _facts(run))
    return page([*parts, f"<table>{rows}</table>"])


def gaps_html(gaps: Sequence[Gap]) -> str:
    """Return gaps as a list, each with its remedy."""
    items = []
    for gap in gaps:
        where = f"cell {gap.cell}: " if gap.cell is not None else ""
        remedy = f'<div class="rk-dim">→ {escape(plain(gap.remedy))}</div>' if gap.remedy else ""
        items.append(f"<li>{escape(where + plain(gap.message))}{remedy}</li>")
    return f"<ul>{''.join(items)}</ul>"


def started_line(run: Run) -> str:
    """Return the one line that tells that a run began."""
    name = f" ({plain(run.name)})" if run.name else ""
    seed = f", seeded with {run.seed}" if run.seed is not None else ""
    return f"reprokit: capturing run {plain(run.id)}{name}{seed}"


def stopped_line(run: Run) -> str:
    """Return the one line that tells that a run ended and whether it can be replayed."""
    blocking = len(_blocking(run))
    end = f"`reprokit replay {plain(run.id)}` repeats it"
    if blocking:
        end = f"{count(blocking, 'thing')} would keep a replay from being exact (`%repro status`)"
    reason = f" ({plain(run.reason)})" if run.reason else ""
    return f"reprokit: {plain(run.status)}{reason}, {count(len(run.cells), 'cell')}, {_files(run)}; {end}"

"""The answer to "would this run replay?": yes, or each thing that prevents it, with what to do.

Also the one line at the start of a run and the one at its end.
"""

from __future__ import annotations

from html import escape

from reprokit.records import Run
from reprokit.views import gaps
from reprokit.views.page import page
from reprokit.views.plain import block, clip, count, hexes, indent, plain, seconds
from reprokit.views.used import remote_words, resource_words, resources_of

__all__ = ["capture_words", "config_words", "started_line", "status_html", "status_text", "stopped_line"]

_SHOWN = 12  # things under one heading; `reprokit show` has them all


def status_text(run: Run) -> str:
    """Return the answer for a run, the gaps with their remedies, and what was captured so far."""
    lines = [_answer(run)]
    for heading, told in gaps.sections(run):
        if told:
            lines += ["", f"{heading}:"] if heading else []
            lines += indent(gaps.lines(told, _SHOWN))
    return "\n".join([*lines, "", *(f"{label:<9} {text}" for label, text in _facts(run))])


def _answer(run: Run) -> str:
    return f"Would this run replay? {gaps.verdict_words(run)}"


def _facts(run: Run) -> list[tuple[str, str]]:
    name = f" ({plain(run.name)})" if run.name else ""
    facts = [("run", f"{plain(run.id)}{name}, {plain(run.status)}"), ("cells", _cells(run))]
    if run.cells:
        facts.append(("last cell", _last_cell(run)))
    facts += [("files", _files(run)), ("capture", capture_words(run))]
    facts += [("remote", words)] if (words := remote_words(run.cells)) else []
    if run.code:
        state = "with uncommitted changes" if run.code.dirty else "clean"
        facts.append(("code", f"{hexes(run.code.commit or run.code.snapshot)} ({state})"))
    if run.environment:
        packages = count(len(run.environment.distributions), "package")
        facts.append(("packages", f"Python {plain(run.environment.python)}, {packages}"))
    facts += [("config", words)] if (words := config_words(run)) else []
    facts += [("used", words)] if (words := resource_words(resources_of(run))) else []
    return facts


def capture_words(run: Run) -> str:
    """Return how files were observed, why not better, and what would be better."""
    if run.capture is None:
        return "not known"
    if run.capture.complete:
        return f"{plain(run.capture.tier)}: every file that this kernel and its children opened"
    why = "; ".join(plain(reason) for reason in run.capture.reasons)
    can = run.front == "kernel" and run.machine is not None and run.machine.system == "Linux"
    better = "; a kernel from `reprokit install` sees every file" if can and run.capture.tier != "complete" else ""
    return plain(run.capture.tier) + (f" ({why})" if why else "") + better


def config_words(run: Run) -> str:
    """Return how many values steer the run, and where they come from."""
    if run.config is None or not run.config.values:
        return ""
    sources = sorted(set(run.config.sources.values()))
    shown = ", ".join(plain(source) for source in sources[:4]) + (" …" if len(sources) > 4 else "")
    return f"{count(len(run.config.values), 'value')} from {shown}"


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
    tone = "bad" if gaps.preventing(run) else "warn" if gaps.as_it_is(run) else "good"
    parts = [f'<div class="rk-head rk-{tone}">{escape(_answer(run))}</div>']
    for heading, told in gaps.sections(run):
        parts += [f"<h4>{escape(heading)}</h4>"] if heading and told else []
        parts += [gaps.html(told)] if told else []
    rows = "".join(f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in _facts(run))
    return page([*parts, f"<table>{rows}</table>"])


def started_line(run: Run) -> str:
    """Return the one line that tells that a run began."""
    name = f" ({plain(run.name)})" if run.name else ""
    seed = f", seeded with {run.seed}" if run.seed is not None else ""
    return f"reprokit: capturing run {plain(run.id)}{name}{seed}"


def stopped_line(run: Run) -> str:
    """Return the one line that tells that a run ended and whether it can be replayed."""
    preventing = len(gaps.preventing(run))
    end = f"`reprokit replay {plain(run.id)}` repeats it"
    if preventing:
        end = f"{count(preventing, 'thing')} would keep a replay from being exact (`%repro status`)"
    reason = f" ({plain(run.reason)})" if run.reason else ""
    return f"reprokit: {plain(run.status)}{reason}, {count(len(run.cells), 'cell')}, {_files(run)}; {end}"

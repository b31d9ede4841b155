"""Runs as plain text for a terminal or a notebook: calm, aligned, nothing that blinks.

Whatever a run recorded is shown through ``plain``: no file name or output can move the cursor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reprokit.errors import UsageError
from reprokit.records import Cell, FileUse, Run
from reprokit.views import gaps
from reprokit.views.plain import block, clip, count, hexes, indent, plain, seconds, size, table, value, when
from reprokit.views.status import capture_words
from reprokit.views.used import remote_row, remote_words, resource_words, resources_of
from reprokit.views.verdict import verdict_headline, verdict_text

__all__ = ["runs_table", "show_run", "verdict_headline", "verdict_text"]


def runs_table(summaries: Sequence[Mapping[str, Any]], *, width: int = 120) -> str:
    """Return runs, in the order given, one line each.

    Args:
        summaries: the values of ``runs --json``.
        width: longest line, in characters.
    """
    if not summaries:
        return "No runs yet. `%repro start` in a notebook or `reprokit run NOTEBOOK` captures the first."
    heads = ("run", "name", "pinned as", "notebook", "status", "started", "cells", "metrics")
    rows = [run_row(entry) for entry in summaries]
    kept = [at for at, head in enumerate(heads) if head in ("run", "status") or any(row[at] for row in rows)]
    lines = [[heads[at] for at in kept], *([row[at] for at in kept] for row in rows)]
    right = [index for index, at in enumerate(kept) if heads[at] == "cells"]
    return "\n".join(clip(line, width) for line in table(lines, right=right))


def run_row(entry: Mapping[str, Any]) -> list[str]:
    """Return a summary as the words of one row."""
    name = entry.get("name") or _part_of(entry)
    notebook = str(entry.get("notebook") or "").rpartition("/")[2]
    metrics = "  ".join(f"{plain(key)}={value(item)}" for key, item in (entry.get("metrics") or {}).items())
    cells = entry.get("cells")
    return [
        plain(entry.get("id", "")),
        clip(plain(name), 34),
        clip(plain(entry.get("pin") or ""), 24),
        clip(plain(notebook), 30),
        _status_words(entry),
        when(entry.get("started"))[:16],
        "" if cells is None else f"{cells:,}",
        clip(metrics, 48),
    ]


def _part_of(entry: Mapping[str, Any]) -> str:
    """Return of what a run without a name is a part."""
    if entry.get("replay_of"):
        return f"replay of …{str(entry['replay_of'])[-8:]}"
    return f"point {entry['point']} of …{str(entry['sweep'])[-8:]}" if entry.get("sweep") else ""


def _status_words(entry: Mapping[str, Any]) -> str:
    reused = entry.get("reuse_of")
    resumed = ", resumed" if entry.get("resumed_from") else ""
    return f"reused …{plain(reused)[-8:]}" if reused else plain(entry.get("status") or "") + resumed


def show_run(run: Run, *, cell: int | None = None) -> str:
    """Return all there is to know about a run, or about one of its cells (a ``Cell.seq``).

    Raises:
        UsageError: the run has no such cell.
    """
    if cell is not None:
        return _show_cell(find_cell(run, cell))
    title = f"run {plain(run.id)}" + (f"  {plain(run.name)}" if run.name else "")
    lines = [title, *indent(table(run_facts(run)))]
    for heading, content in _sections(run):
        lines += ["", heading, *indent(content)] if content else []
    return "\n".join(lines)


def find_cell(run: Run, seq: int) -> Cell:
    """Return the run's cell with this number.

    Raises:
        UsageError: there is none.
    """
    for cell in run.cells:
        if cell.seq == seq:
            return cell
    known = f"its cells are 1 to {run.cells[-1].seq}" if run.cells else "no cell has run in it"
    raise UsageError(f"run {run.id} has no cell {seq}", remedy=known)


def run_facts(run: Run) -> list[list[str]]:
    """Return the labelled facts of a run's head."""
    took = seconds(run.ended - run.started) if run.ended else ""
    facts = {
        "status": plain(run.status) + (f": {plain(run.reason)}" if run.reason else ""),
        "reused": f"the results of run {plain(run.reuse_of)}, which are the same" if run.reuse_of else "",
        "resumed": _resumed_words(run),
        "sweep": f"point {run.point} of {plain(run.sweep)}" if run.sweep else "",
        "kind": f"replay of {plain(run.replay_of)}" if run.replay_of else plain(run.kind),
        "notebook": plain(run.notebook or run.script or ""),
        "started": when(run.started) + (f", took {took}" if took else ""),
        "folder": plain(run.cwd or run.root),
        "captured": capture_words(run),
        "replay": _replay_words(run),
        "came from": plain(run.origin) if run.origin else "",
        "pinned": f"as {plain(run.pin)}: `reprokit check` replays it" if run.pin else "",
        "used": resource_words(resources_of(run)),
        "remote": remote_words(run.cells),
        "seed": "" if run.seed is None else str(run.seed),
        **code_facts(run),
        **environment_facts(run),
    }
    return [[label, words] for label, words in facts.items() if words]


def _resumed_words(run: Run) -> str:
    restored = [cell.seq for cell in run.cells if cell.restored]
    if not restored:
        return ""
    return f"from run {plain(run.resumed_from or '')}, whose cells {restored[0]} to {restored[-1]} were not run again"


def _replay_words(run: Run) -> str:
    if gaps.preventing(run):
        return "would not be exact (see gaps)"
    files = sum(told.files for told in gaps.as_it_is(run))
    if not files:
        return "would be exact"
    stay = "stays as it is" if files == 1 else "stay as they are"
    return f"would be exact as long as {count(files, 'file')} {stay} (see gaps)"


def code_facts(run: Run) -> dict[str, str]:
    """Return where the run's code can be had again."""
    if run.code is None:
        return {}
    branch = f" on {plain(run.code.branch)}" if run.code.branch else ""
    changes = " with uncommitted changes" if run.code.dirty else ""
    commit = f"{hexes(run.code.commit)}{branch}{changes}" if run.code.commit else "not committed"
    return {"code": f"{commit}, kept as {hexes(run.code.snapshot)}"}


def environment_facts(run: Run) -> dict[str, str]:
    """Return what the run ran on."""
    facts = {}
    if run.environment:
        packages = count(len(run.environment.distributions), "package")
        facts["python"] = f"{plain(run.environment.python)} with {packages}"
    if run.machine:
        machine = run.machine
        facts["machine"] = plain(f"{machine.system} {machine.architecture}, {count(machine.cores, 'core')}")
        facts["hash seed"] = plain(machine.hash_seed)
    return facts


def _sections(run: Run) -> list[tuple[str, list[str]]]:
    reads, writes = used_files(run, "reads"), used_files(run, "writes")
    return [
        ("parameters", named(run.params)),
        ("metrics", named({metric.key: metric.value for metric in run.metrics})),
        ("tags", named(run.tags)),
        ("notes", [plain(note) for note in run.notes]),
        ("assumptions", assumption_lines(run)),
        ("data read", table([file_row(use) for use in reads], right=[1])),
        ("data written", table([file_row(use) for use in writes], right=[1])),
        ("artifacts", table([file_row(use) for use in run.artifacts], right=[1])),
        ("cells", table([cell_row(cell) for cell in run.cells], right=[0, 2])),
        ("data from elsewhere", table(remote_rows(run.cells), right=[2])),
        ("configuration", table(config_rows(run))),
        ("gaps", gaps.lines(gaps.still_open(run))),
        ("secured", gaps.lines(gaps.secured(run))),
    ]


def remote_rows(cells: Sequence[Cell]) -> list[list[str]]:
    """Return what came from and went to other machines, each once, with its cells."""
    uses = {use: None for cell in cells for use in cell.remote}
    return [remote_row(use) for use in uses]


def config_rows(run: Run) -> list[list[str]]:
    """Return each key with its value and where that came from."""
    if run.config is None:
        return []
    sources = run.config.sources
    return [[plain(key), clip(value(item), 60), plain(sources.get(key, ""))] for key, item in run.config.values.items()]


def named(values: Mapping[str, Any]) -> list[str]:
    """Return keys and values as aligned lines."""
    return table([[plain(key), value(item)] for key, item in values.items()])


def assumption_lines(run: Run) -> list[str]:
    """Return each assumption with whether it held."""
    words = {True: "holds", False: "does not hold", None: "stated"}
    return [f"{plain(assumption.text)} ({words[assumption.holds]})" for assumption in run.assumptions]


def used_files(run: Run, access: str) -> list[FileUse]:
    """Return the run's ``reads`` or ``writes``, each content of a path once, by path."""
    uses = {(use.path, use.digest): use for cell in run.cells for use in getattr(cell, access)}
    return sorted(uses.values(), key=lambda use: use.path)


_KEPT = {"git": "kept in git", "dvc": "kept by DVC", "lfs": "kept by git-lfs", "object": "kept", "none": "not kept"}


def file_row(use: FileUse) -> list[str]:
    """Return path, size, digest, and where the contents are kept."""
    kept = _KEPT.get(use.stored, plain(use.stored))
    state = "" if use.state == "stable" else f", {plain(use.state)}"
    files = f" ({count(use.files, 'file')})" if use.files else ""
    return [plain(use.path) + files, size(use.size), hexes(use.digest), kept + state]


def checkpoint_words(cell: Cell) -> str:
    """Return how large the state is that was kept after a cell, and how long that took."""
    kept = cell.checkpoint
    return "" if kept is None else f"{size(kept.size)}, kept in {seconds(kept.took_s)}"


def cell_row(cell: Cell) -> list[str]:
    """Return number, status, duration and the first line of the source."""
    line = next((line for line in block(cell.source) if line.strip()), "")
    status = plain(cell.status) if cell.observed else "before the run"
    status += ", restored" if cell.restored else ""
    return [str(cell.seq), status, seconds(cell.duration_s), clip(line.strip(), 70)]


def _show_cell(cell: Cell) -> str:
    took = f", {seconds(cell.duration_s)}" if cell.duration_s is not None else ""
    error = f": {plain(cell.error)}" if cell.error else ""
    lines = [
        f"cell {cell.seq} ({plain(cell.status)}{took}){error}",
        "",
        *indent(block(cell.source.strip("\n")), "    "),
    ]
    for heading, content in cell_sections(cell):
        lines += ["", heading, *indent(content)] if content else []
    return "\n".join(lines)


def cell_sections(cell: Cell) -> list[tuple[str, list[str]]]:
    """Return what a cell used, by heading."""
    states = [
        [f"{plain(name)} at {plain(state.at)}", hexes(digest), plain(state.of(name).partition(" ")[2])]
        for state in cell.random
        for name, digest in sorted(state.states.items())
    ]
    return [
        ("data read", table([file_row(use) for use in cell.reads], right=[1])),
        ("data written", table([file_row(use) for use in cell.writes], right=[1])),
        ("random generators", table(states)),
        ("data from elsewhere", table(remote_rows([cell]), right=[2])),
        ("used", [words] if (words := resource_words(cell.resources)) else []),
        ("checkpoint", [words] if (words := checkpoint_words(cell)) else []),
        ("hosts contacted", [plain(host) for host in cell.network]),
        ("typed in", [plain(answer) for answer in cell.answers]),
    ]

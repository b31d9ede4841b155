"""How two executions of one cell differ: source, status, files, data from elsewhere, outputs, generators."""

from __future__ import annotations

from collections.abc import Iterator

from reprokit.records import Cell, FileVerdict, Run
from reprokit.replay.fetched import compare_remote
from reprokit.replay.files import compare_files
from reprokit.replay.finding import Context, Finding, Pair, brief, changed, states_of, told
from reprokit.replay.outputs import compare_outputs
from reprokit.replay.typed.shown import clip

__all__ = ["compare_cells"]


def compare_cells(
    pair: Pair, previous: Pair | None, b: Run, context: Context
) -> tuple[list[Finding], list[FileVerdict]]:
    left, right = pair
    if left is None or right is None:
        return [_unpaired(left, right, b)], []
    found = [] if left.source == right.source else [changed("source", "source", left.source, right.source)]
    if not (left.observed and right.observed):
        return found, []  # it ran before the run began: its source is all there is
    found += _status(left, right, context)
    reads, read_verdicts = compare_files(left.reads, right.reads, left.seq, context)
    writes, write_verdicts = compare_files(left.writes, right.writes, left.seq, context)
    remote = compare_remote(left.remote, right.remote)
    found += [*reads, *remote, *compare_outputs(left, right, context), *writes]
    found += _random(left, right, previous)
    return found, [*read_verdicts, *write_verdicts]


def _unpaired(left: Cell | None, right: Cell | None, b: Run) -> Finding:
    cell = left or right
    line = clip((cell.source.strip().splitlines() or [""])[0]) if cell else ""
    if left:
        return told("missing", "cell", line, b.reason or "not run")
    return told("extra", "cell", "not run", line)


def _status(left: Cell, right: Cell, context: Context) -> Iterator[Finding]:
    before, after = left.error or "", right.error or ""
    if left.status != right.status:
        yield told("status", "status", _ending(left), _ending(right))
    elif before != after:
        used = context.same_text(before, after)
        yield (
            Finding(diverges=False, rules=used)
            if used
            else changed("status", "error", *context.essence(before, after, "text"))
        )


def _ending(cell: Cell) -> str:
    return f"{cell.status} ({clip(cell.error)})" if cell.error else cell.status


def _random(left: Cell, right: Cell, previous: Pair | None) -> Iterator[Finding]:
    """Tell where generators part: told, but alone no divergence, for nothing need have used them."""
    ours, theirs = states_of(left), states_of(right)
    last = (states_of(previous[0]), states_of(previous[1])) if previous else ({}, {})
    for key in sorted(ours.keys() & theirs.keys()):
        at, generator = key
        if ours[key] == theirs[key]:
            continue
        end, start = ("end", generator), ("start", generator)
        # A difference that only lasts since an earlier point is not told again.
        carried = last[0].get(end) != last[1].get(end) if at == "start" else ours.get(start) != theirs.get(start)
        if not carried:
            before, after = brief(ours[key]), brief(theirs[key])
            yield told("random", f"{generator} at {at}", before, after, diverges=False)

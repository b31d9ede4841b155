"""How two runs differ: one pure function serves replay, diff, check and explain.

Cells are paired in order and each pair is compared aspect by aspect (``cells``). A pair that diverged only because
an earlier one had is told as its consequence (``consequences``); each that is an origin is given its most likely
cause (``causes``). Knows runs, and how to read an object through the function it is given; knows nothing of
stores, workspaces or how the verdict is shown. What makes unequal contents equivalent is in ``typed``.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from reprokit.records import Cell, CellVerdict, FileVerdict, Run, Verdict
from reprokit.replay.causes import Scene, cause_of, divergence, origin_of
from reprokit.replay.cells import compare_cells
from reprokit.replay.comparison import Comparison
from reprokit.replay.consequences import origins
from reprokit.replay.finding import Context, Finding, Pair, Read
from reprokit.replay.lineage import Sources
from reprokit.replay.typed.outcome import How
from reprokit.replay.whole import WHOLE_RUN, compare_environments, compare_whole

__all__ = ["compare"]

_TYPED = Comparison()


def compare(
    a: Run, b: Run, read: Read, comparison: Comparison = _TYPED, *, code: Sequence[str] | None = None
) -> Verdict:
    """Return how ``b`` compares with ``a``, the first cell that diverged, and the most likely cause.

    Args:
        a: the run.
        b: its replay, or another run.
        read: returns the bytes of an object by its digest; may raise ``StoreError``.
        comparison: how strict to be; by type, with numbers that must be equal, unless told.
        code: the project's files that differ in the two snapshots; None when that was not looked up.

    Returns:
        A verdict. What it lists under cell 0 belongs to the run as a whole.

    >>> run = Run(id="20260503-140211-abcd2345", cells=(Cell(seq=1, source="1 + 1", status="done"),))
    >>> compare(run, run, lambda digest: b"").verdict
    'identical'
    """
    how = How(comparison=comparison, here=_places(a), there=_places(b))
    context = Context(read=read, how=how)
    pairs = _align(a.cells, b.cells)
    findings, files = _all_findings(a, b, pairs, context)
    environment = compare_environments(a.environment, b.environment)
    found = _Found(a, b, pairs, findings, environment, None if code is None else tuple(code))
    cells = [_verdict(index, found) for index in sorted(findings)]
    verdict = Verdict(
        verdict=_worst(cell.verdict for cell in cells),
        run=a.id,
        replay=b.id,
        cells=tuple(cells),
        files=tuple(files),
        environment=environment,
        rules=tuple(sorted({rule for cell in cells for rule in cell.rules})),
    )
    first = next((index for index in sorted(findings) if found.diverged(index)), None)
    return verdict if first is None else dataclasses.replace(verdict, first_divergence=divergence(found.scene(first)))


class _Found:
    """All that was found, by position in ``pairs``; the position after the last is the run as a whole."""

    def __init__(
        self,
        a: Run,
        b: Run,
        pairs: Sequence[Pair],
        findings: dict[int, list[Finding]],
        environment: tuple[str, ...],
        code: tuple[str, ...] | None,
    ) -> None:
        self.pairs, self.findings = pairs, findings
        self._runs, self._environment, self._code = (a, b), environment, code
        self._scenes: dict[int, Scene] = {}
        self._sources: Sources | None = None  # made when something has diverged
        self.origins = origins(pairs, findings, lambda index: origin_of(self.scene(index)))

    def diverged(self, index: int) -> bool:
        """Return whether anything at a position diverged."""
        return any(finding.diverges for finding in self.findings[index])

    def scene(self, index: int) -> Scene:
        """Return what the cause of a divergence is looked for in."""
        if index not in self._scenes:
            a, b = self._runs
            if self._sources is None:
                self._sources = Sources([cell for left, right in self.pairs if (cell := left or right)])
            self._scenes[index] = Scene(
                a=a,
                b=b,
                pairs=self.pairs[: index + 1],
                findings=self.findings[index],
                environment=self._environment,
                cell=_number(self.pairs, index),
                code=self._code,
                sources=self._sources,
            )
        return self._scenes[index]


def _all_findings(
    a: Run, b: Run, pairs: Sequence[Pair], context: Context
) -> tuple[dict[int, list[Finding]], list[FileVerdict]]:
    findings: dict[int, list[Finding]] = {}
    files: list[FileVerdict] = []
    for index, pair in enumerate(pairs):
        findings[index], used = compare_cells(pair, pairs[index - 1] if index else None, b, context)
        files += used
    position = {left.seq: index for index, (left, _) in enumerate(pairs) if left}
    whole, artifacts = compare_whole(a, b, context)
    for cell, finding in whole:
        findings.setdefault(position.get(cell, len(pairs)), []).append(finding)
    return findings, files + artifacts


def _places(run: Run) -> dict[str, str]:
    places = {"workspace": run.root}
    if run.cwd and run.cwd != run.root:
        places["cwd"] = run.cwd
    if run.environment:
        places["environment"] = run.environment.prefix
    return places


def _number(pairs: Sequence[Pair], index: int) -> int:
    if index == len(pairs):
        return WHOLE_RUN
    cell = pairs[index][0] or pairs[index][1]
    return cell.seq if cell else WHOLE_RUN


def _align(ours: Sequence[Cell], theirs: Sequence[Cell]) -> list[Pair]:
    """Pair cells k-th with k-th when their sources agree (a replay); else align them by source."""
    sources = [cell.source for cell in ours], [cell.source for cell in theirs]
    if all(left == right for left, right in zip(*sources, strict=False)):
        return list(zip_longest(ours, theirs))
    pairs: list[Pair] = []
    matcher = difflib.SequenceMatcher(None, *sources, autojunk=False)
    for _, i, i_end, j, j_end in matcher.get_opcodes():
        pairs += zip_longest(ours[i:i_end], theirs[j:j_end])
    return pairs


def _verdict(index: int, found: _Found) -> CellVerdict:
    findings = found.findings[index]
    used = sorted({rule for finding in findings for rule in finding.rules})
    diverged, origin = found.diverged(index), found.origins.get(index)
    return CellVerdict(
        cell=_number(found.pairs, index),
        verdict="diverged" if diverged else "equivalent" if used else "identical",
        rules=tuple(used),
        differences=tuple(finding.difference for finding in findings if finding.difference),
        cause=cause_of(found.scene(index)) if diverged and origin is None else None,
        consequence_of=None if origin is None else _number(found.pairs, origin),
    )


def _worst(verdicts: Iterable[str]) -> str:
    found = set(verdicts)
    return next((verdict for verdict in ("diverged", "equivalent") if verdict in found), "identical")

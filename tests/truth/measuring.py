"""Runs all cells once for the truth and once for each tier, and judges."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ground import Truth, contents, run_traced
from kernel_runs import TIERS, Place, Recorded, make_place, run_recorded
from known_cells import KnownCell
from score import Score, judge

__all__ = ["Measured", "measure"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The cells, what they did, and how well each tier saw it."""

    cells: Sequence[KnownCell]
    truths: Sequence[Truth]
    scores: dict[str, Score]


def measure(folder: Path, cells: Sequence[KnownCell], tiers: Sequence[str] = tuple(TIERS)) -> Measured:
    """Run the cells in places of their own below ``folder``, some kernels at a time."""
    template = make_place(folder / "template")
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        truths = pool.submit(run_traced, template.copy(folder / "truth" / "place"), cells)
        # Each in a folder of its own: what the others do next to it is not its doing.
        roots = {tier: folder / tier / "place" for tier in tiers}
        runs = {tier: pool.submit(_run_tier, template, roots[tier], cells, tier) for tier in tiers}
        happened = truths.result()
        scores = {}
        for tier, run in runs.items():
            recorded = run.result()
            scores[tier] = judge(cells, happened, recorded, roots[tier], contents(roots[tier]))
    return Measured(cells, happened, scores)


def _run_tier(template: Place, root: Path, cells: Sequence[KnownCell], tier: str) -> Recorded:
    return run_recorded(template.copy(root), cells, *TIERS[tier])

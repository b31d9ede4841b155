"""All planted differences, and how many the tool tells right: ``python planted_table.py [WORDS…] [--out FILE]``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cases_chance import HASH_ORDER, NONDETERMINISM, RANDOMNESS, TIME
from cases_files import CODE, CONFIG, DATA
from cases_more import CONTROLS, TWO, UNTOLD
from cases_world import ELSEWHERE, ENVIRONMENT, HARDWARE, HIDDEN_STATE, NETWORK, PARALLELISM
from planting import Case, plant

__all__ = ["CASES", "Row", "named", "rows", "text"]

CASES: tuple[Case, ...] = (
    *CODE, *DATA, *ENVIRONMENT, *CONFIG, *RANDOMNESS, *TIME, *NETWORK, *PARALLELISM, *HASH_ORDER, *HARDWARE,
    *HIDDEN_STATE, *NONDETERMINISM, *ELSEWHERE, *TWO, *UNTOLD, *CONTROLS,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case, what the verdict and the explanation said, and what of it is wrong."""

    name: str
    cause: str | None
    cell: int | None
    verdict: str
    explained: str
    misses: tuple[str, ...]
    seconds: float

    @property
    def is_right(self) -> bool:
        return not self.misses


def named(name: str) -> Case:
    """Return the case of this name."""
    return next(case for case in CASES if case.name == name)


def rows(cases: Iterable[Case], workers: int = 2, *, explained: bool = True) -> list[Row]:
    """Plant each case in a process of its own."""
    cases = list(cases)
    with multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=8) as pool:
        found = []
        for row in pool.imap_unordered(_row, [(case.name, explained) for case in cases], chunksize=1):
            print(("right" if row.is_right else "WRONG"), row.name, row.verdict, row.explained, *row.misses, flush=True)
            found.append(row)
    return sorted(found, key=lambda row: [case.name for case in cases].index(row.name))


def _row(asked: tuple[str, bool]) -> Row:
    name, explained = asked
    case, began = named(name), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="planted-"))
    verdict = reason = ""
    try:
        outcome = plant(case, folder, explained=explained)
        first, told = outcome.verdict.first_divergence, outcome.explanation
        verdict = f"{first.cause} at {first.cell}" if first else outcome.verdict.verdict
        reason = f"{told.cause} at {told.cell}, {told.how or 'no experiment'}" if told else ""
        misses = tuple(outcome.misses(case))
    except Exception:
        misses = (traceback.format_exc(limit=-3),)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Row(
        name=case.name,
        cause=case.cause,
        cell=case.cell,
        verdict=verdict,
        explained=reason,
        misses=misses,
        seconds=time.monotonic() - began,
    )


def text(found: Sequence[Row]) -> str:
    """Return the table: each case, then cause by cause what was found."""
    lines = ["| planted | right | verdict | explain | s |", "|---|---|---|---|---|"]
    for row in found:
        right = f"{row.cause} at {row.cell}" if row.cause else "identical"
        wrong = "" if row.is_right else f" **{'; '.join(row.misses).strip()}**"
        lines.append(f"| {row.name} | {right} | {row.verdict}{wrong} | {row.explained} | {row.seconds:.0f} |")
    planted = [row for row in found if row.cause]
    controls = [row for row in found if not row.cause]
    told = sum(row.is_right for row in planted)
    blamed = [row.name for row in controls if not row.is_right]
    lines += ["", f"right: {told} of {len(planted)}; controls blamed: {len(blamed)} of {len(controls)}", ""]
    return "\n".join([*lines, *_matrix(planted)]) + "\n"


def _matrix(planted: Sequence[Row]) -> list[str]:
    """Return cause × what the verdict said."""
    said = Counter((row.cause, row.verdict.partition(" at ")[0]) for row in planted)
    causes = sorted({cause for cause, _ in said if cause})
    columns = sorted({found for _, found in said})
    lines = [f"| planted \\ verdict | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for cause in causes:
        lines.append(f"| {cause} | {' | '.join(str(said[cause, found] or '') for found in columns)} |")
    return lines


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--verdicts", action="store_true", help="make no experiments")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    os.environ["REPROKIT_CACHE"] = tempfile.mkdtemp(prefix="planted-")  # so that environments are built once
    chosen = [case for case in CASES if not asked.words or any(word in case.name for word in asked.words)]
    told = text(rows(chosen, asked.workers, explained=not asked.verdicts))
    shutil.rmtree(os.environ["REPROKIT_CACHE"], ignore_errors=True)
    print(told)
    if asked.out is not None:
        asked.out.write_text(told)


if __name__ == "__main__":
    _main()

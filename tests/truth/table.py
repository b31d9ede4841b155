"""Shows how much of what each library reads and writes is captured, by tier, against strace.

    python tests/truth/table.py [--tier NAME]… [FILE.md]

With a file the table goes there; what was missed, or recorded wrongly, is always printed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from kernel_runs import TIERS
from known_cells import missing, possible
from measuring import Measured, measure
from score import Count, Score

__all__ = ["table"]


def table(measured: Measured) -> str:
    """Return the result as Markdown."""
    scores = measured.scores
    uses = sum(len(truth.reads) + len(truth.writes) for truth in measured.truths)
    head = ["| library | uses |", "|---|---:|"]
    for tier in scores:
        head[0] += f" {tier}: reads | writes | precision | digests |"
        head[1] += "---:|---:|---:|---:|"
    libraries = next(iter(scores.values())).libraries
    rows = [_row(library, [score.libraries[library] for score in scores.values()]) for library in libraries]
    total = _row("**all**", [score.total for score in scores.values()])
    lines = [
        f"{len(measured.cells)} cells, {uses} uses of files by strace; the share of them that the record names "
        "(reads, writes), the share of what it names that happened (precision), and the share of digests that are "
        "of the very bytes that were used.",
        "",
        *head,
        *rows,
        total,
        "",
        *(f"- {tier}: {_said(score)}" for tier, score in scores.items()),
    ]
    if missing():
        lines.append(f"- not installed here, so left out: {', '.join(missing())}")
    return "\n".join(lines) + "\n"


def _row(library: str, counts: list[Count]) -> str:
    cells = [library, str(sum(counts[0].true.values()))]
    for count in counts:
        shares = (count.recall("read"), count.recall("write"), count.precision(), count.digests())
        cells += ["" if share is None else f"{share:.1%}".replace("100.0", "100") for share in shares]
    return f"| {' | '.join(cells)} |"


def _said(score: Score) -> str:
    said = score.said
    reasons = f" ({'; '.join(said.reasons)})" if said.reasons else ""
    return f"the record calls itself {said.tier}, {'complete' if said.complete else 'not complete'}{reasons}"


def main() -> None:
    """Run the cells and show the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="where to write the table")
    parser.add_argument("--tier", action="append", choices=list(TIERS), help="only this tier")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder).resolve(), possible(), given.tier or list(TIERS))
    for tier, score in measured.scores.items():
        print(f"{tier}:", *score.faults, sep="\n  ")
    if given.file is None:
        print(table(measured))
    else:
        given.file.write_text(table(measured), "utf-8")


if __name__ == "__main__":
    main()

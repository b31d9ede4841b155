"""Measures what the design promises, each thing beside its peer, and prints one table.

    python benchmarks/run.py [NAME…] [--repeats N] [--quick]

Without names everything is measured (about a quarter of an hour); see README.md for how to read it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence

from measure import Options, Row

NAMES = (
    "cell",
    "start",
    "notebook",
    "replay",
    "environments",
    "peers",
    "pipeline",
    "hashing",
    "snapshot",
    "memory",
    "store",
    "sweep",
)
_HEADINGS: tuple[str, ...] = ("what", "measured", "bar", "", "compared")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 when a bar was missed or a benchmark failed."""
    parser = argparse.ArgumentParser(description="Measure what reprokit promises, beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(NAMES)} (all)")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each whole process (5)")
    parser.add_argument("--quick", action="store_true", help="small data: to see that a benchmark works")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    print(_machine(), flush=True)
    options = Options(repeats=chosen.repeats, quick=chosen.quick)
    rows = [row for name in chosen.names or NAMES for row in _measure(name, options)]
    print("\n" + "\n".join(_table(rows)) + "\n\n" + _machine())
    return int(any(row.met is False for row in rows))


def _measure(name: str, options: Options) -> list[Row]:
    """Run one benchmark; one that fails is a row that says so, and keeps the others from nothing."""
    print(f"  {name} …", end="", file=sys.stderr, flush=True)
    began = time.monotonic()
    rows: list[Row] = []
    try:
        rows.extend(importlib.import_module(name).rows(options))
    except Exception as error:
        print(f" failed: {error}", end="", file=sys.stderr)
        line = str(error).partition("\n")[0]
        rows.append(Row(what=name, measured="failed", met=False, peers=f"{type(error).__name__}: {line}"))
    print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return rows


def _machine() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    now = time.strftime("%Y-%m-%d %H:%M")
    return f"{now}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}"


def _table(rows: Iterable[Row]) -> list[str]:
    """Return a table that reads well as text and is Markdown, so that it can go into README.md."""
    lines = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return [f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines]


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    return row.what, row.measured, row.bar, verdict, row.peers


if __name__ == "__main__":
    sys.exit(main())

"""``%load_ext reprokit`` and ``%repro start`` in a fresh kernel, until the prompt is back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from measure import Kernel, Options, Row, at_most, median, project, run, told, workspace

_BAR_MS = 150
_STEPS = {"%load_ext": "%load_ext reprokit", "%repro start": "%repro start", "the cell after": "x = 1"}


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    repeats = max(options.repeats, 3)
    with workspace() as folder:
        run([sys.executable, "-c", "import reprokit.magics"], folder)
        for count in (10, 1000 if options.quick else 10_000):
            root = project(folder / f"files-{count}", count)
            _edit(root)
            what = f"start in a project of {count:,} files"
            first = _fresh_kernel(root)
            yield Row(
                what=f"{what}, first time",
                measured=f"{1000 * (first['%load_ext'] + first['%repro start']):.0f} ms",
                peers=told({name: [taken] for name, taken in first.items()}, "ms"),
            )
            times = [_fresh_kernel(root) for _ in range(repeats)]
            total = 1000 * median([one["%load_ext"] + one["%repro start"] for one in times])
            parts = {name: [one[name] for one in times] for name in times[0]}
            yield at_most(what, total, _BAR_MS, "ms", told(parts, "ms"))


def _edit(root: Path) -> None:
    """Make the tree dirty, as it is while somebody works."""
    for path in sorted(root.glob("package_*/*.py"))[:5]:
        path.write_text("changed = True\n")
    (root / "new.py").write_text("new = True\n")


def _fresh_kernel(root: Path) -> dict[str, float]:
    with Kernel(root) as kernel:
        kernel.cell("pass")  # the very first cell of a kernel is slow for everybody
        times = {"an empty cell": kernel.cell("pass")}
        return times | {name: kernel.cell(source) for name, source in _STEPS.items()}

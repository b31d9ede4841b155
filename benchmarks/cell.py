"""What capture costs a cell that touches no file: the round trip from a front end to a real kernel and back.

Three kernels side by side: without reprokit, with the extension loaded and no run, with a run open. Cells
are sent in blocks, one after another as in "run all", to each kernel in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from measure import Kernel, Options, Row, at_most, median, p99, project, told, workspace

_CELLS = 1000
_BAR_MS = 0.5
_BLOCK = 10  # cells sent to one kernel before it is the next one's turn
_IMPORTS = "import random\nimport numpy as np\nimport pandas as pd"
_SOURCES = {"x = 1": "x = 1", "x = random draws": "x = random.random() + np.random.rand()"}
_KERNELS = {
    "bare": (),
    "loaded": ("%load_ext reprokit",),
    "run open": ("%load_ext reprokit", "%repro start"),
}


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    count = 100 if options.quick else _CELLS
    with workspace() as folder, ExitStack() as stack:
        kernels = {}
        for name, cells in _KERNELS.items():
            kernels[name] = stack.enter_context(Kernel(project(folder / name.replace(" ", "-"))))
            for source in (*cells, _IMPORTS, *["x = 1"] * 20):
                kernels[name].cell(source)
        for what, source in _SOURCES.items():
            yield from _compare(what, source, kernels, count)


def _compare(what: str, source: str, kernels: dict[str, Kernel], count: int) -> Iterator[Row]:
    times: dict[str, list[float]] = {name: [] for name in kernels}
    used = {name: -kernel.cpu() for name, kernel in kernels.items()}
    for number in range(count // _BLOCK):
        for name in list(kernels)[:: 1 if number % 2 == 0 else -1]:
            times[name] += [kernels[name].cell(source) for _ in range(_BLOCK)]
    cpu = {name: (used[name] + kernel.cpu()) / len(times[name]) for name, kernel in kernels.items()}
    middle = {name: median(values) for name, values in times.items()}
    late = {name: p99(values) for name, values in times.items()}
    for name in ("loaded", "run open"):
        extra = 1000 * (middle[name] - middle["bare"])
        yield at_most(f"cell `{what}`, {name}, median", extra, _BAR_MS, "ms", told(times, "ms"))
        for kind, values in (("p99", late), ("CPU, all threads", cpu)):
            yield Row(
                what=f"cell `{what}`, {name}, {kind}",
                measured=f"{1000 * (values[name] - values['bare']):.2f} ms",
                peers=", ".join(f"{key} {1000 * value:.2f} ms" for key, value in values.items()),
            )

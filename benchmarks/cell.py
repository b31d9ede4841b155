"""What capture costs a cell that touches no file, in a real kernel.

Three kernels side by side: without reprokit, with the extension loaded and no run, with a run open. Cells
are sent in blocks, one after another as in "run all", to each kernel in turn. Two clocks: the round trip
from a front end and back, and, less noisy, the time the kernel spends around the user's code: in IPython's
events and in sending messages, where all of capture that a user waits for takes place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from measure import Kernel, Options, Row, at_most, median, p99, project, told, workspace

_CELLS = 1000
_BAR_MS = 0.5
_BLOCK = 10  # cells sent to one kernel before it is the next one's turn
_IMPORTS = "import random\nimport numpy as np\nimport pandas as pd"
_SOURCES = {"x = 1": "x = 1", "x = random draws": "x = random.random() + np.random.rand()"}
_BUSY = {  # no bar: what is captured here is more than a look
    "reads 1 file": "x = open('data/0.txt').read()",
    "reads 100 files": "x = [open(f'data/{n}.txt').read() for n in range(100)]",
    "shows a DataFrame": "table",
}
_PREPARED = """
import os
os.makedirs("data", exist_ok=True)
for n in range(100):
    with open(f"data/{n}.txt", "w") as file:
        file.write(str(n))
table = pd.DataFrame({"a": range(100), "b": np.arange(100) / 7})
"""
_KERNELS = {
    "bare": (),
    "loaded": ("%load_ext reprokit",),
    "run open": ("%load_ext reprokit", "%repro start"),
}
_STOPWATCH = """
def _stopwatch(shell):
    import time

    spent = [0]

    def timed(function):
        def call(*args, **kwargs):
            if args[:1] == ("pre_run_cell",):
                spent.append(0)
            began = time.perf_counter_ns()
            try:
                return function(*args, **kwargs)
            finally:
                spent[-1] += time.perf_counter_ns() - began

        return call

    shell.events.trigger = timed(shell.events.trigger)
    shell.kernel.session.send = timed(shell.kernel.session.send)
    return spent


_spent = _stopwatch(get_ipython())
"""


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    count = 100 if options.quick else _CELLS
    with workspace() as folder, ExitStack() as stack:
        kernels = {}
        for name, cells in _KERNELS.items():
            kernels[name] = stack.enter_context(Kernel(project(folder / name.replace(" ", "-"))))
            for source in (*cells, _IMPORTS, _PREPARED, _STOPWATCH, *["x = 1"] * 20):
                kernels[name].cell(source)
        for what, source in _SOURCES.items():
            yield from _compare(what, source, kernels, count, _BAR_MS)
        for what, source in _BUSY.items():
            yield from _compare(what, source, kernels, count // 5, None)


def _compare(what: str, source: str, kernels: Mapping[str, Kernel], count: int, bar: float | None) -> Iterator[Row]:
    trips: dict[str, list[float]] = {name: [] for name in kernels}
    used = {name: -kernel.cpu() for name, kernel in kernels.items()}
    for number in range(count // _BLOCK):
        for name in list(kernels)[:: 1 if number % 2 == 0 else -1]:
            trips[name] += [kernels[name].cell(source) for _ in range(_BLOCK)]
    cpu = {name: [(used[name] + kernel.cpu()) / len(trips[name])] for name, kernel in kernels.items()}
    inside = {
        name: [spent / 1e9 for spent in kernel.value(f"_spent[-{count + 1}:-1]")] for name, kernel in kernels.items()
    }
    for name in ("loaded", "run open"):
        for where, times in (("in the kernel", inside), ("round trip", trips)):
            extra = 1000 * (median(times[name]) - median(times["bare"]))
            yield _row(f"cell `{what}`, {name}, {where}", extra, bar, told(times, "ms"))
            yield _extra(f"cell `{what}`, {name}, {where}, p99", name, times)
        yield _extra(f"cell `{what}`, {name}, CPU of all threads", name, cpu)


def _row(what: str, extra: float, bar: float | None, peers: str) -> Row:
    if bar is None:
        return Row(what=what, measured=f"{extra:.2f} ms", peers=peers)
    return at_most(what, extra, bar, "ms", peers)


def _extra(what: str, name: str, times: Mapping[str, Sequence[float]]) -> Row:
    """Return a row without a bar: how much more the slowest in a hundred takes, or what there is of one."""
    late = {key: 1000 * p99(values) for key, values in times.items()}
    peers = ", ".join(f"{key} {value:.2f} ms" for key, value in late.items())
    return Row(what=what, measured=f"{late[name] - late['bare']:.2f} ms", peers=peers)

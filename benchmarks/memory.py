"""What capture keeps in memory over a long session: two kernels side by side, without a run and with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from measure import Kernel, Options, Row, at_most, project, workspace

_CELLS, _FILES = 3_000, 20_000
_BAR_MB = 64
_KERNELS = {"bare": (), "run open": ("%load_ext reprokit", "%repro start")}
_IMPORTS = "import random\nimport numpy as np\nimport pandas as pd"
_LONG = {
    "cells that draw and print": ("print(random.random(), np.random.rand())", _CELLS),
    "cells that print 100 kB": ("print('x' * 100_000)", _CELLS // 3),
    "cells that write 100 files": (
        "import os\nfolder = f'out/{random.random()}'\nos.makedirs(folder)\n"
        "for n in range(100):\n    with open(f'{folder}/{n}', 'w') as file:\n        file.write(str(n))",
        _FILES // 100,
    ),
}


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    with workspace() as folder, ExitStack() as stack:
        kernels = {}
        for name, cells in _KERNELS.items():
            kernels[name] = stack.enter_context(Kernel(project(folder / name.replace(" ", "-"))))
            for source in (*cells, _IMPORTS):
                kernels[name].cell(source)
        for what, (source, count) in _LONG.items():
            count = count // 10 if options.quick else count
            grown = {name: _growth(kernel, source, count) for name, kernel in kernels.items()}
            shown = ", ".join(f"{name} {value:.1f} MB" for name, value in grown.items())
            extra = grown["run open"] - grown["bare"]
            yield at_most(f"memory, {count:,} {what}", extra, _BAR_MB, "MB", shown)


def _growth(kernel: Kernel, source: str, count: int) -> float:
    """Return by how many MB the kernel's resident memory grows over ``count`` cells, after some to warm up."""
    for _ in range(20):
        kernel.cell(source)
    before = kernel.memory()
    for _ in range(count):
        kernel.cell(source)
    return (kernel.memory() - before) / 1e6

"""What a checkpoint costs: time and size against plain pickling of the same variables, and what going on costs.

Each size is one notebook: a cell makes the variables, a checkpoint is kept, the next cell fails; the mended notebook is
resumed. Plain pickling is ``pickle.dump`` to a file with fsync, in a process of its own, of the same variables.

    python benchmarks/checkpoints.py [MB ...]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from reprokit.store.store import Store

ARRAYS = "import numpy as np\ndata = [np.random.default_rng(1).random({count}) for _ in range(10)]"
FRAME = (
    "import numpy as np, pandas as pd\n"
    "n = {count} * 10 // 5\n"
    "frame = pd.DataFrame({{f'c{{i}}': np.random.default_rng(i).random(n) for i in range(4)}})\n"
    "frame['key'] = [f'k{{i % 997}}' for i in range(n)]"
)
KINDS = {"arrays": ARRAYS, "table": FRAME}
FAILS, MENDED = "raise ValueError", "1"

PLAIN = """
import os, pickle, sys, time
{make}
values = {{name: value for name, value in dict(globals()).items() if name in ("data", "frame", "n")}}
began = time.perf_counter()
with open(sys.argv[1], "wb") as file:
    pickle.dump(values, file, protocol=5)
    file.flush()
    os.fsync(file.fileno())
print(time.perf_counter() - began, os.path.getsize(sys.argv[1]))
"""


def main(sizes: list[int]) -> None:
    """Print one line for each kind and size."""
    print(f"{'what':<8}{'MB':>7}{'kept in':>10}{'size':>11}{'pickle':>10}{'size':>11}{'resume':>10}{'from start':>12}")
    for kind, make in KINDS.items():
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                row = measured(Path(folder), make.format(count=size * 10**6 // 80))
            print(
                f"{kind:<8}{size:>7}{row['kept_s']:>9.2f}s{row['kept'] / 1e6:>9.1f}MB{row['plain_s']:>9.2f}s"
                f"{row['plain'] / 1e6:>9.1f}MB{row['resume_s']:>9.2f}s{row['start_s']:>11.2f}s",
                flush=True,
            )


def measured(folder: Path, make: str) -> dict[str, float]:
    """Return the figures of one notebook."""
    (folder / "pyproject.toml").write_text('[tool.reprokit]\nlock = "never"\n')
    write(folder, make, FAILS)
    reprokit(folder, "run", "work.ipynb", "--checkpoint=0")
    store = Store.open(folder)
    failed = store.load(store.resolve("latest"))
    kept = failed.cells[0].checkpoint
    if kept is None:
        raise SystemExit(f"no checkpoint was kept: {[gap.message for gap in failed.gaps]}")
    write(folder, make, MENDED)
    resume_s = timed(folder, "resume", failed.id)
    if store.load(store.resolve("latest")).resumed_from != failed.id:
        raise SystemExit("it began anew")
    start_s = timed(folder, "run", "work.ipynb")
    script = PLAIN.format(make=make)
    done = subprocess.run([sys.executable, "-c", script, str(folder / "plain")], capture_output=True, check=True)
    plain_s, plain = done.stdout.split()
    return {
        "kept_s": kept.took_s,
        "kept": kept.size,
        "plain_s": float(plain_s),
        "plain": int(plain),
        "resume_s": resume_s,
        "start_s": start_s,
    }


def write(folder: Path, *sources: str) -> None:
    """Write the notebook."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "work.ipynb")


def timed(folder: Path, *arguments: str) -> float:
    """Return the seconds that a command takes."""
    began = time.perf_counter()
    done = reprokit(folder, *arguments)
    if done.returncode != 0:
        raise SystemExit(json.dumps(done.stderr))
    return time.perf_counter() - began


def reprokit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, "-m", "reprokit", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [10, 100, 1000])

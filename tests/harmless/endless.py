"""A kernel that is given cells without end; tells how much memory it came to hold, and what each cell took.

    python endless.py PROJECT plain|watched CELLS FILES MEGABYTES

CELLS cells that do little, then FILES files written and read a hundred to a cell, then MEGABYTES of output, one
to a cell. One line of JSON: the resident bytes that came with each, the seconds of every cell (of this thread, so
that they do not hang on what else the machine does) and the bytes of the journal.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path

from ipykernel.inprocess.manager import InProcessKernelManager

LITTLE = (
    "x = {n}",
    "x + 1",
    "print('cell', {n})",
    "import random; value = random.random()",
    "def f{n}(): return {n}\nf{n}()",
    "1/0",
)
FILES = """
import os
os.makedirs("many/{n}", exist_ok=True)
for k in range(100):
    with open(f"many/{n}/{{k}}.txt", "w") as file: file.write(f"{n} {{k}}")
for k in range(100):
    with open(f"many/{n}/{{k}}.txt") as file: file.read()
"""
OUTPUT = "print('x' * 1_000_000)"


def resident() -> int:
    """Return the bytes of memory this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Kernel:
    """A kernel in this very process."""

    def __init__(self) -> None:
        manager = InProcessKernelManager()
        manager.start_kernel()
        self.shell = manager.kernel.shell
        self.shell.cache_size = 0  # results are the user's to keep
        self.shell.history_manager.enabled = False
        self.client = manager.client()
        self.client.start_channels()

    def run(self, code: str) -> float:
        """Execute a cell and return how many seconds of this thread that took."""
        began = time.thread_time()
        self.client.execute(code, store_history=True)
        took = time.thread_time() - began
        self.client.get_shell_msg(timeout=60)
        while self.client.iopub_channel.msg_ready():
            self.client.get_iopub_msg(timeout=60)
        return took


def main() -> None:
    """Run the cells and print what came of it."""
    project, mode, cells, files, megabytes = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    os.chdir(project)
    kernel = Kernel()
    for verb in ("%load_ext reprokit", "%repro start endless") if mode == "watched" else ("pass", "pass"):
        kernel.run(verb)
    for number in range(50):  # what is made once, in both
        kernel.run(LITTLE[number % len(LITTLE)].format(n=number))
    kernel.run(FILES.format(n="first"))
    kernel.run(OUTPUT)
    before = resident()
    took = [kernel.run(LITTLE[number % len(LITTLE)].format(n=number)) for number in range(cells)]
    after_cells = resident()
    for number in range(files // 100):
        kernel.run(FILES.format(n=number))
    after_files = resident()
    for _ in range(megabytes):
        kernel.run(OUTPUT)
    if mode == "watched":
        # Until the background is done: not by `%repro status`, which reads all that was recorded.
        kernel.run("import reprokit; reprokit.current_run()._session.catch_up()")
    after = resident()
    if mode == "watched":
        kernel.run("%repro stop")
    told = {"cells": after_cells - before, "files": after_files - after_cells, "output": after - after_files}
    journal = sum(path.stat().st_size for path in Path(".reprokit").glob("runs/*/journal.jsonl"))
    print(json.dumps({**told, "all": after - before, "took": took, "journal": journal}))


if __name__ == "__main__":
    main()

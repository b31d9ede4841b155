"""The captured session of the demo: drives a real kernel as a data scientist would, cell by cell.

    python demo/session.py NOTEBOOK

The cells are the notebook's own; two are run again, and one is run out of order, as people do.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import start_new_kernel

START = "%load_ext reprokit\n%repro start yesterday"


def main(notebook: Path) -> None:
    cells = {c.id: c.source for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"}
    order = list(cells)
    order.insert(order.index("split"), "look")  # looked again: another random sample
    order.insert(order.index("fit") + 1, "cross-validation")  # and again: other random folds
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(notebook.parent), stderr=subprocess.DEVNULL)
    try:
        for source in (START, *(cells[name] for name in order), "%repro status", "%repro stop"):
            execute(client, source)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def execute(client: Any, source: str) -> None:
    """Run one cell, showing what reprokit says in it."""

    def show(message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "display_data" and "reprokit" in content["metadata"]:
            print(f"In: {source.splitlines()[-1]}\n{content['data']['text/plain']}")
        elif kind == "error":
            raise SystemExit("\n".join(content["traceback"]))

    client.execute_interactive(source, timeout=120, output_hook=show)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())

"""Notebooks that nobody here wrote, with capture and without: does any behave differently, and what does it cost?

    python benchmarks/public.py FOLDER… [--limit N] [--timeout S] [--json FILE]

Each folder is a checkout with notebooks in it; every notebook is executed three times in fresh kernels: plain,
plain again (what differs between these two is the notebook's own doing) and with a run open. Folders are copied
first, so nothing in them is changed. Exit code 1 when a notebook behaves differently.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from measure import environment, median
from nbclient import NotebookClient

_SIDES = ("plain", "plain again", "captured")
_START = ("%load_ext reprokit", "%repro start")  # in place of two cells that do nothing
# What no two processes have in common.
_PASSING = re.compile(
    r"0x[0-9a-f]{6,}|\d+(\.\d+)? ?(ns|[µμu]s|ms|s|min)\b|[\d,]+ loops?\b|/tmp/\S+"
    r"|\b\d{4}-\d\d-\d\d[ T][\d:.]+|ipykernel_\d+|\x1b\[[\d;]*m"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every notebook, print a line for each and a summary."""
    parser = argparse.ArgumentParser(description="Run public notebooks with capture and without.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, help="notebooks of each folder (all)")
    parser.add_argument("--timeout", type=int, default=120, help="seconds for one cell (120)")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    chosen = parser.parse_args(arguments)
    found = []
    with tempfile.TemporaryDirectory(prefix="reprokit-public-") as name:
        for folder in chosen.folders:
            for one in _folder(folder, Path(name) / folder.name, chosen.limit, chosen.timeout):
                print(_line(one), flush=True)
                found.append(one)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))
    print(_summary(found))
    return int(any(one["different"] for one in found))


def _folder(folder: Path, place: Path, limit: int | None, timeout: int) -> Iterator[dict[str, Any]]:
    for side in _SIDES:
        shutil.copytree(folder, place / side, symlinks=True, ignore=shutil.ignore_patterns(".reprokit"))
    names = sorted(
        path.relative_to(folder) for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in str(path)
    )
    for name in names[:limit]:
        yield _notebook(name, place, timeout)


def _notebook(name: Path, place: Path, timeout: int) -> dict[str, Any]:
    outputs, seconds = {}, {}
    for side in _SIDES:
        began = time.perf_counter()
        outputs[side] = _execute(place / side / name, side == "captured", timeout, str(place / side))
        seconds[side] = time.perf_counter() - began
    steady = [
        number for number, (a, b) in enumerate(zip(outputs["plain"], outputs["plain again"], strict=True)) if a == b
    ]
    different = [number for number in steady if outputs["captured"][number] != outputs["plain"][number]]
    return {
        "notebook": f"{place.name}/{name}",
        "cells": len(outputs["plain"]),
        "steady": len(steady),
        "different": [
            {"cell": number, "plain": outputs["plain"][number], "captured": outputs["captured"][number]}
            for number in different
        ],
        "ratio": seconds["captured"] / median([seconds["plain"], seconds["plain again"]]),
        "seconds": seconds,
        **_recorded(place / "captured" / name.parent),
    }


def _execute(path: Path, captured: bool, timeout: int, root: str) -> list[str]:
    """Return what each code cell displayed, as one comparable text."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("kernelspec", None)
    first = _START if captured else ("pass", "pass")
    notebook.cells[:0] = [nbformat.v4.new_code_cell(source) for source in first]
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    failed = ""
    try:
        client.execute(env=environment(MPLBACKEND="module://matplotlib_inline.backend_inline"))
    except Exception as error:  # a timeout or a dead kernel: the same on all sides, or a difference
        failed = type(error).__name__
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"][len(first) :]
    return [_text(cell, root) + failed * (cell is cells[-1]) for cell in cells]


def _text(cell: Any, root: str) -> str:
    parts: list[str] = []
    last = None  # the stream that is written to: how its text is cut is a matter of time
    for output in cell.outputs:
        stream, last = last, output.get("name")
        if output.output_type == "error":
            parts.append(f"{output.ename}: {output.evalue}")
        elif output.output_type == "stream" and output.name == stream:
            parts[-1] += output.text
        elif output.output_type == "stream":
            parts.append(f"{output.name}: {output.text}")
        else:
            parts += [
                f"{kind}: {data if kind.startswith('text') else len(str(data)) > 0}"
                for kind, data in sorted(output.data.items())
            ]
    return _PASSING.sub("…", "\n".join(parts).replace(root, "ROOT"))[:20_000]


def _recorded(folder: Path) -> dict[str, Any]:
    shown = subprocess.run(
        [sys.executable, "-m", "reprokit", "show", "latest", "--json"],
        cwd=folder,
        env={**os.environ, "REPROKIT_LOCK": "never"},
        capture_output=True,
        text=True,
        check=False,
    )
    if shown.returncode:
        return {"gaps": [{"message": f"no record: {shown.stderr.strip()}", "blocks": True}], "recorded": 0}
    run = json.loads(shown.stdout)
    return {"gaps": run["gaps"], "recorded": len(run["cells"])}


def _line(one: dict[str, Any]) -> str:
    gaps = sum(gap["blocks"] for gap in one["gaps"])
    differ = f"{len(one['different'])} DIFFERENT" if one["different"] else "same"
    counts = f"{one['cells']:>4} cells, {one['steady']:>4} steady"
    return f"{one['notebook']:<70} {counts}, {differ}, {one['ratio']:.2f} ×, {gaps} gaps"


def _summary(found: list[dict[str, Any]]) -> str:
    different = sum(bool(one["different"]) for one in found)
    clear = sum(not any(gap["blocks"] for gap in one["gaps"]) for one in found)
    return (
        f"\n{len(found)} notebooks, {sum(one['cells'] for one in found)} cells: {different} behave differently; "
        f"median {median([one['ratio'] for one in found]):.3f} × the time; {clear} without a gap that blocks"
    )


if __name__ == "__main__":
    sys.exit(main())

"""Notebooks that nobody here wrote, with capture and without: does any behave differently, and what does it cost?

    python benchmarks/public.py FOLDER… [--only GLOB] [--limit N] [--timeout S] [--longest S] [--results FILE]

Each folder is a checkout with notebooks in it. Every notebook is executed in fresh kernels, each time in a fresh
copy of its checkout at the same place: plain, with a run open, plain again, and once more plain where any two of
these differ. In what plain executions do not have in common, a captured one is not compared; a difference that
no two plain ones show is counted. Compared are what each cell displays or raises, and the files that are written.

A line is added to the results as soon as a notebook is done, and one that has its line is not run again, so this can
be ended and taken up. The table of all is printed at the end. Exit code 1 when a notebook behaves differently.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from checkouts import copied, has_code, notebooks
from displayed import VIEWS, Shown, closest, displayed, files, written
from measure import environment, workspace
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError
from public_differences import table
from wanting import foreign, lacking

_START = ("%load_ext reprokit", "%repro start")  # in place of two cells that do nothing
# The order of sets is the same in all: else two that agree by chance would make a third look changed.
_VARIABLES = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONHASHSEED": "0"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has no line yet, and print the table of all lines."""
    chosen = _arguments(arguments)
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    lines = chosen.results.read_text().splitlines() if chosen.results.exists() else []
    found = [json.loads(line) for line in lines]
    with workspace() as place, chosen.results.open("a") as results:
        for folder, name in _wanted(chosen, {one["notebook"] for one in found}):
            one = {"notebook": f"{folder.name}/{name}", **_Trial(folder, name, place, chosen).result()}
            results.write(json.dumps(one, ensure_ascii=False) + "\n")
            results.flush()
            print(f"{one['notebook']}: {one.get('why') or len(one['different'])}", flush=True)
            found.append(one)
    print(table(found))
    return int(any(one.get("different") for one in found))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run public notebooks with capture and without.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only", default="*", metavar="GLOB", help="notebooks whose path below the folder is like it")
    parser.add_argument("--limit", type=int, help="notebooks of each folder (all)")
    parser.add_argument("--timeout", type=int, default=60, help="seconds for one cell (60)")
    parser.add_argument("--longest", type=int, default=180, help="seconds for one execution of a notebook (180)")
    parser.add_argument("--results", type=Path, default=Path("build/public.jsonl"), help="one line a notebook")
    return parser.parse_args(arguments)


def _wanted(chosen: argparse.Namespace, done: set[str]) -> Iterator[tuple[Path, Path]]:
    for folder in chosen.folders:
        names = [
            name for name in notebooks(folder) if fnmatch.fnmatch(str(name), chosen.only) and has_code(folder / name)
        ]
        yield from ((folder, name) for name in names[: chosen.limit] if f"{folder.name}/{name}" not in done)


@dataclass(frozen=True, slots=True)
class _Done:
    """One execution: what each cell displayed, what was written, how it ended when not at the last cell."""

    cells: tuple[Shown, ...]
    files: dict[str, str]
    ended: str
    seconds: float
    cpu: float  # seconds that the kernel and what it started have used of a processor

    @property
    def errors(self) -> list[str]:
        """What the cells raised, each ``Name: message``."""
        raised = (part for cell in self.cells for part in cell if part[0].startswith("error "))
        return [f"{kind.removeprefix('error ')}: {text}" for kind, text in raised]


@dataclass(frozen=True, slots=True)
class _Trial:
    """One notebook, plain and with a run open."""

    folder: Path
    name: Path
    place: Path
    chosen: argparse.Namespace

    def result(self) -> dict[str, Any]:
        """Return what one line of the results says; ``why`` tells why it could not be run."""
        reason = foreign(self.folder / self.name)
        if reason:
            return {"why": reason}
        plain = [self._execute(captured=False)]
        reason = plain[0].ended or lacking(plain[0].errors, len(plain[0].cells))
        if reason:
            return {"why": reason}
        captured = self._execute(captured=True)
        recorded = self._recorded()
        plain.append(self._execute(captured=False))
        if any(
            (one.cells, one.files, one.ended) != (plain[0].cells, plain[0].files, "") for one in (captured, plain[1])
        ):
            plain.append(self._execute(captured=False))
        if any(one.ended for one in plain):  # then there is too little to compare
            return {"why": next(one.ended for one in plain if one.ended)}
        return {**_compared(plain, captured), **recorded, "raised": plain[0].errors}

    def _execute(self, captured: bool) -> _Done:
        project = copied(self.folder, self.place / self.folder.name)
        notebook = nbformat.read(project / self.name, as_version=4)
        notebook.metadata.pop("kernelspec", None)
        first = _START if captured else ("pass", "pass")
        notebook.cells[:0] = [nbformat.v4.new_code_cell(source) for source in first]
        before, used, began = files(project), _used(), time.perf_counter()
        ended = self._ended(notebook, (project / self.name).parent)
        taken, used = round(time.perf_counter() - began, 2), round(_used() - used, 2)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()][len(first) :]
        shown = tuple(displayed(cell.outputs, str(project)) for cell in cells)
        return _Done(shown, written(project, before), ended, taken, used)

    def _ended(self, notebook: Any, cwd: Path) -> str:
        """Execute all cells; return what ended it before the last."""
        end = time.monotonic() + self.chosen.longest
        client = NotebookClient(
            notebook,
            timeout_func=lambda cell: max(1, min(self.chosen.timeout, int(end - time.monotonic()))),
            kernel_name="python3",
            allow_errors=True,
            resources={"metadata": {"path": str(cwd)}},
        )
        try:
            client.execute(env=environment(**_VARIABLES))
        except CellTimeoutError:
            return "a cell took too long"
        except Exception as error:  # a kernel that died: the same on all sides, or a difference
            return f"ended by {type(error).__name__}"
        return ""

    def _recorded(self) -> dict[str, Any]:
        shown = subprocess.run(
            [sys.executable, "-m", "reprokit", "show", "latest", "--json"],
            cwd=(self.place / self.folder.name / self.name).parent,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if shown.returncode:
            return {"gaps": [{"message": f"no record: {shown.stderr.strip()}", "blocks": True}], "recorded": 0}
        run = json.loads(shown.stdout)
        return {"gaps": run["gaps"], "recorded": len(run["cells"]), "capture": run["capture"]}


def _compared(plain: Sequence[_Done], captured: _Done) -> dict[str, Any]:
    """Return what only the captured execution did, and what is not compared as plain ones differ in it."""
    views = [closest(cells) for cells in zip(*(one.cells for one in plain), strict=True)]
    different = [
        {"cell": number, "plain": [one.cells[number] for one in plain], "captured": captured.cells[number]}
        for number, name in enumerate(views)
        if VIEWS[name](captured.cells[number]) != VIEWS[name](plain[0].cells[number])
    ]
    if captured.ended:
        different.append({"ended": captured.ended})
    names = {name for one in (*plain, captured) for name in one.files}
    kept = [(name, [one.files.get(name, "not there") for one in plain]) for name in sorted(names)]
    different += [
        {"file": name, "plain": here, "captured": captured.files.get(name, "not there")}
        for name, here in kept
        if _differs(captured.files.get(name, "not there"), here)
    ]
    return {
        "cells": len(views),
        "apart": {str(number): name for number, name in enumerate(views) if name},
        "files": len(names),
        "files_apart": [name for name, here in kept if len(set(here)) > 1],
        "different": different,
        "seconds": {"plain": [one.seconds for one in plain], "captured": captured.seconds},
        "cpu": {"plain": [one.cpu for one in plain], "captured": captured.cpu},
    }


def _used() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def _differs(captured: str, plain: Sequence[str]) -> bool:
    """Return whether a file is otherwise with capture: its content, or whether it is there where that varies."""
    if len(set(plain)) == 1:
        return captured != plain[0]
    return "not there" not in plain and captured in {"not there", "removed"}


if __name__ == "__main__":
    sys.exit(main())

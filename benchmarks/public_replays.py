"""Notebooks that nobody here wrote, replayed: do they give the same, and do they when papermill just runs them twice?

    python benchmarks/public_replays.py FOLDER… [--only GLOB] [--limit N] [--timeout S] [--longest S] [--results FILE]

Each folder is a checkout with notebooks in it. Every notebook is captured by ``reprokit run`` in a copy of its
checkout and replayed from the record; then papermill runs it twice, each time in a fresh copy at the same place.
Both pairs are judged by the same comparison. One that needs a missing package or the network, or takes too long,
is counted and not replayed. A cell that raises does not end the notebook: the replay must raise the same.

A line is added to the results as soon as a notebook is done, and one that has its line is not run again, so this can
be ended and taken up. The table of all is printed at the end. Exit code 1 when reprokit failed at one.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from checkouts import copied, has_code, notebooks
from executed import differing, executed_run, judged
from measure import BIN, environment, workspace
from public_table import table
from wanting import foreign, lacking

_BACKEND = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what has no line yet, and print the table of all lines."""
    chosen = _arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with what was started ended, and the copies removed
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    lines = chosen.results.read_text().splitlines() if chosen.results.exists() else []
    found = [json.loads(line) for line in lines]
    with workspace() as place, chosen.results.open("a") as results:
        for folder, name in _wanted(chosen, {one["notebook"] for one in found}):
            one = {"notebook": f"{folder.name}/{name}", **_Trial(folder, name, place, chosen).result()}
            results.write(json.dumps(one, ensure_ascii=False) + "\n")
            results.flush()
            print(f"{one['notebook']}: {one['kind']}", flush=True)
            found.append(one)
    print(table(found))
    return int(any(one["kind"] == "broken" for one in found))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Replay public notebooks, and run them twice with papermill.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument(
        "--only", default="*", metavar="GLOB", help="notebooks whose path below the folder is like this"
    )
    parser.add_argument("--limit", type=int, help="notebooks of each folder (all)")
    parser.add_argument("--timeout", type=int, default=60, help="seconds for one cell (60)")
    parser.add_argument("--longest", type=int, default=180, help="seconds for one execution of a notebook (180)")
    parser.add_argument("--results", type=Path, default=Path("build/public_replays.jsonl"), help="one line a notebook")
    return parser.parse_args(arguments)


def _wanted(chosen: argparse.Namespace, done: set[str]) -> Iterator[tuple[Path, Path]]:
    for folder in chosen.folders:
        names = [
            name for name in notebooks(folder) if fnmatch.fnmatch(str(name), chosen.only) and has_code(folder / name)
        ]
        yield from ((folder, name) for name in names[: chosen.limit] if f"{folder.name}/{name}" not in done)


@dataclass(frozen=True, slots=True)
class _Done:
    """How a process ended; ``status`` is None when it was ended for taking too long."""

    status: int | None
    out: str
    err: str
    seconds: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """One notebook, by each way of running it."""

    folder: Path
    name: Path
    place: Path
    chosen: argparse.Namespace

    def result(self) -> dict[str, Any]:
        """Return what one line of the results says; ``kind`` is the verdict, or why there is none."""
        reason = foreign(self.folder / self.name)
        if reason:
            return {"kind": "skipped", "why": reason}
        project = self._project()
        words = ("--kernel", "python3", "--timeout", self.chosen.timeout, "--json")
        ran = self._reprokit(project, "run", self.name, *words)
        if ran.status not in (0, 1) or not ran.out.startswith("{"):
            return {"kind": "skipped" if ran.status is None else "broken", **_end("run", ran)}
        run = json.loads(ran.out)
        told = {"cells": len(run["cells"]), "raised": _raised(run), "gaps": run["gaps"], "run_s": ran.seconds}
        why = _lacks(run)
        if why:
            return {"kind": "skipped", "why": why, **told}
        replayed = self._reprokit(project, "replay", "latest", "--json", "--timeout", self.chosen.timeout)
        if replayed.status not in (0, 1, 2) or not replayed.out.startswith("{"):
            return {"kind": "broken", **_end("replay", replayed), **told}
        verdict = json.loads(replayed.out)
        return {**_verdict(verdict), "replay_s": replayed.seconds, **told, "papermill": self._papermill()}

    def _project(self) -> Path:
        """Make a fresh copy of the checkout, in which no cell of the notebook ends it by raising."""
        project = copied(self.folder, self.place / self.folder.name)
        notebook = nbformat.read(project / self.name, as_version=4)
        for cell in notebook.cells:
            cell.metadata["tags"] = sorted({*cell.metadata.get("tags", ()), "raises-exception"})
        nbformat.write(notebook, project / self.name)
        return project

    def _reprokit(self, project: Path, *words: object) -> _Done:
        cwd = (project / self.name).parent if words[0] == "run" else project
        named = [self.name.name if word is self.name else str(word) for word in words]
        return _process([str(BIN / "reprokit"), *named], cwd, self.chosen.longest)

    def _papermill(self) -> dict[str, Any]:
        """Return how two plain executions compare."""
        runs, objects, seconds = [], {}, []
        for number in (1, 2):
            project, output = self._project(), self.place / f"executed-{number}.ipynb"
            output.unlink(missing_ok=True)
            command = [str(BIN / "papermill"), self.name.name, str(output), "--kernel", "python3", "--no-progress-bar"]
            command += ["--execution-timeout", str(self.chosen.timeout)]
            done = _process(command, (project / self.name).parent, self.chosen.longest)
            if not output.exists() or done.status is None:
                return {"kind": "failed", **_end("papermill", done)}
            runs.append(executed_run(output, project, objects))
            seconds.append(done.seconds)
        return {"seconds": seconds, **judged(*runs, objects)}


def _process(command: Sequence[str], cwd: Path, longest: int) -> _Done:
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment(**_BACKEND),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=longest)
    except subprocess.TimeoutExpired:
        out, err = _ended(process)
        return _Done(None, out, err, round(time.monotonic() - began, 2))
    except BaseException:
        _ended(process)
        raise
    return _Done(process.returncode, out, err, round(time.monotonic() - began, 2))


def _ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """End a process and all that it started, and return what it said."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()


def _end(what: str, done: _Done) -> dict[str, Any]:
    if done.status is None:
        return {"why": f"{what} took longer than {done.seconds:.0f} s"}
    return {"why": f"{what} ended with status {done.status}", "said": (done.out + done.err)[-4000:]}


def _raised(run: dict[str, Any]) -> list[str]:
    return [f"{cell['seq']}: {cell['error']}" for cell in run["cells"] if cell.get("error")]


def _lacks(run: dict[str, Any]) -> str:
    """Return what the notebook would have needed, when for want of it much of it could not run."""
    if run["status"] == "interrupted" or any(cell["status"] == "interrupted" for cell in run["cells"]):
        return "a cell took too long"
    return lacking([str(cell["error"]) for cell in run["cells"] if cell.get("error")], len(run["cells"]))


def _verdict(verdict: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": verdict["verdict"],
        "first": verdict["first_divergence"],
        "not_identical": differing(verdict["cells"]),
        "rules": verdict["rules"],
        "why": "; ".join(verdict["reasons"]),
    }


if __name__ == "__main__":
    sys.exit(main())

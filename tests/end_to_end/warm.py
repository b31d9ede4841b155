"""Runs the command line in processes that need not import anything: each is forked from one that has.

    python warm.py

Reads requests from stdin, one JSON document a line, and answers each with a line: how the command ended, and what
it printed. Half a second of each command is spent on imports; hundreds of them are run here. What a command imports
lazily, and what reading the environment at import would do, this cannot show: `Bench.cold` starts a process anew.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_IMPORTED = (
    "dvc.repo",
    "papermill.execute",
    "reprokit.cli.check",
    "reprokit.cli.explain",
    "reprokit.cli.look",
    "reprokit.cli.replay",
    "reprokit.cli.run",
    "reprokit.notebook.engine",
    "reprokit.pipeline.export.source",
    "reprokit.replay.execute",
    "reprokit.store.store",
    "reprokit.views.verdict",
)


class Warm:
    """The process that has imported everything, and its children."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the command line and return how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([arguments, str(cwd), dict(environ)]), file=self._process.stdin, flush=True)
        code, out, err = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out, err)

    def end(self) -> None:
        """End it."""
        self._process.communicate()


def _serve(requests: IO[str], answers: IO[str]) -> None:
    for line in requests:
        arguments, cwd, environ = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            pid = os.fork()
            if pid == 0:
                _take_place(arguments, cwd, environ, out, err)
                runpy.run_module("reprokit", run_name="__main__", alter_sys=True)
                sys.exit()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            print(json.dumps([code, _said(out), _said(err)]), file=answers, flush=True)


def _take_place(arguments: list[str], cwd: str, environ: dict[str, str], out: IO[bytes], err: IO[bytes]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    tempfile.tempdir = None
    sys.argv, sys.path[0] = ["reprokit", *arguments], cwd
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)


def _said(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


if __name__ == "__main__":
    sys.path.remove(os.path.dirname(__file__))
    sys.path.insert(0, "")
    for name in _IMPORTED:
        importlib.import_module(name)
    _serve(os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w"))

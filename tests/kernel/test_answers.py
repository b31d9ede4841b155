"""Answers to ``input()`` are recorded; passwords never are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from kernels import Kernel, text

PASSWORD = "hunter2-is-a-secret"


def everything_in(folder: Path) -> bytes:
    """Return all bytes of all files."""
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_answers_are_recorded(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start asked")
    shown = kernel.run("name = input('who? ')\nage = input()\nprint(name, age)", answers=["Ada", "36"])
    assert "Ada 36" in text(shown)
    kernel.run("other = input('next? ')", answers=["ünï"])
    kernel.run("%repro stop")
    cells = [cell for cell in kernel.record("asked").cells if cell.answers]
    assert [cell.answers for cell in cells] == [("Ada", "36"), ("ünï",)]
    assert kernel.asked[-3:] == [("who? ", False), ("", False), ("next? ", False)]


def test_a_password_is_never_recorded(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start guarded")
    kernel.run("import getpass\nsecret = getpass.getpass('password: ')", answers=[PASSWORD])
    assert text(kernel.run("len(secret)")) == str(len(PASSWORD))
    kernel.run("%repro stop")
    run = kernel.record("guarded")
    (gap,) = [gap for gap in run.gaps if "password" in gap.message]
    assert gap.blocks
    assert gap.remedy
    assert all(not cell.answers for cell in run.cells)
    assert PASSWORD.encode() not in everything_in(kernel.project / ".reprokit")
    assert kernel.asked[-1] == ("password: ", True)


def test_a_front_end_that_cannot_ask(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start silent")
    (error,) = kernel.run("input('who? ')")
    assert error["ename"] == "StdinNotImplementedError"
    kernel.run("%repro stop")
    assert all(not cell.answers for cell in kernel.record("silent").cells)


def test_a_replay_answers_what_was_answered_and_asks_where_nobody_did(kernel: Kernel, environ: dict[str, str]) -> None:
    """The tracebacks are the same: nothing of ours stands where no answer is given."""
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start repeated")
    kernel.run("print(input('who? '), input())", answers=["Ada", "36"])
    kernel.run("input('who? ')")
    kernel.run("%repro stop")
    command = [sys.executable, "-m", "reprokit", "replay", "repeated", "--json"]
    done = subprocess.run(command, cwd=kernel.project, env=environ, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["verdict"] == "identical", done.stdout

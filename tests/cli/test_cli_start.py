"""How the command line starts: what it loads, what it says of itself, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from reprokit.cli import main

HEAVY = ("sqlalchemy", "papermill", "nbformat", "IPython", "rich", "yaml", "dvc", "jupyter_client", "asyncio")
COMMANDS = ("run", "runs", "show", "diff", "replay", "check", "pin", "tag", "doctor")


def python(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["replay", "--help"]])
def test_help_loads_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import sys, reprokit.cli; code = reprokit.cli.main(sys.argv[1:]);"
        f"print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    done = python("-c", code, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {command} " in shown for command in COMMANDS)


def test_no_arguments_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("Usage: reprokit")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_documents_json(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "-h"]) == 0
    assert "--json" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"reprokit {version('reprokit')}\n"


def test_as_a_module_the_exit_code_and_the_line_come_through(tmp_path: Path) -> None:
    done = python("-m", "reprokit", "show", "nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "reprokit: no run is called 'nothing': `reprokit runs` lists the runs of this project\n"


def test_debug_shows_the_traceback_and_the_same_line(tmp_path: Path) -> None:
    done = python("-m", "reprokit", "show", "nothing", cwd=tmp_path, REPROKIT_DEBUG="1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("reprokit: no run is called")


def test_looking_makes_no_store(tmp_path: Path) -> None:
    python("-m", "reprokit", "show", "nothing", cwd=tmp_path)
    python("-m", "reprokit", "doctor", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "reprokit", "doctor"],
            cwd=tmp_path,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_interrupt_is_one_line(tmp_path: Path) -> None:
    pipe = tmp_path / "params.yaml"  # nobody writes to it: the command waits there
    os.mkfifo(pipe)
    (tmp_path / "a.ipynb").write_text('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}')
    code = (  # a shell's background job starts with SIGINT ignored
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from reprokit.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "run", "a.ipynb", "-f", "params.yaml"]
    with (
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process,
        open(pipe, "wb"),  # returns when the command opens its end to read
    ):
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, b"reprokit: interrupted\n")

"""A Python of its own with the recorder in it, from its start or put in later, and what it noted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reprokit.capture.files import recorder

REPOSITORY = Path(__file__).resolve().parents[2]
MODES = ("preload", "patched")
FILES = (
    *("read", "read64", "readat", "readat64", "old", "cut", "fread", "fplus", "fappend", "again", "from1", "from2"),
    *("from3", "to1", "left", "right", "linked", "gone1", "gone2", "gone3", "short1", "short2"),
)

_BEFORE = """
import json, os, pathlib, subprocess, sys, threading
sys.path.insert(0, {repository!r})
from reprokit.capture.files import recorder as module
noise = ["/usr/", "/lib", "/etc/", "/proc/", "/sys/", "/dev/", "/run/", "/bin/", ".git", {repository!r} + "/"]
noise += [sys.prefix + "/", sys.base_prefix + "/", os.path.realpath(sys.prefix) + "/"]
recorder = module.Recorder.begin(pathlib.Path({folder!r}), noise, [".py", ".pyc", ".so"])
assert recorder is not None, module.why_not()
told = {{}}
def events():
    return [event for event in recorder.drain() if event.what != "exec"]
def seen():
    return [(event.what, os.path.relpath(event.path), event.existed) for event in events()]
"""
_AFTER = """
recorder.stop()
print("\\n" + json.dumps(told))
"""


@dataclass(frozen=True)
class Answer:
    """What a process printed, and what it told of itself."""

    text: str
    errors: str
    told: dict[str, Any]


def run_recorded(folder: Path, mode: str, code: str, *, python: str = sys.executable, **variables: str) -> Answer:
    """Run code that finds ``recorder`` switched on, ``events()`` and ``seen()``, and puts results into ``told``."""
    place = {"repository": str(REPOSITORY), "folder": str(folder / "kept")}
    source = _BEFORE.format(**place) + textwrap.dedent(code) + _AFTER
    environ = {**os.environ, **variables}
    if mode == "preload":
        environ |= recorder.carried(environ)
    command = [python, "-c", source]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    text, _, told = done.stdout.rstrip("\n").rpartition("\n")
    return Answer(text, done.stderr, json.loads(told))


def compiled(folder: Path) -> Path:
    """Return a C program that makes every call the recorder stands in front of."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    program = folder / "calls"
    subprocess.run([compiler, "-o", program, Path(__file__).with_name("calls.c")], check=True, capture_output=True)
    return program


def made_folder(place: Path) -> Path:
    """Return a folder with the files that the program and the tests use, each holding its own name."""
    work = place / "work"
    for name in ("folder", "empty"):
        (work / name).mkdir(parents=True)
    for name in FILES:
        (work / name).write_text(f"{name}\n")
    return work

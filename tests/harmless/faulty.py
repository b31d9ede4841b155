"""Runs sessions in which functions of the agent fail, each in a process of its own, and tells what came of it.

    python faulty.py PROJECT plain|record|each|turns|worlds

``plain`` runs the cells without reprokit, and with it when nothing fails; ``record`` tells which functions a
session calls, and how often.
``each`` reads lines of NAME EXCEPTION NTH: a session for each, in which that function raises at its NTH call
(0: at every call). ``turns`` reads lines of NAME EXCEPTION NTH …: a session for each, in which the functions
named take turns to fail, each for all cells once. ``worlds`` reads names of BEFORE and AFTER. A line of JSON for
each tells what the cells did, what was shown, and what the record says.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import gc
import importlib
import inspect
import io
import json
import os
import pkgutil
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import types
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path

import numpy  # noqa: F401  # so that importing it is not what a session takes its time for
from IPython.core.interactiveshell import InteractiveShell

import reprokit.capture
import reprokit.magics
from reprokit.store import journal, liveness, lock, objects
from reprokit.store.assemble import assemble

CELLS = (
    "import os, random, socket, subprocess, sys, threading\nrandom.seed(1)\nrandom.random()",
    "open('in.csv').read()",
    "open('out.txt', 'w').write('abc')\nprint('written')\n5",
    "1/0",
    "subprocess.run('cat in.csv > copy.txt', shell=True).returncode",
    "import numpy as np\nrng = np.random.default_rng(3)\n(rng.random(), np.random.default_rng().random() < 1)",
    "os.rename('copy.txt', 'moved.txt')\nos.remove('moved.txt')\nos.path.exists('copy.txt'), os.path.exists('out.txt')",
    "open('out.txt').read(), open('out.txt', 'a').write('more')",
    "(random.Random().random() < 1, random.random())",
    "t = threading.Thread(target=lambda: open('t.txt', 'w').write('x'))\nt.start()\nt.join()\nprint('joined')",
    "pid = os.fork()\nif pid == 0:\n    os._exit(3)\nos.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
    "socket.socket().connect_ex(('127.0.0.1', 9))",
    "input('who? ')",
    "open('helpers.py', 'w').write('VALUE = 1\\n# changed\\n')",
    "import helpers, colorsys\nhelpers.VALUE",
    "import yaml\nyaml.safe_load(open('conf.yaml'))",
    "raise KeyError('lost')",
    "def broken(:",
    "rng.random()",
)
EXCEPTIONS = {
    "OSError": lambda: OSError(28, "No space left on device (injected)"),
    "MemoryError": MemoryError,
    "RuntimeError": lambda: RuntimeError("injected"),
}
SECONDS = 240  # until a session that hangs is ended: on a busy machine one with many faults takes its time
_SIDE_BY_SIDE = os.cpu_count() or 1


def _limit(which: int, soft: int) -> None:
    resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))


def _without_threads() -> None:
    def start(self):
        raise RuntimeError("can't start new thread")

    original, threading.Thread.start = threading.Thread.start, start
    _undo.append(lambda: setattr(threading.Thread, "start", original))


def _blocked(path: str) -> None:
    """Put a file where a folder should be: not even root can write into it."""
    os.rename(path, f"{path}.gone")
    Path(path).write_text("in the way")


def _mounted(place: str, options: str) -> None:
    """Put a small or unwritable disk where a folder is, for this process and its children alone.

    It is gone with the last of them. Where this is not allowed, nothing is the matter with the machine.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    os.makedirs(place, exist_ok=True)
    if libc.unshare(_NEW_MOUNTS) == 0 and libc.mount(None, b"/", None, _PRIVATE, None) == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)


def _full(place: str) -> None:
    _mounted(place, "size=64k")
    with contextlib.suppress(OSError), open(f"{place}/filling", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _fill() -> None:
    with contextlib.suppress(OSError), open(".reprokit/filling", "wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


def _deleted() -> None:
    os.rename(".reprokit", "../deleted")  # at once: what is being written there would else keep a folder from going
    shutil.rmtree("../deleted", ignore_errors=True)


_NEW_MOUNTS, _PRIVATE = 0x00020000, 0x00044000  # CLONE_NEWNS; MS_REC | MS_PRIVATE
_undo: list = []
# What may be the matter with the machine: before the run is started, or once it is open.
BEFORE = {
    "no-threads": _without_threads,
    "few-descriptors": lambda: _limit(resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + 14),
    "store-is-a-file": lambda: Path(".reprokit").write_text("in the way"),
    "store-is-read-only": lambda: _mounted(".reprokit", "ro"),
    "store-is-full": lambda: _full(".reprokit"),
    "store-is-small": lambda: _mounted(".reprokit", "size=128k"),
    "store-fills-up": lambda: _mounted(".reprokit", "size=8m"),
    "no-shared-memory": lambda: _mounted("/dev/shm", "ro"),
    "shared-memory-is-full": lambda: _full("/dev/shm"),
    "home-is-a-file": lambda: os.environ.update(HOME=os.path.abspath("in.csv")),
    "home-is-unknown": lambda: os.environ.pop("HOME"),
}
AFTER = {
    "disk-full": lambda: _limit(resource.RLIMIT_FSIZE, 4000),
    "store-fills-up": _fill,
    "store-deleted": _deleted,
    "objects-blocked": lambda: _blocked(".reprokit/objects"),
    "descriptors-used-up": lambda: _limit(resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + 14),
}


class Gate:
    """Stands before a function: counts its calls, and makes it fail."""

    def __init__(self, function: types.FunctionType) -> None:
        self.calls = self.failures = 0
        self._function, self._code = function, function.__code__
        self._original = types.FunctionType(
            self._code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
        )
        self._original.__kwdefaults__ = function.__kwdefaults__
        self._fail = lambda call: None

    def close(self, fail=lambda call: None) -> None:
        """Let every call go through ``fail``, which returns what to raise or None."""
        self._fail = fail
        name = f"_gate_{id(self)}"
        self._function.__globals__[name] = self._enter
        cells = ", ".join(f"cell{number}" for number in range(len(self._code.co_freevars)))
        source = f"def make({cells}):\n def stub(*args, **kwargs):\n  {cells or 0}\n  return {name}(*args, **kwargs)"
        space = {}
        exec(source + "\n return stub", space)
        stub = next(one for one in space["make"].__code__.co_consts if inspect.iscode(one))
        self._function.__code__ = stub.replace(co_name=self._code.co_name)

    def open(self) -> None:
        """Leave the function as it was."""
        self._function.__code__ = self._code

    def _enter(self, *args, **kwargs):
        self.calls += 1
        error = self._fail(self.calls)
        if error is not None:
            self.failures += 1
            raise error
        return self._original(*args, **kwargs)


@cache
def functions() -> dict[str, types.FunctionType]:
    """Return every function and method of the agent that runs in a kernel, by its name."""
    names = [module.name for module in pkgutil.walk_packages(reprokit.capture.__path__, "reprokit.capture.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith(".launch")]
    found = {}
    for module in (*modules, journal, objects, liveness, lock):
        for owner, name, thing in _members(module):
            code = getattr(thing, "__code__", None)
            if code is not None and code.co_filename == module.__file__:
                found[f"{module.__name__.removeprefix('reprokit.')}:{owner}{name}"] = thing
    return found


def _members(module):
    for name, thing in vars(module).items():
        if inspect.isclass(thing) and thing.__module__ == module.__name__:
            for inner, member in vars(thing).items():
                for one in (getattr(member, "fget", None), getattr(member, "__func__", None), member):
                    yield f"{name}.", inner, inspect.unwrap(one) if callable(one) else one
        else:
            yield "", name, inspect.unwrap(thing) if callable(thing) else thing


@cache
def _unused() -> InteractiveShell:
    """Return a shell that is made once, before the first fork: each session has a copy of it."""
    shell = InteractiveShell()
    shell.history_manager.enabled = False
    return shell


def _shell(tracebacks="Plain"):  # all frames and no source: that would take half of the time of all these cells
    shell = _unused()
    shell.InteractiveTB.set_mode(tracebacks)
    return shell


def session(gates=(), start="%repro start faulty", world="", tracebacks="Plain") -> dict:
    """Run the cells in a new shell and return what they did."""
    shell = _shell(tracebacks)
    sys.stdin = io.StringIO("Ada\n")
    told = {"cells": [], "own": [], "verbs": []}
    told["verbs"].append(_run(shell, "%load_ext reprokit" if start else "pass", told))
    for gate, fail in gates:
        gate.close(fail)
    BEFORE.get(world, lambda: None)()
    told["verbs"].append(_run(shell, start or "pass", told))
    while _undo:
        _undo.pop()()
    AFTER.get(world, lambda: None)()
    begun = [gate.calls for gate, _ in gates]
    told["cells"] = [_run(shell, cell, told) for cell in CELLS]
    told["called"] = [gate.calls > calls for (gate, _), calls in zip(gates, begun, strict=True)]
    if start:
        told["verbs"].append(_run(shell, "%repro stop", told))
        told["threads"] = [one.name for one in threading.enumerate() if one.name.startswith("reprokit")]
    told["input"] = builtins.input.__name__
    for gate, _ in gates:
        gate.open()
    return told


def turns(orders) -> dict:
    """Run the cells once for each function, which fails meanwhile, all in one session."""
    shell = _shell()
    told = {"own": [], "verbs": [], "turns": {}, "failures": 0}
    for verb in ("%load_ext reprokit", "%repro start turns", "1"):
        told["verbs"].append(_run(shell, verb, told))
    known = functions()
    for name, exception, nth in orders:
        sys.stdin = io.StringIO("Ada\n")
        gate = Gate(known[name])
        gate.close(_failing(exception, nth))
        told["turns"][f"{name} {exception} {nth}"] = [_run(shell, cell, told) for cell in CELLS]
        gate.open()
        told["failures"] += gate.failures
    told["verbs"].append(_run(shell, "%repro stop", told))
    told["threads"] = [one.name for one in threading.enumerate() if one.name.startswith("reprokit")]
    told["input"] = builtins.input.__name__
    return told


def _failing(exception: str, nth: str):
    return lambda call: EXCEPTIONS[exception]() if int(nth) in (0, call) else None


def _run(shell, cell, told) -> list[str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        result = shell.run_cell(cell, store_history=True)
    lines = f"{out.getvalue()}{err.getvalue()}".splitlines()
    told["own"] += [line for line in lines if "reprokit" in line]
    error = result.error_before_exec or result.error_in_exec
    shown = [re.sub(r"Out\[\d+\]|-input-\d+-", "", line) for line in lines if "reprokit" not in line]
    return [repr(result.result), re.sub(r"-input-\d+-", "", repr(error)), "\n".join(shown)]


# What is not the same in two sessions in which nothing fails.
_PASSING = frozenset(
    {"id", "name", "started", "ended", "duration_s", "resources", "writers", "entropy", "gaps"}
    | {"positions"}  # what of a state cannot stand in the record is kept in its object
    | {"root", "cwd", "top", "repository", "ref", "snapshot", "argv", "hash_secret"}
)


def record(project: Path) -> dict:
    """Return what the journal of the only run says; ``kept`` is all of it that is the same whenever nothing fails."""
    journals = list(project.glob(".reprokit/runs/*/journal.jsonl"))
    if not journals:
        return {"runs": 0}
    patches, damage = journal.scan(journals[0])
    run = assemble("run", patches)
    return {
        "runs": len(journals),
        "damage": damage,
        "status": run.status,
        "cells": len(run.cells),
        "gaps": [gap.message for gap in run.gaps],
        "kept": _kept(run.to_dict()),
    }


def _kept(value):
    if isinstance(value, dict):
        kept = {key: _kept(inner) for key, inner in value.items() if key not in _PASSING}
        if "outputs" in kept:
            kept["outputs"] = bool(kept["outputs"])
        if "states" in kept:
            kept["states"] = sorted(kept["states"])
        return kept
    if isinstance(value, (list, tuple)):
        return sorted((_kept(inner) for inner in value), key=repr)
    return value


def in_child(project: Path, work) -> tuple[int, int]:
    """Run ``work`` in a copy of the project in a forked process; return its pid and where to read what it tells."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    os.close(read)
    told: dict = {}
    with contextlib.suppress(BaseException):
        signal.alarm(SECONDS)
        folder = Path(tempfile.mkdtemp(dir=project.parent)) / "project"
        shutil.copytree(project, folder)
        os.chdir(folder)
        sys.path.insert(0, "")
        try:
            told = work()
            told["record"] = record(folder)
        except BaseException as error:
            told = {"broken": f"{type(error).__name__}: {error}"}
        told["left"] = sorted(name for name in os.listdir(folder) if name.startswith((".reprokit-", "tmp")))
        shutil.rmtree(folder.parent, ignore_errors=True)
    with os.fdopen(write, "w") as out:
        out.write(json.dumps(told))
        out.flush()
    os._exit(0)


def result(child: tuple[int, int]) -> dict:
    """Wait for a child and return what it told."""
    pid, read = child
    with os.fdopen(read) as file:
        text = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return json.loads(text) if text else {"broken": f"ended with {status}"}


def recorded(project: Path) -> dict[str, int]:
    """Return how often a session calls each function, and which its cells call."""

    def count():
        gates = {name: Gate(function) for name, function in functions().items()}
        told = session([(gate, lambda call: None) for gate in gates.values()], tracebacks="Context")
        in_cells = [name for name, called in zip(gates, told["called"], strict=True) if called]
        calls = {name: gate.calls for name, gate in gates.items() if gate.calls}
        return {**told, "calls": calls, "in_cells": in_cells}

    return result(in_child(project, count))


def in_world(project: Path, name: str):
    """Start a session in a world where something is the matter; return its child."""
    return in_child(project, lambda: {**session(world=name), "failures": 0})


def in_turns(project: Path, *order: str):
    """Start a session in which one function after the other fails; return its child."""
    return in_child(project, lambda: turns(zip(order[::3], order[1::3], order[2::3], strict=True)))


def injected(project: Path, name: str, exception: str, nth: str):
    """Start a session in which one function fails; return its child."""

    def work():
        gate = Gate(functions()[name])
        told = session([(gate, _failing(exception, nth))])
        return {**told, "failures": gate.failures}

    return in_child(project, work)


def main() -> None:
    """Do what the command line asks for, and print what came of it."""
    project = Path(sys.argv[1])
    if sys.argv[2] == "plain":
        full = result(in_child(project, lambda: session(start="", tracebacks="Context")))
        sound = result(in_child(project, session))["record"]
        told = result(in_child(project, lambda: session(start="")))
        print(json.dumps({**told, "context": full["cells"], "sound": sound}))
    elif sys.argv[2] == "record":
        print(json.dumps(recorded(project)))
    else:
        begin = {"each": injected, "turns": in_turns, "worlds": in_world}[sys.argv[2]]
        waiting = [line.split() for line in sys.stdin]
        running = {}
        while waiting or running:
            while waiting and len(running) < _SIDE_BY_SIDE:
                order = waiting.pop(0)
                child = begin(project, *order)
                running[child[1]] = (order, child)
            for done in wait(list(running)):
                what, child = running.pop(done)
                print(json.dumps([what, result(child)]), flush=True)


if __name__ == "__main__":
    functions()  # every module is loaded before the first fork
    _unused()
    gc.freeze()  # or each fork's first collection copies all memory
    main()

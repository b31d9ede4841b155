"""Runs inside a kernel: what a user could find out about the process, as values that can be compared.

It is put into the kernel by a silent request, which is no cell, and asked between two cells. It takes what it
needs when it is loaded, so that a cell that replaces ``open`` or ``os.urandom`` does not change what is seen.
"""

from __future__ import annotations

import asyncio
import builtins
import collections
import decimal
import gc
import hashlib
import json
import locale
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import types
import warnings

_readlink, _listdir, _stat, _getcwd = os.readlink, os.listdir, os.stat, os.getcwd
_dumps, _digest, _open = json.dumps, hashlib.sha256, open
_getstate, _enumerate, _repr, _sorted, _type = random.getstate, threading.enumerate, repr, sorted, type
_environ, _getsignal, _Counter = os.environ, signal.getsignal, collections.Counter
_pid = os.getpid()

_HISTORY = ("In", "Out", "_ih", "_oh", "_dh", "_i", "_ii", "_iii")


def take(shell):
    """Return everything as JSON, with nothing of reprokit's under way in the background."""
    notebook = sys.modules.get("reprokit.capture.notebook")
    connected = None if notebook is None else notebook.of(shell)
    if connected is not None and connected.session is not None:
        connected.session.catch_up()
    return _dumps({name: look(shell) for name, look in LOOKS.items()})


def final(shell):
    """Return what is only looked at when the sheet is over."""
    del shell
    return _dumps({"child": _child(), "modules": _modules(), "git": _git()})


def _child():
    """Return the environment that a program started now is given."""
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _modules():
    return sorted(name for name in list(sys.modules) if name.partition(".")[0] != "reprokit")


def _git():
    """Return the repository as its user may see it: all but what is reachable from no name of theirs."""
    found = {}
    for command in ("status --porcelain", "stash list", "log --branches --tags --oneline"):
        found[command] = subprocess.run(["git", *command.split()], capture_output=True, text=True, check=True).stdout
    refs = subprocess.run(["git", "for-each-ref"], capture_output=True, text=True, check=True).stdout
    found["refs"] = [line for line in refs.splitlines() if "refs/reprokit/" not in line]
    for folder, folders, files in os.walk(".git"):
        folders[:] = [name for name in folders if name not in ("objects", "reprokit")]
        for name in files:
            path = os.path.join(folder, name)
            with _open(path, "rb") as file:
                content = file.read()
            # A reflog tells when something was done.
            found[path] = content.count(b"\n") if "logs" in path else _digest(content).hexdigest()[:16]
    # The index holds inodes and times, which differ between two clones: only that nobody wrote it can be seen.
    found[".git/index"] = None
    return found


def index():
    """Return the bytes of the index and when it was written."""
    with _open(".git/index", "rb") as file:
        return _digest(file.read()).hexdigest(), _stat(".git/index").st_mtime_ns


def _namespace(shell):
    found = {}
    for name, value in list(shell.user_ns.items()):
        if not isinstance(name, str) or name in _HISTORY or re.fullmatch(r"_i\d+|__builtins__|_[a-z]\w*", name):
            continue
        found[name] = [type.__getattribute__(_type(value), "__name__"), _shown(value)]
    return found


def _shown(value):
    if any(_type(value) is kind for kind in (types.FunctionType, type, types.ModuleType)):
        return ""
    try:
        text = _repr(value)
    except BaseException as error:
        return f"<{_type(error).__name__}>"
    return (
        text if len(text) < 500 else f"{text[:200]} {len(text)} {_digest(text.encode('utf8', 'replace')).hexdigest()}"
    )


def _randomness(shell):
    del shell
    found = {"random": _digest(_repr(_getstate()).encode()).hexdigest()}
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        state = numpy_random.get_state()
        found["numpy"] = _digest(state[1].tobytes() + _repr(state[2:]).encode()).hexdigest()
    return found


def _descriptors(shell):
    del shell
    found = []
    for number in _listdir("/proc/self/fd"):
        try:
            target = _readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if not target.endswith("/fd") and "/home/ipython" not in target and "eventfd" not in target:
            found.append(re.sub(r":\[\d+\]|\d{4,}", "", target))
    return dict(_Counter(found))


def _status(*names):
    with _open("/proc/self/status") as file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {name: lines.get(name) for name in names}


def _signals(shell):
    del shell
    handlers = {name.name: _name(_getsignal(name)) for name in signal.Signals}
    return {**handlers, **_status("SigBlk", "SigIgn", "SigCgt"), "timer": signal.getitimer(signal.ITIMER_REAL)[0] > 0}


def _name(thing):
    """Return what a callable or an object is called, without where it lies in memory."""
    name = getattr(thing, "__qualname__", None) or _type(thing).__qualname__
    return f"{getattr(thing, '__module__', None)}.{name}"


def _hooks(shell):
    return {
        "trace": _name(sys.gettrace()),
        "profile": _name(sys.getprofile()),
        "threads": [_name(threading.gettrace()), _name(threading.getprofile())],
        "excepthook": [_name(sys.excepthook), _name(threading.excepthook), _name(sys.unraisablehook)],
        "displayhook": [_name(sys.displayhook), _name(_type(shell.displayhook))],
        "breakpointhook": _name(sys.breakpointhook),
        "streams": [_name(_type(stream)) for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "builtins": {name: _name(value) for name, value in vars(builtins).items() if name != "_"},
        "imports": [[_name(finder) for finder in finders] for finders in (sys.meta_path, sys.path_hooks)],
        "asyncgen": [_name(hook) for hook in sys.get_asyncgen_hooks()],
        "gc": [_name(callback) for callback in gc.callbacks],
    }


def _settings(shell):
    return {
        "cwd": _getcwd(),
        "sys.path": list(sys.path),
        "argv": list(sys.argv),
        "recursion": sys.getrecursionlimit(),
        "switch": sys.getswitchinterval(),
        "gc": [gc.isenabled(), *gc.get_threshold(), len(gc.garbage), gc.get_debug()],
        "locale": locale.setlocale(locale.LC_ALL),
        "decimal": _repr(decimal.getcontext()),
        "process": _status("Umask", "Groups", "NoNewPrivs", "Seccomp", "CoreDumping"),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "logging": [_name(_type(handler)) for handler in logging.getLogger().handlers] + [logging.getLogger().level],
        "policy": _name(_type(asyncio.get_event_loop_policy())),
        "tasks": len([task for task in asyncio.all_tasks() if "execute" not in str(task.get_coro())]),
        "shell": [
            shell.execution_count,
            shell.colors,
            shell.showing_traceback if hasattr(shell, "showing_traceback") else 0,
        ],
        "formats": [shell.display_formatter.active_types, shell.display_formatter.ipython_display_formatter.enabled],
        "ast": [_name(one) for one in shell.ast_transformers],
        "transforms": [_name(one) for one in shell.input_transformers_post],
        "events": {name: [_name(one) for one in hooks] for name, hooks in shell.events.callbacks.items()},
        "history": [text for number, text in enumerate(shell.history_manager.input_hist_raw) if number not in (1, 2)],
        "last": [_name(getattr(sys, "last_type", None)), _repr(getattr(sys, "last_value", None))],
        "shm": _sorted(name for name in _listdir("/dev/shm") if str(_pid) in name),
    }


LOOKS = {
    "namespace": _namespace,
    "randomness": _randomness,
    "environ": lambda shell: dict(_environ),
    "descriptors": _descriptors,
    "signals": _signals,
    "warnings": lambda shell: [_repr(one) for one in warnings.filters] + [_name(warnings.showwarning)],
    "threads": lambda shell: _sorted(thread.name for thread in _enumerate()),
    "hooks": _hooks,
    "settings": _settings,
}

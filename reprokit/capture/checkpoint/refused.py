"""Which values a checkpoint cannot keep: what would come back as something else without a word, and why.

A generator or a connection cannot be written at all. An open file, a lock or a tensor on a GPU can, and would be
another one afterwards. Classes are looked at, never the user's code asked; libraries are found, never imported.
"""

from __future__ import annotations

import _thread
import functools
import io
import mmap
import socket
import subprocess
import threading
import types
from collections.abc import Callable
from typing import Any

__all__ = ["Looks", "Refused"]

_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((types.GeneratorType,), "a generator"),
    ((types.CoroutineType, types.AsyncGeneratorType), "a coroutine"),
    ((_thread.LockType, type(_thread.RLock())), "a lock"),
    ((threading.Thread,), "a thread"),
    ((socket.socket,), "a socket"),
    ((subprocess.Popen,), "a process"),
    ((mmap.mmap,), "a memory map"),
)

#: Classes of libraries, by the name of the module that defines them (or of a package around it) and their own.
_NAMED = {
    ("sqlite3", "Connection"): "a database connection",
    ("sqlite3", "Cursor"): "a database cursor",
    ("sqlalchemy", "Engine"): "a database engine",
    ("sqlalchemy", "Connection"): "a database connection",
    ("sqlalchemy", "Session"): "a database session",
    ("numpy", "memmap"): "an array in a file",
    ("h5py", "HLObject"): "an open file",
    ("ipywidgets", "Widget"): "a widget",
    ("comm", "BaseComm"): "a channel to the notebook",
    ("asyncio", "Future"): "a task",
    ("_asyncio", "Future"): "a task",
}
_FILE = io.IOBase.__mro__[1]  # of every file: those that are written in C do not inherit from `IOBase` itself
_DEVICES = ("torch", "Tensor"), ("cupy", "ndarray"), ("jax", "Array"), ("jaxlib", "ArrayImpl")

Look = Callable[[Any], None]


class Refused(Exception):
    """A value that cannot be kept; the text says what it is."""


class Looks(dict[type, "Look | None"]):
    """Class → what looks at its instances and raises ``Refused`` where one cannot be kept; None: all can."""

    def __missing__(self, kind: type) -> Look | None:
        self[kind] = look = _look_for(kind)
        return look


def _look_for(kind: type) -> Look | None:
    mro = type.mro(kind) if kind is not type else []
    for kinds, what in _KINDS:
        if any(one in mro for one in kinds):
            return _refuse(what)
    if functools._lru_cache_wrapper in mro:
        return _full_cache
    if _FILE in mro:
        return None if io.StringIO in mro or io.BytesIO in mro else _open_file
    for one in mro:
        top, _, _ = str(one.__module__).partition(".")
        if (top, one.__name__) in _NAMED:
            return _refuse(_NAMED[top, one.__name__])
        if (top, one.__name__) in _DEVICES:
            return _on_a_device
    return None


def _refuse(what: str) -> Look:
    def look(_: Any) -> None:
        raise Refused(what)

    return look


def _open_file(file: Any) -> None:
    if not file.closed:
        raise Refused("an open file")


def _full_cache(function: Any) -> None:
    """A cache that is filled cannot be read; an empty one in its place would call the function again."""
    if function.__module__ == "__main__" and function.cache_info().currsize:
        raise Refused("a function with a cache of results (`.cache_clear()` empties it)")


def _on_a_device(value: Any) -> None:
    device = value.device if hasattr(value, "device") else value.devices()
    if "cpu" not in str(getattr(device, "type", device)).lower():
        raise Refused(f"data on {device}")

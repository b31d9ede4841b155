"""The key that this process's string hashes follow from, and with it the order of its sets of strings.

Python draws it once at its start and never shows it; here it is read from the interpreter's memory.
A later process gets the same key through the native recorder, which answers when Python asks the
system for these bytes. With PYTHONHASHSEED set the key follows from that, and none of this is needed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

from reprokit.capture import preload
from reprokit.records import Gap

__all__ = ["SIZE", "VARIABLE", "current", "for_child", "gap", "is_random"]

VARIABLE = "REPROKIT_HASH_SECRET"
SIZE = 24  # bytes


def is_random() -> bool:
    """Return whether this process drew its key itself."""
    fixed = "random" if sys.flags.ignore_environment else os.environ.get("PYTHONHASHSEED") or "random"
    return bool(sys.flags.hash_randomization) and fixed == "random"


def current() -> str | None:
    """Return the key in hexadecimal; None when PYTHONHASHSEED fixes it, or it cannot be read."""
    if not is_random():
        return None
    try:
        return bytes((ctypes.c_ubyte * SIZE).in_dll(ctypes.pythonapi, "_Py_HashSecret")).hex()
    except (ValueError, AttributeError):  # not CPython
        return None


def for_child(secret: str | None) -> Mapping[str, str | None]:
    """Return the variables that give a new Python this key; none when this system cannot give it."""
    if secret is None or not preload.is_available():
        return {}
    return {"PYTHONHASHSEED": None, VARIABLE: secret}


def gap(recorded: str | None) -> Gap | None:
    """Return a gap when the order of sets of strings cannot be repeated or, in a replay, is not the recorded one.

    Args:
        recorded: in a replay of a run whose key is known, that key.
    """
    secret = current()
    known = secret == recorded if recorded is not None else not is_random() or bool(for_child(secret))
    return None if known else _UNKNOWN


_UNKNOWN = Gap(
    aspect="hash-order",
    message="the order of sets of strings is random in this process and cannot be repeated",
    remedy="start Jupyter with PYTHONHASHSEED=0 if results hang on it; `reprokit run` takes care of it",
)

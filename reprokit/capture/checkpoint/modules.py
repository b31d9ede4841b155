"""The modules that a kernel had imported, and what the project's own modules hold besides functions and classes.

A library's modules are imported again. One of the project's may have been changed since by the cells that use it (a
cache, a counter, a setting): its values are kept, and put back into it.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["again", "loaded", "own", "put_back", "values"]

_CODE = (type, types.FunctionType, types.ModuleType, types.BuiltinFunctionType, types.MethodType)
_LIBRARIES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_FRESH = ("a lock", "a thread")  # a module makes such things when it is imported


def loaded() -> list[str]:
    """Return the names of all modules, in the order in which they were imported."""
    return [name for name in list(sys.modules) if name != "__main__"]


def again(names: Iterable[str]) -> None:
    """Import modules; one that cannot be imported by its name was made in another way, or is missed later."""
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):
                importlib.import_module(name)


def own(project: Path, ignored: Iterable[Path]) -> dict[str, types.ModuleType]:
    """Return the project's own modules, by name."""
    top, apart = f"{os.path.realpath(project)}{os.sep}", [f"{os.path.realpath(path)}{os.sep}" for path in ignored]
    folders: dict[str, bool] = {}  # of modules → whether it is one of the project's
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name != "__main__" and isinstance(file, str) and isinstance(module, types.ModuleType):
            folder = os.path.dirname(file)
            if folder not in folders:
                real = f"{os.path.realpath(folder)}{os.sep}"
                is_library = any(part in real for part in _LIBRARIES)
                folders[folder] = real.startswith(top) and not is_library and not any(map(real.startswith, apart))
            if folders[folder]:
                found[name] = module
    return found


def values(own_modules: Mapping[str, types.ModuleType], refusal: Callable[[Any], str | None]) -> dict[str, Any]:
    """Return ``module.name`` → what the project's modules hold, as far as an import does not make it.

    Args:
        own_modules: those modules.
        refusal: tells why a value cannot be kept.
    """
    found = {}
    for name, module in own_modules.items():
        for key, value in list(vars(module).items()):
            if not key.startswith("__") and not isinstance(value, _CODE) and refusal(value) not in _FRESH:
                found[f"{name}.{key}"] = value
    return found


def put_back(values_of: Mapping[str, Any]) -> None:
    """Give the project's modules their values."""
    for place, value in values_of.items():
        name, _, key = place.rpartition(".")
        setattr(importlib.import_module(name), key, value)

"""Enumerations in a checkpoint: a class whose members are instances of it, which is made before them and again at once.

dill writes such a class by its name alone, which is not there yet when it is looked for.
"""

from __future__ import annotations

import enum
import pickle
import types
from collections.abc import Mapping
from typing import Any

from reprokit.capture.checkpoint.refused import Refused

__all__ = ["made", "save", "told"]

_STOCK: Any = pickle._Pickler
_METHODS = (types.FunctionType, classmethod, staticmethod, property)
_MAKING = ("__init__", "__new__", "__new_member__", "_generate_next_value_", "_missing_")


def save(pickler: Any, kind: Any) -> None:
    """Write the class of an enumeration: by name where it can be imported, else all of it.

    Raises:
        Refused: its members are made by code of its own.
    """
    if kind.__module__ != "__main__":
        _STOCK.save_global(pickler, kind, name=kind.__qualname__)
        return
    own = {name: value for name, value in vars(kind).items() if _is_told(name, value)}
    if making := [name for name in _MAKING if isinstance(own.get(name), _METHODS)]:
        raise Refused(f"an enumeration with a {making[0]} of its own")
    members = {name: member.value for name, member in kind.__members__.items()}
    given = (type(kind), kind.__name__, kind.__bases__, members, kind.__qualname__)
    more = {name: value for name, value in own.items() if name not in members}
    pickler.save_reduce(made, given, more, obj=kind, state_setter=told)


def _is_told(name: str, value: Any) -> bool:
    """Return whether an attribute is of the user's making."""
    if isinstance(value, _METHODS):
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        return getattr(function, "__module__", "__main__") == "__main__"
    return not name.startswith("_") or name == "__doc__"


def made(meta: Any, name: str, bases: tuple[Any, ...], members: Mapping[str, Any], qualified: str) -> Any:
    """Return an enumeration with these members."""
    names = meta.__prepare__(name, bases)
    names["__module__"], names["__qualname__"] = "__main__", qualified
    for key, value in members.items():
        names[key] = value
    return meta.__new__(meta, name, bases, names)


def told(kind: Any, more: Mapping[str, Any]) -> None:
    """Give an enumeration its methods and other attributes."""
    for name, value in more.items():
        if not isinstance(value, enum.Enum):
            setattr(kind, name, value)

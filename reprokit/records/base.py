"""What all records share: they are frozen, and round-trip through plain dictionaries."""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from typing import Any, TypeVar

__all__ = ["Record"]

R = TypeVar("R", bound="Record")


class Record:
    """Base of all records: frozen dataclasses that round-trip through plain dictionaries."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values; fields that hold their default are kept."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls: type[R], data: dict[str, Any]) -> R:
        """Build the record from ``to_dict()``'s form; unknown keys (a newer minor schema) are passed over.

        Raises:
            TypeError: a value has the wrong type, or a required field is missing.
        """
        if not isinstance(data, dict):
            raise TypeError(f"{data!r} is no {cls.__name__}")
        kinds = _fields(cls)  # type: ignore[arg-type]  # a class is hashable, whatever its metaclass
        return cls(**{key: _typed(kinds[key], value, key) for key, value in data.items() if key in kinds})

    def validate(self: R) -> R:
        """Return an equal record, having checked every field's type."""
        return type(self).from_dict(self.to_dict())


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


@cache
def _fields(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Return ``value`` as ``kind``, rebuilding nested records and tuples."""
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _typed_union(typing.get_args(kind), value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        (item, *_) = typing.get_args(kind)
        return tuple(_typed(item, entry, where) for entry in value)
    if origin is dict and isinstance(value, dict):
        _, item = typing.get_args(kind)
        return {str(key): _typed(item, entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(kind, type) and issubclass(kind, Record) and isinstance(value, dict):
        return kind.from_dict(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise TypeError(f"{where} is {value!r}, expected {getattr(kind, '__name__', kind)}")


def _typed_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    (kind, *_) = [kind for kind in kinds if kind is not type(None)]
    return _typed(kind, value, where)

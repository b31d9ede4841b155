"""Values that a record holds as JSON and a notebook is given as what they are: a path, a date, a tuple.

Each is the JSON value itself, a ``str`` or a ``list``, and knows the Python expression that stands for it in the
injected cell. So record and cell always show one value.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

__all__ = ["TEXTS", "Items", "Text", "plain", "spell", "text_of"]


class Text(str):
    """A string that stands for something else.

    Args:
        text: what the record shows.
        code: the Python expression for it, which needs no import.

    >>> Text("a/b", code="__import__('pathlib').Path('a/b')") == "a/b"
    True
    """

    code: str

    def __new__(cls, text: str, *, code: str) -> Text:
        made = super().__new__(cls, text)
        made.code = code
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, str]]:
        return (str(self),), {"code": self.code}


class Items(list[Any]):
    """A list that stands for another collection: ``kind`` is "tuple", "set" or "frozenset"."""

    def __init__(self, items: Iterable[Any], *, kind: str) -> None:
        super().__init__(items)
        self.kind = kind

    @property
    def code(self) -> str:
        """The Python expression for it."""
        inner = ", ".join(map(spell, self))
        if self.kind == "tuple":
            return f"({inner},)" if len(self) == 1 else f"({inner})"
        if self.kind == "frozenset":
            return f"frozenset([{inner}])"
        return f"{{{inner}}}" if self else "set()"


def spell(value: Any) -> str:
    """Return the Python expression for a value.

    >>> spell({"a": [1, Items([2, None], kind="tuple")]})
    "{'a': [1, (2, None)]}"
    """
    code = getattr(value, "code", None)
    if isinstance(value, (Text, Items)) and isinstance(code, str):
        return code
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {spell(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(spell, value)) + "]" if isinstance(value, list) else repr(value)


def plain(value: Any) -> Any:
    """Return the JSON value alone, without what it stands for."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def text_of(value: Any) -> Text | None:
    """Return what stands for a path, a date, a time or a decimal number; None for anything else."""
    for kind, (types, spelt) in _SHOWN.items():
        if isinstance(value, types) and not (kind == "date" and isinstance(value, datetime.datetime)):
            return TEXTS[kind](spelt(value))
    return None


def _path(text: str) -> Text:
    if "\0" in text:
        raise ValueError("a path holds no null byte")
    return Text(text, code=f"__import__('pathlib').Path({text!r})")


def _date(text: str) -> Text:
    at = datetime.date.fromisoformat(text)
    return Text(at.isoformat(), code=f"__import__('datetime').date({at.year}, {at.month}, {at.day})")


def _datetime(text: str) -> Text:
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00") if text.endswith("Z") else text)
    return Text(at.isoformat(), code=f"__import__('datetime').datetime.fromisoformat({at.isoformat()!r})")


def _time(text: str) -> Text:
    at = datetime.time.fromisoformat(text)
    return Text(at.isoformat(), code=f"__import__('datetime').time.fromisoformat({at.isoformat()!r})")


def _decimal(text: str) -> Text:
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation as error:
        raise ValueError(f"{text!r} is not a decimal number") from error
    if not number.is_finite():
        raise ValueError(f"{text!r} is not finite")
    return Text(str(number), code=f"__import__('decimal').Decimal({str(number)!r})")


#: From the name of a type to what makes its value from a text; raises ``ValueError``.
TEXTS: dict[str, Callable[[str], Text]] = {
    "Path": _path,
    "PosixPath": _path,
    "PurePath": _path,
    "PathLike": _path,
    "date": _date,
    "datetime": _datetime,
    "time": _time,
    "Decimal": _decimal,
}

_SHOWN: dict[str, tuple[type[Any], Callable[[Any], str]]] = {
    "Path": (PurePosixPath, str),
    "date": (datetime.date, datetime.date.isoformat),
    "datetime": (datetime.datetime, datetime.datetime.isoformat),
    "time": (datetime.time, datetime.time.isoformat),
    "Decimal": (decimal.Decimal, str),
}

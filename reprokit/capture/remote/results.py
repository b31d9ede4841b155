"""The rows of a query on their way into its digest.

Knows rows and values, and no database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from reprokit.capture.remote.ledger import Use

__all__ = ["Rows"]

_PLACE = re.compile(r" at 0x[0-9a-fA-F]+")


class Rows:
    """The rows of one result on their way into its digest: JSON with commas between them.

    The digest is the same however many rows are fetched at a time. It is made in the background, so that
    fetching stays as fast as it is; but rows that their owner may change are written down at once.
    """

    def __init__(self, use: Use, later: Callable[[Callable[[], None]], None]) -> None:
        self.busy = False  # inside a call of ours: calls that it makes in turn are part of it
        self._use = use
        self._later = later
        self._waiting: list[Any] = []  # rows that nobody can change
        self._written: list[str] = []  # rows as JSON; only one of the two lists holds any
        if use.access == "read":
            use.rows = 0
        self._counted = use.access == "read"
        use.drain = self.flush

    def one(self, row: Any) -> None:
        """Take a row, or None at the end."""
        if type(row) is tuple and _steady.issuperset(map(type, row)) and not self._written:  # as nearly all are
            self._waiting.append(row)
            if len(self._waiting) >= _PIECE:
                self.flush()
        elif row is not None:
            self._one_of_another_kind(row)

    def _one_of_another_kind(self, row: Any) -> None:
        kept = row if type(row) is tuple else _copy(row)
        if kept is not None and _is_steady(kept):
            if self._written:
                self.flush()
            self._waiting.append(kept)
        else:
            if self._waiting:
                self.flush()
            self._written.append(_as_json([row])[1:-1])
        if len(self._waiting) >= _PIECE or len(self._written) >= _PIECE:
            self.flush()

    def many(self, rows: Any) -> None:
        """Take the rows of one call."""
        self.flush()
        rows = list(rows)
        for place in range(0, len(rows), _PIECE):
            self._hand_over(rows[place : place + _PIECE])
        if not rows and self._use.size is None and not self._use.owed:
            self._use.feed(b"")  # nothing was found: that is a result too

    def flush(self) -> None:
        """Hand over the rows that wait."""
        if self._waiting:
            rows, self._waiting = self._waiting, []
            self._count(len(rows), lambda: _as_json(rows))
        if self._written:
            texts, self._written = self._written, []
            self._count(len(texts), lambda: f"[{','.join(texts)}]")

    def _hand_over(self, rows: list[Any]) -> None:
        if _may_change(rows[0]):
            text = _as_json(rows)
            self._count(len(rows), lambda: text)
        else:
            self._count(len(rows), lambda: _as_json(rows))

    def _count(self, rows: int, write: Callable[[], str]) -> None:
        """Count rows now, and have what ``write`` returns hashed in the background."""
        use = self._use
        if not self._counted:  # rows that a write returns
            self._counted, use.rows = True, 0
        use.rows = (use.rows or 0) + rows
        use.owed += 1
        self._later(lambda: self._hash(write))

    def _hash(self, write: Callable[[], str]) -> None:
        use = self._use
        try:
            text = write()
            if _OPAQUE in text:  # a value that does not say what it is
                use.spoil()
                use.over = True
            inner = text[1:-1].encode("ascii")
            use.feed(b"," + inner if use.size else inner)
        finally:
            use.owed -= 1


_PIECE = 1000  # rows
_steady = {type(None), bool, int, float, str, bytes, memoryview}  # kinds of values that do not change


def _may_change(row: Any) -> bool:
    return type(row) is not tuple or not _is_steady(row)


def _is_steady(row: Any) -> bool:
    """Return whether no value of a row can change."""
    values = row.values() if type(row) is dict else row
    return _steady.issuperset(map(type, values)) or all(map(_does_not_change, values))


def _does_not_change(value: Any) -> bool:
    kind = type(value)
    if kind.__name__ in ("Decimal", "UUID") or hasattr(kind, "isoformat"):
        _steady.add(kind)
    return kind in _steady


def _copy(row: Any) -> Any:
    """Return what JSON would take a row for, as a value that is ours; None for a kind of row that is not known."""
    if isinstance(row, tuple):
        return tuple(row)
    if isinstance(row, list):
        return list(row)
    return dict(row) if isinstance(row, dict) else None


def _as_json(rows: list[Any]) -> str:
    return json.dumps(rows, default=_plain, separators=(",", ":"), skipkeys=True)


_OPAQUE = "\\u0000opaque\\u0000"


def _plain(value: Any) -> Any:
    """Return a value of a type that JSON does not know as one that it does, the same each time."""
    kind = type(value)
    encode = _encoders.get(kind)
    if encode is None:
        encode = _encoders[kind] = _encoder(value)
    return encode(value)


_encoders: dict[type, Callable[[Any], Any]] = {}


def _encoder(value: Any) -> Callable[[Any], Any]:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return lambda value: {"bytes": bytes(value).hex()}
    if isinstance(value, (set, frozenset)):
        return lambda value: sorted(value, key=repr)
    if hasattr(value, "isoformat"):
        return lambda value: value.isoformat()
    if type(value).__name__ in ("Decimal", "UUID"):
        return str
    return _described


def _described(value: Any) -> str:
    text = repr(value)
    return "\0opaque\0" if _PLACE.search(text) else text

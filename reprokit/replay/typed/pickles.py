"""Pickled objects and joblib's models compared by what their bytes say to build, without building it.

Two streams compare as the same when they would build the same, whatever their protocol, frames, memo numbers and
the order in which sets were written.
"""

from __future__ import annotations

import array
from collections.abc import Iterator
from typing import Any, NamedTuple

from reprokit.replay.typed.numbers import relative
from reprokit.replay.typed.opcodes import Form, Global, Node, Raw, as_dict, dtype_of, is_tuple, read_pickle, shape_of
from reprokit.replay.typed.outcome import How, Outcome, same
from reprokit.replay.typed.shown import aligned, clip, limited

__all__ = ["compare_pickle"]

_NAMED = 12


def compare_pickle(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two pickle or joblib files."""
    walk = _Walk(how)
    changes = list(walk.changes("", read_pickle(left), read_pickle(right)))
    if not changes:
        return same(*sorted(walk.used) or ["pickle layout"])
    rows = [(clip(one.where or "the object"), one.before, "→", one.after, one.by) for one in changes[:_NAMED]]
    detail = "\n".join(limited(aligned(rows).split("\n"), len(changes), _NAMED))
    return Outcome(detail=detail, before=f"{len(left):,} bytes", after=f"{len(right):,} bytes")


class _Change(NamedTuple):
    where: str
    before: str
    after: str
    by: str = ""


class _Walk:
    """Goes through two descriptions side by side; ``used`` gathers the rules that were needed."""

    def __init__(self, how: How) -> None:
        self.used: set[str] = set()
        self._how = how
        self._paired: dict[int, int] = {}  # what is shared on one side must be shared on the other
        self._back: dict[int, int] = {}
        self._tuples: set[tuple[int, int]] = set()

    def changes(self, where: str, left: Any, right: Any) -> Iterator[_Change]:
        """Yield what is not the same."""
        if not (isinstance(left, Node) and isinstance(right, Node)):
            if not self._same_atom(left, right):
                yield _Change(where, _brief(left), _brief(right), _percent(left, right))
            return
        if self._seen(left, right):
            if self._paired.get(id(left)) != id(right) or self._back.get(id(right)) != id(left):
                yield _Change(where, "shared", "shared otherwise")
            return
        if left.kind == right.kind == "tuple":
            if (id(left), id(right)) in self._tuples:  # a value: it may be shared or not
                return
            self._tuples.add((id(left), id(right)))
        else:
            self._paired[id(left)], self._back[id(right)] = id(right), id(left)
        if left.kind == right.kind and left.kind in ("set", "frozenset") and _plain(left) and _plain(right):
            yield from self._sets(where, left, right)
        elif left.kind != right.kind or len(left.parts) != len(right.parts):
            yield _Change(where, _brief(left), _brief(right))
        elif (arrays := _arrays(left, right)) is not None:
            yield from self._numbers(where, *arrays)
        else:
            for at, (one, other) in enumerate(zip(left.parts, right.parts, strict=True)):
                yield from self.changes(_place(where, left, at), one, other)

    def _seen(self, left: Node, right: Node) -> bool:
        return id(left) in self._paired or id(right) in self._back

    def _same_atom(self, left: Any, right: Any) -> bool:
        if type(left) is not type(right):
            return False
        if isinstance(left, float) and repr(left) != repr(right):
            return self._close(left, right)
        return bool(left == right) or left != left

    def _close(self, left: float, right: float) -> bool:
        close = self._how.comparison.tolerant and self._how.comparison.close(left, right)
        self.used |= {self._how.tolerance()} if close else set()
        return close

    def _sets(self, where: str, left: Node, right: Node) -> Iterator[_Change]:
        """Compare sets of plain values, whose order hangs on the hash seed."""
        ours, theirs = (sorted(map(_sortable, node.parts)) for node in (left, right))
        if ours != theirs:
            yield _Change(where, _brief(left), _brief(right))
        elif list(map(_sortable, left.parts)) != list(map(_sortable, right.parts)):
            self.used.add("set order")

    def _numbers(self, where: str, left: array.array[float], right: array.array[float]) -> Iterator[_Change]:
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            if not self._same_atom(one, other):
                yield _Change(f"{where}[{at}]", _brief(one), _brief(other), _percent(one, other))


def _plain(node: Node) -> bool:
    return not any(isinstance(part, (Node, Raw)) for part in node.parts)


def _sortable(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


def _arrays(left: Node, right: Node) -> tuple[array.array[float], array.array[float]] | None:
    """Return the numbers of two arrays of one shape that hold fractions; None of anything else."""
    ours, theirs = _array(left), _array(right)
    if ours is None or theirs is None or ours[:2] != theirs[:2]:
        return None
    numbers = []
    for form, _, content in (ours, theirs):
        values = array.array("d" if form.size == 8 else "f")
        values.frombytes(content)
        if form.swapped:
            values.byteswap()
        numbers.append(values)
    return (numbers[0], numbers[1]) if len(numbers[0]) == len(numbers[1]) else None


def _array(node: Node) -> tuple[Form, Any, bytes] | None:
    """Return an array's form, shape and bytes, in any of the ways in which arrays are pickled."""
    parts = node.parts
    state: Any = parts[-1].parts[0] if parts and isinstance(parts[-1], Node) and parts[-1].kind == "state" else None
    if isinstance(parts[-1] if parts else None, Raw) and len(parts) > 2:
        fields = as_dict(parts[-2].parts[0])
        found = dtype_of(fields["dtype"]), (*shape_of(fields["shape"]), fields.get("order")), parts[-1].content
    elif parts and parts[0] == Global("numpy.core.multiarray _reconstruct") and is_tuple(state, 5):
        found = dtype_of(state.parts[2]), (*shape_of(state.parts[1]), state.parts[3]), state.parts[4]
    elif parts and parts[0] == Global("numpy.core.multiarray scalar") and is_tuple(parts[1], 2):
        found = dtype_of(parts[1].parts[0]), (), parts[1].parts[1]
    elif parts and parts[0] == Global("numpy.core.numeric _frombuffer") and is_tuple(parts[1], 4):
        content, form, shape, order = parts[1].parts
        found = dtype_of(form), (*shape_of(shape), order), content.parts[0] if isinstance(content, Node) else content
    else:
        return None
    form, shape, content = found
    if form is None or form.kind != "f" or form.size not in (4, 8) or not isinstance(content, bytes):
        return None
    return form, shape, content


def _place(where: str, node: Node, at: int) -> str:
    """Return where a part is, as one would write it in Python, as far as that can be told."""
    if node.kind == "dict":
        key = node.parts[at - at % 2]
        name = key if isinstance(key, str) else repr(key) if not isinstance(key, Node) else "…"
        return f"{where}.{name}" if where else name
    if node.kind in ("list", "tuple", "file"):
        return f"{where}[{at}]"
    return where


def _brief(value: Any) -> str:
    if isinstance(value, Node):
        named = next((part.name for part in value.parts if isinstance(part, Global)), "")
        return clip(named.replace(" ", ".")) or f"a {value.kind} of {len(value.parts):,}"
    if isinstance(value, Global):
        return clip(value.name.replace(" ", "."))
    if isinstance(value, (bytes, Raw)):
        return f"{len(value.content if isinstance(value, Raw) else value):,} bytes"
    return clip(repr(value))


def _percent(left: Any, right: Any) -> str:
    return relative(left, right) if isinstance(left, float) and isinstance(right, float) else ""

"""Whether given values are those that a notebook wants, and what they are once they have come there.

A value ends as JSON for the record and as a literal for the injected cell, and both show the same; where that
cannot be, it is refused before anything runs. What a type is, is read from its name: nothing is imported.
"""

from __future__ import annotations

import ast
import difflib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from reprokit.capture import redact
from reprokit.errors import UsageError
from reprokit.notebook import schema
from reprokit.notebook.parameters import TAG, Parameter, declared, has_parameters, literal
from reprokit.notebook.spelled import TEXTS, Items, Text, text_of

__all__ = ["accepts", "check"]

_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "complex": (float, int),
    "str": (str,),
    "None": (type(None),),
    "bytes": (),
    "bytearray": (),
}
_KINDS |= dict.fromkeys(("dict", "Dict", "Mapping", "MutableMapping"), (dict,))
_KINDS |= dict.fromkeys(("list", "List", "Sequence", "Iterable", "Collection"), (list,))
_GATHERED = {
    "tuple": "tuple",
    "Tuple": "tuple",
    "set": "set",
    "Set": "set",
    "AbstractSet": "set",
    "MutableSet": "set",
    "frozenset": "frozenset",
    "FrozenSet": "frozenset",
}


class _MisfitError(Exception):
    """A value is not of the type that is wanted."""


def _holds_secret(name: str, value: Any) -> bool:
    """Return whether a text in a value may not be recorded; numbers and switches tell nobody anything."""
    if isinstance(value, Mapping):
        return any(_holds_secret(str(key), item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return any(_holds_secret(name, item) for item in value)
    return isinstance(value, str) and bool(value) and redact.value(name, value) != value


def check(notebook: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as values that a notebook can be given: checking them twice changes nothing.

    Each is its JSON value; one that stands for a path, a date or a tuple knows how it is spelt (``spelled``).

    Args:
        notebook: a version 4 notebook.
        params: name → value.

    Raises:
        UsageError: the notebook has no such parameter, declares another type for it, wants one that is not
            given, the value cannot be written into a notebook as a literal, or it holds a secret.
    """
    if params and not has_parameters(notebook):
        remedy = f'tag the cell that sets their defaults "{TAG}"'
        raise UsageError("the notebook declares no parameters", remedy=remedy)
    known = _known(notebook, bool(params))
    checked: dict[str, Any] = {}
    for name, value in params.items():
        if name not in known:
            raise UsageError(f"the notebook has no parameter {name!r}", remedy=_closest(name, known))
        checked[name] = _fitted(known[name], _plain(value, name))
        if _holds_secret(name, checked[name]):
            remedy = "let the notebook read it from an environment variable: parameters are recorded, and repeated"
            raise UsageError(f"parameter {name!r} was given a secret", remedy=remedy)
    for parameter in known.values():
        if parameter.is_required and parameter.name not in checked:
            remedy = f"give it with `-p {parameter.name} VALUE`"
            raise UsageError(f"parameter {parameter.name!r} has no default", remedy=remedy)
    schema.require(notebook, known, checked)
    return checked


def accepts(parameter: Parameter, value: Any) -> bool:
    """Tell whether a plain value fits the annotation, or else the type of the default."""
    try:
        _cast_to(parameter, value)
    except _MisfitError:
        return False
    return True


def _known(notebook: Mapping[str, Any], is_needed: bool) -> dict[str, Parameter]:
    """Return what is declared; a cell that cannot be read matters only when something is to be checked against it."""
    try:
        return declared(notebook)
    except UsageError:
        if is_needed or schema.own(notebook):
            raise
        return {}


def _closest(name: str, known: Mapping[str, Parameter]) -> str:
    close = difflib.get_close_matches(name, known, n=2)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"it has {', '.join(known)}" if known else "set a default in the cell tagged 'parameters'"


def _fitted(parameter: Parameter, value: Any) -> Any:
    try:
        return _cast_to(parameter, value)
    except _MisfitError as error:
        raise _mismatch(parameter, value) from error


def _mismatch(parameter: Parameter, value: Any) -> UsageError:
    wanted = parameter.kind
    given = "None" if value is None else _words(value)
    problem = f"parameter {parameter.name!r} is {value!r} ({given}), but the notebook wants {wanted}"
    if wanted in ("bytes", "bytearray"):
        return UsageError(problem, remedy="let it take a string, and encode that in the next cell")
    if wanted.rpartition(".")[2] in TEXTS:
        return UsageError(problem, remedy=f"write it as a string that {wanted} can read, in ISO form for a date")
    remedy = f"give that, or let the notebook say `{parameter.name}: {wanted} | {given} = …`"
    return UsageError(problem, remedy=remedy)


def _words(value: Any) -> str:
    return value.kind if isinstance(value, Items) else "str" if isinstance(value, str) else type(value).__name__


# --- any value → one that JSON and a literal can hold


def _plain(value: Any, where: str) -> Any:
    """Return ``value`` as one that comes back equal from its Python expression and from JSON."""
    if isinstance(value, (Text, Items)) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _encodable(str(value), where)
    if _is_numpy_scalar(value):
        return _plain(_item(value, where), where)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _finite(float(value), where)
    if isinstance(value, (list, tuple, set, frozenset)):
        return _gathered(value, where)
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    standing = text_of(value)
    if standing is not None:
        return standing
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise _unwritable(where, value, "give a number, string, list or mapping")


def _encodable(text: str, where: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # a file name that is no text
        raise _unwritable(where, text, "it holds bytes that are no text") from error
    return text


def _gathered(value: Any, where: str) -> list[Any]:
    members = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
    items = [_plain(item, f"{where}[{index}]") for index, item in enumerate(members)]
    for kind in (tuple, frozenset, set):
        if isinstance(value, kind):
            return Items(items, kind=kind.__name__)
    return items


def _plain_mapping(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise _unwritable(where, value, f"its key {key!r} is not a string: make it one")
    return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}


def _is_numpy_scalar(value: Any) -> bool:
    """Tell whether ``value`` is a numpy scalar (or the like), without importing numpy."""
    return hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "shape", None) == ()


def _item(value: Any, where: str) -> Any:
    item = value.item()
    if type(item) is type(value):  # a long double is wider than any Python number
        raise _unwritable(where, value, "convert it with float()")
    return item


def _finite(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise _unwritable(where, value, "use a finite number or null, and let the notebook read it so")
    return value


def _unwritable(where: str, value: Any, remedy: str) -> UsageError:
    shown = repr(value) if len(repr(value)) <= 60 else type(value).__name__
    return UsageError(f"parameter {where!r} is {shown}, which a notebook cannot be given", remedy=remedy)


# --- a plain value → what the notebook declares


def _cast_to(parameter: Parameter, value: Any) -> Any:
    if parameter.annotation is not None:
        return _cast(ast.parse(parameter.annotation, mode="eval").body, value)
    if parameter.made is not None:
        return _cast_kind(parameter.made, value)
    return value if parameter.default is None else _cast_kind(type(parameter.default).__name__, value)


def _cast_kind(kind: str, value: Any) -> Any:
    """Return ``value`` as the type called ``kind`` has it; types that are not known take anything."""
    if kind in TEXTS:
        return _cast_text(kind, value)
    if kind in _GATHERED:
        if not isinstance(value, list):
            raise _MisfitError
        return Items(value, kind=_GATHERED[kind])
    kinds = _KINDS.get(kind)
    if kinds is None:
        return value
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise _MisfitError
    if isinstance(value, Items):
        return list(value)
    return str(value) if kind == "str" else value


def _cast_text(kind: str, value: Any) -> Text:
    if kind == "Decimal" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise _MisfitError
    try:
        return TEXTS[kind](str(value))
    except ValueError as error:
        raise _MisfitError from error


def _cast(annotation: ast.expr, value: Any) -> Any:
    """Return ``value`` as an annotation wants it; what cannot be decided from its text takes anything."""
    if isinstance(annotation, ast.BinOp):
        return _first_of((annotation.left, annotation.right), value)
    if isinstance(annotation, ast.Subscript):
        return _cast_subscript(annotation, value)
    if isinstance(annotation, ast.Constant):
        return _cast_constant(annotation, value)
    return _cast_kind(_last_name(annotation), value)


def _first_of(choices: Sequence[ast.expr], value: Any) -> Any:
    """Return ``value`` as the first choice that takes it; plain strings last, which take every date and path."""
    for choice in sorted(choices, key=lambda choice: _last_name(choice) == "str"):
        try:
            return _cast(choice, value)
        except _MisfitError:
            continue
    raise _MisfitError


def _cast_constant(annotation: ast.Constant, value: Any) -> Any:
    if annotation.value is None:
        if value is not None:
            raise _MisfitError
        return None
    try:
        return _cast(ast.parse(str(annotation.value), mode="eval").body, value)
    except SyntaxError:
        return value


def _cast_subscript(annotation: ast.Subscript, value: Any) -> Any:
    kind = _last_name(annotation.value)
    inner = annotation.slice
    choices = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if kind == "Literal":
        return _cast_literal(choices, value)
    if kind == "Optional":
        return None if value is None else _cast(inner, value)
    if kind == "Union":
        return _first_of(choices, value)
    if kind in ("Annotated", "Final"):
        return _cast(choices[0], value)
    return _cast_items(kind, choices, _cast_kind(kind, value))


def _cast_literal(choices: Sequence[ast.expr], value: Any) -> Any:
    allowed = [literal(choice) for choice in choices]
    if not any(value == item and isinstance(item, type(value)) for item in allowed):
        raise _MisfitError
    return value


def _cast_items(kind: str, inner: Sequence[ast.expr], value: Any) -> Any:
    if isinstance(value, dict) and len(inner) == 2:
        if _last_name(inner[0]) in ("int", "float", "bool"):  # JSON has string keys alone
            raise _MisfitError
        return {key: _cast(inner[1], item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if kind.lower() == "tuple" and not _is_ellipsis(inner[-1]):
        if len(value) != len(inner):
            raise _MisfitError
        items = [_cast(one, item) for one, item in zip(inner, value, strict=True)]
    else:
        items = [_cast(inner[0], item) for item in value]
    return Items(items, kind=value.kind) if isinstance(value, Items) else items


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""

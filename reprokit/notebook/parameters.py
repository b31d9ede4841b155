"""The parameters of a notebook: what it declares, what the user gives, and whether the two agree.

A notebook declares parameters in its cell tagged ``parameters``, as papermill has it. papermill reads
that cell by regular expression, turns what it does not know into strings and only warns of unknown
names; so everything is parsed, checked and normalised here, before papermill sees it.
This module knows nothing of kernels, papermill or runs.
"""

from __future__ import annotations

import ast
import datetime
import difflib
import json
import keyword
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

from reprokit.errors import UsageError

__all__ = ["Parameter", "check", "declared", "parse_assignments", "read_file", "read_notebook"]

TAG = "parameters"

_GIVE_NOTEBOOK = "give an .ipynb file"
_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "complex": (float, int),
    "str": (str,),
    "None": (type(None),),
}
_KINDS |= dict.fromkeys(("dict", "Dict", "Mapping", "MutableMapping"), (dict,))
_KINDS |= dict.fromkeys(("list", "List", "tuple", "Tuple", "Sequence", "Iterable", "Collection"), (list,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter as its notebook declares it.

    Attributes:
        name: the variable.
        default: its value when that is a literal, else None.
        annotation: its annotation as written, or None.
        line: the line of the cell that sets it, from 1.
    """

    name: str
    default: Any = None
    annotation: str | None = None
    line: int = 1


# --- what the user gives


class _CoreLoader(yaml.SafeLoader):
    """YAML with the scalars of the 1.2 core schema: ``yes`` and dates are strings, ``1e-3`` is a number.

    Numbers with a leading zero (``007``) stay strings: they are identifiers, and would lose digits.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


def _add_core_scalars() -> None:
    whole = r"(?:0|[1-9][0-9]*)"
    exponent = r"[eE][-+]?[0-9]+"
    for tag, pattern, first in (
        ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
        ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
        ("int", rf"^(?:[-+]?{whole}|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
        (
            "float",
            rf"^(?:[-+]?(?:{whole}\.[0-9]*(?:{exponent})?|\.[0-9]+(?:{exponent})?|{whole}{exponent}"
            r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$",
            list("-+0123456789."),
        ),
    ):
        _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)


_add_core_scalars()


def read_file(path: Path) -> dict[str, Any]:
    """Read parameters from a YAML or JSON file.

    Args:
        path: a file that holds one mapping from name to value; an empty file holds none.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    kind = "JSON" if path.suffix == ".json" else "YAML"
    try:
        text = path.read_text("utf-8-sig")
        value = json.loads(text) if kind == "JSON" else yaml.load(text, _CoreLoader)
    except OSError as error:
        raise _unreadable(path, error, "give a YAML or JSON file") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path} is not valid {kind} ({_one_line(error)})", remedy="mend it") from error
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise UsageError(f"{path} does not map names to values", remedy="write one `name: value` per line")
    return value


def parse_assignments(
    pairs: Sequence[tuple[str, str]], declared: Mapping[str, Parameter] | None = None
) -> dict[str, Any]:
    """Return the parameters given on a command line, each value typed as a YAML 1.2 core scalar.

    Args:
        pairs: names and texts, as ``-p NAME TEXT`` gives them; of two with one name the last counts.
        declared: the notebook's parameters; a text that its parameter takes only as a string stays one.

    Raises:
        UsageError: a name is not an identifier, or a text opens a list or mapping and does not close it.

    >>> parse_assignments([("lr", "1e-3"), ("layers", "[64, 32]"), ("id", "007"), ("fast", "true")])
    {'lr': 0.001, 'layers': [64, 32], 'id': '007', 'fast': True}
    """
    return {_name(name): _typed(name, text, (declared or {}).get(name)) for name, text in pairs}


def _name(name: str) -> str:
    if name.isidentifier() and not keyword.iskeyword(name):
        return name
    head, equals, tail = name.partition("=")
    remedy = f"write `-p {head} {tail}`" if equals and head.isidentifier() else "write `-p NAME VALUE`"
    raise UsageError(f"{name!r} is not the name of a parameter", remedy=remedy)


def _typed(name: str, text: str, parameter: Parameter | None) -> Any:
    """Return ``text`` as the value it spells, or as it is where only a string will do."""
    wants_text = parameter is not None and _accepts(parameter, text)
    try:
        value = _value_of(text)
    except yaml.YAMLError as error:
        if wants_text:
            return text
        raise UsageError(
            f"parameter {name!r}: {text!r} is not a YAML list or mapping ({_one_line(error)})",
            remedy="mend it, or put it in quotes inside the quotes to give a string",
        ) from error
    return text if wants_text and parameter is not None and not _accepts(parameter, value) else value


def _value_of(text: str) -> Any:
    compact = text.strip()
    if re.match(r"""[\[{]|(["']).*\1$""", compact, re.DOTALL):
        return yaml.load(compact, _CoreLoader)
    if not re.fullmatch(r"[-+]?\.?\w[-+.\w]*|~", compact):  # only what is one word can be more than a string
        return text
    value = yaml.load(compact, _CoreLoader)
    return text if isinstance(value, str) else value


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}: {problem}" if mark is not None else problem


# --- what the notebook declares


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook of any format version, as version 4.

    Raises:
        UsageError: there is no such file, or it is not a notebook.
    """
    try:
        text = path.read_text("utf-8")
        data = json.loads(text)
    except FileNotFoundError as error:
        raise UsageError(f"there is no notebook {path}", remedy=_neighbours(path)) from error
    except OSError as error:
        raise _unreadable(path, error, _GIVE_NOTEBOOK) from error
    except ValueError as error:
        raise UsageError(f"{path} is not a notebook (it is not JSON)", remedy=_GIVE_NOTEBOOK) from error
    if not isinstance(data, dict) or not isinstance(data.get("nbformat"), int):
        raise UsageError(f"{path} is not a notebook (it has no nbformat)", remedy=_GIVE_NOTEBOOK)
    try:
        return _as_version_4(text)
    except Exception as error:  # nbformat raises whatever the odd structure makes it trip over
        problem = f"{path} is not a valid notebook ({type(error).__name__})"
        raise UsageError(problem, remedy="open it in Jupyter and save it again") from error


def _as_version_4(text: str) -> nbformat.NotebookNode:
    with warnings.catch_warnings():  # of missing cell ids: nothing here needs them
        warnings.simplefilter("ignore")
        notebook = nbformat.reads(text, as_version=4)
    for cell in notebook["cells"]:  # the rest of the schema is often bent by other tools, and does no harm
        cell["cell_type"], cell["source"], cell["metadata"]
    return notebook


def _unreadable(path: Path, error: OSError, remedy: str) -> UsageError:
    return UsageError(f"{path} cannot be read ({error.strerror})", remedy=remedy)


def _neighbours(path: Path) -> str:
    """Return which notebooks there are in the folder where ``path`` is not."""
    folder = path.parent
    names = sorted(item.name for item in folder.glob("*.ipynb"))
    close = difflib.get_close_matches(f"{path.name.removesuffix('.ipynb')}.ipynb", names, n=1)
    if close:
        return f"did you mean {folder / close[0]}?"
    return f"{folder} has {', '.join(names[:4])}" if names else f"{folder} has no notebooks"


def declared(notebook: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the parameters that a notebook declares, by name, in the order of its cell.

    Only assignments at the top level of the first cell tagged ``parameters`` count.

    Args:
        notebook: a version 4 notebook.

    Raises:
        UsageError: that cell is not valid Python.

    >>> cell = {"cell_type": "code", "source": "lr: float = 0.1", "metadata": {"tags": ["parameters"]}}
    >>> declared({"cells": [cell]})
    {'lr': Parameter(name='lr', default=0.1, annotation='float', line=1)}
    """
    source = _parameters_cell(notebook)
    if source is None:
        return {}
    found: dict[str, Parameter] = {}
    for statement in _parse(source).body:
        for parameter in _assigned(statement):
            found[parameter.name] = parameter
    return found


def _parameters_cell(notebook: Mapping[str, Any]) -> str | None:
    for cell in notebook.get("cells", ()):
        if cell.get("cell_type") == "code" and TAG in cell.get("metadata", {}).get("tags", ()):
            source = cell["source"]
            return source if isinstance(source, str) else "".join(source)
    return None


def _parse(source: str) -> ast.Module:
    """Parse a cell; its magics and shell lines, which set no parameter, become ``pass``."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        plain = re.sub(r"^([ \t]*)[%!].*$", r"\1pass", source, flags=re.MULTILINE)
    try:
        return ast.parse(plain)
    except (SyntaxError, ValueError) as error:
        where = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        problem = f"the cell tagged {TAG!r} is not valid Python{where}"
        raise UsageError(problem, remedy="mend that cell") from error


def _assigned(statement: ast.stmt) -> Iterator[Parameter]:
    line = statement.lineno
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        name, note = statement.target.id, ast.unparse(statement.annotation)
        yield Parameter(name=name, default=_literal(statement.value), annotation=note, line=line)
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            for name, value in _targets(target, statement.value):
                yield Parameter(name=name, default=_literal(value), line=line)


def _targets(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield each name that an assignment sets, with the expression it gets where that is plain to see."""
    if isinstance(target, ast.Name):
        yield target.id, value
        return
    names = target.elts if isinstance(target, (ast.Tuple, ast.List)) else []
    parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
    plain = len(names) == len(parts) and not any(isinstance(item, ast.Starred) for item in [*names, *parts])
    for index, item in enumerate(names):
        name = item.value if isinstance(item, ast.Starred) else item
        if isinstance(name, ast.Name):
            yield name.id, parts[index] if plain else None


def _literal(node: ast.expr | None) -> Any:
    """Return the value that an expression spells out, also as ``dict(k=1)``; None when it does not."""
    match node:
        case None:
            return None
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {item.arg: _literal(item.value) for item in keywords if item.arg is not None}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


# --- whether the two agree


def check(notebook: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as plain values that a notebook can be given: checking them twice changes nothing.

    numpy scalars become Python's, tuples become lists, paths and dates become strings.

    Args:
        notebook: a version 4 notebook.
        params: name → value.

    Raises:
        UsageError: the notebook has no such parameter, declares another type for it, or the value
            cannot be written into a notebook as a literal.
    """
    if not params:
        return {}
    if _parameters_cell(notebook) is None:
        remedy = f'tag the cell that sets their defaults "{TAG}"'
        raise UsageError("the notebook declares no parameters", remedy=remedy)
    known = declared(notebook)
    checked: dict[str, Any] = {}
    for name, value in params.items():
        if name not in known:
            raise UsageError(f"the notebook has no parameter {name!r}", remedy=_closest(name, known))
        checked[name] = _plain(value, name)
        if not _accepts(known[name], checked[name]):
            raise _mismatch(known[name], checked[name])
    return checked


def _closest(name: str, known: Mapping[str, Parameter]) -> str:
    close = difflib.get_close_matches(name, known, n=2)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"it has {', '.join(known)}" if known else "set a default in the cell tagged 'parameters'"


def _mismatch(parameter: Parameter, value: Any) -> UsageError:
    wanted = parameter.annotation or type(parameter.default).__name__
    given = "None" if value is None else type(value).__name__
    return UsageError(
        f"parameter {parameter.name!r} is {value!r} ({given}), but the notebook wants {wanted}",
        remedy=f"give that, or let the notebook say `{parameter.name}: {wanted} | {given} = …`",
    )


def _plain(value: Any, where: str) -> Any:
    """Return ``value`` as a value that comes back equal from its Python literal and from JSON."""
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if _is_numpy_scalar(value):
        return _plain(_item(value, where), where)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _finite(float(value), where)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value.isoformat()
    raise _unwritable(where, value, "give a number, string, list or mapping")


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


def _accepts(parameter: Parameter, value: Any) -> bool:
    """Tell whether a plain value fits the annotation, or else the type of the default."""
    if parameter.annotation is not None:
        return _fits(ast.parse(parameter.annotation, mode="eval").body, value)
    if parameter.default is None:
        return True
    return _is_a(type(parameter.default).__name__, value)


def _is_a(kind: str, value: Any) -> bool:
    """Tell whether ``value`` is of the type called ``kind``; types that are not known fit anything."""
    kinds = _KINDS.get(kind)
    if kinds is None:
        return True
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _fits(annotation: ast.expr, value: Any) -> bool:
    """Tell whether ``value`` fits an annotation; what cannot be decided from its text fits anything."""
    if isinstance(annotation, ast.BinOp):
        return _fits(annotation.left, value) or _fits(annotation.right, value)
    if isinstance(annotation, ast.Subscript):
        return _fits_subscript(annotation, value)
    if isinstance(annotation, ast.Constant):
        return _fits_constant(annotation, value)
    return _is_a(_last_name(annotation), value)


def _fits_constant(annotation: ast.Constant, value: Any) -> bool:
    if annotation.value is None:
        return value is None
    try:
        return _fits(ast.parse(str(annotation.value), mode="eval").body, value)
    except SyntaxError:
        return True


def _fits_subscript(annotation: ast.Subscript, value: Any) -> bool:
    kind = _last_name(annotation.value)
    inner = annotation.slice
    choices = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if kind == "Literal":
        allowed = [_literal(choice) for choice in choices]
        return any(value == item and type(value) is type(item) for item in allowed)
    if kind == "Optional":
        return value is None or _fits(inner, value)
    if kind == "Union":
        return any(_fits(choice, value) for choice in choices)
    if kind in ("Annotated", "Final"):
        return _fits(choices[0], value)
    return _is_a(kind, value) and _items_fit(kind, choices, value)


def _items_fit(kind: str, inner: Sequence[ast.expr], value: Any) -> bool:
    if isinstance(value, dict) and len(inner) == 2:
        return all(_fits(inner[1], item) for item in value.values())
    if not isinstance(value, list):
        return True
    if kind.lower() == "tuple" and not _is_ellipsis(inner[-1]):
        return len(value) == len(inner) and all(map(_fits, inner, value))
    return all(_fits(inner[0], item) for item in value)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""

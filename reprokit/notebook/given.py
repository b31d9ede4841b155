"""The parameters that a user gives: texts of a command line, and files.

It knows how a text becomes a value; whether a notebook takes that value is ``fitting``'s to say.
"""

from __future__ import annotations

import json
import keyword
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from reprokit.errors import UsageError
from reprokit.notebook.fitting import accepts
from reprokit.notebook.parameters import Parameter

__all__ = ["parse_assignments", "parsed", "read_file", "read_named"]


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
    """Read parameters from a YAML, JSON or TOML file.

    Args:
        path: a file that holds one mapping from name to value; an empty file holds none.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    kind = {".json": "JSON", ".toml": "TOML"}.get(path.suffix.lower(), "YAML")
    try:
        value = parsed(path.read_text("utf-8-sig"), kind)
    except OSError as error:
        remedy = "give a YAML, JSON or TOML file"
        raise UsageError(f"{path} cannot be read ({error.strerror})", remedy=remedy) from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path} is not valid {kind} ({_one_line(error)})", remedy="mend it") from error
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise UsageError(f"{path} does not map names to values", remedy="write one `name: value` per line")
    return value


def read_named(word: str) -> dict[str, Any]:
    """Read parameters from ``FILE``, or from the part ``KEY`` of ``FILE:KEY``; dots in a key lead deeper.

    Raises:
        UsageError: there is no such file or key, or no mapping is there.
    """
    file, colon, key = word.rpartition(":")
    if not colon or Path(word).exists():
        return read_file(Path(word))
    found: Any = read_file(Path(file))
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            raise UsageError(f"{file} has no {key!r}", remedy=_keys(found))
        found = found[part]
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UsageError(f"{key!r} in {file} does not map names to values", remedy="name a mapping")
    return found


def _keys(found: Any) -> str:
    names = ", ".join(map(str, found)) if isinstance(found, dict) else ""
    return f"it has {names}" if names else "leave the key out"


def parsed(text: str, kind: str) -> Any:
    """Return what a text says that is JSON, YAML (as it is read here) or TOML.

    Raises:
        ValueError: it is not.
        yaml.YAMLError: it is not, either.
    """
    if kind == "JSON":
        return json.loads(text)
    if kind == "YAML":
        return yaml.load(text, _CoreLoader)
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


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
    wants_text = parameter is not None and accepts(parameter, text)
    try:
        value = _value_of(text)
    except yaml.YAMLError as error:
        if wants_text:
            return text
        raise UsageError(
            f"parameter {name!r}: {text!r} is not a YAML list or mapping ({_one_line(error)})",
            remedy="mend it, or put it in quotes inside the quotes to give a string",
        ) from error
    return text if wants_text and parameter is not None and not accepts(parameter, value) else value


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

"""The configuration of a run: files by flat key, the chosen environment variables, each with its source."""

from __future__ import annotations

import fnmatch
import importlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from reprokit.capture import redact
from reprokit.errors import UsageError

__all__ = ["LIMIT", "SUFFIXES", "can_parse", "flatten", "parse", "read", "variables"]

SUFFIXES = (".yaml", ".yml", ".toml", ".json", ".ini", ".cfg")
_KEYS = 10_000
LIMIT = 1_000_000  # bytes: a larger file is data, not configuration


def variables(patterns: Iterable[str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables that match the allow-list, without secrets."""
    environ = os.environ if environ is None else environ
    wanted = tuple(patterns)
    return {
        name: str(redact.value(name, text))
        for name, text in sorted(environ.items())
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)
    }


def read(path: Path) -> dict[str, Any]:
    """Return a configuration file's values by flat key, without secrets.

    Raises:
        UsageError: the file cannot be read, is not of a known kind, or is malformed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path.name} is no configuration file", remedy=f"use one of {' '.join(SUFFIXES)}")
    try:
        if path.stat().st_size > LIMIT:
            raise UsageError(f"{path.name} is too large to be configuration", remedy="read it as data")
        values = dict(itertools.islice(flatten(parse(path.suffix, path.read_text("utf-8"))), _KEYS + 1))
        if len(values) > _KEYS:  # a few aliases in YAML can stand for any number of keys
            raise ValueError(f"it has more than {_KEYS:,} keys")
        return values
    except (OSError, ValueError, ImportError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error})", remedy="check the path and the file") from error


def parse(suffix: str, text: str) -> Any:
    """Return the nested values of a configuration file's text.

    Args:
        suffix: one of ``SUFFIXES``.
        text: what is in the file.

    Raises:
        ValueError: the text is malformed.
        ImportError: no parser for this kind of file is installed.

    >>> parse(".ini", "[model]\\ndepth = 3")
    {'model': {'depth': '3'}}
    """
    return _PARSERS[suffix.lower()](text)


def can_parse(suffix: str) -> bool:
    """Return whether a file of this kind can be parsed with what the process has loaded already.

    >>> can_parse(".json"), can_parse(".csv")
    (True, False)
    """
    name = suffix.lower()
    if name in (".yaml", ".yml"):
        return "yaml" in sys.modules
    if name == ".toml":
        return sys.version_info >= (3, 11) or "tomli" in sys.modules
    return name in SUFFIXES


def flatten(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested values by dotted key.

    >>> dict(flatten({"model": {"depth": 3, "rates": [0.1, 0.2]}, "password": "x"}))
    {'model.depth': 3, 'model.rates': [0.1, 0.2], 'password': '[redacted]'}
    """
    if isinstance(content, Mapping) and content:
        for key, item in content.items():
            yield from flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(content, list) and any(isinstance(item, (dict, list)) for item in content):
        for index, item in enumerate(content):
            yield from flatten(item, f"{prefix}.{index}")
    else:
        plain = content if isinstance(content, (str, int, float, bool, list, type(None))) else str(content)
        yield prefix or "value", redact.value(prefix, plain)


def _parse_yaml(text: str) -> Any:
    # A notebook that read a YAML file has the parser loaded; otherwise it is only imported when the
    # user asks for this very file.
    yaml: Any = sys.modules.get("yaml") or importlib.import_module("yaml")
    try:
        return yaml.load(text, Loader=_loader(yaml))  # a safe loader of our own
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _loader(yaml: Any) -> Any:
    """Return a safe loader without what the user's code has added to the common ones: it is not to run twice."""

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_constructors = yaml.constructor.SafeConstructor.yaml_constructors.copy()
        yaml_multi_constructors: ClassVar[dict[str, Any]] = {"!": _untagged}

    return Loader


def _untagged(loader: Any, _: str, node: Any) -> Any:
    """Return what stands under a tag of the user's own, such as ``!env NAME``, as it is written."""
    kinds = {"scalar": loader.construct_scalar, "sequence": loader.construct_sequence}
    construct = kinds.get(node.id, loader.construct_mapping)
    return construct(node) if node.id == "scalar" else construct(node, deep=True)


def _parse_toml(text: str) -> Any:
    return importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(text)


def _parse_ini(text: str) -> Any:
    import configparser  # not before there is such a file: the user's `sys.modules` stays as it is

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(str(error)) from error
    return {section: dict(parser.items(section)) for section in parser.sections()}


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": _parse_toml,
    ".ini": _parse_ini,
    ".cfg": _parse_ini,
}

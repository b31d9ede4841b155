"""The configuration of a run: files by flat key, the chosen environment variables, each with its source."""

from __future__ import annotations

import configparser
import fnmatch
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reprokit.capture import redact
from reprokit.errors import UsageError

__all__ = ["SUFFIXES", "flatten", "read", "variables"]

SUFFIXES = (".yaml", ".yml", ".toml", ".json", ".ini", ".cfg")
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
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise UsageError(f"{path.name} is no configuration file", remedy=f"use one of {' '.join(SUFFIXES)}")
    try:
        if path.stat().st_size > LIMIT:
            raise UsageError(f"{path.name} is too large to be configuration", remedy="read it as data")
        content = parse(path.read_text("utf-8"))
    except (OSError, ValueError, ImportError, configparser.Error) as error:
        raise UsageError(f"{path} cannot be read ({error})", remedy="check the path and the file") from error
    return dict(flatten(content))


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
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _parse_toml(text: str) -> Any:
    return importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(text)


def _parse_ini(text: str) -> Any:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return {section: dict(parser.items(section)) for section in parser.sections()}


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": _parse_toml,
    ".ini": _parse_ini,
    ".cfg": _parse_ini,
}

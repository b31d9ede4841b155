"""The settings of a project, each with where its value came from.

``[tool.reprokit]`` in ``pyproject.toml``, then ``REPROKIT_*`` environment variables, then arguments:
the later source wins. This module knows names, types and defaults; it does not know what they do.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprokit.errors import UsageError

__all__ = ["Settings", "load", "parse_size", "project_table"]

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_CHOICES = {"replay_env": ("auto", "locked", "current"), "lock": ("background", "never")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user may choose.

    Attributes:
        store: folder of the store, relative to the project root.
        store_limit: largest data file whose contents are kept, in bytes.
        snapshot_limit: largest untracked or changed file that goes into the git snapshot, in bytes;
            larger ones are kept as objects.
        variables: environment variables that are recorded (names; a trailing ``*`` matches the rest).
        ignore: globs, relative to the project root, of files that are never data.
        replay_env: which environment `replay` uses: "auto", "locked" or "current".
        lock: when the environment of a run is locked: "background" (at its start) or "never".
        price_per_hour: what an hour of this machine costs; runs then say what they cost.
        currency: what that price is in, such as "EUR".
        checkpoints: how many checkpoints of a run that can be resumed are kept: the newest.
        remote: where `push` and `pull` go when no remote is named: an address, a folder, or a remote of DVC's.
        sources: setting name → where its value came from.
    """

    store: str = ".reprokit"
    store_limit: int = 2 * 10**9
    snapshot_limit: int = 5 * 10**6
    variables: tuple[str, ...] = (
        "CUDA_VISIBLE_DEVICES",
        "LANG",
        "LC_*",
        "TZ",
        "MPLBACKEND",
    )
    ignore: tuple[str, ...] = ()
    replay_env: str = "auto"
    lock: str = "background"
    price_per_hour: float | None = None
    currency: str = ""
    checkpoints: int = 2
    remote: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)


def parse_size(text: str | int) -> int:
    """Return a number of bytes from ``1500``, ``"5 MB"`` or ``"2GB"`` (powers of ten).

    Raises:
        UsageError: the text is not a size.

    >>> parse_size("5 MB")
    5000000
    """
    if isinstance(text, int):
        return text
    compact = text.replace(" ", "").replace("_", "").lower()
    number = compact.rstrip("kmgtb")
    try:
        return int(float(number) * _UNITS[compact[len(number) :]])
    except (KeyError, ValueError):
        raise UsageError(f"{text!r} is not a size", remedy='write it like "500 MB"') from None


def load(
    root: Path,
    environ: Mapping[str, str] | None = None,
    *,
    table: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Settings:
    """Read the settings that hold for a project.

    Args:
        root: the project root, where ``pyproject.toml`` may be.
        environ: environment variables; those of this process by default.
        table: ``project_table(root)``, when it is known.
        arguments: values given explicitly; None means not given.

    Raises:
        UsageError: a setting is unknown or has the wrong form; names its source.

    >>> load(Path("/nonexistent"), {"REPROKIT_STORE_LIMIT": "1 MB"}).store_limit
    1000000
    """
    known = {f.name for f in dataclasses.fields(Settings)} - {"sources"}
    environ = os.environ if environ is None else environ
    from_environ = {name: environ[key] for name in known if (key := f"REPROKIT_{name.upper()}") in environ}
    layers = [
        ("pyproject.toml", project_table(root) if table is None else table),
        ("environment", from_environ),
        ("argument", {key: value for key, value in arguments.items() if value is not None}),
    ]
    values: dict[str, Any] = {}
    sources = dict.fromkeys(known, "default")
    for source, layer in layers:
        for key, value in layer.items():
            name = key.replace("-", "_")
            if name not in known:
                raise UsageError(f"unknown setting {key!r} in {source}", remedy=f"known: {', '.join(sorted(known))}")
            values[name] = _convert(name, value, source)
            sources[name] = source
    return Settings(**values, sources=sources)


def _convert(name: str, value: Any, source: str) -> Any:
    if name.endswith("_limit"):
        return parse_size(value)
    if name == "price_per_hour":
        return _price(value, source)
    if name == "checkpoints":
        return _count(value, source)
    if name in ("variables", "ignore"):
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            raise UsageError(f"setting {name!r} in {source} is not a list of strings", remedy='write ["a", "b"]')
        return tuple(item.strip() for item in items if item.strip())
    if not isinstance(value, str):
        raise UsageError(f"setting {name!r} in {source} is not a string", remedy=f'write {name} = "…"')
    if name in _CHOICES and value not in _CHOICES[name]:
        raise UsageError(f"{name} is {value!r} in {source}", remedy=f"use one of: {', '.join(_CHOICES[name])}")
    return value


def _price(value: Any, source: str) -> float:
    try:
        price = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        price = float("nan")
    if not 0 <= price < float("inf"):
        raise UsageError(f"price_per_hour is {value!r} in {source}", remedy="write price_per_hour = 2.5")
    return price


def _count(value: Any, source: str) -> int:
    try:
        count = 0 if isinstance(value, bool) else int(value)
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise UsageError(f"checkpoints is {value!r} in {source}", remedy="write checkpoints = 2")
    return count


def project_table(root: Path) -> dict[str, Any]:
    """Return ``[tool.reprokit]`` of a project.

    Raises:
        UsageError: its ``pyproject.toml`` is no TOML.
    """
    path = root / "pyproject.toml"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    if "[tool.reprokit" not in text:  # most projects: nothing to parse
        return {}
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table = tomllib.loads(text).get("tool", {}).get("reprokit", {})
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML ({error})", remedy="mend the file") from error
    return dict(table)

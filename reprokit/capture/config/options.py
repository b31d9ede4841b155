"""Recognises objects that hold a program's options: ``argparse`` namespaces, OmegaConf, Hydra's own.

A type is recognised by identity with what its library, when it is loaded, calls so. Nothing is
imported, no resolver is run, and of objects inside only plain values are taken.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import PurePath
from types import FrameType, ModuleType
from typing import Any

from reprokit.capture import redact

__all__ = ["alive", "in_frames", "kinds", "of_hydra", "read", "token"]

_DEPTH = 20
_REFERENCE = re.compile(r"\$\{(?P<dots>\.*)(?P<path>[\w.\[\]-]+)\}")


def kinds() -> frozenset[type]:
    """Return the types, of libraries that are loaded, whose objects hold options."""
    return _kinds(sys.modules.get("argparse"), sys.modules.get("omegaconf"))


@lru_cache(maxsize=4)
def _kinds(argparse: ModuleType | None, omegaconf: ModuleType | None) -> frozenset[type]:
    found = (getattr(argparse, "Namespace", None), getattr(omegaconf, "DictConfig", None))
    return frozenset(kind for kind in found if isinstance(kind, type))


def alive() -> tuple[int, ...]:
    """Return what is another whenever an object that holds options was made or went, at the cost of one look.

    Each object counts as a use of its type. One that replaced another leaves the number as it was.
    """
    return tuple(map(sys.getrefcount, kinds()))


def in_frames() -> Iterator[tuple[str, Any]]:
    """Yield the options that are local variables of the main program, innermost first."""
    wanted = kinds()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "__main__" and frame.f_code.co_name != "<module>":
            yield from (
                (name, value) for name, value in list(frame.f_locals.items()) if any(type(value) is k for k in wanted)
            )
        frame = frame.f_back


def token(value: Any) -> tuple[int, ...] | None:
    """Return what tells an object's options apart from those it had; None when it holds none.

    Inside an OmegaConf object a change cannot be told apart cheaply: its last state is read at the end.
    """
    if _is_namespace(value):
        return (id(value), *map(id, vars(value).values()))
    return (id(value),) if any(type(value) is kind for kind in kinds()) else None


def read(name: str, value: Any) -> tuple[str, dict[str, Any]]:
    """Return where a variable's options come from, and the options as plain nested values."""
    if _is_namespace(value):
        return f"argparse {name}", {key: _plain(item) for key, item in list(vars(value).items())}
    content = sys.modules["omegaconf"].OmegaConf.to_container(value, resolve=False, enum_to_str=True)
    return f"omegaconf {name}", _resolved(_plain(content)) if isinstance(content, dict) else {}


def of_hydra() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what Hydra was told when it runs a job: the choices and the overrides of this job."""
    module, singleton = sys.modules.get("hydra.core.hydra_config"), sys.modules.get("hydra.core.singleton")
    if module is None or singleton is None:
        return
    made = singleton.Singleton._instances.get(module.HydraConfig)
    if made is None or made.cfg is None:
        return
    _, content = read("hydra", made.cfg)
    hydra = content.get("hydra") or {}
    overrides = (hydra.get("overrides") or {}).get("task") or []
    chosen = {
        "choices": (hydra.get("runtime") or {}).get("choices"),
        "config": (hydra.get("job") or {}).get("config_name"),
    }
    # As keys and values, so that a secret is known by its name.
    told = dict(item.partition("=")[::2] for item in overrides if isinstance(item, str))
    yield "hydra", {"hydra": {"overrides": told, **{key: item for key, item in chosen.items() if item}}}


def _is_namespace(value: Any) -> bool:
    argparse = sys.modules.get("argparse")
    return argparse is not None and type(value) is argparse.Namespace


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON has it; of anything else, its type: its own methods are not called."""
    kind = type(value)
    if value is None or kind in (str, int, float, bool):
        return value
    if depth < _DEPTH and kind is dict:
        return {str(_plain(key)): _plain(item, depth + 1) for key, item in list(value.items())}
    if depth < _DEPTH and kind in (list, tuple):
        return [_plain(item, depth + 1) for item in list(value)]
    if issubclass(kind, PurePath) and kind.__module__.partition(".")[0] == "pathlib":
        return str(value)
    return f"<{kind.__module__}.{kind.__qualname__}>"


def _resolved(content: dict[str, Any]) -> dict[str, Any]:
    """Follow references from key to key; what a resolver would give (an environment variable, say) stays as written."""
    return {key: _follow(value, (key,), content) for key, value in content.items()}


def _follow(value: Any, at: tuple[str, ...], content: Mapping[str, Any], depth: int = 0) -> Any:
    if depth > _DEPTH:
        return value
    if isinstance(value, dict):
        return {key: _follow(item, (*at, key), content, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_follow(item, (*at, str(index)), content, depth + 1) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole is not None:
        found = _target(whole, at, content, depth)
        return value if found is None else found
    return _REFERENCE.sub(lambda match: _inserted(match, at, content, depth), value)


def _inserted(match: re.Match[str], at: tuple[str, ...], content: Mapping[str, Any], depth: int) -> str:
    found = _target(match, at, content, depth)
    return match[0] if found is None or isinstance(found, (dict, list)) else str(found)


def _target(match: re.Match[str], at: tuple[str, ...], content: Mapping[str, Any], depth: int) -> Any:
    parts = tuple(re.findall(r"[\w-]+", match["path"]))
    if match["dots"]:
        parts = (*at[: max(len(at) - len(match["dots"]), 0)], *parts)
    if any(map(redact.is_secret, parts)):
        return None
    found: Any = content
    for part in parts:
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return _follow(found, parts, content, depth + 1)

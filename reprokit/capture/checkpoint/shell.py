"""What IPython keeps besides the variables: its history and results, cells' sources, extensions, what magics set.

It is given the shell, and asks it only for what every version of IPython since 8 has.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from reprokit.capture.checkpoint.refused import Refused

__all__ = ["magics", "places", "put_back", "settled", "taken", "variables"]

#: Extensions that hold no more than that they are loaded.
_EXTENSIONS = ("autoreload", "storemagic", "reprokit", "line_profiler", "memory_profiler", "watermark", "ipytest")
_OWN = ("In", "Out", "_ih", "_oh", "_dh", "__builtin__", "__builtins__", "__name__", "__loader__", "__spec__")
_CLASSES = ("InteractiveShell", "InlineBackend", "PlainTextFormatter", "DisplayFormatter", "IPCompleter")
_PLAIN = (bool, int, float, str, type(None), set, list, tuple)


def places(shell: Any) -> dict[str, Any]:
    """Return what there is one of in each shell, by name."""
    history = shell.history_manager
    return {
        "shell": shell,
        "kernel": getattr(shell, "kernel", None) or shell,
        "variables": shell.user_ns,
        "module": shell.user_module,
        "inputs": history.input_hist_parsed,
        "raw inputs": history.input_hist_raw,
        "results": history.output_hist,
        "folders": history.dir_hist,
        "display hook": shell.displayhook,
        "display publisher": shell.display_pub,
    }


def variables(shell: Any) -> dict[str, Any]:
    """Return the user's variables: those that a new shell has not by itself, in their order."""
    hidden = shell.user_ns_hidden
    return {
        name: value
        for name, value in list(shell.user_ns.items())
        if name not in _OWN and not (name in hidden and hidden[name] is value and not _is_result(name))
    }


def _is_result(name: str) -> bool:
    """Return whether a name is one of IPython's for inputs and results: ``_``, ``_12``, ``_i3``."""
    return name.startswith("_") and not name.strip("_i0123456789")


def magics(shell: Any) -> set[str]:
    """Return the magics that there are."""
    return {name for kind in shell.magics_manager.magics.values() for name in kind}


def _own_magics(shell: Any, known: set[str]) -> Iterator[str]:
    """Yield the magics that the user's cells made; those of an extension are there once it is loaded again."""
    for kind in shell.magics_manager.magics.values():
        for name, function in kind.items():
            made = type(function).__name__ in ("MagicAlias", "Alias") or function.__module__ == "__main__"
            if made and name not in known:
                yield name


def taken(shell: Any, known: set[str]) -> dict[str, Any]:
    """Return the shell's own state.

    Args:
        shell: the shell.
        known: the magics that it had before the first cell.

    Raises:
        Refused: an extension is loaded that may hold anything, or cells made magics.
    """
    if own := next(_own_magics(shell, known), None):
        raise Refused(f"the magic %{own}, which a cell made")
    history, hook = shell.history_manager, shell.displayhook
    return {
        "count": shell.execution_count,
        "inputs": list(history.input_hist_parsed),
        "raw inputs": list(history.input_hist_raw),
        "results": dict(history.output_hist),
        "folders": [str(folder) for folder in history.dir_hist],
        "unders": [getattr(hook, name, None) for name in ("_", "__", "___")],
        "line inputs": [getattr(history, name, "") for name in ("_i", "_ii", "_iii", "_i00")],
        "hidden": [name for name in shell.user_ns_hidden if _is_result(name)],
        "sources": {name: linecache.cache[name] for name in _names(shell) if name in linecache.cache},
        "numbers": {name: shell.compile._filename_map.get(name) for name in _names(shell)},
        "extensions": sorted(_extensions(shell)),
        "reloading": _reloading(shell),
        "inline": _is_inline(shell),
        "traits": {kind: dict(_traits(one)) for kind, one in _configurables(shell)},
    }


def settled(shell: Any, state: Mapping[str, Any]) -> None:
    """Load what was loaded: before variables are made, and before the settings of libraries are put back."""
    for name in state["extensions"]:
        if name not in shell.extension_manager.loaded:
            shell.extension_manager.load_extension(name)
    if state["inline"]:
        shell.enable_matplotlib("inline")


def put_back(shell: Any, state: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Give the shell its variables and its state."""
    history, hook = shell.history_manager, shell.displayhook
    namespace = shell.user_ns
    for name in [name for name in variables(shell) if name not in values]:
        del namespace[name]
    namespace.update(values)
    history.input_hist_parsed[:] = state["inputs"]
    history.input_hist_raw[:] = state["raw inputs"]
    history.output_hist.update(state["results"])
    history.dir_hist[:] = [type(history.dir_hist[0])(one) if history.dir_hist else one for one in state["folders"]]
    for name, value in zip(("_", "__", "___"), state["unders"], strict=True):
        setattr(hook, name, value)
    for name, text in zip(("_i", "_ii", "_iii", "_i00"), state["line inputs"], strict=True):
        setattr(history, name, text)
    shell.user_ns_hidden.update({name: namespace[name] for name in state["hidden"] if name in namespace})
    linecache.cache.update(state["sources"])
    shell.compile._filename_map.update(state["numbers"])
    _put_reloading(shell, state["reloading"])
    for kind, one in _configurables(shell):
        for name, value in state["traits"].get(kind, {}).items():
            if getattr(one, name, value) != value:
                setattr(one, name, value)
    shell.execution_count = state["count"]


def _names(shell: Any) -> list[str]:
    return list(getattr(shell.compile, "_filename_map", {}))


def _extensions(shell: Any) -> Iterator[str]:
    for name in shell.extension_manager.loaded:
        if name.removeprefix("IPython.extensions.") not in _EXTENSIONS:
            raise Refused(f"the extension {name}, whose state is not known")
        yield str(name)


def _reloader(shell: Any) -> Any:
    magics = shell.magics_manager.registry.get("AutoreloadMagics")
    return None if magics is None else getattr(magics, "_reloader", None)


def _reloading(shell: Any) -> dict[str, Any]:
    found = _reloader(shell)
    names = ("enabled", "check_all", "autoload_obj", "verbose")
    return {} if found is None else {name: getattr(found, name) for name in names if hasattr(found, name)}


def _put_reloading(shell: Any, state: Mapping[str, Any]) -> None:
    found = _reloader(shell)
    if found is not None:
        for name, value in state.items():
            setattr(found, name, value)
        found.check(check_all=True, do_reload=False)  # the modules are as they were when they were imported just now


def _is_inline(shell: Any) -> bool:
    module = sys.modules.get("matplotlib_inline.backend_inline")
    return module is not None and module.flush_figures in shell.events.callbacks.get("post_execute", ())


def _configurables(shell: Any) -> Iterator[tuple[str, Any]]:
    seen = [*shell.configurables, *shell.display_formatter.formatters.values()]
    for one in seen:
        kinds = [kind.__name__ for kind in type(one).__mro__]
        if any(name in kinds for name in _CLASSES):
            yield kinds[0], one


def _traits(one: Any) -> Iterator[tuple[str, Any]]:
    """Yield the plain values that `%config` may set."""
    for name in one.trait_names(config=True):
        value = getattr(one, name)
        if type(value) in _PLAIN and all(type(item) in _PLAIN for item in (value if type(value) in _PLAIN[5:] else ())):
            yield name, value

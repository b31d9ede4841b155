"""What stands in libraries and in the interpreter, besides variables, and changes what later cells give.

Options of pandas, matplotlib's parameters, numpy's error handling, loggers: a cell sets them once, and they hold from
then on. Each of the well-known ones is taken as data and put back as data. Libraries are found, never imported.
"""

from __future__ import annotations

import decimal
import gc
import locale
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reprokit.capture.checkpoint.refused import Refused
from reprokit.capture.randomness.unrepeatable import is_of_the_user

__all__ = ["Baseline", "put_back", "taken"]

_Get = Callable[[Any], Any]
_Put = Callable[[Any, Any], object]


class Baseline:
    """What a kernel had before the first cell: variables of the environment, threads, handlers of signals."""

    def __init__(self) -> None:
        self.environ = dict(os.environ)
        self._threads = set(threading.enumerate())
        self._handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def changed_environ(self) -> dict[str, str | None]:
        """Return the variables that cells set, or took away (None)."""
        now = dict(os.environ)
        gone = dict.fromkeys(self.environ.keys() - now.keys())
        return {**gone, **{name: value for name, value in now.items() if self.environ.get(name) != value}}

    def running(self) -> dict[str, str]:
        """Return what the user's code started and cannot be kept: name → what it is."""
        names = dict.fromkeys(_tasks(), "a running task")
        for thread in set(threading.enumerate()) - self._threads:
            code = getattr(getattr(thread, "_target", None) or type(thread).run, "__code__", None)
            if code is not None and is_of_the_user(code.co_filename):
                names[thread.name] = "a running thread"
        for number, handler in self._handlers.items():
            now = signal.getsignal(number)
            if now is not handler and callable(now):
                names[signal.Signals(number).name] = "a handler of a signal"
        return names


def _tasks() -> Iterator[str]:
    """Yield the names of the user's tasks on the kernel's loop, also of those that no variable holds."""
    asyncio: Any = sys.modules.get("asyncio")
    try:
        tasks = () if asyncio is None else asyncio.all_tasks()
    except RuntimeError:  # no loop runs here
        return
    for task in tasks:
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and is_of_the_user(code.co_filename):
            yield str(task.get_name())


def taken() -> dict[str, Any]:
    """Return the settings as they are, by name."""
    return {name: get(sys.modules[module]) for name, (module, get, _) in _SETTINGS.items() if _is_loaded(module)}


def put_back(settings: Mapping[str, Any]) -> None:
    """Make the settings what they were."""
    for name, value in settings.items():
        module, get, put = _SETTINGS[name]
        if _is_loaded(module) and get(sys.modules[module]) != value:
            put(sys.modules[module], value)


def _is_loaded(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


# -- the interpreter ------------------------------------------------------------------------------------


def _filters(_: Any) -> list[Any]:
    return list(warnings.filters)


def _put_filters(_: Any, filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _put_zone(_: Any, names: Any) -> None:
    time.tzset()


def _context(_: Any) -> tuple[Any, ...]:
    now = decimal.getcontext()
    flags = {str(kind.__name__): (now.traps[kind], now.flags[kind]) for kind in now.traps}
    return now.prec, now.rounding, now.Emin, now.Emax, now.capitals, now.clamp, flags


def _put_context(_: Any, value: tuple[Any, ...]) -> None:
    *plain, flags = value
    made = decimal.Context(*plain)
    for kind in list(made.traps):
        made.traps[kind], made.flags[kind] = flags[kind.__name__]
    decimal.setcontext(made)


def _mask(_: Any) -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


# -- loggers --------------------------------------------------------------------------------------------


def _loggers(module: Any) -> dict[str, Any]:
    """Return each logger that somebody set up: its level, and its handlers as far as they write to a stream."""
    known = {"": logging.getLogger()}
    known |= {name: one for name, one in logging.Logger.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    return {
        name: (one.level, one.propagate, one.disabled, [_handler(name, each) for each in one.handlers])
        for name, one in known.items()
        if one.level or one.handlers or not one.propagate or one.disabled
    }


def _handler(name: str, handler: logging.Handler) -> Any:
    if isinstance(handler, logging.FileHandler):
        raise Refused(f"a handler of the logger {name or 'root'} that writes to a file")
    form = handler.formatter
    form_of = None if form is None else (form._fmt, form.datefmt, type(getattr(form, "_style", None)).__name__)
    if type(handler) is not logging.StreamHandler or type(form) not in (type(None), logging.Formatter):
        return type(handler).__name__  # a library's own: it is there again once that is imported
    stream = "stdout" if handler.stream is sys.stdout else "stderr"
    return stream, handler.level, form_of


def _put_loggers(_: Any, found: Mapping[str, Any]) -> None:
    for name, (level, propagate, disabled, handlers) in found.items():
        logger = logging.getLogger(name or None)
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
        for handler in handlers[len(logger.handlers) :]:
            if not isinstance(handler, str):
                logger.addHandler(_made_handler(*handler))


def _made_handler(stream: str, level: int, form: Any) -> logging.Handler:
    made = logging.StreamHandler(getattr(sys, stream))
    made.setLevel(level)
    if form is not None:
        styles = {"PercentStyle": "%", "StrFormatStyle": "{", "StringTemplateStyle": "$"}
        made.setFormatter(logging.Formatter(form[0], form[1], styles.get(form[2], "%")))  # type: ignore[arg-type]
    return made


# -- libraries ------------------------------------------------------------------------------------------


def _parameters(matplotlib: Any) -> dict[str, Any]:
    return {name: value for name, value in dict.items(matplotlib.rcParams) if name != "backend"}


def _put_parameters(matplotlib: Any, value: Mapping[str, Any]) -> None:
    dict.update(matplotlib.rcParams, value)


def _backend(matplotlib: Any) -> Any:
    return str(dict.get(matplotlib.rcParams, "backend", ""))


def _put_backend(matplotlib: Any, name: str) -> None:
    if name and not name.startswith("<"):
        matplotlib.use(name)


def _figures(pyplot: Any) -> list[int]:
    if numbers := pyplot.get_fignums():
        raise Refused(f"{len(numbers)} open figures of pyplot; `plt.show()` or `plt.close()` ends one")
    return []


def _torch(torch: Any) -> tuple[Any, ...]:
    return (
        str(torch.get_default_dtype()).removeprefix("torch."),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        bool(torch.backends.cudnn.benchmark),
        bool(torch.backends.cudnn.deterministic),
    )


def _put_torch(torch: Any, value: tuple[Any, ...]) -> None:
    kind, grad, threads, deterministic, benchmark, exact = value
    torch.set_default_dtype(getattr(torch, kind))
    torch.set_grad_enabled(grad)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, exact


def _options(config: Any) -> dict[str, Any]:
    def copied(value: Any) -> Any:
        return {key: copied(item) for key, item in value.items()} if isinstance(value, dict) else value

    return dict(copied(config._global_config))


def _put_options(config: Any, value: Mapping[str, Any]) -> None:
    def put(into: dict[str, Any], values: Mapping[str, Any]) -> None:
        for key, item in values.items():
            if isinstance(item, dict) and isinstance(into.get(key), dict):
                put(into[key], item)
            elif key in into:
                into[key] = item

    put(config._global_config, value)


def _put_plotly(io: Any, value: tuple[Any, Any]) -> None:
    io.templates.default, io.renderers.default = value


_SETTINGS: dict[str, tuple[str, _Get, _Put]] = {
    "time zone": ("time", lambda module: module.tzname, _put_zone),
    "warnings": ("warnings", _filters, _put_filters),
    "recursion": ("sys", lambda module: module.getrecursionlimit(), lambda module, at: module.setrecursionlimit(at)),
    "decimal": ("decimal", _context, _put_context),
    "locale": (
        "locale",
        lambda module: module.setlocale(module.LC_ALL),
        lambda module, name: module.setlocale(locale.LC_ALL, name),
    ),
    "umask": ("os", _mask, lambda module, mask: module.umask(mask)),
    "garbage": ("gc", lambda module: module.isenabled(), lambda module, on: gc.enable() if on else gc.disable()),
    "loggers": ("logging", _loggers, _put_loggers),
    "numpy errors": ("numpy", lambda numpy: numpy.geterr(), lambda numpy, value: numpy.seterr(**value)),
    "numpy printing": (
        "numpy",
        lambda numpy: {key: item for key, item in numpy.get_printoptions().items() if key != "override_repr"},
        lambda numpy, value: numpy.set_printoptions(**value),
    ),
    "pandas": ("pandas._config.config", _options, _put_options),
    "matplotlib backend": ("matplotlib", _backend, _put_backend),
    "matplotlib": ("matplotlib", _parameters, _put_parameters),
    "figures": ("matplotlib.pyplot", _figures, lambda *_: None),
    "sklearn": ("sklearn", lambda sklearn: sklearn.get_config(), lambda sklearn, value: sklearn.set_config(**value)),
    "torch": ("torch", _torch, _put_torch),
    "plotly": (
        "plotly.io",
        lambda io: (io.templates.default, io.renderers.default),
        _put_plotly,
    ),
}

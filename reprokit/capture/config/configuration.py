"""The configuration probe: what steers a run, by key, each value with where it came from.

It knows the chosen environment variables, configuration files of the project that the user's code
read (in the version that was read), and the namespaces that hold options: ``argparse`` and OmegaConf
(so Hydra). Nothing is imported and no foreign object is looked into; secrets go before a value stays.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from reprokit.capture import redact
from reprokit.capture.config import config, options
from reprokit.capture.probe import Context, Patch
from reprokit.errors import GitError, StoreError
from reprokit.records import Config, Gap

__all__ = ["Configuration"]

_ENVIRONMENT = "environment"
_SLOW = 100_000  # bytes: YAML beyond it would keep the background busy for long
_KEYS = 500  # a file with more is data
_ITEMS = 100  # of one list
_NEWEST = 128  # variables looked at after a cell that made options: new ones come last
_OFTEN = 16  # cells, after which they are looked at in any case: options may have been made long before
_TOLD = 3  # changes named in one line


class Configuration:
    """Records a run's configuration.

    Args:
        context: what a probe may use.
    """

    aspect = "config"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._background: int | None = None
        variables = config.variables(context.settings.variables)
        self._values: dict[str, Any] = {f"env.{key}": text for key, text in variables.items()}
        self._sources = dict.fromkeys(self._values, _ENVIRONMENT)
        self._by_source: dict[str, dict[str, Any]] = {}
        self._parsed: dict[str, str] = {}  # file → digest of what was parsed last
        self._seen: dict[str, Any] = {}  # variable → what tells whether it is another one now
        self._count = 0  # options among the newest variables
        self._alive: tuple[int, ...] | None = None  # options anywhere
        self._tracked: Mapping[str, str] = {}
        self._blob: Callable[[str], bytes] | None = None

    def start(self) -> Patch | None:
        """Look at the options of the script that starts the run; they may be local to a function."""
        self._context.later(self._know_background)
        for name, value in options.in_frames():
            self._take(name, value)
        return None

    def _know_background(self) -> None:
        self._background = threading.get_ident()

    def knows(self, tracked: Mapping[str, str], blob: Callable[[str], bytes]) -> None:
        """Tell which files the code snapshot holds: absolute path → git blob id, and how to read one."""
        self._tracked = tracked
        self._blob = blob

    def table(self) -> dict[str, Any]:
        """Return everything known so far, in the form of a ``Config`` record."""
        with self._lock:
            return Config(values=dict(self._values), sources=dict(self._sources)).to_dict()

    def before_cell(self, seq: int) -> Patch | None:
        """Nothing is to be seen before a cell."""
        return None

    def after_cell(self, seq: int) -> Patch | None:
        """Take up new options among the variables."""
        namespace = self._context.namespace()
        for name in self._seen.keys() & namespace.keys():
            self._take(name, namespace[name])
        alive = options.alive()
        if alive == self._alive and seq % _OFTEN:
            return None
        self._alive = alive
        newest = islice(reversed(namespace.values()), _NEWEST)  # type: ignore[call-overload]
        wanted = set(map(id, options.kinds()))  # not the types: a metaclass of the user's may have a hash of its own
        try:
            count = sum(map(wanted.__contains__, map(id, map(type, newest))))
        except RuntimeError:  # another thread made a variable just now
            count, self._alive = -1, None
        if count != self._count:
            self._count = count
            self._look(namespace)
        return None

    def stop(self) -> Patch | None:
        """Take the last word of everything that may have changed without being made anew."""
        self._seen.clear()
        self._look(self._context.namespace())
        self._merge_all(options.of_hydra())
        return None

    def saw(self, reads: Sequence[Mapping[str, Any]]) -> None:
        """Hear which files a cell read, as ``FileUse`` dictionaries: configuration among them is parsed."""
        for use in reads:
            path = use["path"]
            if path.endswith(config.SUFFIXES) and self._is_wanted(path, use):
                if threading.get_ident() == self._background:
                    self._parse(path, use)
                else:
                    self._context.later(lambda path=path, use=use: self._parse(path, use))  # type: ignore[misc]

    def add(self, path: Path, name: str) -> int:
        """Record a file that the user named and return how many keys it has.

        Raises:
            UsageError: the file is no readable configuration.
        """
        values = config.read(path)
        self._merge(name, values)
        return len(values)

    # -- files ----------------------------------------------------------------------------------

    def _is_wanted(self, path: str, use: Mapping[str, Any]) -> bool:
        suffix = PurePath(path).suffix
        limit = _SLOW if suffix in (".yaml", ".yml") else config.LIMIT
        known = use["state"] == "stable" and use["digest"] is not None and self._parsed.get(path) != use["digest"]
        known = known and use["stored"] in ("git", "object")  # else its bytes are elsewhere, or a secret
        # What the run itself wrote is a result; what lies outside the project belongs to the machine.
        if not known or use["own"] or path.startswith("/") or (use["size"] or 0) > limit:
            return False
        return not redact.is_secret(PurePath(path).stem)

    def _parse(self, path: str, use: Mapping[str, Any]) -> None:
        suffix = PurePath(path).suffix
        if not config.can_parse(suffix):
            return
        self._parsed[path] = use["digest"]
        try:
            content = config.parse(suffix, self._bytes(path, use).decode("utf-8"))
            values = dict(islice(config.flatten(content), _KEYS + 1)) if looks_like_configuration(content) else {}
        except (ValueError, ImportError, RecursionError):
            return  # it is recorded as a file; as configuration nobody declared it
        except (OSError, GitError, StoreError) as error:
            message = f"{path} could not be looked at as configuration ({error})"
            self._context.gap(Gap(aspect=self.aspect, message=message, remedy=f"`%repro config {path}`"))
            return
        if 0 < len(values) <= _KEYS:
            self._merge(path, values)

    def _bytes(self, path: str, use: Mapping[str, Any]) -> bytes:
        """Return the bytes that were read, from where they are kept: the file may be another by now."""
        absolute = os.path.join(os.path.realpath(self._context.project), path)
        if use["stored"] == "git" and self._blob is not None and absolute in self._tracked:
            return self._blob(self._tracked[absolute])
        return self._context.objects.get_bytes(use["digest"])

    # -- variables ------------------------------------------------------------------------------

    def _look(self, namespace: Mapping[str, Any]) -> None:
        wanted = options.kinds()
        try:
            found = [(name, value) for name, value in namespace.items() if any(type(value) is kind for kind in wanted)]
        except RuntimeError:  # another thread made a variable just now: after the next cell, then
            return
        for name, value in found:
            if not name.startswith("_"):  # IPython's own names for results
                self._take(name, value)

    def _take(self, name: str, value: Any) -> None:
        token = options.token(value)
        if token is not None and self._seen.get(name) != token:
            self._seen[name] = token
            source, values = options.read(name, value)
            self._merge(source, dict(islice(config.flatten(values), _KEYS)) if values else {})

    # -- what is recorded -----------------------------------------------------------------------

    def _merge_all(self, found: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        for source, values in found:
            self._merge(source, dict(islice(config.flatten(values), _KEYS)))

    def _merge(self, source: str, values: dict[str, Any]) -> None:
        """Put in what a source says now, and tell what it said before when that was something else."""
        with self._lock:
            before = self._by_source.get(source)
            if before == values or (before is None and not values) or os.getpid() != self._pid:
                return
            self._by_source[source] = values
            for key in [key for key, owner in self._sources.items() if owner == source]:
                del self._values[key], self._sources[key]
            for key, value in values.items():
                name = key if key not in self._values else f"{source}:{key}"
                self._values[name], self._sources[name] = value, source
            self._context.emit(None, Patch(set={"config": self.table()}))
            if before is not None:
                self._context.gap(_changed(source, before, values))


def looks_like_configuration(content: Any) -> bool:
    """Return whether a file's content reads like settings, not like data: names, values, short lists.

    >>> looks_like_configuration({"lr": 0.1, "model": {"layers": [64, 64]}})
    True
    >>> looks_like_configuration([{"id": 1}, {"id": 2}])
    False
    """
    if not isinstance(content, Mapping) or not content:
        return False
    if "nbformat" in content or content.get("type") in ("FeatureCollection", "Feature", "Topology"):
        return False
    return all(_is_setting(value) for value in islice(_values(content), _KEYS + 1))


def _values(content: Any, depth: int = 0) -> Iterator[Any]:
    """Yield every value below a mapping, collections before what is in them."""
    items = content.values() if isinstance(content, Mapping) else content
    for value in items:
        yield value
        if isinstance(value, (Mapping, list)) and depth < 20:
            yield from _values(value, depth + 1)


def _is_setting(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 2_000
    if isinstance(value, Mapping):  # a table by row number, as pandas writes it, is data
        return not (len(value) > 9 and all(str(key).isdigit() for key in islice(value, 10)))
    return not isinstance(value, list) or len(value) <= _ITEMS


def _changed(source: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Gap:
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    told = "; ".join(f"{key} was {_short(before, key)}, then {_short(after, key)}" for key in keys[:_TOLD])
    more = f" and {len(keys) - _TOLD} more" if len(keys) > _TOLD else ""
    return Gap(
        aspect="config",
        message=f"{source} changed in the run: {told}{more}",
        remedy="the last values are recorded; each cell's own are in the file it read",
    )


def _short(values: Mapping[str, Any], key: str) -> str:
    text = repr(values[key]) if key in values else "absent"
    return text if len(text) <= 40 else f"{text[:39]}…"

"""Hears what libraries that open files by themselves are told to read and write: in the *basic* tier only.

Their functions are wrapped once they are imported, look and behave as before, and are put back at the end. Only
arguments that are plain texts and paths are looked at, and nothing is told that does not name a file that is there,
or may be afterwards. What such a call opens without being told stays unseen.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from reprokit.capture import swallowed
from reprokit.capture.files.commands import below, files, in_code
from reprokit.capture.files.names import names_read, names_used
from reprokit.capture.randomness.recode import divert
from reprokit.capture.remote.hooks import Hooks
from reprokit.capture.swallowed import guarded

__all__ = ["Readers"]

# What each library's functions do with what they are told: "read"; "output" (they make it anew); "update" (they
# change it); "mode" (their argument of this name says it). The parts of a name before the last are classes.
_CALLS: Mapping[str, Mapping[str, str]] = {
    "pyarrow": {"memory_map": "mode", "create_memory_map": "output", "input_stream": "read", "output_stream": "output"},
    "pyarrow.parquet": {
        "read_table": "read", "read_schema": "read", "read_metadata": "read", "read_pandas": "read",
        "ParquetFile.__init__": "read", "ParquetDataset.__init__": "read", "ParquetWriter.__init__": "output",
        "write_table": "output", "write_metadata": "output",
    },
    "pyarrow.dataset": {"dataset": "read", "parquet_dataset": "read"},
    "pyarrow.csv": {"read_csv": "read", "open_csv": "read", "write_csv": "output"},
    "pyarrow.json": {"read_json": "read", "open_json": "read"},
    "pyarrow.feather": {"read_table": "read", "read_feather": "read", "write_feather": "output"},
    "pyarrow.orc": {"read_table": "read", "ORCFile.__init__": "read", "write_table": "output"},
    "pyarrow.fs": {"copy_files": "read"},
    "h5py": {"File.__init__": "mode"},
    "tables": {"open_file": "mode"},
    "torch": {"save": "output"},
    "cv2": {"imread": "read", "imwrite": "output"},
}  # fmt: skip
_POLARS = re.compile(r"(?:read|scan)_(?!database|clipboard)\w+")
_POLARS_WRITES = re.compile(r"(?:write|sink)_(?!database|clipboard)\w+")
_DUCKDB_SQL = ("execute", "executemany", "sql", "query", "from_query")
_DUCKDB_READS = ("read_parquet", "from_parquet", "read_csv", "from_csv_auto", "read_json")
_DUCKDB_WRITES = ("to_csv", "to_parquet", "write_csv", "write_parquet")
_COPY_TO = re.compile(r"\bCOPY\b.*?\bTO\s+'([^']+)'", re.IGNORECASE | re.DOTALL)
_ATTACH = re.compile(r"\bATTACH\b[^']*'([^']+)'", re.IGNORECASE)
_VIEW = re.compile(r"\bCREATE\b.*?\bVIEW\s+(?:IF\s+NOT\s+EXISTS\s+)?\"?(\w+)", re.IGNORECASE | re.DOTALL)
_OUTPUTS = ("where", "file", "path", "target", "f", "dest", "filename", "file_name", "sink")
_TEXT = re.compile(rb"\x8c(.)|X(....)", re.DOTALL)  # a text in a pickle, behind its length
_MANY = 10_000  # files named by one call
_LONG = 10_000_000  # bytes of a pickle
_LATER = frozenset(("LazyFrame", "DuckDBPyRelation", "FileSystemDataset", "ParquetFile", "File", "Group", "Dataset"))


class Readers:
    """The wrapped functions.

    Args:
        hear: told of each file, as by ``Audit``.
        later: hands a piece of work to the background.
    """

    def __init__(self, hear: Callable[[str, str], None], later: Callable[[Callable[[], None]], None]) -> None:
        self._hear = hear
        self._hooks = Hooks(later)
        self._views: dict[str, tuple[str, ...]] = {}  # DuckDB's name → the files that it stands for
        self._kept: dict[int, tuple[weakref.ref[Any], tuple[str, ...]]] = {}  # objects that read when they are used

    def install(self) -> None:
        """Wrap what is loaded, and whatever is imported from now on."""
        installers: dict[str, Callable[[Any], None]] = {
            name: lambda module, calls=calls: self._wrap_all(module, calls)  # type: ignore[misc]
            for name, calls in _CALLS.items()
        }
        installers["polars"] = self._polars
        installers["duckdb"] = self._duckdb
        installers["multiprocessing.reduction"] = lambda module: self._sending(module.ForkingPickler.dumps.__func__)
        for loky in ("loky.backend.reduction", "joblib.externals.loky.backend.reduction"):
            installers[loky] = lambda module: self._sending(module.dumps)
        self._hooks.install(installers)

    def remove(self) -> None:
        """Put everything back."""
        self._hooks.remove()
        self._kept.clear()

    def before_cell(self, source: str, namespace: Mapping[str, Any]) -> None:
        """Hear of the files behind the variables that a cell uses: what was opened in an earlier one."""
        for _, path in self._behind(names_read(source) if self._kept else (), namespace):
            self._hear(path, "told")

    def after_cell(self, source: str, namespace: Mapping[str, Any]) -> None:
        """What a cell makes of such a variable stands for the same files."""
        if self._hooks.error is not None:  # a library is not as it was known to be
            swallowed.keep("files", self._hooks.error)
            self._hooks.error = None
        if not self._kept:
            return
        used, made = names_used(source)
        behind = tuple(dict.fromkeys(path for _, path in self._behind(used, namespace)))
        for name in made if behind else ():
            if id(value := namespace.get(name)) not in self._kept:
                self._keep(value, behind)

    def _behind(self, names: Iterable[str], namespace: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for name in names:
            value = namespace.get(name)
            reference, paths = self._kept.get(id(value), (None, ()))
            if reference is not None and reference() is value:
                yield from ((name, path) for path in paths)

    def _keep(self, value: Any, paths: Iterable[str]) -> None:
        if type(value).__name__ in _LATER:
            kept, name = self._kept, id(value)
            reference = weakref.ref(value, lambda gone: kept.pop(name, None) if name in kept else None)
            kept[name] = (reference, tuple(paths))

    # -- wrapping ---------------------------------------------------------------------------------

    def _wrap_all(self, module: Any, calls: Mapping[str, str]) -> None:
        for name, access in calls.items():
            *classes, function = name.split(".")
            owner = module
            for part in classes:
                owner = getattr(owner, part, None)
            self._wrap(owner, function, access)

    def _wrap(self, owner: Any, name: str, access: str) -> None:
        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            tell = guarded("files", self._told, lambda *_: ())
            keep = guarded("files", self._keep)

            def call(*args: Any, **options: Any) -> Any:
                __tracebackhide__ = True
                paths = tell(access, args, options)
                result = original(*args, **options)
                if paths and access in ("read", "mode"):
                    keep(args[0] if result is None and args else result, paths)
                return result

            return call

        if owner is not None:
            self._hooks.wrap(owner, name, make)

    def _told(self, access: str, args: Sequence[Any], options: Mapping[str, Any]) -> list[str]:
        """Hear of the files among the arguments of a call, before they are opened."""
        if access == "output":
            found = [os.path.abspath(path) for path in _output(args, options)]
        else:
            found = list(_inputs(args, options))
            if access == "mode":
                access, found = _by_mode(args, options, found)
        for path in found:
            self._hear(path, access)
        return found

    # -- what needs more than a name ------------------------------------------------------------------

    def _polars(self, module: Any) -> None:
        for name in filter(_POLARS.fullmatch, dir(module)):
            self._wrap(module, name, "read")
        for frame in (module.DataFrame, module.LazyFrame):
            for name in filter(_POLARS_WRITES.fullmatch, dir(frame)):
                self._wrap(frame, name, "output")

    def _duckdb(self, module: Any) -> None:
        for owner in (module, module.DuckDBPyConnection):
            for name in _DUCKDB_SQL:
                self._hooks.wrap(owner, name, self._asking)
            for name in _DUCKDB_READS:
                self._wrap(owner, name, "read")
        for name in _DUCKDB_WRITES:
            self._wrap(module.DuckDBPyRelation, name, "output")
        self._wrap(module, "connect", "update")

    def _asking(self, original: Callable[..., Any]) -> Callable[..., Any]:
        asked = guarded("files", self._asked, lambda *_: ())
        keep = guarded("files", self._keep)

        def ask(*args: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            paths = asked(args, options)
            result = original(*args, **options)
            if paths:
                keep(result, paths)
            return result

        return ask

    def _asked(self, args: Sequence[Any], options: Mapping[str, Any]) -> list[str]:
        """Hear of the files that a statement names, and of those behind its views."""
        text = next((item for item in (*args, *options.values()) if type(item) is str), "")
        outputs = {os.path.abspath(path) for path in _COPY_TO.findall(text)}
        changed = {os.path.abspath(path) for path in _ATTACH.findall(text)}
        found = [os.path.abspath(name.path) for name in in_code(text, os.getcwd())]
        found += [path for view, paths in self._views.items() if re.search(rf"\b{view}\b", text) for path in paths]
        for path in dict.fromkeys((*found, *outputs, *changed)):
            self._hear(path, "output" if path in outputs else "update" if path in changed else "read")
        reads = [path for path in found if path not in outputs]
        if match := _VIEW.search(text):
            self._views[match[1]] = tuple(reads)
        return reads

    def _sending(self, function: Any) -> None:
        """Hear of the files that are named in what is sent to other processes."""
        sent = guarded("files", self._sent)

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def dumps(*args: Any, **options: Any) -> Any:
                result = original(*args, **options)
                sent(result)
                return result

            return dumps

        if (undo := divert(function, make)) is not None:
            self._hooks.at_end(undo)

    def _sent(self, pickled: Any) -> None:
        data = bytes(memoryview(pickled)[:_LONG])
        for match in _TEXT.finditer(data):
            size = match[1][0] if match[1] else int.from_bytes(match[2], "little")
            text = data[match.end() : match.end() + size].decode("utf-8", "replace") if size < 1024 else ""
            for path in files(text, os.getcwd()):
                self._hear(path, "told")


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """Yield the texts and paths among values; a list of them may be one value."""
    for value in values:
        if type(value) is str:
            yield value
        elif isinstance(value, PurePath):
            yield PurePath.__str__(value)
        elif type(value) in (list, tuple):
            yield from _texts(value[:_MANY])


def _inputs(args: Sequence[Any], options: Mapping[str, Any]) -> Iterator[str]:
    here = os.getcwd()
    for text in _texts((*args, *options.values())):
        if len(text) < 1024 and "\n" not in text:
            text = text.removeprefix("file://")
            yield from (os.path.abspath(path) for path in files(text, here))
            for path in below([text], here) if "/" in text or os.path.isdir(text) else ():
                if not os.path.basename(path).startswith((".", "_")):
                    yield os.path.abspath(path)


def _output(args: Sequence[Any], options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the first text or path: where the result goes."""
    named = [options[name] for name in _OUTPUTS if name in options]
    for text in _texts((*args, *named)):
        if len(text) < 1024 and "\n" not in text and "://" not in text:
            yield text
            return


def _by_mode(args: Sequence[Any], options: Mapping[str, Any], found: list[str]) -> tuple[str, list[str]]:
    """Return what a function that takes a path and a mode does, and the file."""
    texts = list(_texts((*args, *(options[name] for name in ("name", "path", "filename", "mode") if name in options))))
    mode = next((text for text in texts[1:] if text in _MODES), "r")
    if mode == "r":
        return "read", found[:1]
    return _MODES[mode], [os.path.abspath(texts[0])] if texts else []


_MODES = {"r": "read", "a": "update", "r+": "update", "w": "output", "w-": "output", "x": "output"}

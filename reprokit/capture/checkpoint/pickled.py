"""How a kernel's variables become bytes, and variables again: by dill, with what must not be copied named instead.

dill writes functions so that they see the module's variables again afterwards. What it would copy though it is one of
a kind (the module itself, the shell, the global generators) is written as a name. dill is looked for in the kernel's
environment, and only when a checkpoint is asked for; a file is read by the one who resumes, and by nobody else.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib
import importlib.util
import io
import json
import os
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from reprokit.capture.checkpoint import arrays, enums, ordered
from reprokit.capture.checkpoint.refused import Looks, Refused

__all__ = ["Places", "Unkept", "found", "read", "version", "write"]

Places = Mapping[str, Any]  # name → what there is one of, in each kernel its own

_STOCK: Any = pickle._Pickler
_MANY = 64  # items of a container from which it pays to write it in one piece
_ATOMS = frozenset((int, float, str, bool, bytes, complex, type(None)))
_WORD = 8  # bytes of the number that a file ends with


class Unkept(Exception):
    """What could not be kept: name of a variable → what it is."""

    def __init__(self, names: Mapping[str, str]) -> None:
        super().__init__(", ".join(f"{name} ({what})" for name, what in names.items()))
        self.names = dict(names)


class _Name(str):
    """The name of a variable, in front of its value."""

    __slots__ = ()


def found() -> bool:
    """Return whether the kernel's environment has dill."""
    return "dill" in sys.modules or importlib.util.find_spec("dill") is not None


def version() -> str:
    """Return the version of dill."""
    return str(_dill().__version__)


def _dill() -> Any:
    known = "dill" in sys.modules
    dill = importlib.import_module("dill")
    if not known:
        dill.extend(False)  # what pickles and what does not stays for the user's own code as it was
    return dill


# -- writing ------------------------------------------------------------------------------------------


def write(out: Any, opening: Mapping[str, Any], parts: Mapping[str, Any], places: Places) -> None:
    """Write a checkpoint.

    Args:
        out: takes the bytes.
        opening: JSON-ready values that are read before anything is unpickled.
        parts: the values: variables and other state, by name.
        places: what is written as a name.

    Raises:
        Unkept: some of it cannot be kept; names all of it that cannot.
    """
    buffers: list[pickle.PickleBuffer] = []
    first = json.dumps(opening).encode("ascii")
    body = _Counted(out)
    body.write(b"%d\n" % len(first) + first)
    with _recursion():
        pickler = _pickler(body, places, buffers.append)
        try:
            pickler.dump(_named(parts))
        except Exception as error:
            raise Unkept(_all_of(parts, places, pickler.at, error)) from error
    pickler.clear_memo()
    sizes = []
    start = body.size
    for buffer in buffers:
        with buffer.raw() as bytes_of:
            sizes.append(body.write(bytes_of))
    table = json.dumps([start, sizes]).encode("ascii")
    body.write(table)
    body.write(len(table).to_bytes(_WORD, "little"))


def _named(parts: Mapping[str, Any]) -> dict[Any, Any]:
    return {
        part: {_Name(name): value for name, value in values.items()} if type(values) is dict else values
        for part, values in parts.items()
    }


def _all_of(parts: Mapping[str, Any], places: Places, at: str, error: Exception) -> dict[str, str]:
    """Return everything that cannot be kept, each looked at alone."""
    names = {at: _told(error)} if at else {}
    for name, value in dict(parts.get("variables", {})).items():
        if name not in names and (what := refusal(value, places)) is not None:
            names[name] = what
    return names or {"": _told(error)}


def refusal(value: Any, places: Places) -> str | None:
    """Return why a value cannot be kept; None when it can."""
    pickler = _pickler(_Nowhere(), places, lambda buffer: None)
    try:
        with _recursion():
            pickler.dump(value)
    except Exception as error:
        return _told(error)
    return None


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, Refused):
        return text
    if isinstance(error, RecursionError):
        return "too deeply nested"
    return text if len(text) <= 80 else f"{text[:79]}…"


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


class _Counted:
    """Passes bytes on, and counts them."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self.size = 0

    def write(self, data: Any) -> int:
        size = int(self._out.write(data))
        self.size += size
        return size


@contextlib.contextmanager
def _recursion() -> Iterator[None]:
    """Let data be nested more deeply than calls usually are: pickling takes several calls a level."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 10_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _pickler(out: Any, places: Places, take: Any) -> Any:
    names = {id(value): name for name, value in places.items()}
    return _kind(sys.modules.get("numpy"), sys.modules.get("torch"))(out, names, take)


@functools.cache
def _kind(numpy: Any, torch: Any) -> Any:
    """Return the class of picklers, by the libraries that are loaded; dill's own, and its tables, stay as they are."""
    theirs: Any = _dill().Pickler

    class Pickler(theirs):  # type: ignore[misc]
        dispatch = _table(theirs.dispatch, numpy, torch)

        def __init__(self, out: Any, names: Mapping[int, str], take: Any) -> None:
            super().__init__(out, protocol=5, buffer_callback=take, byref=False, recurse=False)
            self._names = names
            self._looks = Looks()
            self.storages: dict[int, Any] = {}  # of tensors
            self.at = ""

        def persistent_id(self, value: Any) -> Any:
            name = self._names.get(id(value))
            if name is not None:
                return name
            look = self._looks[type(value)]
            if look is not None:
                look(value)
            return None

        def save(self, value: Any, save_persistent_id: bool = True) -> None:
            _STOCK.save(self, value, save_persistent_id)  # without what dill does for numpy's arrays

    return Pickler


def _table(theirs: Any, numpy: Any, torch: Any) -> Any:
    """Return dill's table of how classes are written, with ours in it."""
    save_class, save_function = theirs[type], theirs[types.FunctionType]

    class Table(type(theirs)):  # type: ignore[misc]
        def __missing__(self, kind: type) -> Any:
            return self[type] if issubclass(kind, type) else super().__missing__(kind)

    def save_code(pickler: Any, value: Any) -> None:
        if isinstance(value, enum.EnumMeta):
            enums.save(pickler, value)
        elif _is_findable(value):
            _STOCK.save_global(pickler, value, name=value.__qualname__)
        else:
            (save_class if isinstance(value, type) else save_function)(pickler, value)

    table: Any = Table(theirs)
    for kind in list(table):
        if str(kind.__module__).partition(".")[0] == "numpy":
            del table[kind]
    table[_Name] = _save_name
    table[dict] = _save_dict
    table[list] = _save_list
    table[set] = table[frozenset] = _save_set
    table[types.ModuleType] = _save_module
    table[type] = table[types.FunctionType] = save_code
    for kind in (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO):
        table[kind] = _save_closed_file
    if numpy is not None:
        table[numpy.ndarray] = _save_array
    if torch is not None:
        table[torch.storage.TypedStorage] = _save_storage
    return table


def _is_findable(value: Any) -> bool:
    """Return whether a class or a function can be imported: by the module's name, also where its package hides it."""
    found: Any = None if value.__module__ in ("__main__", None) else sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _save_name(pickler: Any, name: _Name) -> None:
    pickler.at = str(name)
    _STOCK.save_str(pickler, str(name))


def _save_dict(pickler: Any, value: dict[Any, Any]) -> None:
    name = value.get("__name__")
    if type(name) is str and value is getattr(sys.modules.get(name), "__dict__", None):
        pickler.save_reduce(_variables_of, (name,), obj=value)
    elif len(value) >= _MANY and _is_plain(value.keys()) and _is_plain(value.values()):
        pickler.save_reduce(_plain, (pickle.dumps(value, 5),), obj=value)
    else:
        _STOCK.save_dict(pickler, value)


def _save_list(pickler: Any, value: list[Any]) -> None:
    if len(value) >= _MANY and _is_plain(value):
        pickler.save_reduce(_plain, (pickle.dumps(value, 5),), obj=value)
    else:
        _STOCK.save_list(pickler, value)


def _save_set(pickler: Any, value: Any) -> None:
    made = ordered.plan(value)
    if made is None:
        (_STOCK.save_set if type(value) is set else _STOCK.save_frozenset)(pickler, value)
    else:
        pickler.save_reduce(ordered.make, (type(value), *made), obj=value)


def _save_module(pickler: Any, value: types.ModuleType) -> None:
    if sys.modules.get(value.__name__) is not value:
        raise Refused(f"a module {value.__name__} that cannot be imported")
    pickler.save_reduce(importlib.import_module, (value.__name__,), obj=value)


def _save_closed_file(pickler: Any, value: Any) -> None:  # an open one is refused before
    given = (type(value), str(getattr(value, "name", "")), str(getattr(value, "mode", "r")))
    pickler.save_reduce(_closed_file, given, obj=value)


def _save_array(pickler: Any, value: Any) -> None:
    pickler.save_reduce(*arrays.reduced(value), obj=value)


def _save_storage(pickler: Any, value: Any) -> None:
    """Write the memory of a tensor: each time it is asked for it is another object, and must be the same one again."""
    first = pickler.storages.setdefault(value._untyped_storage._cdata, value)
    if first.dtype != value.dtype:
        raise Refused("a tensor that shares memory with one of another type")
    if first is value:
        pickler.save_reduce(*value.__reduce__(), obj=value)
    else:
        pickler.save(first)


def _is_plain(values: Any) -> bool:
    return _ATOMS.issuperset(map(type, values))


# -- reading ------------------------------------------------------------------------------------------


class Reading:
    """A checkpoint that is open: ``opening`` is known, nothing is unpickled yet.

    Args:
        path: the file, whose digest was checked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            size = int(file.readline(20))
            self.opening: dict[str, Any] = json.loads(file.read(size))
            self._body = file.tell()

    def parts(self, places: Places) -> dict[str, Any]:
        """Return the values, with what was written as a name found in ``places``."""
        theirs: Any = _dill().Unpickler

        class Unpickler(theirs):  # type: ignore[misc]
            def persistent_load(self, name: Any) -> Any:
                return places[name]

        with self._path.open("rb") as file, self._path.open("rb") as raw:
            file.seek(self._body)
            made: dict[str, Any] = Unpickler(file, buffers=_buffers(raw), ignore=True).load()
        return made


def read(path: Path) -> Reading:
    """Open a checkpoint."""
    return Reading(path)


def _buffers(file: IO[bytes]) -> Iterator[bytearray]:
    """Yield the bytes that lie behind the pickle, each when it is asked for."""
    file.seek(-_WORD, os.SEEK_END)
    table = int.from_bytes(file.read(_WORD), "little")
    file.seek(-_WORD - table, os.SEEK_END)
    at, sizes = json.loads(file.read(table))
    for size in sizes:
        buffer = bytearray(size)
        file.seek(at)
        file.readinto(buffer)  # type: ignore[attr-defined]
        at += size
        yield buffer


def _plain(data: bytes) -> Any:
    return pickle.loads(data)


def _variables_of(name: str) -> dict[str, Any]:
    return importlib.import_module(name).__dict__


def _closed_file(kind: Any, name: str, mode: str) -> Any:
    """Return a closed file that says what the one said that it stands for."""
    plain = "".join(letter for letter in mode if letter in "rwaxb+")
    if kind is io.FileIO:
        made: Any = io.FileIO(os.devnull, plain.replace("b", "").replace("x", "w") or "r")
        raw = made
    else:
        made = open(os.devnull, plain.replace("x", "w") or "r")  # noqa: SIM115
        raw = made.buffer.raw if isinstance(made, io.TextIOWrapper) else made.raw
    with contextlib.suppress(AttributeError):
        raw.name = name
    made.close()
    return made

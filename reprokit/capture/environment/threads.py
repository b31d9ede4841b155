"""How many threads the numeric libraries compute with, and for which processor: both change the last bits.

The libraries are found where the process has them mapped, never loaded, and asked by the functions they
export. Finding them is for the background; asking them takes a microsecond, on the thread that computes, since
OpenMP keeps a limit for each thread.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from reprokit.capture.probe import Context, Patch
from reprokit.records import Library

__all__ = ["Threads", "find"]

_MAPS = "/proc/self/maps"
_open = open  # whatever the user's code puts in its place, they see no call of ours
_NAMES = re.compile(r"(?P<blas>openblas|mkl_rt|blis)|(?P<openmp>gomp|iomp|libomp)")
# How OpenBLAS' functions are called: as built, with 64-bit integers, or renamed for a wheel of scipy's.
_OPENBLAS = [(f"{before}openblas_", after) for before in ("", "scipy_") for after in ("", "64_", "_64")]
_LAYERS = {0: "sequential", 1: "pthreads", 2: "openmp"}
_MKL_LAYERS = {0: "intel", 1: "sequential", 2: "pgi", 3: "gnu", 4: "tbb"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One library that is mapped: what it is, and how to ask for its number of threads."""

    library: Library
    threads: Callable[[], int]


class Threads:
    """The probe of thread limits: what each library says, when it is first seen and when that changes."""

    aspect = "machine"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._modules = 0
        self._found: tuple[Asked, ...] = ()
        self._told: dict[str, int] = {}  # library's path → threads

    def start(self) -> Patch | None:
        """Find what is loaded, in the background."""
        self._look()
        return None

    def before_cell(self, _seq: int) -> Patch | None:
        """Tell what was found since the last cell."""
        self._changed()
        return None

    def after_cell(self, _seq: int) -> Patch | None:
        """Look for libraries that the cell's imports brought."""
        if len(sys.modules) != self._modules:
            self._look()
        return None

    def stop(self) -> Patch | None:
        """Tell what the last cell brought or changed."""
        self._changed()
        return None

    def _look(self) -> None:
        self._modules = len(sys.modules)
        self._context.later(self._find)

    def _find(self) -> None:
        known = {asked.library.path: asked for asked in self._found}
        found = tuple(known.get(path) or asked for path, asked in find().items())
        if found != self._found:
            self._found = found

    def _changed(self) -> None:
        libraries = [library.to_dict() for asked in self._found if (library := self._asked(asked)) is not None]
        if libraries:
            self._context.emit(None, Patch(add={"libraries": libraries}))

    def _asked(self, asked: Asked) -> Library | None:
        """Return the library with its number of threads, None when that is known already."""
        threads, path = asked.threads(), asked.library.path
        if self._told.get(path) == threads:
            return None
        self._told[path] = threads
        given = asked.library
        return Library(
            name=given.name,
            kind=given.kind,
            path=path,
            version=given.version,
            detail={**given.detail, "threads": threads},
        )


def find() -> dict[str, Asked]:
    """Return the BLAS and OpenMP libraries of this process by their path, and torch, which keeps a limit itself."""
    found = {path: asked for path, kind in _mapped() if (asked := _asked(path, kind)) is not None}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        library = Library(name="torch", kind="openmp", path="torch", version=str(torch.__version__))
        found["torch"] = Asked(library, torch.get_num_threads)
    return found


def _mapped() -> Iterator[tuple[str, str]]:
    seen = set()
    try:
        with _open(_MAPS, encoding="utf-8", errors="surrogateescape") as lines:
            paths = [line.split(None, 5)[5].rstrip("\n") for line in lines if ".so" in line or ".dylib" in line]
    except OSError:  # no such file outside Linux: nothing is known there
        return
    for path in paths:
        match = _NAMES.search(os.path.basename(path))
        if match is not None and path not in seen and not path.endswith("(deleted)"):
            seen.add(path)
            yield path, str(match.lastgroup)


def _asked(path: str, kind: str) -> Asked | None:
    try:
        library = ctypes.PyDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)  # to ask takes no time
    except OSError:  # mapped, but not as a library
        return None
    if kind == "openmp":
        threads = getattr(library, "omp_get_max_threads", None)
        return None if threads is None else Asked(Library(name=_name(path), kind=kind, path=path), threads)
    return _openblas(library, path) or _mkl(library, path) or _blis(library, path)


def _name(path: str) -> str:
    return os.path.basename(path).partition(".so")[0]


def _openblas(library: ctypes.PyDLL, path: str) -> Asked | None:
    for before, after in _OPENBLAS:
        threads = getattr(library, f"{before}get_num_threads{after}", None)
        if threads is not None:
            break
    else:
        return None
    config = _text(library, f"{before}get_config{after}")
    core = _text(library, f"{before}get_corename{after}")
    parallel = getattr(library, f"{before}get_parallel{after}", None)
    version = re.search(r"OpenBLAS (\S+)", config)
    detail: dict[str, Any] = {"architecture": core}
    if parallel is not None:
        detail["threading_layer"] = _LAYERS.get(parallel(), "unknown")
    told = Library(
        name=_name(path), kind="blas", path=path, version=version[1] if version else None, detail=_known(detail)
    )
    return Asked(told, threads)


def _mkl(library: ctypes.PyDLL, path: str) -> Asked | None:
    threads = getattr(library, "MKL_Get_Max_Threads", None)
    if threads is None:
        return None
    detail: dict[str, Any] = {}
    layer = getattr(library, "MKL_Set_Threading_Layer", None)
    if layer is not None:
        detail["threading_layer"] = _MKL_LAYERS.get(layer(-1), "unknown")  # -1 sets nothing and returns what is set
    version = None
    if (ask := getattr(library, "MKL_Get_Version_String", None)) is not None:
        text = ctypes.create_string_buffer(200)
        ask(text, 200)
        if match := re.search(rb"Version (\S+)", text.value):
            version = match[1].decode()
    return Asked(Library(name=_name(path), kind="blas", path=path, version=version, detail=detail), threads)


def _blis(library: ctypes.PyDLL, path: str) -> Asked | None:
    threads = getattr(library, "bli_thread_get_num_threads", None)
    if threads is None:
        return None
    version = _text(library, "bli_info_get_version_str") or None
    return Asked(Library(name=_name(path), kind="blas", path=path, version=version), threads)


def _text(library: ctypes.PyDLL, function: str) -> str:
    ask = getattr(library, function, None)
    if ask is None:
        return ""
    ask.restype = ctypes.c_char_p
    answer = ask()
    return answer.decode("utf-8", "replace").strip() if answer else ""


def _known(detail: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in detail.items() if value}

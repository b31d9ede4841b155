"""Watches the folders outside the project that a cell names: in its source, and in variables that hold paths.

A folder of the project that is a link to one outside is such a folder too.

Used where nothing else sees what libraries and child processes open there. A name is a hint, no evidence:
it decides where to look, and the kernel's events tell what was used. No attribute of the user's objects is
touched: only values that are exactly strings or paths are looked at.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PosixPath, PurePath, PurePosixPath
from time import perf_counter
from typing import Any

from reprokit.capture.files.paths import Paths
from reprokit.capture.files.watch import Watch

__all__ = ["Literals"]

_QUOTED = re.compile(r"""(["'])((?:(?!\1)[^\\\n]){1,1024})\1""")
_BARE = re.compile(r"""(?<![^\s=:<>|;&(])[^\s"'<>|;&()$`=:]*/[^\s"'<>|;&()$`]*""")  # in the shell's lines
_MAGIC = re.compile(r"[*?\[]")
_PATHS = frozenset((PurePosixPath, PosixPath, PurePath, Path))
_VARIABLES = 2_000
_PATIENCE_S = 0.0004  # for new names before one cell
_FOLDERS = 256
_NAMES = 4_096
_BROAD = frozenset(("/", "/home", "/var", "/mnt", "/opt"))  # of these, only files that are named


class Literals:
    """Finds the folders that cells name.

    Args:
        watch: watches them.
        paths: tells what lies in the project, and is watched already.
        namespace: returns the user's variables.
    """

    def __init__(self, watch: Watch, paths: Paths, namespace: Callable[[], Mapping[str, Any]]) -> None:
        self._watch = watch
        self._paths = paths
        self._namespace = namespace
        self._known: dict[str, None] = {}
        self._folders: set[str] = set()

    def look(self, source: str) -> None:
        """Watch what the cell's source, and the variables it finds, name."""
        fresh = [name for name in (*self._named(source), *self._held()) if name not in self._known]
        if len(self._known) > _NAMES:
            self._known.clear()
        until = perf_counter() + _PATIENCE_S
        for name in fresh:
            self._known[name] = None
            self._add(name)
            if perf_counter() > until:
                return

    def _named(self, source: str) -> Iterator[str]:
        if "/" in source or not self._paths.inside(os.getcwd() + "/"):
            for match in _QUOTED.finditer(source):
                if _may_be_path(match[2]):
                    yield match[2]
            if "!" in source or "%" in source:
                for match in _BARE.finditer(source):
                    if _may_be_path(match[0]):
                        yield match[0]

    def _held(self) -> Iterator[str]:
        for value in list(self._namespace().values())[-_VARIABLES:]:
            kind = type(value)
            if kind is str:
                if _may_be_path(value):
                    yield value
            elif kind in _PATHS:
                yield PurePath.__str__(value)

    def _add(self, name: str) -> None:
        """Watch the folder of a file, or a folder and those right below it."""
        path = "/" + os.path.abspath(os.path.expanduser(name)).lstrip("/")
        magic = _MAGIC.search(path)
        if magic is not None:
            path = path[: magic.start()].rpartition("/")[0]
        if self._is_the_projects(os.path.realpath(path)):
            return
        if os.path.isdir(path):
            self._watch_folder(path, None)
            with os.scandir(path) as entries:
                for _, entry in zip(range(_FOLDERS), entries, strict=False):
                    if entry.is_dir(follow_symlinks=False):
                        self._watch_folder(entry.path, None)
        else:
            self._watch_folder(os.path.dirname(path), os.path.basename(path))

    def _is_the_projects(self, path: str) -> bool:
        """Return whether a path is in the project, is it, or holds it."""
        return self._paths.inside(path) or (self._paths.project + "/").startswith(path.rstrip("/") + "/")

    def _watch_folder(self, folder: str, name: str | None) -> None:
        if self._is_the_projects(os.path.realpath(folder)) and name is None:
            return
        broad = folder in (*_BROAD, os.path.expanduser("~"), tempfile.gettempdir())
        if (name is None and broad) or len(self._folders) >= _FOLDERS or not self._paths.is_data(folder + "/x"):
            return
        self._folders.add(folder)
        self._watch.also(folder, name)


def _may_be_path(text: str) -> bool:
    """Return whether a text may name a file in another folder."""
    if not 1 < len(text) < 1024 or "/" not in text or "\n" in text or "\0" in text or "://" in text:
        return False
    return bool(text.strip("./~"))  # else it names a place to go to, and no data

"""The imports probe: modules that come from neither the environment nor the project.

``sys.path.insert(0, "../shared")``, a folder on PYTHONPATH, a package installed as editable, an archive: a lock
does not hold their code, and no snapshot of the project does. So their files are kept with the run, in the
background, when they have been imported, and again before a cell that found them changed. A replay imports
them by name from where they were put back (``Stored``).
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from time import time_ns
from types import ModuleType
from zipimport import zipimporter

from reprokit.capture.code import tree
from reprokit.capture.code.edits import Edits
from reprokit.capture.environment import environment
from reprokit.capture.probe import Context, Patch
from reprokit.errors import GitError
from reprokit.records import FileUse, Gap, Module

__all__ = ["Imports", "Origin", "Stored", "environment_folders", "origin"]

_SKIPPED = frozenset(("__pycache__", ".git", ".hg", ".ipynb_checkpoints", "node_modules", ".mypy_cache"))
_MOST_FILES, _MOST_BYTES = 2_000, 100 * 10**6  # of one package
_OWN = os.path.realpath(Path(__file__).parents[2])


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a top-level module came from.

    Attributes:
        place: the folder, or archive, in which it was found.
        path: the module's file, the package's folder, or the archive.
    """

    place: str
    path: str


class Imports:
    """Keeps what was imported from elsewhere.

    Args:
        context: what a probe may use.
        edits: watches the folders of what was imported, too.
    """

    aspect = "code"

    def __init__(self, context: Context, edits: Edits) -> None:
        self._context = context
        self._edits = edits
        self._count = 0
        self._known: set[str] = set()
        self._origins: dict[str, Origin] = {}
        self._editable: dict[str, str] | None = None
        self._told: set[str] = set()
        places = {} if context.replayed is None else dict(context.replayed.places)
        self._stored = Stored(places) if places else None

    def start(self) -> Patch | None:
        """In a replay, let what was kept be found first."""
        if self._stored is not None:
            sys.meta_path.insert(0, self._stored)
        return None

    def before_cell(self, seq: int) -> Patch | None:
        """Keep again what somebody changed since."""
        changed = self._edits.take_elsewhere()
        if changed:
            names = [name for name, origin in self._origins.items() if _holds(origin, changed)]
            now = time_ns()
            self._context.later(lambda: self._keep(seq, names, now))
        return None

    def after_cell(self, seq: int) -> Patch | None:
        """Look at new modules in the background (0.1 µs when there are none)."""
        count = len(sys.modules)
        if count != self._count and self._context.replayed is None:
            self._count = count
            now = time_ns()
            self._context.later(lambda: self._look(seq, now))
        return None

    def stop(self) -> Patch | None:
        """Take away what a replay needed."""
        if self._stored in sys.meta_path:
            sys.meta_path.remove(self._stored)
        return None

    # -- in the background ----------------------------------------------------------------------

    def _look(self, seq: int, when: int) -> None:
        modules = dict(sys.modules)
        new = sorted({name.partition(".")[0] for name in modules.keys() - self._known} - self._origins.keys())
        self._known = set(modules)
        folders = environment_folders()
        found = []
        for name in new:
            at = origin(name, modules.get(name))
            if at is not None and not self._is_inside(at, folders):
                self._origins[name] = at
                found.append(name)
        if found:
            self._keep(seq, found, when)

    def _is_inside(self, at: Origin, folders: tuple[str, ...]) -> bool:
        path = os.path.realpath(at.path)
        project = os.path.realpath(self._context.project)
        if path == _OWN or path.startswith(_OWN + os.sep):
            return True
        if path.startswith(project + os.sep) and self._edits.has_snapshot:
            return True
        return path.startswith(folders) or os.path.abspath(at.path).startswith(folders)

    def _keep(self, seq: int, names: Sequence[str], when: int) -> None:
        """Keep modules as they were at a moment (nanoseconds after the epoch)."""
        kept: dict[str, list[str]] = {}
        self._editable = None  # one may have been installed since
        for name in names:
            at = self._origins[name]
            self._edits.also(_folders_of(at))
            module = self._module(seq, name, at, when)
            self._context.emit(None, Patch(add={"modules": [module.to_dict()]}))
            if any(use.state == "unstable" for use in module.files):
                self._context.gap(_changed(name, at))
            elif any(use.stored != "object" for use in module.files) or not module.files:
                self._context.gap(_too_large(name, at))
            elif name not in self._told:
                kept.setdefault(module.distribution or "", []).append(name)
        for distribution, told in kept.items():
            self._told.update(told)
            self._tell(distribution, told)

    def _module(self, seq: int, name: str, at: Origin, when: int) -> Module:
        base = os.path.dirname(at.place) if os.path.isfile(at.place) else at.place
        files = [self._file(path, os.path.relpath(path, base), when) for path in _files_of(at)]
        return Module(name=name, place=at.place, files=tuple(files), cell=seq, distribution=self._distribution(at))

    def _file(self, path: str, name: str, when: int) -> FileUse:
        settings = self._context.settings
        try:
            status = os.stat(path)
            if max(status.st_mtime_ns, status.st_ctime_ns) > when:  # what was imported is gone
                return FileUse(path=name, access="read", state="unstable", source="import")
            stored = self._context.objects.put_file(path, limit=settings.store_limit, durable=False)
        except OSError:
            return FileUse(path=name, access="read", state="missing", source="import")
        where = "object" if stored.kept else "none"
        return FileUse(path=name, access="read", size=stored.size, digest=stored.digest, stored=where, source="import")

    def _distribution(self, at: Origin) -> str | None:
        if self._editable is None:
            self._editable = dict(_editable())
        inside = (name for root, name in self._editable.items() if at.path.startswith(root + os.sep))
        return next(inside, None)

    def _tell(self, distribution: str, names: Sequence[str]) -> None:
        first = self._origins[names[0]]
        if distribution:
            state = " with uncommitted changes" if _has_changes(first) else ""
            message = f"{distribution} is editable{state}, outside the project"
            self._context.gap(Gap(aspect="environment", message=message, settled="what was imported of it is kept"))
            return
        places = sorted({self._origins[name].place for name in names})
        message = f"{', '.join(names)} came from {', '.join(places)}, which is in no snapshot"
        self._context.gap(Gap(aspect="code", message=message, settled="the source is kept"))


class Stored:
    """Finds modules by name in the places where a replay put them back.

    Args:
        places: top-level name → folder or archive.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a top-level module that was kept; of no other."""
        place = self._places.get(name)
        return None if place is None else PathFinder.find_spec(name, [place])


def origin(name: str, module: object) -> Origin | None:
    """Return where a top-level module came from; None when it has no file.

    Nothing of the module is run: a lazy one would load itself when it is asked for an attribute.
    """
    if name in ("__main__", "__mp_main__") or not isinstance(module, ModuleType):
        return None
    values = object.__getattribute__(module, "__dict__")
    spec, file = values.get("__spec__"), values.get("__file__")
    loader = getattr(spec, "loader", None)
    if isinstance(loader, zipimporter):
        archive = os.path.abspath(loader.archive)
        return Origin(archive, archive)
    if isinstance(spec, ModuleSpec) and spec.has_location and isinstance(spec.origin, str):
        file = spec.origin
    if isinstance(file, str) and not file.startswith("<"):
        path = os.path.abspath(file)
        if os.path.basename(path).partition(".")[0] == "__init__":
            path = os.path.dirname(path)
        return Origin(os.path.dirname(path), path)
    locations = list(getattr(spec, "submodule_search_locations", None) or ())
    if locations and os.path.isdir(locations[0]):  # a namespace package
        path = os.path.abspath(locations[0])
        return Origin(os.path.dirname(path), path)
    return None


def environment_folders() -> tuple[str, ...]:
    """Return the folders, each with its final ``/``, whose modules belong to the interpreter or are installed."""
    folders = {sys.prefix, sys.base_prefix, sys.exec_prefix}
    folders |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {folder for folder in environment.site_folders() if folder.endswith(("site-packages", "dist-packages"))}
    both = {path for folder in folders for path in (os.path.abspath(folder), os.path.realpath(folder))}
    return tuple(sorted(path.rstrip(os.sep) + os.sep for path in both))


def _editable() -> Iterator[tuple[str, str]]:
    """Yield root and name of each editable installation."""
    for found in environment.scan(environment.site_folders()):
        distribution = found.distribution
        if distribution.origin == "editable" and (distribution.url or "").startswith("file://"):
            path = environment.local_path(distribution.url)
            if path is not None:
                yield os.path.realpath(path), distribution.name


def _files_of(at: Origin) -> list[str]:
    """Return the module's file, or all that its package holds: modules it may yet import, and data."""
    if not os.path.isdir(at.path):
        return [at.path]
    found: list[str] = []
    size = 0
    for folder, folders, files in os.walk(at.path):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for path in (os.path.join(folder, name) for name in sorted(files) if not name.endswith(".pyc")):
            size += _size(path)
            found.append(path)
        if len(found) > _MOST_FILES or size > _MOST_BYTES:
            return []
    return found


def _folders_of(at: Origin) -> list[str]:
    if not os.path.isdir(at.path):
        return [os.path.dirname(at.path)]
    return sorted({os.path.dirname(path) for path in _files_of(at)})


def _holds(at: Origin, changed: Iterable[str]) -> bool:
    return any(path == at.path or path.startswith(at.path + os.sep) for path in changed)


def _has_changes(at: Origin) -> bool:
    folder = Path(at.path if os.path.isdir(at.path) else at.place)
    try:
        return tree.has_changes(folder)
    except (GitError, OSError):
        return False


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _changed(name: str, at: Origin) -> Gap:
    return Gap(
        aspect="code",
        message=f"{name} changed in {at.place}, outside the project, before what was imported could be kept",
        remedy="run the cell again in a new run",
        blocks=True,
    )


def _too_large(name: str, at: Origin) -> Gap:
    return Gap(
        aspect="code",
        message=f"{name} was imported from {at.path}, outside the project, and is too large to be kept",
        remedy="install it from a wheel or from git, or move it into the project",
        blocks=True,
    )

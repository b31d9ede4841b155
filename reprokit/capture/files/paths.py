"""Which paths are data, and what they are called in a record.

Everything else a process opens (the interpreter, packages, fonts, caches, Jupyter's own files) is
noise: it belongs to the environment, or to nobody.
"""

from __future__ import annotations

import fnmatch
import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["SUFFIXES", "Paths"]

_SYSTEM = (
    "/usr", "/lib", "/lib64", "/lib32", "/etc", "/proc", "/sys", "/dev", "/run", "/bin", "/sbin", "/opt/conda/pkgs",
    "/var/cache", "/var/lib/dpkg",
)  # fmt: skip
_HOME = (
    ".ipython", ".jupyter", ".config", ".local/share/jupyter", ".local/share/reprokit", ".local/lib", ".pyenv",
    ".cache/matplotlib", ".cache/fontconfig", ".cache/pip", ".cache/uv", ".cache/reprokit", ".cache/jedi",
    ".fonts", ".local/share/fonts", ".matplotlib", ".dvc",
)  # fmt: skip
_FOLDERS = (
    "MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "REPROKIT_CACHE",
    "REPROKIT_DATA",
)  # fmt: skip
SUFFIXES = (".py", ".pyc", ".pyi", ".so", ".pth", ".pyd", ".dylib", ".dll", ".ipynb")
_REMEMBERED = 8_000  # paths
_PARTS = frozenset(
    (
        "__pycache__", ".git", ".hg", ".ipynb_checkpoints", "node_modules", ".mypy_cache", ".pytest_cache",
        ".ruff_cache", ".dvc", ".venv", "venv", ".tox",
    )
)  # fmt: skip


class Paths:
    """Tells data from noise for one project.

    Args:
        project: the project root.
        ignored: further folders that never hold data (the store).
        patterns: globs relative to the project root that the user excluded.
    """

    def __init__(self, project: Path, ignored: Iterable[Path] = (), patterns: Iterable[str] = ()) -> None:
        self.project = os.path.realpath(project)
        self._patterns = tuple(patterns)
        self._noise = tuple(_folders(self.project, ignored))
        self._scratch = os.path.realpath(tempfile.gettempdir()) + os.sep
        self._known: dict[str, bool] = {}
        self._real: dict[str, str] = {}  # folders outside the project → where they really are

    def is_data(self, path: str) -> bool:
        """Return whether an absolute path may hold data."""
        known = self._known.get(path)
        if known is None:
            known = self._decide(path)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[path] = known
        return known

    @property
    def noise(self) -> tuple[str, ...]:
        """What never holds data: beginnings of paths, and names of folders anywhere (without a ``/``)."""
        above = self.project.split(os.sep)  # a project that lies in such a folder is still a project
        return (*self._noise, *sorted(_PARTS.difference(above)))

    def is_scratch(self, path: str) -> bool:
        """Return whether a path lies in the system's temporary folder and outside the project."""
        return path.startswith(self._scratch) and not self.inside(path)

    def absolute(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
        """Return a path as the process would open it now: absolute, normalised, links kept."""
        absolute = os.path.abspath(os.fsdecode(path))
        if self.inside(absolute):
            return absolute
        folder, name = os.path.split(absolute)
        real = self._real_folder(folder)
        # One file of the project has one name, whichever link led to the project.
        return os.path.join(real, name) if self.inside(os.path.join(real, name)) else absolute

    def real(self, path: str) -> str:
        """Return where a path really is, whatever links lead there."""
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        return os.path.join(self._real_folder(folder), name)

    def _real_folder(self, folder: str) -> str:
        real = self._real.get(folder)
        if real is None:
            if len(self._real) >= _REMEMBERED:
                self._real.clear()
            real = self._real[folder] = os.path.realpath(folder)
        return real

    def behind_link(self, path: str) -> str | None:
        """Return the file of the project that a path is a link to, if it is one."""
        if not os.path.islink(path):
            return None
        real = os.path.realpath(path)
        return real if self.inside(real) and self.is_data(real) else None

    def name(self, path: str) -> str:
        """Return the path's name in a record: relative to the project inside it, else absolute."""
        if self.inside(path):
            return path[len(self.project) + 1 :].replace(os.sep, "/")
        return path

    def inside(self, path: str) -> bool:
        """Return whether an absolute path lies in the project."""
        return path.startswith(self.project + os.sep)

    def _decide(self, path: str) -> bool:
        below = path[len(self.project) :] if self.inside(path) else path
        if path.endswith(SUFFIXES) or not _PARTS.isdisjoint(below.split(os.sep)) or ".dist-info/" in below:
            return False
        if any(path.startswith(folder) for folder in self._noise):
            return False
        if os.path.realpath(path).startswith(self._noise):
            return False
        name = self.name(path)
        return not any(fnmatch.fnmatch(name, pattern) for pattern in self._patterns)


def _folders(project: str, ignored: Iterable[Path]) -> Iterable[str]:
    home = os.path.expanduser("~")
    prefixes = {sys.prefix, sys.base_prefix, *site.getsitepackages(), site.getusersitepackages()}
    prefixes |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    prefixes |= {os.path.join(home, name) for name in _HOME} | set(_SYSTEM) | {str(path) for path in ignored}
    prefixes |= {os.path.abspath(os.environ[name]) for name in _FOLDERS if os.environ.get(name)}
    prefixes |= set(_programs())
    for prefix in prefixes:
        for path in (prefix, os.path.realpath(prefix)):
            # A project that lies inside such a folder (a home under /usr, say) is still a project.
            if not (project + os.sep).startswith(path.rstrip(os.sep) + os.sep):
                yield path.rstrip(os.sep) + os.sep


def _programs() -> Iterator[str]:
    """Yield where programs are looked for; a manager of versions has more of itself beside its own."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if os.path.isabs(folder):
            managed = os.path.basename(folder.rstrip(os.sep)) in ("shims", "libexec")
            yield os.path.dirname(folder.rstrip(os.sep)) if managed else folder

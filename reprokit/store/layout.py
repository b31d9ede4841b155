"""Where everything of a store lies, and how its folders come to be.

Knows paths and run ids. It does not know what the files hold, nor who reads them.
"""

from __future__ import annotations

import base64
import errno
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from reprokit.digest import hex_of, of_bytes
from reprokit.errors import RunNotFound, SchemaError, StoreError
from reprokit.records import Gap
from reprokit.settings import Settings, load
from reprokit.store import whole

__all__ = ["Layout", "is_run_id", "new_run_id", "project_root", "started_at"]

_VERSION = "1"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


def project_root(start: Path) -> Path:
    """Return the project that ``start`` lies in.

    The git top level if there is one, else the nearest folder with a store or a ``pyproject.toml``,
    else ``start`` itself.
    """
    start = Path(start).absolute()
    folders = (start, *start.parents)
    for marks in ((".git",), (".reprokit", "pyproject.toml")):
        for folder in folders:
            if any(os.path.lexists(folder / mark) for mark in marks):
                return folder
    return start


def new_run_id(now: float | None = None) -> str:
    """Return a new run id: ``YYYYMMDD-HHMMSS-xxxxxxxx``, in UTC, which sorts by time.

    The random part comes from the operating system, never from a generator that the user may watch.

    Args:
        now: seconds after the epoch; the present by default.

    >>> new_run_id(0.0)[:16]
    '19700101-000000-'
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(time.time() if now is None else now))
    return f"{stamp}-{base64.b32encode(os.urandom(5)).decode('ascii').lower()}"


def is_run_id(name: str) -> bool:
    """Return whether ``name`` may be the id of a run, and so the name of a folder.

    >>> is_run_id("../elsewhere")
    False
    """
    return _RUN_ID.fullmatch(name) is not None


def started_at(run_id: str) -> float:
    """Return the time in a run id, in seconds after the epoch; 0.0 when the id holds none.

    >>> started_at("19700101-000100-aaaaaaaa")
    60.0
    """
    import calendar

    try:
        return float(calendar.timegm(time.strptime(run_id[:15], "%Y%m%d-%H%M%S")))
    except ValueError:
        return 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one store.

    Attributes:
        project: the project root.
        root: the store's folder.
    """

    project: Path
    root: Path

    @classmethod
    def find(cls, start: Path, settings: Settings | None = None) -> Layout:
        """Return the layout that holds for ``start``; nothing is written.

        Where the project cannot be written and a store was made in the user's data folder, it is that one.
        """
        project = project_root(start)
        chosen = load(project) if settings is None else settings
        own = cls(project, project / chosen.store)
        other = own._fallback()
        return other if other.exists() and not own.is_writable() else own

    def create(self) -> tuple[Layout, Gap | None]:
        """Make the folders, as often and from as many processes as you like.

        Returns:
            The layout that was made, and a gap when a read-only project kept it out of the project.

        Raises:
            StoreError: the folders cannot be made.
            SchemaError: the store was made by a newer reprokit.
        """
        try:
            self._make()
            made = self
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise StoreError(f"no store can be made at {self.root} ({error})", path=self.root) from error
            made = self._fallback()
            made._make_fallback()
        return made, made._gap()

    def exists(self) -> bool:
        """Return whether there is a store."""
        return (self.root / "VERSION").is_file()

    def is_writable(self) -> bool:
        """Return whether runs can be added here, as far as modes tell."""
        folder = self.runs
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return os.access(folder, os.W_OK | os.X_OK)

    def check(self) -> None:
        """Do nothing when this version reads the store, or there is none.

        Raises:
            SchemaError: the store was made by a newer reprokit.
        """
        try:
            found = (self.root / "VERSION").read_bytes().decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return
        if found not in ("", _VERSION):
            raise SchemaError(found)

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run.

        Raises:
            RunNotFound: ``run_id`` cannot be the name of a folder in the store.
        """
        if not is_run_id(run_id):
            raise RunNotFound(run_id)
        return self.runs / run_id

    def run_names(self) -> list[str]:
        """Return the names of what lies in the folder of all runs, in no order; see ``is_run_id``."""
        try:
            return os.listdir(self.runs)  # noqa: PTH208
        except FileNotFoundError:
            return []

    def journal(self, run_id: str, name: str = "journal") -> Path:
        """Return the path of a run's journal: ``journal`` of the kernel, ``batch`` of the parent process."""
        return self.run_folder(run_id) / f"{name}.jsonl"

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return self.root / "runs"

    @property
    def objects(self) -> Path:
        """The folder of the objects."""
        return self.root / "objects"

    @property
    def marks(self) -> Path:
        """The folder of what is said of runs after they ended."""
        return self.root / "marks"

    @property
    def locks(self) -> Path:
        """The folder of the environment locks."""
        return self.root / "locks"

    @property
    def trash(self) -> Path:
        """The folder of what is being removed."""
        return self.root / "trash"

    @property
    def damaged(self) -> Path:
        """The folder of damaged objects that were moved aside."""
        return self.root / "damaged"

    @property
    def origins(self) -> Path:
        """The folder that tells which runs came from elsewhere."""
        return self.root / "origins"

    @property
    def incoming(self) -> Path:
        """The folder of what is being pulled."""
        return self.root / "incoming"

    def pulled_git(self, length: int = 40) -> Path:
        """Return the repository of the snapshots that came from elsewhere, by the length of its objects' names."""
        return self.root / ("pulled.git" if length == 40 else "pulled-sha256.git")

    @property
    def code_git(self) -> Path:
        """The private repository for projects without git."""
        return self.root / "code.git"

    @property
    def index(self) -> Path:
        """The derived database."""
        return self.root / "index.sqlite"

    @property
    def index_lock(self) -> Path:
        """The file that is locked while the index is written."""
        return self.root / "index.lock"

    def _fallback(self) -> Layout:
        name = hex_of(of_bytes(os.fsencode(self.project)))[:16]
        return Layout(self.project, _data_folder() / name)

    def _gap(self) -> Gap | None:
        if self.root != self._fallback().root:
            return None
        return Gap(
            aspect="store",
            message=f"the project folder is read-only, so its runs are kept in {self.root}",
            remedy=f"make {self.project} writable to keep them with the project",
        )

    def _make(self) -> None:
        self.check()
        for folder in (self.objects, self.locks, self.runs):
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.runs, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.runs))
        _write_once(self.root / ".gitignore", "*\n")
        _write_once(self.root / "VERSION", f"{_VERSION}\n")  # last: it says that the store is whole

    def _make_fallback(self) -> None:
        try:
            self._make()
        except OSError as error:
            remedy = "set REPROKIT_DATA to a folder that you may write"
            raise StoreError(f"no store can be made at {self.root} ({error})", path=self.root, remedy=remedy) from error


def _data_folder() -> Path:
    own = os.environ.get("REPROKIT_DATA")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111
    return Path(shared) / "reprokit"


def _write_once(path: Path, text: str) -> None:
    """Write a small file whole or not at all; an empty one (left by a power cut) is written anew."""
    if path.exists() and path.stat().st_size:
        return
    whole.write(path, text.encode("ascii"))

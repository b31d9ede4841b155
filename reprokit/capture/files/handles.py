"""Files of the user's that this process holds open: a later cell can change them, or read on, without opening them.

A database, a log or a mapped array is opened in one cell and written in the next. Nobody hears of that, so at
the end of each cell the states of the files that are held are compared. A file that is read on has its descriptor
at another place afterwards. Libraries that read at places of their own choice leave it where it is, and one that is
closed has none: of those it is only known whether the cell takes a variable of theirs, for more than to close it. What
was read ahead, and what is mapped, is not noticed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from reprokit.capture.files.names import names_read
from reprokit.capture.files.scan import Key
from reprokit.capture.files.uses import Use

__all__ = ["Handles"]

_HELD = 64  # files: looking at them must not be felt
_LOOK_S = 1.0  # how often it is looked whether they are still held
_HDF = frozenset(("h5py", "tables", "netCDF4", "xarray"))
_READ_ANYWHERE = {  # how a file begins → whose objects read it at places of their own choice
    b"SQLite format 3\0": frozenset(("sqlite3", "sqlalchemy", "peewee")),
    b"\x89HDF": _HDF,
    b"PAR1": frozenset(("pyarrow",)),
    b"ARROW1": frozenset(("pyarrow",)),
    b"ORC": frozenset(("pyarrow",)),
}


_MODULE = type.__dict__["__module__"]  # asked for in this way, no code of the user's runs
_ANY = frozenset(("_io", "gzip", "bz2", "lzma", "zipfile", "tarfile", "_csv", "PIL", "pandas.io", "numpy.lib"))


@dataclass(slots=True)
class _Reader:
    """A descriptor through which a file was read, and where it was last.

    One that was found while the file was read in the background may be the background's (``shared``).
    """

    path: str
    inode: tuple[int, int]
    place: int
    libraries: frozenset[str]
    shared: bool


class Handles:
    """The files that are held.

    Args:
        state_of: returns the state of a file.
        is_owed: returns whether a file may be read in the background now, by a descriptor that is not the user's.
    """

    def __init__(
        self, state_of: Callable[[str], Key | None], is_owed: Callable[[str], bool] = lambda path: False
    ) -> None:
        self._state_of = state_of
        self._is_owed = is_owed
        self._read: dict[tuple[int, int], str] = {}  # device and inode → path, that may be held since the last cell
        self._readers: dict[int, _Reader] = {}  # by descriptor
        self._held: dict[str, Key | None] = {}
        self._looked = 0.0
        self._looking = threading.Lock()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._held))

    def remember(self, uses: Mapping[str, Use]) -> None:
        """Tell what a cell read: before the next one it is looked whether that is still open."""
        for path, use in uses.items():
            if use.read and use.old is not None and use.old.key is not None and len(self._read) < _HELD:
                self._read[use.old.key[:2]] = path

    def begin(self) -> None:
        """Begin a cell: what is read from now on is read by it."""
        with self._looking:
            if self._read:
                self._find_readers()
        for number, reader in list(self._readers.items()):
            place = self._place(number, reader)
            if place is None:
                del self._readers[number]
            else:
                reader.place, reader.shared = place, reader.shared and self._is_owed(reader.path)

    def used(self, source: str, namespace: Callable[[], Mapping[str, Any]]) -> list[tuple[str, tuple[int, int]]]:
        """Return the files that the cell read through descriptors of earlier cells, each with its device and inode."""
        found = []
        taken: frozenset[str] | None = None
        for number, reader in list(self._readers.items()):
            place = self._place(number, reader)
            if reader.shared and self._is_owed(reader.path):
                continue
            moved = place is not None and place != reader.place
            if not moved and (place is None or reader.libraries):
                taken = _libraries(source, namespace()) if taken is None else taken
                moved = bool(taken & (reader.libraries or _ANY))
            if moved:
                found.append((reader.path, reader.inode))
        return found

    def look_for_readers(self) -> None:
        """Look which files that were read are still open, between cells, so that the next need not wait for it."""
        with self._looking:
            self._find_readers()

    def _find_readers(self) -> None:
        wanted, self._read = self._read, {}
        for number in _descriptors():
            try:
                status = os.fstat(number)
                path = wanted.get((status.st_dev, status.st_ino))
                if path is not None and len(self._readers) < _HELD:
                    place, start = os.lseek(number, 0, os.SEEK_CUR), os.pread(number, 16, 0)
                    libraries = (names for begin, names in _READ_ANYWHERE.items() if start.startswith(begin))
                    inode = (status.st_dev, status.st_ino)
                    self._readers[number] = _Reader(
                        path, inode, place, next(libraries, frozenset()), self._is_owed(path)
                    )
            except OSError:  # closed meanwhile, or opened for writing alone
                continue

    def _place(self, number: int, reader: _Reader) -> int | None:
        """Return where a descriptor is; None when it is closed, or leads elsewhere by now."""
        try:
            status = os.fstat(number)
            if (status.st_dev, status.st_ino) == reader.inode:
                return os.lseek(number, 0, os.SEEK_CUR)
        except OSError:
            pass
        return None

    def changed(self) -> list[str]:
        """Return the held files that are not as they were when last looked at."""
        found = []
        for path, known in self._held.items():
            now = self._state_of(path)
            if now != known:
                self._held[path] = now
                found.append(path)
        return found

    def look(self, opened: Iterable[str]) -> None:
        """Look which files are held.

        Args:
            opened: files that were opened for writing since the last call.
        """
        fresh = [path for path in opened if path not in self._held]
        now = monotonic()
        if not fresh and (not self._held or now - self._looked < _LOOK_S):
            return
        self._looked = now
        held = _open_files()
        for path in [path for path in self._held if path not in held]:
            del self._held[path]
        for path in fresh:
            if os.path.realpath(path) in held and len(self._held) < _HELD:
                self._held[path] = self._state_of(path)


def _libraries(source: str, namespace: Mapping[str, Any]) -> frozenset[str]:
    """Return the libraries of the objects that a cell takes from earlier ones' variables, and does not just close."""
    values = (namespace[name] for name in names_read(source) if name in namespace)
    modules = [str(_MODULE.__get__(type(value))).split(".") for value in values]
    return frozenset(name for parts in modules for name in (parts[0], ".".join(parts[:2])))


def _descriptors() -> list[int]:
    try:
        return [int(number) for number in os.listdir("/proc/self/fd")]
    except OSError:  # another system
        return []


def _open_files() -> set[str]:
    found: set[str] = set()
    for number in _descriptors():
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return found

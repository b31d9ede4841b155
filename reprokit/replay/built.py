"""Where built environments lie, whether one that lies there is whole and as it was built, and who uses it.

A built environment is named by what was asked for. It counts only when its marker, written last, is there: what
a killed build left is wiped. The marker lists every file with size and time, so an environment that somebody
changed since, or that lost files, is left alone and built anew beside it: it may be in use. Who uses one holds a file
beside it until his process ends, and the marker's time says when it was used last: what nobody used for long can go.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "Interpreter",
    "changed",
    "find",
    "finish",
    "hold",
    "python_of",
    "remove",
    "site_of",
    "unused",
    "vacant",
    "wiped_unless_done",
]

_IN_USE = ".in-use"
_BUILDS = ".lock"
_held: dict[Path, int] = {}  # environments that this process uses, until it ends
_MARKER = "reprokit-complete.json"
_COMPILED = "__pycache__"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python to run a kernel with.

    Attributes:
        python: path of its executable.
        how: "current" (the one that runs this), "cached" (built earlier) or "built" (just now).
        notes: in what it is not exactly what was recorded, one line each.
    """

    python: Path
    how: str
    notes: tuple[str, ...] = ()


def find(folder: Path, key: str) -> Interpreter | None:
    """Return the environment of that name when it is whole, None when it is to be built."""
    for target in _generations(folder, key):
        if _marker(target) is None:
            return None
        hold(target)
        marker = _marker(target)  # again: it may have been removed until it was held
        if marker is None:
            return None
        if _changed(target, marker) is None and _starts(python_of(target)):
            return Interpreter(python_of(target), "cached", tuple(marker.get("notes", ())))
    return None


def vacant(folder: Path, key: str) -> Path:
    """Return the first place without a finished environment; one whose Python is gone is no use to anyone."""
    for target in _generations(folder, key):
        if _marker(target) is None or not _starts(python_of(target)):
            return target
    raise AssertionError("generations never end")


@contextlib.contextmanager
def wiped_unless_done(target: Path) -> Iterator[None]:
    """Begin with an empty place, and leave none when the build fails."""
    _wipe(target)
    try:
        yield
    except BaseException:
        _wipe(target)
        raise


def finish(target: Path, lock: str, notes: tuple[str, ...]) -> None:
    """Declare an environment complete: from here on it is used.

    Args:
        target: its folder.
        lock: digest of the lock that it was built from.
        notes: in what it is not exactly what was recorded.
    """
    site, root = site_of(target), os.path.realpath(target)
    files = dict(_looks(site, len(root) + 1))
    marker = {"lock": lock, "notes": list(notes), "files": files, "top": _top(Path(site))}
    draft = target / f".{_MARKER}"
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(marker, stream)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(target / _MARKER)


def changed(target: Path) -> str | None:
    """Return the first file that is not as it was when the environment was built; None when all are.

    What is added inside a package does not count (caches are), what is added beside packages does.
    """
    return _changed(target, _marker(target) or {})


def _changed(target: Path, marker: Mapping[str, Any]) -> str | None:
    files, top = (marker.get(name) for name in ("files", "top"))
    if not isinstance(files, dict) or not isinstance(top, list):
        return _MARKER
    root = os.path.realpath(target)
    for name, (size, time) in files.items():
        try:
            found = os.stat(f"{root}/{name}")  # noqa: PTH116
        except OSError:
            return str(name)
        if (found.st_size, found.st_mtime_ns) != (size, time):
            return str(name)
    try:
        added = {*_top(Path(site_of(target)))} - {*top}
    except (OSError, ValueError):
        return "site-packages"
    return min(added, default=None)


def hold(target: Path) -> None:
    """Say that this process uses an environment: it is not removed before the process ends.

    In a cache that may not be written nothing can be said, and nothing be removed.
    """
    path = target.with_name(f"{target.name}{_IN_USE}")
    with contextlib.suppress(OSError):
        if target not in _held:
            _held[target] = _locked(path, fcntl.LOCK_SH)
        os.utime(target / _MARKER)


def unused(folder: Path, before: float) -> list[Path]:
    """Return the environments that were not used since a time (seconds after the epoch), and what builds left."""
    found = []
    for target in sorted(folder.iterdir()) if folder.is_dir() else ():
        is_one = target.is_dir() and not target.is_symlink()
        if is_one and (_marker(target) is None or _time(target / _MARKER) < before):
            found.append(target)
    return found


def remove(target: Path, before: float) -> bool:
    """Remove an environment, unless somebody uses or builds it; return whether it went."""
    key = re.sub(r"-\d+$", "", target.name)  # of a later generation, too
    names = (f"{key}{_BUILDS}", f"{target.name}{_IN_USE}")
    with contextlib.ExitStack() as stack:
        try:
            for name in names:
                fd = _locked(target.with_name(name), fcntl.LOCK_EX | fcntl.LOCK_NB)
                stack.callback(os.close, fd)
        except BlockingIOError:
            return False
        if target not in unused(target.parent, before):  # used between the look and the lock
            return False
        _wipe(target)
        return True


def _locked(path: Path, how: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, how)
    except OSError:
        os.close(fd)
        raise
    return fd


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def python_of(target: Path) -> Path:
    """Return the path of an environment's interpreter."""
    return target / "bin" / "python"


def site_of(target: Path) -> str:
    """Return the folder into which an environment's packages are installed.

    Raises:
        ValueError: there is none, or more than one.
    """
    (site,) = target.glob("lib/*/site-packages")
    return os.path.realpath(site)


def _generations(folder: Path, key: str) -> Iterator[Path]:
    """Yield the places of one environment: one that was changed stays as it is, since it may be in use."""
    yield folder / key
    yield from (folder / f"{key}-{number}" for number in itertools.count(2))


def _wipe(target: Path) -> None:
    (target / _MARKER).unlink(missing_ok=True)  # first: from here on it is no environment
    shutil.rmtree(target, ignore_errors=True)


def _marker(target: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((target / _MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _starts(python: Path) -> bool:
    """Return whether an interpreter can be started: the one it was made from may have been removed."""
    try:
        command = [str(python), "-I", "-S", "-c", ""]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _looks(folder: str, cut: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield path (less its first characters), size and time of each file but compiled ones; tens of thousands."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != _COMPILED]
        for name in names:
            path = f"{place}/{name}"
            if not name.endswith(".pyc") and os.path.exists(path):  # noqa: PTH110  # some links lead nowhere
                found = os.stat(path)  # noqa: PTH116
                yield path[cut:], (found.st_size, found.st_mtime_ns)


def _top(site: Path) -> list[str]:
    return sorted(path.name for path in site.iterdir() if path.name != _COMPILED)

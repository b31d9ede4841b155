"""Finds a Python of a recorded version among all that are on this machine; it never downloads one.

It looks where uv and pyenv keep theirs, on the PATH, where a ``py`` launcher says, and where installers usually
put them. The same version to the last digit wins; else the nearest of the same X.Y, which is noted. Another
X.Y is no stand-in: packages are built for one.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from reprokit.errors import EnvironmentBuildError
from reprokit.replay.tools import find_uv, run_tool

__all__ = ["find"]

_PROBE = "import platform, sys; print(sys.implementation.name, platform.python_version())"
_USUAL = (
    "/usr/bin/python{minor}",
    "/usr/local/bin/python{minor}",
    "/opt/homebrew/opt/python@{minor}/bin/python{minor}",
    "/usr/local/opt/python@{minor}/bin/python{minor}",
    "/Library/Frameworks/Python.framework/Versions/{minor}/bin/python{minor}",
)
_LISTED = re.compile(r"(/\S.*?)\s*$", re.MULTILINE)  # a path that ends a line, as `py --list` has it


def find(implementation: str, version: str) -> tuple[Path, tuple[str, ...]]:
    """Return the interpreter to make an environment with, and a note when it is not exactly the version.

    Args:
        implementation: such as "cpython".
        version: such as "3.12.1".

    Raises:
        EnvironmentBuildError: none of the same X.Y is here; the remedy is the command that gets one.
    """
    if (sys.implementation.name, platform.python_version()) == (implementation, version):
        return Path(sys.executable), ()
    known: dict[Path, str] = {}
    minor = ".".join(version.split(".")[:2])
    for python in _candidates(implementation, version, minor):
        if python not in known:
            known[python] = _version(python, implementation)
            if known[python] == version:
                return python, ()
    near = {python: found for python, found in known.items() if found.startswith(f"{minor}.")}
    if near:
        python = min(near, key=lambda one: _distance(near[one], version))
        return python, (f"Python {version} is not on this machine; {near[python]} was used",)
    raise EnvironmentBuildError(
        _missing(implementation, version, minor, known), remedy=_remedy(implementation, version)
    )


def _missing(implementation: str, version: str, minor: str, known: dict[Path, str]) -> str:
    what = f"Python {version}" if implementation == "cpython" else f"{implementation} {version}"
    others = sorted({found for found in known.values() if found})
    there = f" (there is {', '.join(others)})" if others else ""
    return f"{what}, which the run had, is not on this machine, nor is another {minor}{there}"


def _remedy(implementation: str, version: str) -> str:
    """Return the one command that gets the interpreter."""
    wanted = version if implementation == "cpython" else f"{implementation}@{version}"
    if find_uv() is None and (shutil.which("pyenv") or _pyenv().is_dir()):
        return f"pyenv install {wanted}"
    return f"uv python install {wanted}"


def _distance(found: str, version: str) -> tuple[int, bool]:
    """Return how far two patch releases are from each other, the later one preferred."""
    ours, theirs = (_patch(text) for text in (found, version))
    return abs(ours - theirs), ours < theirs


def _patch(version: str) -> int:
    digits = re.match(r"\d+", version.split(".")[2]) if version.count(".") >= 2 else None
    return int(digits[0]) if digits else 0


def _candidates(implementation: str, version: str, minor: str) -> Iterator[Path]:
    """Yield interpreters that may fit, the likeliest first; the slow questions come last."""
    yield from sorted(_pyenv().glob(f"versions/{version}/bin/python"))
    on_path = shutil.which(f"python{minor}")
    yield from [Path(on_path)] if on_path else []
    yield from (path for path in (Path(usual.format(minor=minor)) for usual in _USUAL) if path.exists())
    yield from _of_uv(implementation, version)
    yield from sorted(_pyenv().glob(f"versions/*{minor}*/bin/python"))
    yield from _of_uv(implementation, minor)
    yield from _of_launcher(minor)
    yield Path(sys.executable)


def _pyenv() -> Path:
    return Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


def _of_uv(implementation: str, version: str) -> Iterator[Path]:
    """Yield what uv finds: the Pythons that it manages, those on the PATH, and those that the system lists."""
    uv = find_uv()
    if uv is not None:
        options = ["--quiet", "--no-project", "--system"]
        found = run_tool([uv, "python", "find", *options, f"{implementation}@{version}"]).stdout.strip()
        yield from [Path(found)] if found else []


def _of_launcher(minor: str) -> Iterator[Path]:
    """Yield what a ``py`` launcher lists."""
    if shutil.which("py"):
        for line in run_tool(["py", "--list"]).stdout.splitlines():
            path = _LISTED.search(line)
            if path is not None and minor in line:
                yield Path(path[1])


def _version(python: Path, implementation: str) -> str:
    """Return the version of an interpreter; "" when it does not start or is of another kind."""
    with contextlib.suppress(OSError):
        name, _, version = run_tool([str(python), "-I", "-S", "-c", _PROBE]).stdout.strip().partition(" ")
        return version if name == implementation else ""
    return ""

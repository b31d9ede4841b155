"""What surrounds a session and its repetition, and is another world for one of the two."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from planting import UV_CACHE, Around, Place, environ
from uv import find_uv_bin

__all__ = [
    "fewer_processors",
    "other_architecture",
    "other_processor",
    "packages",
    "started_with",
    "umask",
    "variables",
]

_LINUX32 = 0x0008  # of <sys/personality.h>: the machine says that it has 32 bits
_NO_CHANGE = 0xFFFFFFFF


def variables(first: Mapping[str, str | None], later: Mapping[str, str | None] | None = None) -> Around:
    """Set environment variables for the session, and others for what comes later."""

    @contextmanager
    def around(_place: Place, again: bool) -> Iterator[None]:
        chosen = (later or dict.fromkeys(first)) if again else first
        with environ(chosen):
            yield

    return around


def other_processor(**variables: str) -> Around:
    """Let numeric libraries take the processor for another one later: they read that where the kernel starts."""

    @contextmanager
    def around(place: Place, again: bool) -> Iterator[None]:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        with _kernel(place, command, variables if again else {}):
            yield

    return around


@contextmanager
def other_architecture(_place: Place, again: bool) -> Iterator[None]:
    """Be a machine with another architecture later, as far as the system says."""
    libc = ctypes.CDLL(None)
    before = libc.personality(_NO_CHANGE)
    libc.personality(before | _LINUX32 if again else before)
    try:
        yield
    finally:
        libc.personality(before)


@contextmanager
def fewer_processors(_place: Place, again: bool) -> Iterator[None]:
    """Have one processor later."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)} if again else before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def umask(_place: Place, again: bool) -> Iterator[None]:
    """Make files with other permissions later."""
    before = os.umask(0o077 if again else 0o022)
    try:
        yield
    finally:
        os.umask(before)


def started_with(first: str, later: str) -> Around:
    """Have IPython run a file of the user's whenever it starts."""

    @contextmanager
    def around(place: Place, again: bool) -> Iterator[None]:
        file = place.folder / "home" / ".ipython" / "profile_default" / "startup" / "10-mine.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(later if again else first)
        yield

    return around


def packages(
    first: Sequence[str] = (), later: Sequence[str] | None = None, made: str = "", small: bool = False
) -> Around:
    """Record in an environment of its own; what comes later has that of the tests, or another one.

    Args:
        first: what is installed for the session, in versions, beside what the tests have.
        later: the same for what comes later; None for the environment of the tests.
        made: version of a package "acme", which is nowhere else.
        small: with nothing of what the tests have, so that it can be locked and built again quickly.
    """

    @contextmanager
    def around(place: Place, again: bool) -> Iterator[None]:
        wanted = later if again else first
        if wanted is None:
            yield
            return
        python = _environment(place.folder / f"environment-{int(again)}", wanted, small, "" if again else made)
        with _kernel(place, [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], {}):
            yield

    return around


@contextmanager
def _kernel(place: Place, command: Sequence[str], variables: Mapping[str, str]) -> Iterator[None]:
    folder = place.folder / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"argv": list(command), "display_name": "Python 3", "language": "python", "env": dict(variables)}
    (folder / "kernel.json").write_text(json.dumps(spec))
    with environ({"JUPYTER_PATH": str(place.folder / "jupyter")}):
        yield
    (folder / "kernel.json").unlink()


def _environment(folder: Path, wanted: Sequence[str], small: bool, made: str) -> Path:
    _uv("venv", "--quiet", "--no-project", "--python", sys.executable, folder)
    python, site = folder / "bin" / "python", next((folder / "lib").glob("python*/site-packages"))
    own = _ours() if small else []
    if small or wanted:
        only = [] if small else ["--no-deps"]
        _uv("pip", "install", "--quiet", "--python", python, *only, *own, *wanted)
    if not small:
        (site / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if made:
        _make(site, made)
    return python


def _ours() -> list[str]:
    """Return what a kernel needs, in the versions that the tests have: these are in the installer's cache."""
    from reprokit.replay import environment

    known = {dist.name: dist.version for dist in environment.current().distributions}
    return [f"ipykernel=={known['ipykernel']}", f"ipython=={known['ipython']}"]


def _make(site: Path, version: str) -> None:
    (site / "acme").mkdir()
    (site / "acme" / "__init__.py").write_text(f"RATE = {version}\n")
    info = site / f"acme-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme\nVersion: {version}\n")
    (info / "INSTALLER").write_text("uv\n")
    (info / "RECORD").write_text(f"acme/__init__.py,,\nacme-{version}.dist-info/METADATA,,\n")
    (info / "top_level.txt").write_text("acme\n")


def _uv(*arguments: object) -> None:
    command = [find_uv_bin(), *map(str, arguments)]
    own = {**os.environ, "UV_CACHE_DIR": UV_CACHE, "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

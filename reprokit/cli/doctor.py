"""``reprokit doctor``: what this machine has for capture and replay, and how to mend what is missing.

Each check looks and changes nothing. It is "ok", "warn" (something works less well) or "block"
(nothing can be captured or replayed).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reprokit.cli import DONE, REFUSED, emit_json, json_option
from reprokit.errors import ReprokitError

if TYPE_CHECKING:
    from reprokit.store.layout import Layout

__all__ = ["Check", "doctor", "examine", "has_wal_reset_bug"]

OLDEST_PYTHON = (3, 10)
LITTLE_SPACE, NO_SPACE = 2 * 10**9, 50 * 10**6  # bytes
_COLOURS = {"ok": "green", "warn": "yellow", "block": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found of one thing: ``status`` is "ok", "warn" or "block"."""

    check: str
    status: str
    detail: str
    remedy: str = ""


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Check what this machine has, and say how to mend what is missing."""
    checks = list(examine(Path.cwd()))
    if as_json:
        emit_json([asdict(check) for check in checks])
    else:
        _print(checks)
    return REFUSED if any(check.status == "block" for check in checks) else DONE


def _print(checks: Iterable[Check]) -> None:
    for check in checks:
        mark = click.style(f"{check.status:<5}", fg=_COLOURS[check.status])
        click.echo(f"{mark} {check.check:<14} {check.detail}")
        if check.remedy:
            click.echo(f"{'':<21}→ {check.remedy}")


def examine(folder: Path) -> Iterator[Check]:
    """Yield every check, made for a project that ``folder`` lies in."""
    yield _python()
    yield _git()
    yield from _store(folder)
    yield _capture()
    yield _mounts()
    yield _tool("uv", "uv", "pip install uv", "environments are locked and built with pip-tools, which takes minutes")
    yield _tool("pip-tools", "pip-compile", "pip install pip-tools", "there is no fallback where uv cannot lock")
    yield _engine()
    yield _distribution("IPython")
    yield _distribution("ipykernel")
    yield _sqlite()
    yield from _kernels()
    yield _hash_seed()


def _python() -> Check:
    detail = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return Check(check="python", status="block", detail=detail, remedy="use Python 3.10 or newer")
    return Check(check="python", status="ok", detail=detail)


def _git() -> Check:
    path = shutil.which("git")
    if path is None:
        remedy = "install git: without it, runs do not hold the code they ran"
        return Check(check="git", status="warn", detail="not found", remedy=remedy)
    found = _ask([path, "--version"])
    if found is None:
        return Check(check="git", status="warn", detail=f"{path} does not run", remedy="install git anew")
    return Check(check="git", status="ok", detail=f"{found.removeprefix('git version ')} at {path}")


def _ask(command: list[str], environ: Mapping[str, str] | None = None) -> str | None:
    """Return the first line that a command prints, or None when it fails or takes longer than 20 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=environ)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.splitlines() or [""])[0].strip()


def _mounts() -> Check:
    from reprokit.replay.mounts import unavailable

    if not (why := unavailable()):
        detail = "a replay has the workspace at the project's own path, and files outside at theirs"
        return Check(check="mounts", status="ok", detail=detail)
    detail = (
        f"none ({why}): a replay uses files outside the project as they are, and absolute paths lead to the project"
    )
    remedy = "allow user namespaces (sysctl kernel.unprivileged_userns_clone, AppArmor), or run as root"
    return Check(check="mounts", status="warn", detail=detail, remedy=remedy)


def _store(folder: Path) -> Iterator[Check]:
    from reprokit.store.layout import Layout

    try:
        layout = Layout.find(folder)
        layout.check()
    except ReprokitError as error:
        yield Check(check="store", status="block", detail=error.message, remedy=error.remedy)
        return
    yield _writable(layout)
    yield _space(layout.root)


def _writable(layout: Layout) -> Check:
    where = str(layout.root) if layout.exists() else f"{layout.root} (made with the first run)"
    if layout.is_writable():
        return Check(check="store", status="ok", detail=where)
    detail = f"{layout.root} cannot be written: runs go to your data folder"
    return Check(check="store", status="warn", detail=detail, remedy=f"make {layout.project} writable")


def _space(folder: Path) -> Check:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / 10**9:.1f} GB free at {folder}"
    if free > LITTLE_SPACE:
        return Check(check="space", status="ok", detail=detail)
    status = "warn" if free > NO_SPACE else "block"
    return Check(check="space", status=status, detail=detail, remedy="make room, or set REPROKIT_STORE elsewhere")


def _capture() -> Check:
    """Tell the best tier to be had here, which a recorder that is there but does not run is no help for."""
    from reprokit.capture import preload

    if sys.platform != "linux":
        detail = "the tier basic: files that C libraries open may be missed"
        remedy = "run the notebook on Linux where every file counts"
        return Check(check="capture", status="warn", detail=detail, remedy=remedy)
    lesser = "every kernel gets the tier watch, which may miss files outside the project"
    if not preload.is_available():
        detail = f"{lesser}: the native recorder was not built, because no C compiler was there"
        remedy = "install gcc, then reprokit anew"
        return Check(check="capture", status="warn", detail=detail, remedy=remedy)
    if not _runs_with_recorder():
        detail = f"{lesser}: the native recorder at {preload.LIBRARY} does not load here"
        return Check(check="capture", status="warn", detail=detail, remedy="install reprokit anew")
    detail = "the tier complete for kernels that reprokit starts, watch for others"
    remedy = "`reprokit install` adds such a kernel to Jupyter"
    return Check(check="capture", status="ok", detail=detail, remedy=remedy)


def _runs_with_recorder() -> bool:
    from reprokit.capture import preload

    code = "import os; print(open('/proc/self/maps').read().count('/recorder.so') > 0)"
    environ = {**os.environ, **preload.carried(os.environ)}
    return _ask([sys.executable, "-I", "-c", code], environ) == "True"


def _tool(name: str, program: str, remedy: str, loss: str) -> Check:
    """Look for a program beside this interpreter, then on the path."""
    places = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    path = shutil.which(program, path=places)
    version = _ask([path, "--version"]) if path else None
    if version is None:
        return Check(check=name, status="warn", detail=f"not found: {loss}", remedy=remedy)
    return Check(check=name, status="ok", detail=f"{version} at {path}")


def _engine() -> Check:
    from importlib.metadata import entry_points

    found = [point.value for point in entry_points(group="papermill.engine") if point.name == "reprokit"]
    if found:
        return Check(check="papermill", status="ok", detail=f"`papermill --engine reprokit` is {found[0]}")
    detail = "the engine `reprokit` is not registered"
    return Check(check="papermill", status="warn", detail=detail, remedy="install reprokit with pip, not by path")


def _distribution(name: str) -> Check:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Check(check=name.lower(), status="ok", detail=version(name))
    except PackageNotFoundError:
        remedy = f"pip install {name.lower()}"
        return Check(check=name.lower(), status="block", detail="not installed", remedy=remedy)


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Return whether a SQLite can lose a write in WAL mode when the log is reset.

    >>> has_wal_reset_bug((3, 50, 6)), has_wal_reset_bug((3, 50, 7)), has_wal_reset_bug((3, 51, 0))
    (True, False, True)
    """
    mended = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    return version >= (3, 7, 0) and not mended


def _sqlite() -> Check:
    import sqlite3

    version = sqlite3.sqlite_version_info
    bug = has_wal_reset_bug((version[0], version[1], version[2]))
    why = "which has the WAL-reset bug" if bug else "without the WAL-reset bug"
    detail = f"{sqlite3.sqlite_version}, {why}; the index never uses WAL"
    return Check(check="sqlite", status="ok", detail=detail)


def _kernels() -> Iterator[Check]:
    from jupyter_client.kernelspec import KernelSpecManager

    specs = KernelSpecManager().get_all_specs()
    if not specs:
        remedy = "pip install ipykernel"
        yield Check(check="kernels", status="warn", detail="no kernel is installed", remedy=remedy)
    for name, found in sorted(specs.items()):
        yield _kernel(name, found["spec"].get("argv") or [""], Path(found["resource_dir"]))


def _kernel(name: str, argv: list[str], folder: Path) -> Check:
    # An interpreter without a folder is looked for on the path; jupyter puts its own in place of plain names.
    path = shutil.which(argv[0].replace("{resource_dir}", str(folder)))
    if path is None:
        remedy = f"jupyter kernelspec remove {name}, or install it anew"
        return Check(check=f"kernel {name}", status="warn", detail=f"{argv[0]} is not there", remedy=remedy)
    return Check(check=f"kernel {name}", status="ok", detail=path)


def _hash_seed() -> Check:
    from reprokit.capture import preload

    seed = os.environ.get("PYTHONHASHSEED", "random")
    if seed != "random":
        return Check(check="hash seed", status="ok", detail=f"PYTHONHASHSEED={seed}")
    detail = "PYTHONHASHSEED is not set: kernels order sets of strings anew each time"
    if preload.is_available():
        return Check(
            check="hash seed", status="ok", detail=f"{detail}; the order is recorded, and given back in a replay"
        )
    remedy = "nothing to do for `reprokit run`; for other kernels set PYTHONHASHSEED=0 before Jupyter starts"
    return Check(check="hash seed", status="ok", detail=detail, remedy=remedy)

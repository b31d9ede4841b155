"""A lock as a project of uv's: a ``pyproject.toml`` that pins everything, and the ``uv.lock`` that uv makes of it.

uv resolves, and so looks at what each package asks for; what was really installed is told as overrides, so that
the answer is the recorded environment, even where its packages do not fit each other. The hashes in ``uv.lock``
are compared with the recorded ones.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from reprokit.errors import EnvironmentBuildError
from reprokit.records import Machine
from reprokit.replay import install_errors, interpreters, locked_files
from reprokit.replay.lock import Extra, Lock
from reprokit.replay.tools import find_uv, run_tool
from reprokit.store.objects import Objects

__all__ = ["project"]

_NEVER = "sys_platform == 'never'"


def project(
    lock: Lock, wheels: Sequence[Extra], commits: Sequence[Extra], objects: Objects, machine: Machine | None, name: str
) -> dict[str, str]:
    """Return ``pyproject.toml`` and ``uv.lock``, which ``uv sync --locked`` takes as they are.

    Args:
        lock: what is pinned.
        wheels: what no index has; it will lie in the folder ``wheels`` beside.
        commits: what git has.
        objects: where the wheels are.
        machine: what the environment was for.
        name: of the project.

    Raises:
        EnvironmentBuildError: uv is not here, its index is not, or has other files than were recorded.
    """
    uv = find_uv()
    if uv is None:
        raise EnvironmentBuildError("uv.lock is made by uv, which is not here", remedy="pip install uv")
    with tempfile.TemporaryDirectory(prefix="reprokit-uv-") as place:
        folder = Path(place)
        for extra in wheels:
            objects.restore(extra.digest or "", folder / "wheels" / Path(extra.filename or "").name)
        python = interpreters.find(lock.implementation, lock.python)[0]
        known = {*lock.pins, *(extra.name for extra in (*wheels, *commits))}
        unwanted: set[str] = set()
        while True:
            text = _pyproject(lock, wheels, commits, machine, name, unwanted)
            (folder / "pyproject.toml").write_text(text, "utf-8")
            locked = _locked(uv, python, folder)
            more = {package["name"] for package in locked} - known - unwanted - {_project_name(name)}
            if not more:
                break
            unwanted |= more  # a package asks for it, and it was not installed
        _compare(lock, locked)
        return {"pyproject.toml": text, "uv.lock": (folder / "uv.lock").read_text("utf-8")}


def _locked(uv: str, python: Path, folder: Path) -> list[locked_files.Package]:
    (folder / "uv.lock").unlink(missing_ok=True)
    done = run_tool([uv, "lock", "--quiet", "--python", str(python)], cwd=folder)
    if done.returncode != 0:
        raise install_errors.explained(done.stdout + done.stderr)
    found: list[locked_files.Package] = locked_files.parsed((folder / "uv.lock").read_text("utf-8")).get("package", [])
    return found


def _compare(lock: Lock, locked: Sequence[locked_files.Package]) -> None:
    """Refuse files of which none was recorded."""
    hashes = lock.hashes
    for package in locked:
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        found = {str(file.get("hash", "")).removeprefix("sha256:") for file in files}
        if package["name"] in hashes and not found & hashes[package["name"]]:
            message = f"{package['name']} {package['version']} is not what was recorded: its files have other hashes"
            raise EnvironmentBuildError(message, remedy="export requirements, and find out who changed the index")


def _pyproject(
    lock: Lock,
    wheels: Sequence[Extra],
    commits: Sequence[Extra],
    machine: Machine | None,
    name: str,
    unwanted: set[str],
) -> str:
    pins = [f"{one}=={version}" for one, version in lock.pins.items()]
    named = [*pins, *(extra.name for extra in (*wheels, *commits))]
    minor = ".".join(lock.python.split(".")[:2])
    overrides = [*pins, *(f"{one} ; {_NEVER}" for one in sorted(unwanted))]
    lines = ["[project]", f"name = {json.dumps(_project_name(name))}", 'version = "0"']
    lines += [f'requires-python = "=={minor}.*"', *_array("dependencies", sorted(named))]
    lines += ["", "[tool.uv]", "package = false", *_array("override-dependencies", overrides)]
    lines += _array("environments", [_platform(machine)] if machine is not None else [])
    lines += ["", "[tool.uv.sources]", *(_source(extra) for extra in (*wheels, *commits))]
    return "\n".join(lines) + "\n"


def _array(key: str, values: Sequence[str]) -> list[str]:
    return [f"{key} = [", *(f"    {json.dumps(value)}," for value in values), "]"] if values else []


def _platform(machine: Machine) -> str:
    system = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}.get(machine.system, machine.system.lower())
    return f"sys_platform == '{system}' and platform_machine == '{machine.architecture}'"


def _source(extra: Extra) -> str:
    if extra.digest:
        found: Mapping[str, str] = {"path": f"wheels/{Path(extra.filename or '').name}"}
    else:
        url, _, fragment = (extra.url or "").partition("#")
        address = url.partition("+")[2]
        within = {"subdirectory": fragment.removeprefix("subdirectory=")} if fragment else {}
        found = {"git": address, "rev": extra.commit or "", **within}
    return f"{extra.name} = {locked_files.toml(found)}"


def _project_name(name: str) -> str:
    """Return a name that a project may have, and that no package of the lock is likely to have."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"replay-of-{plain}" if plain else "replay"

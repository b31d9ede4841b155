"""A lock in the forms that other tools take as they are: a plan of files, each a text or a wheel of the store.

``requirements`` and ``pylock`` go to pip and uv, ``uv`` is a project with its ``uv.lock``, ``conda`` an
``environment.yml``, ``dockerfile`` an image. Every form enforces the hashes that were locked. Wheels that no
index has lie beside, in ``wheels``; a form that has none is one file.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reprokit.errors import EnvironmentBuildError, UsageError
from reprokit.records import Environment, Machine
from reprokit.replay import locked_files
from reprokit.replay.lock import Extra, Lock
from reprokit.store.objects import Objects

__all__ = ["FORMATS", "Export", "Recorded", "plan", "write"]

_WHEELS = "wheels"
_REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What an export is made of: the lock, what was observed with it, and where wheels and addresses are.

    Attributes:
        name: what the exported environment is called.
        system: the system's packages that hold the libraries which the run loaded.
        context: where the export lies in the folder that an image is built from: empty, or it ends with ``/``.
    """

    lock: Lock
    environment: Environment
    objects: Objects
    name: str = "environment"
    machine: Machine | None = None
    system: Sequence[str] = ()
    context: str = ""

    @property
    def wheels(self) -> list[Extra]:
        """What goes beside as a wheel: what no index has."""
        return [e for e in self.lock.extras if e.digest and e.filename and e.name not in self.lock.pins]

    @property
    def commits(self) -> list[Extra]:
        """What has to be fetched from git: no wheel of it could be made."""
        return [e for e in self.lock.extras if not e.digest and e.name not in self.lock.pins]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is to be written: ``main`` names the file that the others go with.

    Attributes:
        texts: path → text.
        wheels: path → digest of an object.
        notes: what to know of it, one line each.
    """

    main: str
    texts: Mapping[str, str]
    wheels: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_folder(self) -> bool:
        """Whether more than one file is needed."""
        return len(self.texts) + len(self.wheels) > 1


def plan(recorded: Recorded, form: str) -> Export:
    """Return the files of one form.

    Raises:
        UsageError: there is no such form.
        EnvironmentBuildError: the lock is not complete, or does not have what the form needs.
    """
    if form not in FORMATS:
        raise UsageError(f"{form!r} is no form of a lock", remedy=f"use one of {', '.join(FORMATS)}")
    blocking = [gap.message for gap in recorded.lock.gaps if gap.blocks]
    if blocking:
        raise EnvironmentBuildError("; ".join(blocking[:3]), remedy="see `reprokit env RUN`")
    return FORMATS[form](recorded)


def write(export: Export, objects: Objects, target: Path) -> None:
    """Write an export into the folder ``target``, or as the file ``target`` when it is one and no folder is there.

    Raises:
        UsageError: there is something already.
    """
    if not export.is_folder:
        target = target / export.main if target.is_dir() else target
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(export.texts[export.main], "utf-8")
        return
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not an empty folder", remedy="name a new one with -o")
    for name, text in export.texts.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text, "utf-8")
    for name, digest in export.wheels.items():
        objects.restore(digest, target / name)


def _wheels(recorded: Recorded) -> dict[str, str]:
    return {_place(extra): extra.digest or "" for extra in recorded.wheels}


def _place(extra: Extra) -> str:
    return f"{_WHEELS}/{Path(extra.filename or '').name}"


def _unhashed(recorded: Recorded) -> tuple[str, ...]:
    return tuple(f"{e.name} is fetched at commit {e.commit}: git's own hash vouches for it" for e in recorded.commits)


# -- requirements ------------------------------------------------------------------------------------------


def _requirements(recorded: Recorded, besides: frozenset[str] = frozenset()) -> Export:
    """Return ``requirements.txt``; what is only known by its commit goes into a file of its own, unhashed."""
    texts = {_REQUIREMENTS: _head(recorded) + _pins(recorded, besides)}
    if recorded.commits:
        lines = (f"{e.name} @ {_address(e)}\n" for e in recorded.commits)
        texts["requirements-commits.txt"] = "# pip install --no-deps -r requirements-commits.txt\n" + "".join(lines)
    return Export(main=_REQUIREMENTS, texts=texts, wheels=_wheels(recorded), notes=_unhashed(recorded))


def _head(recorded: Recorded) -> str:
    return (
        f"# {recorded.name}, Python {recorded.environment.python}\n"
        f"# pip install --require-hashes --no-deps -r {_REQUIREMENTS}\n"
    )


def _pins(recorded: Recorded, besides: frozenset[str]) -> str:
    found = f"--find-links {_WHEELS}\n" if recorded.wheels else ""
    names = recorded.lock.pins.keys() - besides
    local = (f"{e.name}=={_built_version(e)} \\\n    --hash={e.digest}\n" for e in recorded.wheels)
    return found + recorded.lock.requirements_of(names) + "".join(local)


def _built_version(extra: Extra) -> str:
    """Return the version that a wheel's file name has: the source may have been another by then."""
    return (extra.filename or "").split("-")[1].replace("_", "-")


def _address(extra: Extra) -> str:
    url, hash_sign, fragment = (extra.url or "").partition("#")
    return f"{url}@{extra.commit}{hash_sign}{fragment}"


# -- pylock ------------------------------------------------------------------------------------------------


def _pylock(recorded: Recorded) -> Export:
    """Return ``pylock.toml`` (PEP 751)."""
    lock = recorded.lock
    found = locked_files.recorded(lock, recorded.objects, lock.pins.keys())
    missing = sorted(lock.pins.keys() - {one["name"] for one in found})
    if missing:
        more = f", nor of {len(missing) - 1} more" if missing[1:] else ""
        message = f"the address of {missing[0]} was not recorded{more}"
        raise EnvironmentBuildError(message, remedy="export requirements, which need none")
    local = [_local_package(extra) for extra in (*recorded.wheels, *recorded.commits)]
    packages = sorted([*found, *local], key=lambda one: str(one["name"]))
    text = locked_files.written(packages, lock.python)
    return Export(main="pylock.toml", texts={"pylock.toml": text}, wheels=_wheels(recorded))


def _local_package(extra: Extra) -> locked_files.Package:
    if extra.digest:
        wheel = {"path": _place(extra), "hashes": {"sha256": extra.digest.partition(":")[2]}}
        return {"name": extra.name, "version": _built_version(extra), "wheels": [wheel]}
    url, _, fragment = (extra.url or "").partition("#")
    kind, _, address = url.partition("+")
    vcs = {"type": kind, "url": address, "commit-id": extra.commit}
    within = {"subdirectory": fragment.removeprefix("subdirectory=")} if fragment else {}
    return {"name": extra.name, "version": extra.version, "vcs": {**vcs, **within}}


# -- conda -------------------------------------------------------------------------------------------------


def _conda(recorded: Recorded) -> Export:
    """Return ``environment.yml``: what conda installed by build, the rest by pip with hashes."""
    own = [d for d in recorded.environment.distributions if d.origin == "conda"]
    specs = [spec for d in own if (spec := _conda_spec(d.url)) is not None]
    named = [f"python={recorded.environment.python}"] if not any("::python=" in spec for spec in specs) else []
    channels = list(dict.fromkeys(spec.partition("::")[0] for spec in specs)) or ["conda-forge"]
    rest = _requirements(recorded, frozenset(d.name for d in own))
    lines = [f"name: {json.dumps(recorded.name)}", "channels:", *(f"  - {channel}" for channel in channels)]
    lines += ["dependencies:", *(f"  - {spec}" for spec in (*named, *specs)), "  - pip", "  - pip:"]
    lines += [f"      - --requirement {name}" for name in rest.texts]
    texts = {"environment.yml": "\n".join(lines) + "\n", **rest.texts}
    if recorded.lock.conda:
        texts["conda-explicit.txt"] = "\n".join(["@EXPLICIT", *recorded.lock.conda, ""])
    return Export(main="environment.yml", texts=texts, wheels=rest.wheels, notes=rest.notes)


def _conda_spec(url: str | None) -> str | None:
    """Return ``channel::name=version=build`` from the address of a conda package."""
    folder, _, name = (url or "").rpartition("/")
    match = re.fullmatch(r"(.+)-([^-]+)-([^-]+?)(?:\.conda|\.tar\.bz2)?", name)
    channel = posixpath.dirname(folder) if "://" in folder else folder
    return None if match is None or not channel else f"{channel}::{match[1]}={match[2]}={match[3]}"


# -- Dockerfile --------------------------------------------------------------------------------------------


def _dockerfile(recorded: Recorded) -> Export:
    """Return a ``Dockerfile`` with what it copies."""
    rest = _requirements(recorded)
    system = [*recorded.system, *(["git"] if recorded.commits else [])]
    lines = [f"FROM python:{recorded.environment.python}-slim"]
    if system:
        lines.append(
            "RUN apt-get update \\\n"
            f"    && apt-get install --yes --no-install-recommends {' '.join(sorted(set(system)))} \\\n"
            "    && rm -rf /var/lib/apt/lists/*"
        )
    threads = {} if recorded.machine is None else recorded.machine.threads
    lines += [f"ENV {name}={json.dumps(value)}" for name, value in sorted(threads.items())]
    lines += ["WORKDIR /opt/environment", f"COPY {' '.join(recorded.context + name for name in rest.texts)} ./"]
    lines += [f"COPY {recorded.context}{_WHEELS} ./{_WHEELS}"] if rest.wheels else []
    lines.append(f"RUN pip install --no-cache-dir --require-hashes --no-deps -r {_REQUIREMENTS}")
    lines += [f"RUN pip install --no-cache-dir --no-deps -r {name}" for name in rest.texts if name != _REQUIREMENTS]
    lines.append("WORKDIR /work")
    texts = {"Dockerfile": "\n".join(lines) + "\n", **rest.texts}
    return Export(main="Dockerfile", texts=texts, wheels=rest.wheels, notes=rest.notes)


def _uv(recorded: Recorded) -> Export:
    from reprokit.replay.uv_project import project

    texts = project(recorded.lock, recorded.wheels, recorded.commits, recorded.objects, recorded.machine, recorded.name)
    return Export(main="pyproject.toml", texts=texts, wheels=_wheels(recorded))


FORMATS: Mapping[str, Callable[[Recorded], Export]] = {
    "requirements": _requirements,
    "pylock": _pylock,
    "uv": _uv,
    "conda": _conda,
    "Dockerfile": _dockerfile,
}

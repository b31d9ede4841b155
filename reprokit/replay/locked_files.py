"""The files behind a lock's pins: their addresses and hashes, as a standard lock file (``pylock.toml``).

Made by uv when the lock is made, and kept as an object. Knows the lock file's form and wheels' tags; it installs
nothing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging import tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from reprokit.capture.environment.environment import without_secrets
from reprokit.errors import StoreError
from reprokit.replay.tools import find_uv, run_tool
from reprokit.store.objects import Objects

if TYPE_CHECKING:
    from reprokit.replay.lock import Lock

__all__ = [
    "Package",
    "compiled",
    "filename",
    "fits",
    "fitting",
    "has_wheel",
    "packages",
    "parsed",
    "recorded",
    "toml",
    "written",
]

Package = dict[str, Any]  # one `[[packages]]` of a lock file, as it is parsed
_PUBLIC = ("https://files.pythonhosted.org/", "https://pypi.org/simple")  # files, and the index that names them


def compiled(
    requirements: str, hashes: Mapping[str, frozenset[str]], indexes: Mapping[str, str], python: str, folder: Path
) -> list[Package]:
    """Return the files of exact pins, as uv finds them now; nothing where that cannot be had.

    Args:
        requirements: the pins, one a line.
        hashes: name → the hashes that were locked; a file with another one is left out.
        indexes: name → the index that has it, where known.
        python: the version they are for, such as "3.12.1".
        folder: an empty one to work in.
    """
    uv = find_uv()
    if uv is None or not requirements:
        return []
    source = folder / "pins.txt"
    source.write_text(requirements, "utf-8")
    command = [uv, "pip", "compile", "--format", "pylock.toml", "--universal", "--no-deps", "--no-header", "--quiet"]
    done = run_tool([*command, "--python", sys.executable, "--python-version", python, str(source)])
    if done.returncode != 0:
        return []
    found = packages(done.stdout)
    return [kept for one in found if (kept := _kept(one, hashes, indexes, python)) is not None]


def packages(text: str) -> list[Package]:
    """Return the packages of a lock file's text."""
    found: list[Package] = parsed(text).get("packages", [])
    return found


def parsed(text: str) -> dict[str, Any]:
    """Return what a TOML document says."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    return tomllib.loads(text)


def _kept(
    package: Package, hashes: Mapping[str, frozenset[str]], indexes: Mapping[str, str], python: str
) -> Package | None:
    """Return a package with the files that were locked and suit that X.Y; None when none is left."""
    name = package["name"]
    known = hashes.get(name, frozenset())

    def locked(files: Iterable[Package]) -> list[Package]:
        return [_public(file) for file in files if file.get("hashes", {}).get("sha256") in known]

    source = [package["sdist"]] if "sdist" in package else []
    wheels = [file for file in package.get("wheels", []) if _is_for(python, filename(file))]
    chosen = {"wheels": locked(wheels), "sdist": locked(source)}
    if not any(chosen.values()):
        return None
    kept: Package = {"name": name, "version": package["version"]}
    if index := _index(indexes.get(name), [*chosen["wheels"], *chosen["sdist"]]):
        kept["index"] = index
    if chosen["sdist"]:
        kept["sdist"] = chosen["sdist"][0]
    return {**kept, "wheels": chosen["wheels"]} if chosen["wheels"] else kept


def _public(file: Package) -> Package:
    """Return a file's address, size and hashes; an address can hold a password."""
    found: Package = {"url": without_secrets(file["url"])} if "url" in file else {"path": file["path"]}
    if "size" in file:
        found["size"] = file["size"]
    return {**found, "hashes": {"sha256": file["hashes"]["sha256"]}}


def _index(known: str | None, files: Sequence[Package]) -> str | None:
    """Return the index that has these files: with it, uv finds what its cache has from there."""
    if known is not None:
        return without_secrets(known)
    public = all(str(file.get("url", "")).startswith(_PUBLIC[0]) for file in files)
    return _PUBLIC[1] if public else None


def filename(file: Package) -> str:
    """Return the name of a file in a lock file."""
    return unquote(urlsplit(file.get("url") or file.get("path") or "").path).rpartition("/")[2]


def _is_for(python: str, wheel: str) -> bool:
    """Return whether a wheel may be installed for an X.Y on some machine."""
    major, minor = python.split(".")[:2]
    own = f"{major}{minor}"
    try:
        found = parse_wheel_filename(wheel)[3]
    except InvalidWheelFilename:
        return False
    return any(tag.interpreter.endswith(own) or tag.interpreter == "py3" or tag.abi == "abi3" for tag in found) or any(
        tag.interpreter.startswith("py3") and tag.abi == "none" for tag in found
    )


def has_wheel(package: Package, python: str) -> bool:
    """Return whether one of a package's wheels fits this machine and that version of Python."""
    return any(fits(filename(file), python) for file in package.get("wheels", []))


def fits(wheel: str, python: str) -> bool:
    """Return whether a wheel can be installed on this machine for a version of CPython.

    >>> fits("six-1.16.0-py2.py3-none-any.whl", "3.12.1"), fits("x-1-cp39-cp39-win32.whl", "3.12.1")
    (True, False)
    """
    major, minor = python.split(".")[:2]
    try:
        return not parse_wheel_filename(wheel)[3].isdisjoint(_supported(int(major), int(minor)))
    except InvalidWheelFilename:
        return False


@cache
def _supported(major: int, minor: int) -> frozenset[tags.Tag]:
    version, own = (major, minor), f"cp{major}{minor}"
    platforms = list(tags.platform_tags())
    found: Iterable[tags.Tag] = tags.cpython_tags(version, [own], platforms)
    return frozenset([*found, *tags.compatible_tags(version, own, platforms)])


def fitting(lock: Lock, objects: Objects) -> frozenset[str]:
    """Return the names of the extras whose wheels are in the store and can be installed here.

    One that is missing from the store counts when nothing else stands for it, so that the build says so.
    """
    wheels = [extra for extra in lock.extras if extra.digest and fits(extra.filename or "", lock.python)]
    return frozenset(
        extra.name
        for extra in wheels
        if objects.has(extra.digest or "") or (extra.kind != "vcs" and extra.name not in lock.pins)
    )


def recorded(lock: Lock, objects: Objects, names: Collection[str]) -> list[Package]:
    """Return the recorded files of the named pins, as far as they were recorded."""
    if lock.pylock is None:
        return []
    try:
        found = packages(objects.get_bytes(lock.pylock).decode("utf-8"))
    except (StoreError, ValueError):  # a lock is complete without
        return []
    pins = lock.pins
    return [one for one in found if one["name"] in names and pins.get(one["name"]) == one["version"]]


def written(found: Iterable[Package], python: str) -> str:
    """Return the text of a lock file: one table for each package, one line for each file.

    Args:
        found: the packages, in order.
        python: the version that they are for, such as "3.12.1": other patch releases will do.
    """
    minor = ".".join(python.split(".")[:2])
    head = f'lock-version = "1.0"\ncreated-by = "reprokit"\nrequires-python = "=={minor}.*"\n'
    return head + "".join(line for package in found for line in _lines(package))


def _lines(package: Package) -> Iterator[str]:
    yield "\n[[packages]]\n"
    for key, value in package.items():
        if isinstance(value, list):
            yield f"{key} = [\n" + "".join(f"    {toml(one)},\n" for one in value) + "]\n"
        else:
            yield f"{key} = {toml(value)}\n"


def toml(value: Any) -> str:
    """Return a value as TOML in one line; its strings are written as JSON writes them."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)

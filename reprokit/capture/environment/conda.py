"""What conda installed, as it says itself in ``conda-meta``: channel, build, address and checksum.

Knows the form of these files (one JSON for each package, sorted keys, two spaces); it does not run conda.
Only the head of each is looked for: the list of a package's files can be many megabytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from reprokit.records import Distribution

__all__ = ["NAMED", "Package", "distributions", "packages"]

NAMED = "conda:"  # how the name of what is no Python package begins: no index has such a name
_FIELD = re.compile(rb'^  "(build|channel|md5|name|sha256|url|version)": "([^"\n]*)"', re.MULTILINE)
_INFO = re.compile(rb'^    "[^"\n]*?([^"/\n]+\.(?:dist|egg)-info)(?:/[^"\n]*)?"', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of conda's; ``info`` is its ``.dist-info`` folder's name when it is a Python package."""

    name: str
    version: str
    build: str = ""
    channel: str = ""
    url: str = ""
    checksum: str | None = None
    info: str | None = None

    @property
    def source(self) -> str:
        """Its address, which ends with version and build; of an unlisted one, what is known of it."""
        return self.url or f"{self.channel}/{self.name}-{self.version}-{self.build}"


def packages(prefix: Path) -> tuple[Package, ...]:
    """Return what conda installed in an environment, by name; nothing where it is none of conda's."""
    try:
        names = sorted(os.listdir(prefix / "conda-meta"))
    except OSError:
        return ()
    found = (_read(prefix / "conda-meta" / name) for name in names if name.endswith(".json"))
    return tuple(package for package in found if package is not None)


def distributions(found: Iterable[tuple[Distribution, str]], prefix: Path) -> tuple[Distribution, ...]:
    """Return what is installed, with what conda knows of it.

    Args:
        found: each distribution with the name of its metadata folder.
        prefix: the environment.

    Returns:
        The distributions, those that conda installed with origin "conda"; and conda's packages that are no
        distributions (MKL, CUDA, Python itself), named ``conda:NAME``.
    """
    known = packages(prefix)
    if not known:
        return tuple(distribution for distribution, _ in found)
    by_info = {package.info: package for package in known if package.info is not None}
    result: list[Distribution] = []
    used: set[str] = set()
    for distribution, info in found:
        package = by_info.get(info)
        if package is not None and distribution.origin in ("index", "unknown", "local"):
            used.add(package.name)
            distribution = _from_conda(distribution, package)
        result.append(distribution)
    for package in known:
        if package.name not in used and package.info is None:
            named = Distribution(name=f"{NAMED}{package.name}", version=package.version, origin="conda")
            result.append(_from_conda(named, package))
    return tuple(sorted(result, key=lambda distribution: distribution.name))


def _from_conda(distribution: Distribution, package: Package) -> Distribution:
    url = re.sub(r"(://)[^/@]*@", r"\1", package.source)  # a channel's address can hold a token
    url = re.sub(r"/t/[^/]+/", "/", url)
    return replace(distribution, origin="conda", url=url, content=package.checksum)


def _read(path: Path) -> Package | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    values = {key.decode(): value.decode("utf-8", "replace") for key, value in _FIELD.findall(data)}
    name, version, build = (["", "", "", *path.stem.rsplit("-", 2)])[-3:]
    info = _INFO.search(data)
    checksum = f"sha256:{values['sha256']}" if "sha256" in values else None
    if checksum is None and "md5" in values:
        checksum = f"md5:{values['md5']}"
    if not values.get("name", name):
        return None
    return Package(
        name=values.get("name", name),
        version=values.get("version", version),
        build=values.get("build", build),
        channel=values.get("channel", ""),
        url=values.get("url", ""),
        checksum=checksum,
        info=None if info is None else info[1].decode("utf-8", "replace"),
    )

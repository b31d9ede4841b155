"""What is installed: cheap enough to check at every cell, complete when something changed.

It reads what installers leave beside packages (``*.dist-info``) and imports none of them. A *token* tells
in microseconds that nothing was installed; a *fingerprint* names an environment by its contents, so that
two environments with the same packages have the same one, wherever they lie. It does not make locks: it
only starts the process that does.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from reprokit import digest
from reprokit.capture.environment import conda
from reprokit.records import Distribution, Environment

if TYPE_CHECKING:
    from reprokit.store.layout import Layout

__all__ = [
    "BY_INSTALLER",
    "OWN_NAME",
    "Found",
    "Token",
    "changed",
    "fingerprint",
    "local_path",
    "lock_in_background",
    "normalised",
    "observe",
    "quick_fingerprint",
    "scan",
    "site_folders",
    "start_in_background",
    "token",
    "without_secrets",
    "write_order",
]

OWN_NAME = "reprokit"  # put into environments by path, so it is no part of what they are
Token = tuple[object, ...]

_CONDA = next((path for path in (os.path.join(sys.prefix, "conda-meta"),) if os.path.isdir(path)), "")
_SITE_NAMES = ("site-packages", "dist-packages")
_MARKS = (".dist-info", ".egg-info", ".egg-link")
_HEADER = re.compile(r"^(Name|Version):[ \t]*(.+?)[ \t]*$", re.MULTILINE)
# What installers add to a ``.dist-info`` folder: it differs from one installation of a wheel to the next.
BY_INSTALLER = frozenset(
    [
        "INSTALLER",
        "RECORD",
        "RECORD.jws",
        "RECORD.p7s",
        "REQUESTED",
        "direct_url.json",
        "uv_build.json",
        "uv_cache.json",
    ]
)
_PRELOADS = (
    "LD_PRELOAD",
    "DYLD_INSERT_LIBRARIES",
)  # a recorder of the user's files must not record the lock's

# The background process outlives the shell that starts it, so the kernel keeps no child to wait for.
_DETACH = 'log=$1; shift; cd /; nice -n 15 "$@" </dev/null >>"$log" 2>&1 &'


@dataclass(frozen=True, slots=True)
class Found:
    """An installed distribution, and the path of its metadata (a ``.dist-info`` folder, as a rule)."""

    distribution: Distribution
    path: Path


def token() -> Token:
    """Return a value that changes when something is installed or removed, or ``sys.path`` changes (≈ 5 µs).

    >>> token() == token()
    True
    """
    path = tuple(sys.path)
    marks: list[object] = [path]
    for folder in _sites(path):
        try:
            found = os.stat(folder)
        except OSError:
            continue
        marks.append((found.st_ino, found.st_mtime_ns))
    if _CONDA:
        marks.append(_mark(_CONDA))
    return tuple(marks)


def places() -> tuple[str, ...]:
    """Return the folders whose change makes another token."""
    return (*_sites(tuple(sys.path)), *([_CONDA] if _CONDA else []))


@lru_cache(maxsize=4)
def _sites(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(folder for folder in path if folder.endswith(_SITE_NAMES))


def changed(previous: Token) -> bool:
    """Return whether the environment may have changed since ``previous`` was taken with ``token()``."""
    return token() != previous


def quick_fingerprint(folders: Iterable[str] | None = None) -> str:
    """Return a digest that changes with any installation, even of the same version (≈ 1 ms).

    It is over the names, inodes, sizes and times of what installers write, so it means something on this
    machine only.

    Args:
        folders: where distributions lie; those of this process by default.
    """
    marks: list[object] = [sys.version, _CONDA and _mark(_CONDA)] if folders is None else []
    for folder in site_folders() if folders is None else folders:
        for name in sorted(_names(folder)):
            if name.endswith(".dist-info"):
                marks.append((name, *_mark(f"{folder}/{name}/RECORD")))  # it holds the hashes of the others
            elif name.endswith((".egg-info", ".egg-link", ".pth")):
                marks.append((name, *_mark(f"{folder}/{name}")))
    return digest.of_bytes(repr(marks).encode("utf-8", "surrogateescape"))


def observe() -> Environment:
    """Return this process's interpreter and all that is installed for it (≈ 20 ms for 170 distributions)."""
    scanned = ((found.distribution, found.path.name) for found in scan(site_folders()))
    distributions = conda.distributions(scanned, Path(sys.prefix))
    python, implementation = platform.python_version(), sys.implementation.name
    return Environment(
        fingerprint=fingerprint(python, implementation, distributions),
        python=python,
        implementation=implementation,
        executable=sys.executable or "",
        prefix=sys.prefix,
        distributions=distributions,
    )


def fingerprint(python: str, implementation: str, distributions: Iterable[Distribution]) -> str:
    """Return what names an environment by its contents, whatever its path.

    reprokit itself is left out; everything else counts: name, version, origin, commit, the contents of
    what no index vouches for, and for an editable project where it is.

    Args:
        python: full version of the interpreter, such as "3.11.7".
        implementation: such as "cpython".
        distributions: in any order.
    """
    contents = [
        [d.name, d.version, d.origin, d.commit, d.content, d.url if d.origin == "editable" else None]
        for d in sorted(distributions, key=lambda d: d.name)
        if d.name != OWN_NAME
    ]
    return digest.of_json([python, implementation, sys.platform, os.uname().machine, contents])


def site_folders() -> tuple[str, ...]:
    """Return the folders of ``sys.path`` in which distributions can lie.

    The working directory (``""``) and the standard library are left out.
    """
    library = os.path.dirname(os.__file__)
    folders = dict.fromkeys(os.path.realpath(entry) for entry in sys.path if entry)
    skipped = {os.path.realpath(library), os.path.realpath(f"{library}/lib-dynload")}
    return tuple(folder for folder in folders if folder not in skipped and os.path.isdir(folder))


def scan(folders: Iterable[str]) -> tuple[Found, ...]:
    """Return what is installed in some folders, sorted by name; the first folder that has a name wins.

    Outside a ``site-packages`` folder, only what an installer put there counts: an ``.egg-info`` there is
    left over from development.
    """
    found: dict[str, Found] = {}
    for folder in folders:
        marks = _MARKS if folder.endswith(_SITE_NAMES) else _MARKS[:1]
        for name in sorted(_names(folder)):
            if name.endswith(marks) and not name.startswith("~"):  # "~" is what pip leaves when it is interrupted
                one = _read(folder, name)
                if one is not None:
                    found.setdefault(one.distribution.name, one)
    return tuple(found[name] for name in sorted(found))


def normalised(name: str) -> str:
    """Return a distribution's name in its one spelling.

    >>> normalised("Ruamel.YAML_clib")
    'ruamel-yaml-clib'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def local_path(url: str | None) -> Path | None:
    """Return the path that a ``file://`` URL names, or None.

    >>> local_path("file:///data/my%20lib")
    PosixPath('/data/my lib')
    """
    parts = urlsplit(url or "")
    return Path(unquote(parts.path)) if parts.scheme == "file" and parts.path else None


def without_secrets(url: str) -> str:
    """Return a URL without its password, query and fragment; the user name stays for SSH, which needs it.

    >>> without_secrets("https://me:pw@host/x.whl?token=abc#sha256=0"), without_secrets("ssh://git@host/x")
    ('https://host/x.whl', 'ssh://git@host/x')
    """
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    netloc = f"{name}@{host}" if at and "ssh" in parts.scheme else host
    return urlunsplit((parts.scheme, netloc, parts.path, "", ""))


def lock_in_background(layout: Layout, run_id: str, observed: Environment) -> None:
    """Have an environment checked, and locked if that was not done before, while the user goes on working.

    Args:
        layout: the store that gets the lock.
        run_id: the run in whose folder the order is left, and the journal of what the check found.
        observed: the environment to lock.
    """
    start_in_background(layout, write_order(layout, run_id, observed))


def write_order(layout: Layout, run_id: str, observed: Environment) -> Path:
    """Write the order to check and lock the environment of a run into its folder, and return where it is."""
    name = digest.hex_of(observed.fingerprint)
    path = layout.run_folder(run_id) / f"environment-{name[:12]}.json"
    path.write_text(json.dumps(observed.to_dict()), "utf-8")
    return path


def start_in_background(layout: Layout, environment_json_path: Path) -> None:
    """Start the process that locks an environment, and forget it.

    It is in a session of its own, is nobody's child once this returns, and writes to a log in the store.

    Args:
        layout: the store that gets the lock.
        environment_json_path: a file that holds ``Environment.to_dict()`` as JSON.
    """
    if not sys.executable:  # an embedded interpreter: nothing to start it with
        return
    layout.locks.mkdir(parents=True, exist_ok=True)
    arguments = (layout.root.absolute(), layout.project.absolute(), environment_json_path.absolute())
    command = [sys.executable, "-m", "reprokit.replay.lock", *map(str, arguments)]
    subprocess.run(
        ["/bin/sh", "-c", _DETACH, "sh", str(layout.locks.absolute() / "background.log"), *command],
        check=False,
        env=_environment_of_the_lock(),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _environment_of_the_lock() -> dict[str, str]:
    """Return this process's variables, with the folder of this very package found last on the path."""
    own = str(Path(__file__).parents[3])
    inherited = {key: value for key, value in os.environ.items() if key not in _PRELOADS}
    entries = [entry for entry in (inherited.get("PYTHONPATH"), own) if entry]
    return {**inherited, "PYTHONPATH": os.pathsep.join(entries), "PYTHONDONTWRITEBYTECODE": "1"}


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _mark(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _read(folder: str, name: str) -> Found | None:
    """Return the distribution whose metadata is ``folder/name``; None when it has no name or version."""
    path = Path(folder, name)
    if name.endswith(".egg-link"):
        return _read_link(path)
    metadata = path if path.is_file() else path / ("METADATA" if name.endswith(".dist-info") else "PKG-INFO")
    fields = _header(metadata)
    if "Name" not in fields or "Version" not in fields:
        return None
    origin = _origin(path) if name.endswith(".dist-info") else {"origin": "unknown"}
    return Found(Distribution(name=normalised(fields["Name"]), version=fields["Version"], **origin), path)


def _read_link(path: Path) -> Found | None:
    """Return the project that an ``.egg-link`` (``setup.py develop``) leads to."""
    target = Path((_text(path).splitlines() or [""])[0].strip())
    for metadata in sorted(target.glob("*.egg-info")) if target.is_absolute() else ():
        fields = _header(metadata / "PKG-INFO")
        if normalised(fields.get("Name", "")) == normalised(path.stem) and "Version" in fields:
            name, version = normalised(fields["Name"]), fields["Version"]
            return Found(Distribution(name=name, version=version, origin="editable", url=target.as_uri()), path)
    return None


def _header(path: Path) -> dict[str, str]:
    """Return the name and version that a metadata file tells before its first empty line."""
    head = _text(path).partition("\n\n")[0]
    return {match[1]: match[2] for match in reversed(list(_HEADER.finditer(head)))}


def _origin(info: Path) -> dict[str, str]:
    """Return the fields of a ``Distribution`` that tell where it came from (PEP 610)."""
    direct = _direct_url(info)
    if _text(info / "INSTALLER").strip() == "conda" or not (info / "RECORD").is_file():
        return {"origin": "unknown"}  # conda's direct_url.json names a folder of the machine that built it
    if not isinstance(direct.get("url"), str):
        return {"origin": "index"}
    url = without_secrets(direct["url"])
    vcs, folder = direct.get("vcs_info"), direct.get("dir_info")
    if isinstance(vcs, dict):
        within = f"#subdirectory={direct['subdirectory']}" if direct.get("subdirectory") else ""
        commit = str(vcs.get("commit_id", ""))
        return {"origin": "vcs", "url": f"{vcs.get('vcs', 'git')}+{url}{within}", "commit": commit}
    if isinstance(folder, dict) and folder.get("editable") is True:
        return {"origin": "editable", "url": url}
    return {"origin": "local", "url": url, "content": _content(info)}


def _direct_url(info: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(info / "direct_url.json"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _content(info: Path) -> str:
    """Return a digest of the hashes that RECORD lists, less what each installation writes anew."""
    return digest.of_json(sorted(_hashes(info)))


def _hashes(info: Path) -> Iterator[tuple[str, str]]:
    for row in csv.reader(_text(info / "RECORD").splitlines()):
        if len(row) < 2 or not row[1] or row[0].startswith(("../", "/")) or row[0].endswith(".pyc"):
            continue
        folder, _, name = row[0].rpartition("/")
        if folder != info.name or name not in BY_INSTALLER:
            yield row[0], row[1]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""

"""How something that no index has becomes a wheel: from its installed files, or from its source folder.

Knows the layout of installed distributions and of wheels. It runs no tool and knows nothing of locks.
"""

from __future__ import annotations

import ast
import base64
import csv
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from reprokit.capture.environment.environment import BY_INSTALLER, Found, local_path, scan, site_folders
from reprokit.digest import hex_of, of_bytes
from reprokit.errors import ReprokitError
from reprokit.records import Environment

__all__ = [
    "LIMIT",
    "NotPackedError",
    "copy_source",
    "import_roots",
    "installed",
    "local_path",
    "matches",
    "repack",
]

LIMIT = 500 * 10**6  # bytes that are packed at most: beyond it, a wheel costs more than it saves
_NOT_SOURCE = {
    ".git",
    ".hg",
    ".tox",
    ".nox",
    ".venv",
    "__pycache__",
    "node_modules",
    ".reprokit",
    "build",
    "dist",
}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same wheel, bit for bit


class NotPackedError(ReprokitError):
    """A distribution cannot be made into a wheel; says why."""


def installed(environment: Environment) -> dict[str, Found]:
    """Return what can still be found of an environment on this machine, by name."""
    if Path(environment.prefix) == Path(sys.prefix):
        folders: Iterable[str] = site_folders()
    else:
        prefix = Path(environment.prefix)
        folders = sorted({os.path.realpath(f) for f in prefix.glob("lib*/python*/*-packages")})
    return {found.distribution.name: found for found in scan(folders)}


def matches(wheel: Path, info: Path) -> bool:
    """Return whether a wheel file holds exactly what is installed.

    Args:
        wheel: path of the wheel.
        info: the ``.dist-info`` folder of the installed distribution.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            packed = _hashes(archive.read(f"{info.name}/RECORD").decode("utf-8"))
    except (OSError, KeyError, UnicodeDecodeError, zipfile.BadZipFile):
        return False
    present = _hashes((info / "RECORD").read_text("utf-8"))
    kept = {path: value for path, value in packed.items() if ".data/" not in path}
    return bool(kept) and all(present.get(path) == value for path, value in kept.items())


def repack(info: Path, folder: Path) -> Path:
    """Make a wheel from the files of an installed distribution.

    Args:
        info: its ``.dist-info`` folder.
        folder: where the wheel is put.

    Returns:
        Path of the wheel.

    Raises:
        NotPackedError: files are gone, or too large, or the distribution does not list them.
    """
    members = sorted(_members(info), key=lambda member: member.name)
    size = sum(member.size() for member in members)
    if size > LIMIT:
        raise NotPackedError(f"its files are {size / 1e6:.0f} MB, more than the {LIMIT / 1e6:.0f} MB that are packed")
    wheel = folder / f"{info.name.removesuffix('.dist-info')}-{_tags(info)}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        lines = [_add(archive, member.name, member.read(), member.mode()) for member in members]
        record = f"{info.name}/RECORD"
        _add(archive, record, _csv([*lines, (record, "", "")]), 0o644)
    return wheel


def copy_source(source: Path, target: Path) -> None:
    """Copy a project's source folder, so that building it leaves no trace in the user's tree.

    Git says what belongs to it where there is a repository; else all but environments and caches.

    Raises:
        NotPackedError: the folder is gone, or too large.
    """
    if not source.is_dir():
        raise NotPackedError(f"its source folder {source} is gone")
    size = 0
    for relative in _source_files(source):
        size += (source / relative).lstat().st_size
        if size > LIMIT:
            raise NotPackedError(f"its source folder {source} is larger than {LIMIT / 1e6:.0f} MB")
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / relative, target / relative, follow_symlinks=False)


def import_roots(info: Path) -> tuple[str, ...]:
    """Return the folders that an editable installation adds to ``sys.path``, absolute and in order."""
    if info.suffix == ".egg-link":
        return tuple(info.read_text("utf-8").splitlines()[:1])
    roots: dict[str, None] = {}
    for path in _pth_files(info):
        for line in path.read_text("utf-8", "replace").splitlines():
            if not line.startswith(("import ", "import\t", "#")) and line.strip():
                roots[os.path.abspath(path.parent / line.strip())] = None  # noqa: PTH100
    stem = re.sub(r"[-.]", "_", info.name.removesuffix(".dist-info"))
    for finder in info.parent.glob(f"__editable___{stem}*.py"):
        roots.update(dict.fromkeys(_mapped_roots(finder)))
    return tuple(root for root in roots if Path(root).is_dir())


@dataclass(frozen=True, slots=True)
class _Member:
    """One file of a wheel: its name there, and where it lies now."""

    name: str
    path: Path

    def size(self) -> int:
        return self.path.stat().st_size

    def mode(self) -> int:
        return 0o755 if os.access(self.path, os.X_OK) else 0o644

    def read(self) -> bytes:
        data = self.path.read_bytes()
        first, newline, rest = data.partition(b"\n")
        if ".data/scripts/" in self.name and first.startswith(b"#!") and b"python" in first:
            return b"#!python" + newline + rest  # installers put the new interpreter's path here
        return data


def _members(info: Path) -> Iterator[_Member]:
    """Yield the files to pack; what installers write themselves is left to them."""
    try:
        rows = list(csv.reader((info / "RECORD").read_text("utf-8").splitlines()))
    except OSError as error:
        raise NotPackedError("it does not list its files") from error
    commands = _commands(info)
    for row in rows:
        name = row[0] if row else ""
        if not name or name.endswith(".pyc") or (name.startswith(f"{info.name}/") and Path(name).name in BY_INSTALLER):
            continue
        path = info.parent / name
        inside = _place(name, info)
        if inside.startswith(f"{_data(info)}/scripts/") and Path(name).name in commands:
            continue
        if not path.is_file():
            raise NotPackedError(f"its file {path} is gone")
        yield _Member(inside, path)


def _place(name: str, info: Path) -> str:
    """Return where a file of RECORD goes in a wheel: outside of site-packages it is a script or data."""
    if not name.startswith(("../", "/")):
        return name
    path = Path(os.path.normpath(info.parent / name))
    prefix = info.parents[3]  # PREFIX/lib/pythonX.Y/site-packages/NAME.dist-info
    if not path.is_relative_to(prefix):
        raise NotPackedError(f"its file {path} is outside of the environment")
    within = path.relative_to(prefix)
    if within.parts[0] in ("bin", "Scripts"):
        return f"{_data(info)}/scripts/{Path(*within.parts[1:])}"
    return f"{_data(info)}/data/{within}"


def _data(info: Path) -> str:
    return f"{info.name.removesuffix('.dist-info')}.data"


def _commands(info: Path) -> set[str]:
    """Return the names of the commands that installers make from the entry points."""
    names: set[str] = set()
    section = ""
    try:
        lines = (info / "entry_points.txt").read_text("utf-8").splitlines()
    except OSError:
        return names
    for line in lines:
        if line.startswith("["):
            section = line.strip().strip("[]").strip()
        elif section in ("console_scripts", "gui_scripts") and "=" in line:
            names.add(line.partition("=")[0].strip())
    return names


def _tags(info: Path) -> str:
    """Return the compatibility tags for the file name, from the ``WHEEL`` file."""
    try:
        header = HeaderParser().parsestr((info / "WHEEL").read_text("utf-8"))
    except OSError as error:
        raise NotPackedError("it has no WHEEL file") from error
    tags = [tag.split("-") for tag in header.get_all("Tag", []) if tag.count("-") == 2]
    if not tags:
        raise NotPackedError("its WHEEL file has no tags")
    return "-".join(".".join(dict.fromkeys(tag[part] for tag in tags)) for part in range(3))


def _add(archive: zipfile.ZipFile, name: str, data: bytes, mode: int) -> tuple[str, str, str]:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = (0o100000 | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)
    value = base64.urlsafe_b64encode(bytes.fromhex(hex_of(of_bytes(data)))).rstrip(b"=").decode("ascii")
    return name, f"sha256={value}", str(len(data))


def _csv(rows: Iterable[tuple[str, str, str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


def _hashes(record: str) -> dict[str, str]:
    return {row[0]: row[1] for row in csv.reader(record.splitlines()) if len(row) > 1 and row[1]}


def _source_files(source: Path) -> Iterator[str]:
    listed = (
        subprocess.run(
            ["git", "-c", "core.fsmonitor=false", "ls-files", "-z", "-co", "--exclude-standard"],
            cwd=source,
            capture_output=True,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
        if shutil.which("git")
        else None
    )
    if listed is not None and listed.returncode == 0 and listed.stdout:
        names = dict.fromkeys(os.fsdecode(name) for name in listed.stdout.split(b"\0") if name)
        yield from (name for name in names if os.path.lexists(source / name) and not (source / name).is_dir())
        return
    for folder, folders, files in os.walk(source):
        folders[:] = [f for f in folders if f not in _NOT_SOURCE and not Path(folder, f, "pyvenv.cfg").exists()]
        yield from (os.path.relpath(Path(folder, name), source) for name in files)


def _pth_files(info: Path) -> Iterator[Path]:
    for row in csv.reader((info / "RECORD").read_text("utf-8").splitlines()):
        if row and row[0].endswith(".pth") and "/" not in row[0] and (info.parent / row[0]).is_file():
            yield info.parent / row[0]


def _mapped_roots(finder: Path) -> Iterator[str]:
    """Yield the roots that setuptools keeps in a module (``MAPPING = {package: folder}``); it is not run."""
    for node in ast.walk(ast.parse(finder.read_text("utf-8"))):
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == "MAPPING" and isinstance(node, ast.AnnAssign) and node.value:
            for package, folder in ast.literal_eval(node.value).items():
                path = Path(folder)
                if path.name == str(package).split(".")[-1]:
                    yield str(path.parents[str(package).count(".")])

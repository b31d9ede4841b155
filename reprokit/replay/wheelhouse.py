"""A folder with every package of a lock, from which it is installed without any network.

Made with pip: wheels as the index has them, sources built into wheels, commits fetched and built. Its
``requirements.txt`` lists each file with its hash, so that pip and uv install from the folder as it is.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.request import urlopen

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from reprokit.digest import hex_of, of_file
from reprokit.errors import EnvironmentBuildError, ObjectCorrupt, ObjectMissing, UsageError
from reprokit.replay import install_errors, interpreters, locked_files
from reprokit.replay.lock import Extra, Lock
from reprokit.replay.tools import has_pip, run_tool
from reprokit.store.objects import Objects

__all__ = ["REQUIREMENTS", "Packed", "Wheelhouse", "make"]

REQUIREMENTS = "requirements.txt"
_NOTE = "wheelhouse.json"
_AGAIN = "`reprokit env RUN --wheelhouse DIR` makes it anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One file of a wheelhouse.

    ``source`` is "index" (as the index has it), "store" (of the record), "built" (from a source of the index),
    "commit" (from a commit), "kernel" (not recorded: it lets a kernel start) or "sdist" (a source that did not
    build here).
    """

    filename: str
    name: str
    version: str
    digest: str
    source: str


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """A wheelhouse that has all that a lock needs.

    Attributes:
        folder: where it is.
        built: name → the file that was built, whose hash no index knows.
        notes: in what it is not what the index has, one line each.
    """

    folder: Path
    built: Mapping[str, Packed]
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, folder: Path, lock: Lock) -> Wheelhouse:
        """Return the wheelhouse in a folder, having checked each file.

        Raises:
            UsageError: there is no such folder.
            EnvironmentBuildError: something is not in it, or is not what it was.
        """
        if not folder.is_dir():
            raise UsageError(f"there is no wheelhouse {folder}", remedy=_AGAIN)
        here = _present(folder)
        noted = {one.filename: one for one in _noted(folder)}
        built = {one.name: one for one in noted.values() if one.source in ("built", "commit")}
        hashes = lock.hashes
        for name, version in lock.pins.items():
            own = [built[name].digest] if name in built else []
            own += [extra.digest for extra in lock.extras if extra.name == name and extra.digest]
            _require(name, version, here, {*hashes[name], *map(hex_of, own)})
        used = [one for name, one in sorted(built.items()) if name in lock.pins and one.source == "built"]
        notes = tuple(f"{one.name} {one.version} was built from its source for the wheelhouse" for one in used)
        return cls(folder.resolve(), built, notes)

    def widened(self, requirements: str) -> str:
        """Return requirements that let what was built for the wheelhouse count, too."""
        lines = []
        for line in requirements.splitlines():
            lines.append(line)
            name = line.partition("==")[0]
            if name in self.built and line.endswith("\\"):
                lines.append(f"    --hash={self.built[name].digest} \\")
        return "\n".join(lines) + "\n"

    def wheel_of(self, extra: Extra) -> str:
        """Return the path of the wheel that was built from a commit.

        Raises:
            EnvironmentBuildError: it is not there, or not what it was.
        """
        one = self.built.get(extra.name)
        if one is None or not (self.folder / one.filename).is_file():
            raise EnvironmentBuildError(f"the wheelhouse lacks {extra.name} {extra.version}", remedy=_AGAIN)
        _require(extra.name, one.version, _present(self.folder), {hex_of(one.digest)})
        return str(self.folder / one.filename)


def make(
    lock: Lock, objects: Objects, folder: Path, *, progress: Callable[[str], None] = lambda _: None
) -> list[Packed]:
    """Make a wheelhouse; the folder appears when it is complete.

    Args:
        lock: what is to be in it.
        objects: where its wheels are.
        folder: where it will be; it must not be there, or be a wheelhouse that is to be made anew.
        progress: is told what goes on.

    Raises:
        UsageError: the folder holds something else.
        EnvironmentBuildError: something could not be had.
    """
    blocking = [gap.message for gap in lock.gaps if gap.blocks]
    if blocking:
        raise EnvironmentBuildError("; ".join(blocking[:3]), remedy="see `reprokit env RUN`")
    if folder.exists() and not (folder.is_dir() and ((folder / _NOTE).exists() or not any(folder.iterdir()))):
        raise UsageError(f"{folder} is no wheelhouse, and not empty", remedy="name a new folder")
    if not has_pip():
        raise EnvironmentBuildError("a wheelhouse is made with pip, which is not here", remedy="python -m ensurepip")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        draft = Path(name, "wheels")
        draft.mkdir()
        packed = _Packing(lock, objects, draft, progress).run()
        if folder.exists():
            folder.rename(Path(name, "old"))
        draft.rename(folder)
    return packed


@dataclass(frozen=True, slots=True)
class _Packing:
    """One wheelhouse to be filled."""

    lock: Lock
    objects: Objects
    draft: Path
    progress: Callable[[str], None]

    def run(self) -> list[Packed]:
        """Put everything there, and list it."""
        python = interpreters.find(self.lock.implementation, self.lock.python)[0]
        kept = [e for e in self.lock.extras if e.name in locked_files.fitting(self.lock, self.objects)]
        names = {extra.name for extra in kept}
        for extra in kept:
            self._from_store(extra)
        stored = self._files()
        pins = [name for name in self.lock.pins if name not in names]
        self._from_index(python, pins)
        commits = [extra for extra in self.lock.extras if extra.name not in {*names, *self.lock.pins}]
        before = self._files()
        self._from_commits(python, commits)
        fetched = self._files() - before
        before = self._files()
        self._kernel(python)
        added = self._files() - before
        packed = [self._packed(name, stored, fetched, added) for name in sorted(self._files())]
        self._list(packed)
        return packed

    def _files(self) -> set[str]:
        return {path.name for path in self.draft.iterdir()}

    def _from_store(self, extra: Extra) -> None:
        try:
            self.objects.restore(extra.digest or "", self.draft / Path(extra.filename or "").name)
        except (ObjectMissing, ObjectCorrupt) as error:
            raise install_errors.lost_wheel(extra, error) from error

    def _from_index(self, python: Path, names: Collection[str]) -> None:
        recorded = {one["name"]: one for one in locked_files.recorded(self.lock, self.objects, names)}
        sources = [n for n in names if n in recorded and not locked_files.has_wheel(recorded[n], self.lock.python)]
        usual = [name for name in names if name not in sources]
        self.progress(f"fetching {len(usual)} packages")
        self._pip_wheel(python, usual)
        for name in sources:
            self.progress(f"building {name}")
            try:
                self._pip_wheel(python, [name])
            except EnvironmentBuildError:
                self._source(recorded[name]["sdist"])

    def _pip_wheel(self, python: Path, names: Collection[str]) -> None:
        if names:
            path = self.draft.parent / REQUIREMENTS
            path.write_text(self.lock.requirements_of(names), "utf-8")
            self._pip(python, "--no-deps", "--require-hashes", "-r", str(path))

    def _source(self, file: locked_files.Package) -> None:
        """Keep a source that does not build here; it may elsewhere."""
        target = self.draft / locked_files.filename(file)
        try:
            with urlopen(file["url"]) as stream, target.open("wb") as out:
                shutil.copyfileobj(stream, out)
        except OSError as error:
            raise EnvironmentBuildError(f"{target.name} could not be fetched ({error})", remedy="try again") from error
        if hex_of(of_file(target)) != file["hashes"]["sha256"]:
            raise EnvironmentBuildError(f"{target.name} is not what was recorded", remedy="find out who changed it")

    def _from_commits(self, python: Path, extras: Sequence[Extra]) -> None:
        for extra in extras:
            if extra.kind != "vcs":
                raise install_errors.other_platform(extra)
            self.progress(f"building {extra.name} from its commit")
            url, hash_sign, fragment = (extra.url or "").partition("#")
            self._pip(python, "--no-deps", f"{extra.name} @ {url}@{extra.commit}{hash_sign}{fragment}")

    def _kernel(self, python: Path) -> None:
        """Add what lets a kernel start, where the recorded environment had none."""
        versions = {**self.lock.pins, **{extra.name: extra.version for extra in self.lock.extras}}
        if "ipykernel" in versions:
            return
        self.progress("fetching ipykernel, which the recorded environment did not have")
        path = self.draft.parent / "constraints.txt"
        path.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), "utf-8")
        self._pip(python, "ipykernel", "--constraint", str(path), "--find-links", str(self.draft))

    def _pip(self, python: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(python), "wheel", "--quiet"]
        result = run_tool([*command, "--wheel-dir", str(self.draft), *arguments])
        if result.returncode != 0:
            raise install_errors.explained(result.stdout + result.stderr)

    def _packed(self, filename: str, stored: set[str], fetched: set[str], added: set[str]) -> Packed:
        named = _parsed(filename)
        if named is None:
            raise EnvironmentBuildError(f"pip left {filename}, which is no package", remedy="run `reprokit doctor`")
        name, version = named
        digest = of_file(self.draft / filename)
        if filename in stored:
            source = "store"
        elif filename in fetched:
            source = "commit"
        elif filename in added:
            source = "kernel"
        elif not filename.endswith(".whl"):
            source = "sdist"
        else:
            source = "index" if hex_of(digest) in self.lock.hashes.get(name, ()) else "built"
        return Packed(filename=filename, name=name, version=str(version), digest=digest, source=source)

    def _list(self, packed: Iterable[Packed]) -> None:
        """Write what is there for reprokit, and for pip and uv."""
        files = [asdict(one) for one in packed]
        note = {"lock": self.lock.key, "python": self.lock.python, "machine": platform.machine(), "files": files}
        (self.draft / _NOTE).write_text(json.dumps(note, indent=1) + "\n", "utf-8")
        lines = [f"{one.name}=={one.version} --hash={one.digest}\n" for one in packed]
        text = "--no-index\n--find-links .\n" + "".join(lines)
        (self.draft / REQUIREMENTS).write_text(text, "utf-8")


def _noted(folder: Path) -> list[Packed]:
    """Return what a wheelhouse says of itself; a folder that pip filled says nothing."""
    try:
        return [Packed(**one) for one in json.loads((folder / _NOTE).read_text("utf-8"))["files"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _present(folder: Path) -> dict[tuple[str, Version], list[Path]]:
    """Return the packages in a folder."""
    found: dict[tuple[str, Version], list[Path]] = {}
    for path in sorted(folder.iterdir()):
        named = _parsed(path.name)
        if named is not None:
            found.setdefault(named, []).append(path)
    return found


def _parsed(filename: str) -> tuple[str, Version] | None:
    """Return name and version of a wheel or source; None when the file is neither."""
    try:
        if filename.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(filename)
        else:
            name, version = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
    return name, version


def _require(
    name: str, version: str, here: Mapping[tuple[str, Version], Sequence[Path]], hashes: Collection[str]
) -> None:
    files = here.get((name, Version(version)), ())
    if not files:
        raise EnvironmentBuildError(f"the wheelhouse lacks {name} {version}", remedy=_AGAIN)
    if not any(hex_of(of_file(path)) in hashes for path in files):
        message = f"{files[0].name} in the wheelhouse is not what was recorded: its bytes have another hash"
        raise EnvironmentBuildError(message, remedy=_AGAIN)

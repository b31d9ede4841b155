"""Where things lie for the processes of a replay: the workspace in the place of the project, files in their own.

A replay's kernel has a namespace of mounts of its own (see ``capture.namespace``). In it the paths are those that
the run had: what an absolute path into the project names is in the workspace, and the user's checkout cannot be
reached at all, except for what a replay needs of it (the store, the environment, git's objects). Folders outside
the project into which the run wrote are covered: they are as they are, and what is written there is the replay's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from reprokit.capture import launch, namespace
from reprokit.notebook.kernel import runtime_folder
from reprokit.records import CodeState
from reprokit.replay import environment
from reprokit.store.store import Store

__all__ = ["COVERS", "Mounts", "can_cover", "unavailable"]

COVERS = "covers"  # the folder beside the workspace that takes what is written outside the project
_NOT_COVERED = tuple(map(Path, ("/dev", "/proc", "/sys", "/run")))  # nobody's data


@cache
def unavailable() -> str:
    """Return why processes cannot have mounts of their own here; "" when they can."""
    if not sys.platform.startswith("linux"):
        return "only Linux has them"
    if os.environ.get("REPROKIT_MOUNTS") == "never":
        return "REPROKIT_MOUNTS is never"
    done = _alone()
    said = done.stderr.strip().splitlines() or ["the system refused"]
    return "" if done.returncode == 0 else said[-1]


def can_cover(folder: Path, taking: Path) -> bool:
    """Return whether a process can have a folder covered, and what is written into it taken elsewhere.

    Args:
        folder: the folder.
        taking: an empty one that is there, for what would be written.
    """
    if unavailable():
        return False
    cover = _named(folder, taking)
    for path in cover[1:]:
        Path(path).mkdir()
    done = _alone(json.dumps([cover]))
    return str(folder) in done.stdout.splitlines()


def _alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Try mounts in a process that ends with them."""
    command = [sys.executable, "-I", "-S", namespace.__file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@dataclass(slots=True)
class Mounts:
    """What is mounted where, in this order.

    Attributes:
        top: the workspace, and ``place`` the folder that it stands for.
        beside: a folder of the replay's own for what is mounted from.
    """

    top: Path
    place: Path
    beside: Path
    _inner: list[tuple[Path, Path]] = field(default_factory=list)
    _outer: dict[str, Path] = field(default_factory=dict)  # place → file that stands for it
    _covers: dict[Path, Path] = field(default_factory=dict)  # folder → what takes the writing
    _made: list[Path] = field(default_factory=list)

    @classmethod
    def plan(
        cls, store: Store, code: CodeState | None, top: Path, place: Path, beside: Path, written: Iterable[Path] = ()
    ) -> Mounts:
        """Return the mounts that put the workspace at ``top`` in the place of the project, with what it needs.

        Args:
            store: holds the run.
            code: what the workspace was made from.
            top: the workspace.
            place: the top of the project's tree.
            beside: an empty folder outside of both.
            written: folders outside the project that are written into.
        """
        mounts = cls(top=top, place=place, beside=beside)
        needed = list(_needed(store))
        mounts._cover(written, [top, place, beside, *needed])
        for number, state in enumerate(_repositories(code)):
            mounts._lend_objects(state, number)
        for path in needed:
            mounts._keep(path)
        return mounts

    def seen(self, path: Path) -> Path:
        """Return the path at which the replay finds what lies at ``path`` in the workspace."""
        return self.place / path.relative_to(self.top) if path.is_relative_to(self.top) else path

    def outside(self, path: str) -> Path:
        """Return the file that stands for one outside the project; what is written there, the replay reads."""
        if (covered := self._covered(Path(path).resolve())) is not None:
            return covered
        if path not in self._outer:
            folder = self.beside / "files" / str(len(self._outer))
            folder.mkdir(parents=True)
            self._outer[path] = folder / Path(path).name
        return self._outer[path]

    def covers(self, path: Path) -> bool:
        """Return whether what is written at ``path`` is the replay's alone."""
        return any(path.resolve().is_relative_to(folder) for folder in self._covers)

    def _covered(self, path: Path) -> Path | None:
        """Return where a file of a covered folder lies when it was written; one mounted there could not be moved."""
        for folder, taking in self._covers.items():
            if path.is_relative_to(folder):
                file = taking / "upper" / path.relative_to(folder)
                for inside in reversed(path.relative_to(folder).parents[:-1]):
                    made = taking / "upper" / inside
                    made.mkdir(exist_ok=True)
                    if (folder / inside).is_dir():
                        made.chmod((folder / inside).stat().st_mode)
                return file
        return None

    def write(self, file: Path, cwd: Path) -> None:
        """Write what ``capture.namespace`` is to do; ``cwd`` is as the replay sees it."""
        stage = self.beside / "stage"
        stage.mkdir(exist_ok=True)
        pairs = [*self._inner, (self.top, self.place)]
        mounts = [[str(source), str(target)] for source, target in pairs]
        mounts += [[str(source), target] for target, source in self._outer.items()]
        covers = [_named(folder, taking) for folder, taking in self._covers.items()]
        said = {"covers": covers, "mounts": mounts, "stage": str(stage), "cwd": str(cwd)}
        file.write_text(json.dumps(said), "utf-8")

    def clear(self) -> None:
        """Remove the empty folders that things were mounted on."""
        for folder in reversed(self._made):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _cover(self, written: Iterable[Path], kept: list[Path]) -> None:
        """Cover the outermost folders; none of those that hold what the replay itself is made of."""
        found: list[Path] = []
        for folder in sorted({_existing(path) for path in written}, key=lambda path: len(path.parts)):
            holds = any(path.is_relative_to(folder) for path in (*kept, Path(tempfile.gettempdir())))
            if not holds and not any(folder.is_relative_to(other) for other in (*found, *_NOT_COVERED)):
                found.append(folder)
        taking = {folder: self.beside / COVERS / str(number) for number, folder in enumerate(found)}
        if not taking:
            return
        for one in taking.values():
            for name in ("upper", "work"):
                (one / name).mkdir(parents=True)
        asked = json.dumps([_named(folder, one) for folder, one in taking.items()])
        done = _alone(asked)
        self._covers = {folder: one for folder, one in taking.items() if str(folder) in done.stdout.splitlines()}

    def _keep(self, path: Path) -> None:
        """Let something of the project's own tree be there as it is."""
        if path == self.place or not path.is_relative_to(self.place) or not path.is_dir():
            return
        target = self.top / path.relative_to(self.place)
        if not target.parent.resolve().is_relative_to(self.top.resolve()) or target.is_symlink():
            return
        missing = [folder for folder in (target, *target.parents) if not folder.exists()]
        target.mkdir(parents=True, exist_ok=True)
        self._made += reversed(missing)
        self._inner.append((path, target))

    def _lend_objects(self, state: CodeState, number: int) -> None:
        """Let the workspace's repository find the objects of the user's, which lie below the mount."""
        objects = Path(state.repository) / "objects"
        alternates = _repository_of(self.top, self.place, state) / "objects" / "info" / "alternates"
        if not objects.is_relative_to(self.place) or not alternates.is_file():
            return
        lent = self.beside / f"objects-{number}"
        lent.mkdir()
        file = self.beside / f"alternates-{number}"
        file.write_bytes(os.fsencode(lent) + b"\n")
        self._inner += [(objects, lent), (file, alternates)]


def _named(folder: Path, taking: Path) -> list[str]:
    return [str(folder), str(taking / "upper"), str(taking / "work")]


def _existing(folder: Path) -> Path:
    """Return the nearest folder that is there, as it is really called."""
    while not folder.is_dir():
        folder = folder.parent
    return folder.resolve()


def _repositories(code: CodeState | None) -> Iterator[CodeState]:
    if code is not None:
        yield code
        for module in code.submodules:
            yield from _repositories(module)


def _repository_of(top: Path, place: Path, state: CodeState) -> Path:
    inside = Path(state.top)
    return (top / inside.relative_to(place) if inside.is_relative_to(place) else top) / ".git"


def _needed(store: Store) -> Iterable[Path]:
    """Return what a replay's processes use of their own: they must find it whatever lies in the project."""
    cache_folder = environment.cache_folder().parent
    interpreter = (Path(sys.prefix), Path(sys.base_prefix))
    own = (store.layout.root, cache_folder, launch.PACKAGE, runtime_folder(), *interpreter)
    found = sorted({Path(path).absolute() for path in own}, key=lambda path: len(path.parts))
    return [path for path in found if not any(path != other and path.is_relative_to(other) for other in found)]

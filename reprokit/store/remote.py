"""Data that the user tracks with DVC: what its files name, whether its bytes can be had, and how to get them.

It knows DVC's files, cache and remotes; it does not know runs, or where the files of a snapshot come from.
DVC itself takes the better part of a second to import, and is imported only when bytes are fetched; its
configuration alone is quick to read. Nothing is ever written into the user's project.
"""

from __future__ import annotations

import json
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from reprokit.digest import of_file
from reprokit.errors import StoreError

__all__ = ["Tracked", "at_hand", "configured", "is_dvc_file", "restore", "tracked_by_dvc"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FOLDER = ".dir"  # how DVC ends the name of a list of a folder's files


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A file as DVC names it.

    Attributes:
        md5: names its bytes, or the list of the folder that it lies in.
        member: its path in that folder; empty for a file that is tracked on its own.
        size: in bytes; None when DVC's files do not say.
        legacy: whether it was added by DVC 2 or older, which lays out its cache in another way.
        remote: the remote that has it, when that is not the default one.
    """

    md5: str
    member: str = ""
    size: int | None = None
    legacy: bool = False
    remote: str | None = None


def is_dvc_file(path: str) -> bool:
    """Return whether a file of this name says what DVC tracks.

    >>> is_dvc_file("data/train.csv.dvc"), is_dvc_file("data/train.csv")
    (True, False)
    """
    name = posixpath.basename(path)
    return name in ("dvc.yaml", "dvc.lock") or (name.endswith(".dvc") and name != ".dvc")


def tracked_by_dvc(files: Mapping[str, bytes], paths: Iterable[str]) -> dict[str, Tracked]:
    """Return which of the files at ``paths`` DVC tracks.

    Args:
        files: path → content of every file that ``is_dvc_file``, all of one state of a project.
        paths: the files in question; paths are relative to the same folder, with ``/``.

    >>> content = b"outs: [{md5: d3b07384d113edec49eaa6238ad5ff00, size: 4, hash: md5, path: train.csv}]"
    >>> tracked_by_dvc({"data/train.csv.dvc": content}, ["data/train.csv", "data/test.csv"])["data/train.csv"].size
    4
    """
    outputs = dict(output for name in files for output in _outputs(files, name))
    found = ((path, _covering(outputs, path)) for path in paths)
    return {path: tracked for path, tracked in found if tracked is not None}


def _covering(outputs: Mapping[str, Tracked], path: str) -> Tracked | None:
    if path in outputs:
        return outputs[path]
    for folder in PurePosixPath(path).parents:
        output = outputs.get(str(folder))
        if output is not None and output.md5.endswith(_FOLDER):
            return replace(output, member=posixpath.relpath(path, folder), size=None)
    return None


def _outputs(files: Mapping[str, bytes], name: str) -> Iterator[tuple[str, Tracked]]:
    """Yield path and description of the outputs that one file of DVC's names."""
    content = _parsed(files[name])
    here = posixpath.dirname(name)
    if name.endswith(".dvc"):
        yield from _described(posixpath.join(here, str(content.get("wdir", ""))), content)
    elif posixpath.basename(name) == "dvc.lock":
        defined = _mapping(_parsed(files.get(posixpath.join(here, "dvc.yaml"), b"")), "stages")
        for stage, locked in _mapping(content, "stages").items():
            folder = str(_mapping(defined, str(stage).partition("@")[0]).get("wdir", ""))
            if isinstance(locked, dict):
                yield from _described(posixpath.join(here, folder), locked)


def _described(folder: str, stage: Mapping[str, Any]) -> Iterator[tuple[str, Tracked]]:
    for out in stage.get("outs") or ():
        if isinstance(out, dict) and isinstance(out.get("path"), str) and isinstance(out.get("md5"), str):
            size = out.get("size")
            yield (
                posixpath.normpath(posixpath.join(folder, out["path"])),
                Tracked(
                    md5=out["md5"],
                    size=size if isinstance(size, int) else None,
                    legacy="hash" not in out,
                    remote=out.get("remote"),
                ),
            )


def _parsed(content: bytes) -> Mapping[str, Any]:
    """Return a file of DVC's, or nothing when it is one in name only."""
    try:
        value = yaml.load(content, Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


# -- where the bytes are --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Home:
    """A folder that DVC was initialised in, as the user has it configured today."""

    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> _Home:
        """Read DVC's configuration of a project, with the user's own on top.

        Raises:
            StoreError: it cannot be read.
        """
        from dvc.config import Config
        from dvc.exceptions import DvcException

        try:
            return cls(folder, Config(dvc_dir=str(folder / ".dvc"), validate=False))
        except (DvcException, OSError) as error:
            message = f"the configuration of DVC cannot be read ({error})"
            raise StoreError(message, path=folder / ".dvc", remedy="see `dvc config --list`") from error

    @property
    def cache(self) -> Path:
        return Path(self.config["cache"].get("dir") or self.folder / ".dvc" / "cache")

    def cached(self, md5: str, legacy: bool) -> Path:
        """Return where the cache keeps an object if it has it."""
        top = self.cache if legacy else self.cache / "files" / "md5"
        return top / md5[:2] / md5[2:]

    def reaches(self, remote: str | None) -> bool:
        """Return whether there is a remote, by this name or by default."""
        return (remote or self.config["core"].get("remote")) in self.config["remote"]


def configured(project: Path) -> dict[str, dict[str, Any]]:
    """Return the remotes that the user has told DVC of, by name; none when DVC is not used here.

    Raises:
        StoreError: DVC's configuration cannot be read.
    """
    if not (project / ".dvc").is_dir():
        return {}
    return {str(name): dict(told) for name, told in _Home.of(project).config["remote"].items()}


def at_hand(root: Path, tracked: Mapping[str, Tracked], wanted: Mapping[str, str]) -> dict[str, str | None]:
    """Return the digests of the bytes that DVC can give today, without fetching any.

    Args:
        root: the project root.
        tracked: what DVC says of each file.
        wanted: path, relative to the root → the digest it should have.

    Returns:
        Path → the digest of what the cache holds; the wanted one, on trust, when only a remote can have
        the bytes; None when neither can. A file that DVC turns out not to track is left out.

    Raises:
        StoreError: DVC's configuration cannot be read.
    """
    home_of, members_of = cache(_Home.of), cache(_members)
    found: dict[str, str | None] = {}
    for path, output in tracked.items():
        folder = _find_home(root / path)
        home = None if folder is None else home_of(folder)
        md5: str | None = output.md5
        if home is not None and output.member:
            members = members_of(home.cached(output.md5, output.legacy))
            if members is not None and output.member not in members:
                continue
            md5 = None if members is None else members[output.member]
        held = None if home is None or md5 is None else _digest(home.cached(md5, output.legacy))
        on_trust = wanted[path] if home is not None and home.reaches(output.remote) else None
        found[path] = held or on_trust
    return found


def _find_home(path: Path) -> Path | None:
    return next((folder for folder in path.parents if (folder / ".dvc").is_dir()), None)


def _members(listing: Path) -> dict[str, str] | None:
    """Return path → md5 of the files of a tracked folder; None when the cache does not have the list."""
    try:
        return {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(path: Path) -> str | None:
    try:
        return of_file(path)
    except OSError:
        return None


# -- getting them ---------------------------------------------------------------------------------


def restore(root: Path, workspace: Path, wanted: Mapping[str, str]) -> None:
    """Put files that DVC tracks into a workspace, each as a file of its own that may be written.

    Args:
        root: the project root: its cache is read, and its remotes are asked.
        workspace: the project root's counterpart, which holds DVC's files as they were.
        wanted: path, relative to the root → the digest that it must have.

    Raises:
        StoreError: DVC cannot give a file, or gives other bytes; nothing is put in its place.
    """
    homes: dict[Path | None, list[str]] = {}
    for path in wanted:
        homes.setdefault(_find_home(root / path), []).append(path)
    for folder, paths in homes.items():
        if folder is None:
            raise StoreError(f"{paths[0]} is in no project of DVC's any more", path=root, remedy="`dvc init`")
        there = workspace / os.path.relpath(folder, root)
        with _data(_Home.of(folder), there) as data:
            for path in paths:
                name = "/" + Path(os.path.relpath(workspace / path, there)).as_posix()
                _fetch(data, name, workspace / path, path, wanted[path])


@contextmanager
def _data(home: _Home, folder: Path) -> Iterator[Any]:
    """Open the data that DVC's files in ``folder`` name, as a filesystem.

    The cache is the user's and is only read: what a remote gives goes straight to its place. Remotes are
    the user's too, since a path in the configuration is relative to where that lies. DVC's own notes go
    into a folder that is thrown away.
    """
    from dvc.repo import Repo

    scratch = Path(tempfile.mkdtemp(prefix="reprokit-dvc-"))
    config = {
        "core": {**home.config["core"], "no_scm": True, "site_cache_dir": str(scratch)},
        "cache": {"dir": str(home.cache), "type": "reflink,copy"},
        "remote": home.config["remote"],
    }
    try:
        with Repo(str(folder), config=config) as repo:
            yield repo.datafs
    except StoreError:
        raise
    except Exception as error:  # DVC has errors of its own, and so has each of its stages' readers
        raise StoreError(f"DVC's files cannot be read ({error})", path=folder, remedy="see `dvc status`") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(folder / ".dvc" / "tmp", ignore_errors=True)


def _fetch(data: Any, name: str, target: Path, path: str, digest: str) -> None:
    remedy = f"`dvc pull {path}` in the project, or put the file with {digest} back"
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f".reprokit-{os.urandom(8).hex()}"
    try:
        data.get_file(name, str(draft))
        found = of_file(draft)
        if found != digest:
            raise StoreError(f"DVC has other bytes for {path} ({found})", path=target, remedy=remedy)
        draft.chmod(0o644)  # the cache's objects are read-only
        draft.replace(target)
    except StoreError:
        raise
    except Exception as error:  # each kind of remote fails with the errors of its own client
        raise StoreError(f"DVC cannot give {path} ({error})", path=target, remedy=remedy) from error
    finally:
        draft.unlink(missing_ok=True)

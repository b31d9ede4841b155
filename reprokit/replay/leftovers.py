"""What a replay makes outside the store, and what is left of it when it is killed.

Each folder says which process it belongs to; it is removed when that is dead. What lives on another host, or says
nothing, is left alone.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reprokit.capture.code.git import git
from reprokit.errors import GitError
from reprokit.records import Process
from reprokit.records.upkeep import Removable
from reprokit.replay import environment
from reprokit.replay.mounts import COVERS
from reprokit.store.liveness import is_alive, this_process
from reprokit.store.store import Store

__all__ = ["found", "owned_folder", "remove", "remove_workspaces"]

TODAY = "refs/reprokit/today-*"
_OWNER = ".owner.json"
_KILLED = "what made it was killed"


def _folder() -> Path:
    return environment.cache_folder().parent / "workspaces"


@contextmanager
def owned_folder() -> Iterator[Path]:
    """Yield the name of a folder that is this process's own, and is removed in the end."""
    parent = _folder()
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / secrets.token_hex(6)
    owner = parent / f"{folder.name}{_OWNER}"
    owner.write_text(json.dumps(this_process().to_dict()), "utf-8")
    try:
        yield folder
    finally:
        _remove_folder(folder)
        owner.unlink(missing_ok=True)


def remove_workspaces() -> None:
    """Remove the folders of replays that were killed."""
    for item in _workspaces():
        _remove_workspace(item)


def found(store: Store) -> list[Removable]:
    """Return everything that replays, and other batch runs, left when they were killed."""
    return [*_workspaces(), *_sockets(), *_orders(store), *_refs(store)]


def remove(item: Removable) -> None:
    """Remove something of that.

    Raises:
        GitError: git refuses.
    """
    if item.kind == "ref":
        git("update-ref", "-d", item.name, cwd=Path("/"), env={"GIT_DIR": item.place})
    elif item.kind == "workspace":
        _remove_workspace(item)
    elif item.kind == "sockets":
        shutil.rmtree(item.name, ignore_errors=True)
    else:
        Path(item.name).unlink(missing_ok=True)


def _workspaces() -> Iterator[Removable]:
    for owner in sorted(_folder().glob(f"*{_OWNER}")):
        if _is_dead(owner):
            folder = owner.with_name(owner.name.removesuffix(_OWNER))
            yield Removable(kind="workspace", name=str(folder), why=_KILLED)


def _remove_workspace(item: Removable) -> None:
    folder = Path(item.name)
    _remove_folder(folder)
    folder.with_name(f"{folder.name}{_OWNER}").unlink(missing_ok=True)


def _remove_folder(folder: Path) -> None:
    for own in folder.glob(f"*/{COVERS}/*/work/work"):  # the system makes it, and lets nobody look into it
        own.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _is_dead(owner: Path) -> bool:
    try:
        return is_alive(Process.from_dict(json.loads(owner.read_text("utf-8")))) is False
    except (OSError, ValueError, TypeError):
        return False


def _sockets() -> Iterator[Removable]:
    for folder in sorted(Path(tempfile.gettempdir()).glob("reprokit-*-????????")):
        if folder.is_dir() and _is_gone(folder.name.split("-")[1]):
            yield Removable(kind="sockets", name=str(folder), why=_KILLED)


def _is_gone(pid: str) -> bool:
    return pid.isdecimal() and Path("/proc/self").exists() and not Path(f"/proc/{pid}").exists()


def _orders(store: Store) -> Iterator[Removable]:
    """Yield what parents had written for kernels to take, and the notebooks that they had composed."""
    runs = store.layout.runs
    orders = [file for name in ("drive.json", "namespace.json") for file in sorted(runs.glob(f"*/{name}"))]
    dead = [file for file in orders if store.load(file.parent.name).status != "running"]
    dead += [file for file in sorted(runs.glob("*/replay-*-*.ipynb")) if _is_gone(file.name.split("-")[1])]
    yield from (Removable(kind="order", name=str(file), size=file.stat().st_size, why=_KILLED) for file in dead)


def _refs(store: Store) -> Iterator[Removable]:
    """Yield snapshots of today's code that no replay came to use."""
    for repository in (store.layout.code_git, store.layout.project):
        if not repository.is_dir():
            continue
        try:
            listed = git("for-each-ref", "--format=%(refname)", TODAY, cwd=repository).decode().split()
            directory = git("rev-parse", "--absolute-git-dir", cwd=repository).decode().rstrip("\n") if listed else ""
        except GitError:  # no repository
            continue
        gone = [ref for ref in listed if _is_gone(ref.split("-")[1])]
        yield from (Removable(kind="ref", name=ref, place=directory, why=_KILLED) for ref in gone)

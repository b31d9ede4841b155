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
from reprokit.replay import environment
from reprokit.store.liveness import is_alive, this_process
from reprokit.store.store import Store

__all__ = ["owned_folder", "remove", "remove_workspaces"]

TODAY = "refs/reprokit/today-*"
_OWNER = ".owner.json"


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
        shutil.rmtree(folder, ignore_errors=True)
        owner.unlink(missing_ok=True)


def remove_workspaces() -> list[Path]:
    """Remove the folders of replays that were killed; return them."""
    removed = []
    for owner in _folder().glob(f"*{_OWNER}"):
        if _is_dead(owner):
            folder = owner.with_name(owner.name.removesuffix(_OWNER))
            shutil.rmtree(folder, ignore_errors=True)
            owner.unlink(missing_ok=True)
            removed.append(folder)
    return removed


def _is_dead(owner: Path) -> bool:
    try:
        return is_alive(Process.from_dict(json.loads(owner.read_text("utf-8")))) is False
    except (OSError, ValueError, TypeError):
        return False


def remove(store: Store) -> list[str]:
    """Remove everything that replays, and other batch runs, left when they were killed; return lines to show."""
    lines = [f"workspace    {folder}" for folder in remove_workspaces()]
    lines += [f"sockets      {folder}" for folder in _remove_sockets()]
    lines += [f"order        {file}" for file in _remove_orders(store)]
    return lines + [f"ref          {ref}" for ref in _remove_refs(store)]


def _remove_sockets() -> list[Path]:
    removed = []
    for folder in Path(tempfile.gettempdir()).glob("reprokit-*-????????"):
        if folder.is_dir() and _is_gone(folder.name.split("-")[1]):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def _is_gone(pid: str) -> bool:
    return pid.isdecimal() and Path("/proc/self").exists() and not Path(f"/proc/{pid}").exists()


def _remove_orders(store: Store) -> list[Path]:
    """Remove what parents had written for kernels to take, and the notebooks that they had composed."""
    runs = store.layout.runs
    orders = [file for name in ("drive.json", "namespace.json") for file in runs.glob(f"*/{name}")]
    found = [file for file in orders if store.load(file.parent.name).status != "running"]
    found += [file for file in runs.glob("*/replay-*-*.ipynb") if _is_gone(file.name.split("-")[1])]
    for file in found:
        file.unlink(missing_ok=True)
    return found


def _remove_refs(store: Store) -> list[str]:
    """Remove snapshots of today's code that no replay came to use."""
    removed = []
    for repository in (store.layout.code_git, store.layout.project):
        if not repository.is_dir():
            continue
        try:
            listed = git("for-each-ref", "--format=%(refname)", TODAY, cwd=repository).decode().split()
        except GitError:  # no repository
            continue
        for ref in (ref for ref in listed if _is_gone(ref.split("-")[1])):
            git("update-ref", "-d", ref, cwd=repository)
            removed.append(ref)
    return removed

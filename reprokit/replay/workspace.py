"""A run's tree, put down again somewhere else, byte for byte.

It knows code snapshots and git; it does not know what will be run in the tree. The user's repository is only
read: the new tree has a repository of its own that borrows the user's objects, with the recorded commit and
branch checked out, so that ``git status`` in it shows what it showed then. A run whose tree was in no
repository gets plain files. No hook, filter or other command of a repository runs.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from reprokit import digest
from reprokit.capture.code import git as door
from reprokit.capture.code.git import Scratch, git
from reprokit.errors import GitError, StoreError
from reprokit.records import CodeState, FileUse

__all__ = ["Workspace", "create", "move", "verify"]


_RACY_S = 2  # seconds; a kernel takes longer than one to start, and git looks at whole ones


class Restorer(Protocol):
    """What is needed of the store's objects."""

    def restore(self, digest: str, target: Path) -> None:
        """Put an object's bytes at ``target``."""


@dataclass(frozen=True)
class Workspace:
    """A restored tree.

    Attributes:
        path: the top of the tree.
        root: the project root inside it.
    """

    path: Path
    root: Path


def create(code: CodeState, target: Path, *, objects: Restorer) -> Workspace:
    """Put the snapshot's tree at ``target``.

    Args:
        code: what was recorded.
        target: a folder that does not exist yet or is empty, outside every repository of the user's.
        objects: where the files are that were too large for git.

    Raises:
        StoreError: the snapshot or one of its files is gone, or ``target`` is not empty.
    """
    _check(code)
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StoreError(f"{target} is not empty", path=target, remedy="choose another folder")
    made = not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    try:
        _fill(code, target, objects)
        root = _within(target, code.prefix)
    except BaseException as error:
        _empty(target, remove=made)
        if isinstance(error, GitError):
            raise StoreError(
                f"the snapshot {code.ref} cannot be read ({error.message})",
                path=Path(code.repository),
                remedy="run `git fsck` in the repository, or restore it from a copy",
            ) from error
        raise
    return Workspace(path=target, root=root)


def move(code: CodeState, top: Path) -> None:
    """Check out another commit in a restored tree: HEAD, branch and index; the files stay as they are.

    Raises:
        GitError: the commit is not in the repository of the run any more.
    """
    inner = top / ".git"
    if code.kind != "git" or not code.commit or not inner.is_dir():
        return
    env = {"GIT_DIR": str(inner)}
    if code.branch:
        git("symbolic-ref", "HEAD", f"refs/heads/{code.branch}", cwd=top, env=env)
        git("update-ref", f"refs/heads/{code.branch}", code.commit, cwd=top, env=env)
    else:
        git("update-ref", "--no-deref", "HEAD", code.commit, cwd=top, env=env)
    with _raw(code, top) as scratch:
        scratch.git("read-tree", code.commit, env={"GIT_INDEX_FILE": str(inner / "index")})


def verify(code: CodeState, workspace: Workspace) -> list[str]:
    """Return the paths, relative to the top, whose files are not those of the snapshot; [] when all are."""
    return sorted(_differences(code, workspace.path))


def _check(code: CodeState) -> None:
    """Refuse what no snapshot of ours says: a record may come from elsewhere.

    Raises:
        StoreError: the repository is gone, or the record is not sound.
    """
    for name in (code.snapshot, code.tree, code.commit):
        if name is not None and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name):
            raise StoreError(f"{name!r} is no git object", remedy="capture the run again")
    if not _objects(code).is_dir():
        raise StoreError(
            f"the repository {code.repository} that holds the snapshot is gone",
            path=Path(code.repository),
            remedy="put it back where it was, or capture the run again",
        )


def _objects(code: CodeState) -> Path:
    return Path(code.repository) / "objects"


def _fill(code: CodeState, target: Path, objects: Restorer) -> None:
    with _raw(code, target) as scratch:
        if code.kind == "git":
            _repository(code, target)
        env = {"GIT_INDEX_FILE": str(target / ".git" / "index")} if code.kind == "git" else {}
        scratch.git("read-tree", code.tree, env=env)
        scratch.git("checkout-index", "--all", "--index", "--quiet", env=env)
        if code.kind == "git":
            # Entries that are the same keep what the index just learnt of their files.
            scratch.git("read-tree", *(["-m", code.commit] if code.commit else ["--empty"]), env=env)
            _settle(target / ".git" / "index")
    for use in code.large:
        _restore_large(use, target, objects)
    for module in code.submodules:
        folder = _within(target, _inside(code, module))
        create(module, folder, objects=objects)


def _settle(index: Path) -> None:
    """Let git believe what the index says of files as old as itself: else it reads each of them to see."""
    status = index.stat()
    os.utime(index, (status.st_atime, status.st_mtime + _RACY_S))


@contextmanager
def _raw(code: CodeState, target: Path) -> Iterator[Scratch]:
    """Look at a tree through a git directory that converts nothing and runs nothing."""
    config = {"extensions.objectformat": "sha256"} if len(code.snapshot) == 64 else {}
    with door.scratch(target, _objects(code), config=config) as scratch:
        yield scratch


def _repository(code: CodeState, target: Path) -> None:
    """Make the repository of the new tree, with the recorded commit, branch, tags and remote."""
    kind = "sha256" if len(code.snapshot) == 64 else "sha1"
    git("init", "--quiet", "--template=", f"--object-format={kind}", str(target), cwd=target)
    inner = target / ".git"
    (inner / "objects" / "info").mkdir(parents=True, exist_ok=True)
    (inner / "objects" / "info" / "alternates").write_bytes(os.fsencode(_objects(code)) + b"\n")
    shallow = Path(code.repository) / "shallow"
    if shallow.exists():
        shutil.copyfile(shallow, inner / "shallow")
    env = {"GIT_DIR": str(inner)}
    if code.remote:
        git("config", "remote.origin.url", code.remote, cwd=target, env=env)
    tags = git(
        "for-each-ref",
        "--format=create %(refname) %(objectname)",
        "refs/tags",
        cwd=target,
        env=_reading(code),
    )
    git("update-ref", "--stdin", cwd=target, env=env, stdin=tags)
    branch = f"refs/heads/{code.branch}"
    if code.branch:
        git("symbolic-ref", "HEAD", branch, cwd=target, env=env)
    if code.commit:
        where = [branch] if code.branch else ["--no-deref", "HEAD"]
        git("update-ref", *where, code.commit, cwd=target, env=env)


def _reading(code: CodeState) -> dict[str, str]:
    return {"GIT_DIR": code.repository}


def _restore_large(use: FileUse, target: Path, objects: Restorer) -> None:
    if use.digest is None or use.stored != "object":  # the run's gaps say so
        return
    path = _within(target, use.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    objects.restore(use.digest, path)


def _inside(code: CodeState, module: CodeState) -> str:
    try:
        return PurePosixPath(module.top).relative_to(code.top).as_posix()
    except ValueError:
        raise StoreError(f"{module.top} is not inside {code.top}", remedy="capture the run again") from None


def _within(top: Path, path: str) -> Path:
    """Return where a recorded path is below ``top``.

    Raises:
        StoreError: it would be somewhere else: absolute, upwards, or through a symlink.
    """
    parts = PurePosixPath(path)
    folder = (top / parts).parent.resolve()
    outside = folder != top.resolve() and top.resolve() not in folder.parents
    if parts.is_absolute() or ".." in parts.parts or (parts.parts and outside):
        raise StoreError(f"{path!r} is not inside the tree", path=top, remedy="do not trust this run")
    return top / parts


def _empty(target: Path, *, remove: bool) -> None:
    if remove:
        shutil.rmtree(target, ignore_errors=True)
        return
    for entry in target.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _differences(code: CodeState, top: Path) -> set[str]:
    """Compare contents, not time stamps: the index is new, so git reads every file."""
    with _raw(code, top) as scratch:
        scratch.git("read-tree", code.tree)
        changed = scratch.git("ls-files", "-z", "-m", "-d", "-o")
    found = {os.fsdecode(path).rstrip("/") for path in changed.split(b"\0")[:-1]}
    for use in code.large:
        found.discard(use.path)
        if use.stored == "object" and not digest.is_file_named(_within(top, use.path), use.digest or ""):
            found.add(use.path)
    for module in code.submodules:
        prefix = _inside(code, module)
        found.discard(prefix)
        found |= {f"{prefix}/{path}" for path in _differences(module, _within(top, prefix))}
    return found

"""Snapshots of real trees, and what a tree holds, to compare it with what comes back."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reprokit.capture.code.code import snapshot
from reprokit.records import CodeState, FileUse
from reprokit.store.objects import Objects

RUN = "20260101-000000-aaaaaaaa"
LIMIT = 100_000

Tree = dict[bytes, tuple[str, bytes]]


def contents(top: Path) -> Tree:
    """Return the kind and bytes of every file that the states do not mean to be left out."""
    found: Tree = {}
    for folder, folders, names in os.walk(os.fsencode(top)):
        folders[:] = [name for name in folders if name != b".git"]
        for name in [*names, *(name for name in folders if os.path.islink(os.path.join(folder, name)))]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                entry = ("link", os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as stream:
                    entry = ("program" if status.st_mode & 0o100 else "file", stream.read())
            else:
                continue
            found[os.path.relpath(path, os.fsencode(top))] = entry
    left_out = (b"ignored/large.bin", b".ign", b".local", b"/.git", b".lock")
    return {path: entry for path, entry in found.items() if not path.endswith(left_out) and path != b".git"}


class Kept:
    """A store beside a project, and what was captured into it."""

    def __init__(self, project: Path, base: Path) -> None:
        self.objects = Objects(base / "store" / "objects")
        private = base / "store" / "code.git"
        state, self.gaps = snapshot(project, RUN, private=private, store_large=self._keep, limit=LIMIT)
        assert state is not None, self.gaps
        self.code: CodeState = CodeState.from_dict(state.to_dict())

    def _keep(self, path: Path) -> FileUse:
        kept = self.objects.put_file(path, limit=10 * LIMIT)
        stored = "object" if kept.kept else "none"
        return FileUse(path=str(path), access="read", size=kept.size, digest=kept.digest, stored=stored)


def traces(top: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, modification time and bytes of every file below a folder, git's own files among them.

    Left out is what a snapshot adds: objects, and refs under refs/reprokit.
    """
    found = {}
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if not (name == "objects" and "/.git" in folder + "/.git")]
        folders[:] = [name for name in folders if name != "reprokit"]
        for name in names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            data = b""
            if stat.S_ISLNK(status.st_mode):
                data = os.fsencode(os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                data = Path(path).read_bytes()
            found[path] = (status.st_mode, status.st_mtime_ns, data)
    return found

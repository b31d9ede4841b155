"""Where the contents that a comparison reads come from: the store, else the snapshot, else the file as it lies there.

A content is only believed when it has the digest that the record names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from reprokit import digest
from reprokit.capture.code.git import git
from reprokit.errors import GitError, ObjectMissing
from reprokit.records import CodeState, FileUse, Run
from reprokit.replay.finding import Read
from reprokit.store.objects import Objects

__all__ = ["reader"]

_LARGEST = 64 * 10**6  # bytes


def reader(objects: Objects, *runs: Run) -> Read:
    """Return what reads a content by its digest, of those that these runs name.

    Args:
        objects: the store's.
        runs: those that are compared; a file of theirs that git had clean is in their snapshot.
    """
    kept: dict[str, list[tuple[Run, FileUse]]] = {}
    for run in runs:
        for use in _uses(run):
            if use.digest and use.stored in ("git", "none") and not use.files:
                kept.setdefault(use.digest, []).append((run, use))

    def read(name: str) -> bytes:
        try:
            return objects.get_bytes(name)
        except ObjectMissing:
            for run, use in kept.get(name, ())[:3]:
                content = _elsewhere(run, use)
                if content is not None and digest.of_bytes(content) == name:
                    return content
            raise

    return read


def _uses(run: Run) -> Iterator[FileUse]:
    for cell in run.cells:
        yield from (*cell.reads, *cell.writes)
    yield from run.artifacts


def _elsewhere(run: Run, use: FileUse) -> bytes | None:
    """Return what may be the content, from the run's snapshot or from the file as it is today."""
    path = Path(run.root) / use.path
    try:
        if use.stored == "git":
            return _in_snapshot(run.code, use.path) if run.code else None
        return path.read_bytes() if path.is_file() and path.stat().st_size <= _LARGEST else None
    except (GitError, OSError, ValueError):
        return None


def _in_snapshot(code: CodeState, path: str) -> bytes | None:
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", code.tree):  # a record may come from elsewhere
        return None
    name = f"{code.tree}:{code.prefix}/{path}" if code.prefix else f"{code.tree}:{path}"
    quiet = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}  # a partial clone must not fetch behind our back
    return git("cat-file", "blob", name, cwd=Path("/"), env={"GIT_DIR": code.repository, **quiet})

"""Contents that git-lfs keeps: named by their SHA-256, as ours are, in a folder of the repository's git directory.

Nothing is run for it, and nothing is fetched: what is not here is not kept.
"""

from __future__ import annotations

import os

from reprokit.digest import hex_of

__all__ = ["holds", "place", "repository_of"]


def place(repository: str, digest: str) -> str:
    """Return where git-lfs keeps a content when it has it.

    Args:
        repository: the git directory that all work trees share.
        digest: of the content.

    >>> place("/p/.git", "sha256:" + "ab" * 32)[:27]
    '/p/.git/lfs/objects/ab/ab/a'
    """
    name = hex_of(digest)
    return os.path.join(repository, "lfs", "objects", name[:2], name[2:4], name)


def holds(path: str, digest: str, size: int) -> bool:
    """Return whether git-lfs has the content of a file in the repository that the file lies in."""
    repository = repository_of(os.path.dirname(path))
    try:
        return repository is not None and os.stat(place(repository, digest)).st_size == size
    except OSError:
        return False


def repository_of(folder: str) -> str | None:
    """Return the git directory of the repository that a folder lies in, shared by its work trees; None without one."""
    while not os.path.lexists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    inner = os.path.join(folder, ".git")
    if os.path.isfile(inner):  # of a submodule or a work tree: a line "gitdir: PATH"
        inner = os.path.normpath(os.path.join(folder, _line(inner).partition("gitdir: ")[2]))
    common = _line(os.path.join(inner, "commondir"))
    return os.path.normpath(os.path.join(inner, common)) if common else inner


def _line(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return os.fsdecode(file.read(4096)).strip()
    except OSError:
        return ""

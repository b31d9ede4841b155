"""Finds files written in a folder tree by comparing two scans, where no event interface exists."""

from __future__ import annotations

import os

__all__ = ["Key", "key_of", "scan"]

Key = tuple[int, int, int, int, int]  # device, inode, size, mtime_ns, ctime_ns

_SKIPPED = frozenset({".git", ".hg", "node_modules", "__pycache__", ".ipynb_checkpoints", ".venv", "venv", ".tox"})


def key_of(status: os.stat_result) -> Key:
    """Return what changes whenever a file's bytes may have changed."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def scan(root: str, skipped: frozenset[str], limit: int) -> dict[str, Key] | None:
    """Return the key of every file below ``root`` by absolute path; None when there are more than ``limit``."""
    found: dict[str, Key] = {}
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if n not in _SKIPPED and os.path.join(folder, n) not in skipped]
        for name in files:
            path = os.path.join(folder, name)
            try:
                found[path] = key_of(os.stat(path))
            except OSError:
                continue
        if len(found) > limit:
            return None
    return found

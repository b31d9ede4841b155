"""Editable projects inside the snapshot: a replay imports them from the workspace, not from the user's checkout."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from reprokit.capture.environment.environment import scan, site_folders
from reprokit.records import CodeState
from reprokit.replay.lock import Lock
from reprokit.replay.wheels import import_roots

__all__ = ["python_path"]


def python_path(code: CodeState | None, workspace: Path, lock: Lock | None) -> str | None:
    """Return the PYTHONPATH with which a kernel finds the workspace's copies; None when there are none.

    Args:
        code: the snapshot; what lies below its ``top`` has a copy.
        workspace: where ``top`` was restored.
        lock: the lock of the environment, or None for the environment of this process.
    """
    if code is None:
        return None
    top = Path(code.top)
    copies = [workspace / Path(root).relative_to(top) for root in _roots(lock) if Path(root).is_relative_to(top)]
    return os.pathsep.join(map(str, copies)) or None


def _roots(lock: Lock | None) -> Iterable[str]:
    if lock is not None:
        return [root for extra in lock.extras for root in extra.roots]
    found = scan(site_folders())
    return [root for one in found if one.distribution.origin == "editable" for root in import_roots(one.path)]

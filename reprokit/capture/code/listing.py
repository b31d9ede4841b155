"""What a code snapshot holds, file by file, so that data inside it need not be kept twice."""

from __future__ import annotations

import os
from pathlib import Path

from reprokit.capture.code.git import git
from reprokit.records import CodeState

__all__ = ["blob", "of"]


def of(state: CodeState) -> dict[str, str]:
    """Return absolute path → git blob id of the regular files in a snapshot.

    Sizes are not asked for: git would open every object to know them.

    Raises:
        GitError: the snapshot cannot be listed.
    """
    listed = git("ls-tree", "-r", "-z", state.tree, cwd=Path(state.top), env={"GIT_DIR": state.repository})
    found = {}
    for entry in listed.split(b"\0"):
        head, _, name = entry.partition(b"\t")
        fields = head.split()
        if len(fields) == 3 and fields[1] == b"blob" and fields[0] != b"120000":
            found[os.path.join(state.top, os.fsdecode(name))] = fields[2].decode()
    return found


def blob(state: CodeState, name: str) -> bytes:
    """Return the bytes of a blob that a snapshot holds.

    Raises:
        GitError: it is not there.
    """
    return git("cat-file", "blob", name, cwd=Path(state.top), env={"GIT_DIR": state.repository})

"""Writes small files that are there whole or not at all, whoever reads them meanwhile and whenever it is cut off."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write"]


def write(path: Path, content: bytes) -> None:
    """Write a file, in place of the one that is there; on return it survives a power cut.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    draft = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

"""What is known of one data file in the open run, and keeping its bytes when the user asks for it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from reprokit.capture.probe import Patch
from reprokit.capture.session import Session
from reprokit.records import FileUse

__all__ = ["keep", "name_of"]


def name_of(session: Session, path: Path) -> str:
    """Return the name that a file or folder has in the records of a session."""
    project, absolute = os.path.realpath(session.project), os.path.abspath(path)
    end = "/" if os.path.isdir(absolute) else ""
    if not absolute.startswith(project + os.sep):
        absolute = os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))
    if absolute.startswith(project + os.sep):
        return os.path.relpath(absolute, project).replace(os.sep, "/") + end
    return absolute + end


def keep(session: Session, path: Path) -> FileUse:
    """Keep a file's bytes whatever the limit, and tell so for every cell that used these very bytes.

    Returns:
        The file as it is now; ``stored`` says where its bytes are.
    """
    session.catch_up()
    kept = session.files.keep(path)
    run = session.run()
    for cell in run.cells:
        for use in (*cell.reads, *cell.writes):
            if use.path == kept.path and _is_now_kept(use, kept):
                told = replace(use, stored=kept.stored)
                session.emit(cell.seq, Patch(add={f"{use.access}s": [told.to_dict()]}))
    code = run.code
    if code is not None and any(_is_now_kept(use, kept) for use in code.large):
        large = tuple(replace(use, stored=kept.stored) if _is_now_kept(use, kept) else use for use in code.large)
        session.emit(None, Patch(set={"code": replace(code, large=large).to_dict()}))
    return kept


def _is_now_kept(use: FileUse, kept: FileUse) -> bool:
    return use.digest == kept.digest and use.stored == "none" != kept.stored

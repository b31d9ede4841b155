"""A Makefile: one stamp a stage, which is newer than all that the stage reads."""

from __future__ import annotations

from reprokit.pipeline.export.filled import filled
from reprokit.pipeline.export.names import require_plain, unique
from reprokit.pipeline.export.work import Job, Work, one_file
from reprokit.pipeline.stages import stage_name
from reprokit.replay.exports import Export

__all__ = ["make"]

_SPECIAL = r"[\s:;#$%*?\[\]\\=|&()'\"`<>{}!~]"  # neither make nor its shell may see one in a name
_PHONY = frozenset(("all", "clean"))


def make(work: Work) -> Export:
    """Return the Makefile."""
    require_plain((path.removeprefix("./") for job in work.jobs for path in _needed(job)), _SPECIAL, "make")
    names = unique([job.name for job in work.jobs], _target, "make")
    return one_file("Makefile", filled("make.jinja", work=work, names=names, needed=_needed))


def _needed(job: Job) -> list[str]:
    """Return the files whose change makes a stage out of date: not what a stage before makes, whose stamp tells.

    A folder is none: its time says nothing of the files in it.
    """
    made = {made.path for made in job.takes}
    return [path for path in job.reads if not path.endswith("/") and path not in made and not _inside(path, made)]


def _inside(path: str, folders: set[str]) -> bool:
    return any(folder.endswith("/") and path.startswith(folder) for folder in folders)


def _target(name: str) -> str:
    word = stage_name(name)
    return f"step-{word}" if word in _PHONY else word

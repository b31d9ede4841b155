"""Docker: an image of the project with its environment, every file of which was locked and is checked by its hash."""

from __future__ import annotations

import dataclasses
import json
import re

from reprokit.pipeline.export.environment import prefix, recorded
from reprokit.pipeline.export.work import Work
from reprokit.replay import exports
from reprokit.replay.exports import Export

__all__ = ["docker"]

_LEFT_OUT = (".git", ".reprokit", ".venv", "**/__pycache__", "**/.ipynb_checkpoints")
_BASE = re.compile(r"FROM \S+\n")


def docker(work: Work) -> Export:
    """Return the ``Dockerfile``, what of the project stays outside, and what is installed.

    Raises:
        UsageError: no environment was recorded, reprokit is not in it, or the files lie outside of the project.
    """
    place = prefix(work)
    export = exports.plan(dataclasses.replace(recorded(work), context=place), "Dockerfile")
    text = "".join(f"# {job.told}\n" for job in work.jobs) + f"#\n# docker build -f {place}Dockerfile .\n\n"
    text += export.texts["Dockerfile"] + _command(work)
    if work.base:
        text = _BASE.sub(lambda _: f"FROM {work.base}\n", text, count=1)
    ignored = "".join(f"{pattern}\n" for pattern in _LEFT_OUT)
    texts = {**export.texts, "Dockerfile": text, "Dockerfile.dockerignore": ignored}
    moving = () if work.base else (f"{_base(text)} is a name that may move: --base IMAGE@sha256:… says which it is",)
    return dataclasses.replace(export, texts=texts, notes=(*export.notes, *moving))


def _base(text: str) -> str:
    found = _BASE.search(text)
    return found[0].split()[1] if found is not None else ""


def _command(work: Work) -> str:
    """Return the lines that put the project in, and say what a container does."""
    lines = ["COPY . .", 'ENTRYPOINT ["python", "-m", "reprokit.step"]']
    if len(work.jobs) == 1:
        lines.append(f"CMD {json.dumps([work.jobs[0].argument])}")
    else:  # which step is said when a container is started
        lines += [f"# {job.name}: docker run IMAGE {job.argument}" for job in work.jobs]
    return "\n".join(lines) + "\n"

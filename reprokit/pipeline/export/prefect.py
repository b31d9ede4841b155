"""Prefect: a flow with a task a stage; each runs the step as a process of its own."""

from __future__ import annotations

from reprokit.pipeline.export.filled import filled
from reprokit.pipeline.export.names import identifier, unique
from reprokit.pipeline.export.work import Work, one_file
from reprokit.replay.exports import Export

__all__ = ["prefect"]

_RESERVED = frozenset(("PROJECT", "PYTHON", "Path", "flow", "os", "pipeline", "run", "subprocess", "sys", "task"))


def prefect(work: Work) -> Export:
    """Return the file that defines the flow."""
    names = unique([job.name for job in work.jobs], lambda name: identifier(name, _RESERVED), "prefect")
    return one_file("pipeline_flow.py", filled("prefect.jinja", work=work, names=names))

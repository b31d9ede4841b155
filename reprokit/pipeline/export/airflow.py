"""Airflow: a DAG of BashOperators, which leave the environment of the step to the step."""

from __future__ import annotations

from reprokit.pipeline.export.filled import filled
from reprokit.pipeline.export.names import identifier, unique
from reprokit.pipeline.export.work import Work, one_file
from reprokit.pipeline.stages import stage_name
from reprokit.replay.exports import Export

__all__ = ["airflow"]

_RESERVED = frozenset(("BashOperator", "DAG", "PROJECT", "PYTHON", "Path", "dag", "os"))


def airflow(work: Work) -> Export:
    """Return the file that defines the DAG."""
    names = unique([job.name for job in work.jobs], lambda name: identifier(name, _RESERVED), "airflow")
    tasks = unique([job.name for job in work.jobs], stage_name, "airflow")
    return one_file("pipeline_dag.py", filled("airflow.jinja", work=work, names=names, tasks=tasks))

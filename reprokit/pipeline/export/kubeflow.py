"""Kubeflow Pipelines: a container component a stage; what one makes goes to the next as an artifact."""

from __future__ import annotations

from reprokit.pipeline.export.filled import filled
from reprokit.pipeline.export.names import dns_label, identifier, unique
from reprokit.pipeline.export.work import Made, Work, one_file
from reprokit.replay.exports import Export

__all__ = ["kubeflow"]

_RESERVED = frozenset(("IMAGE", "dsl", "pipeline"))


def kubeflow(work: Work) -> Export:
    """Return the file that defines the pipeline."""
    names = unique([job.name for job in work.jobs], lambda name: identifier(name, _RESERVED).lower(), "kubeflow")

    def taken(made: Made) -> str:
        return f"{names[made.by]}_{made.number}"

    text = filled("kubeflow.jinja", work=work, names=names, taken=taken, label=dns_label(work.name))
    return one_file("pipeline_kfp.py", text, work.imaging)

"""Argo Workflows: a WorkflowTemplate with a DAG; what one stage makes goes to the next as an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reprokit.pipeline.export.filled import document
from reprokit.pipeline.export.names import dns_label, require_plain, unique
from reprokit.pipeline.export.work import Job, Made, Work, one_file
from reprokit.replay.exports import Export

__all__ = ["argo"]

_PROJECT = "/work"  # where the image has the project
_REPLACED = r"\{\{|\n"
_ENTRY = "pipeline"


def argo(work: Work) -> Export:
    """Return the template."""
    require_plain((path for job in work.jobs for path in job.products), _REPLACED, "argo")
    names = unique([job.name for job in work.jobs], _template_name, "argo")
    template = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTemplate",
        "metadata": {"name": dns_label(work.name)},
        "spec": {
            "entrypoint": _ENTRY,
            "arguments": {"parameters": [{"name": "image", "value": work.image}]},
            "templates": [
                {"name": _ENTRY, "dag": {"tasks": [_task(job, names) for job in work.jobs]}},
                *(_template(job, names) for job in work.jobs),
            ],
        },
    }
    told = "".join(f"# {job.told}\n" for job in work.jobs) + f"# {work.keeping}\n"
    return one_file("workflow.yaml", told + document(template), work.imaging)


def _task(job: Job, names: Mapping[str, str]) -> dict[str, Any]:
    task: dict[str, Any] = {"name": names[job.name], "template": names[job.name]}
    if job.after:
        task["dependencies"] = [names[other] for other in job.after]
    if job.takes:
        task["arguments"] = {"artifacts": [_handed(made, names) for made in job.takes]}
    return task


def _handed(made: Made, names: Mapping[str, str]) -> dict[str, str]:
    source = f"tasks.{names[made.by]}.outputs.artifacts.{_product(made.number)}"
    return {"name": _taken(made, names), "from": "{{" + source + "}}"}


def _template(job: Job, names: Mapping[str, str]) -> dict[str, Any]:
    template: dict[str, Any] = {"name": names[job.name]}
    if job.takes:
        inputs = [{"name": _taken(made, names), "path": _place(made.path)} for made in job.takes]
        template["inputs"] = {"artifacts": inputs}
    made = [{"name": _product(n), "path": _place(path)} for n, path in enumerate(job.products, start=1)]
    if made:
        template["outputs"] = {"artifacts": made}
    template["container"] = {
        "image": "{{workflow.parameters.image}}",
        "command": ["python", "-m", "reprokit.pipeline.carried", "--push", job.argument],
        "workingDir": _PROJECT,
    }
    return template


def _template_name(name: str) -> str:
    label = dns_label(name)
    return f"step-{label}" if label == _ENTRY else label


def _product(number: int) -> str:
    return f"product-{number}"


def _taken(made: Made, names: Mapping[str, str]) -> str:
    return f"{names[made.by]}-{made.number}"


def _place(path: str) -> str:
    return path.rstrip("/") if path.startswith("/") else f"{_PROJECT}/{path.rstrip('/')}"

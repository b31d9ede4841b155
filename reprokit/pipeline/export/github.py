"""GitHub Actions: runs are replayed and compared on every push; the pipeline runs when it is asked for."""

from __future__ import annotations

from typing import Any

from reprokit.pipeline.export import checking
from reprokit.pipeline.export.environment import beside, lines
from reprokit.pipeline.export.filled import document
from reprokit.pipeline.export.names import require_plain
from reprokit.pipeline.export.work import Work, one_file
from reprokit.replay.exports import Export

__all__ = ["github"]

_GLOBS = r"[*?\[\]!$\n\\]|^~"
# By commit: what a tag means can be changed by others. The version is told behind it, for people and for bots.
_CHECKOUT, _PYTHON, _UPLOAD = _ACTIONS = (
    "actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683",
    "actions/setup-python@a26af69be951a213d495a4c3e4e4022e16d87065",
    "actions/upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02",
)
_VERSIONS = dict(zip(_ACTIONS, ("v4.2.2", "v5.6.0", "v4.6.2"), strict=True))


def github(work: Work) -> Export:
    """Return the workflow."""
    products = [path for job in work.jobs for path in job.products if not path.startswith("/")]
    require_plain(products, _GLOBS, "github")
    workflow = {
        "name": work.name,
        "on": {"push": None, "pull_request": None, "workflow_dispatch": None},
        "permissions": {"contents": "read"},
        "jobs": {"check": _check(work), "pipeline": _pipeline(work, products)},
    }
    text = document(workflow)
    for action, version in _VERSIONS.items():
        text = text.replace(f"{action}\n", f"{action} # {version}\n")
    return beside(work, one_file(".github/workflows/reprokit.yml", _told(work) + text, checking.note(work)))


def _told(work: Work) -> str:
    return "".join(f"# {job.told}\n" for job in work.jobs)


def _check(work: Work) -> dict[str, Any]:
    report = {"name": "reprokit-check", "path": checking.REPORT}
    return {
        "runs-on": "ubuntu-latest",
        "steps": [
            *_ready(work),
            {"name": "replay the runs and compare", "run": "\n".join(checking.lines(work))},
            {"uses": _UPLOAD, "if": "always()", "with": report},
        ],
    }


def _pipeline(work: Work, products: list[str]) -> dict[str, Any]:
    """One job with a step a stage: the stages share the files of the checkout."""
    steps = [*_ready(work), *({"name": job.name, "run": f"python {job.arguments}"} for job in work.jobs)]
    if products:
        kept = {"name": "products", "path": "\n".join(products), "if-no-files-found": "error"}
        steps.append({"uses": _UPLOAD, "with": kept})
    return {"if": "github.event_name == 'workflow_dispatch'", "runs-on": "ubuntu-latest", "steps": steps}


def _ready(work: Work) -> list[dict[str, Any]]:
    """Check out the project with its history, in which a replay finds the code, and set up its Python.

    The token of the checkout is not left where the notebooks' code could read it.
    """
    python = {"uses": _PYTHON, "with": {"python-version": work.python}}
    return [
        {"uses": _CHECKOUT, "with": {"fetch-depth": 0, "persist-credentials": False}},
        *([python] if work.python else []),
        {"name": "install the environment", "run": "\n".join(lines(work))},
    ]

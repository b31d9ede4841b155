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
    return beside(
        work, one_file(".github/workflows/reprokit.yml", _told(work) + document(workflow), checking.note(work))
    )


def _told(work: Work) -> str:
    return "".join(f"# {job.told}\n" for job in work.jobs)


def _check(work: Work) -> dict[str, Any]:
    report = {"name": "reprokit-check", "path": checking.REPORT}
    return {
        "runs-on": "ubuntu-latest",
        "steps": [
            *_ready(work),
            {"name": "replay the runs and compare", "run": "\n".join(checking.lines(work))},
            {"uses": "actions/upload-artifact@v4", "if": "always()", "with": report},
        ],
    }


def _pipeline(work: Work, products: list[str]) -> dict[str, Any]:
    """One job with a step a stage: the stages share the files of the checkout."""
    steps = [*_ready(work), *({"name": job.name, "run": f"python {job.arguments}"} for job in work.jobs)]
    if products:
        kept = {"name": "products", "path": "\n".join(products), "if-no-files-found": "error"}
        steps.append({"uses": "actions/upload-artifact@v4", "with": kept})
    return {"if": "github.event_name == 'workflow_dispatch'", "runs-on": "ubuntu-latest", "steps": steps}


def _ready(work: Work) -> list[dict[str, Any]]:
    """Check out the project with its history, in which a replay finds the code, and set up its Python."""
    python = {"uses": "actions/setup-python@v5", "with": {"python-version": work.python}}
    return [
        {"uses": "actions/checkout@v4", "with": {"fetch-depth": 0}},
        *([python] if work.python else []),
        {"name": "install the environment", "run": "\n".join(lines(work))},
    ]

"""GitLab CI: runs are replayed and compared in every pipeline; the stages run when that is asked for."""

from __future__ import annotations

from typing import Any

from reprokit.pipeline.export import checking
from reprokit.pipeline.export.environment import beside, lines
from reprokit.pipeline.export.filled import document
from reprokit.pipeline.export.names import require_plain, unique
from reprokit.pipeline.export.work import Job, Work, one_file
from reprokit.replay.exports import Export

__all__ = ["gitlab"]

_GLOBS = r"[*?\[\]$\n\\{}]"
_WEEK = "1 week"
# Words that have a meaning as the name of a job, and the job that checks.
_KEYWORDS = "after_script before_script cache default false image include nil pages services spec stages true types"
_RESERVED = frozenset((*_KEYWORDS.split(), "check", "variables", "workflow"))


def gitlab(work: Work) -> Export:
    """Return the configuration."""
    require_plain((path for job in work.jobs for path in job.products), _GLOBS, "gitlab")
    names = unique([job.name for job in work.jobs], _job_name, "gitlab")
    configuration = {
        "default": {"image": f"python:{work.python or '3'}", "before_script": lines(work)},
        "stages": ["check", "pipeline"],
        "check": {
            "stage": "check",
            "variables": {"GIT_DEPTH": "0"},  # a replay finds the code in the history
            "script": checking.lines(work),
            "artifacts": {"when": "always", "reports": {"junit": checking.REPORT}},
        },
        **{names[job.name]: _job(job, names) for job in work.jobs},
    }
    told = "".join(f"# {job.told}\n" for job in work.jobs)
    return beside(work, one_file(".gitlab-ci.yml", told + document(configuration), checking.note(work)))


def _job(job: Job, names: Any) -> dict[str, Any]:
    made = [path for path in job.products if not path.startswith("/")]
    asked = [{"if": f'$CI_PIPELINE_SOURCE == "{source}"'} for source in ("web", "schedule", "api", "trigger")]
    return {
        "stage": "pipeline",
        "rules": asked,
        "needs": [names[other] for other in job.after],
        "script": [f"python {job.arguments}"],
        **({"artifacts": {"paths": made, "expire_in": _WEEK}} if made else {}),
    }


def _job_name(name: str) -> str:
    return f"step-{name}" if name in _RESERVED else name

"""Jenkins: a declarative pipeline; runs are replayed and compared first, then the stages run one after another."""

from __future__ import annotations

from reprokit.pipeline.export import checking
from reprokit.pipeline.export.environment import beside, lines
from reprokit.pipeline.export.filled import filled
from reprokit.pipeline.export.names import require_plain, unique
from reprokit.pipeline.export.work import Work, one_file
from reprokit.replay.exports import Export

__all__ = ["jenkins"]

_GLOBS = r"[*?,\n]"
_OWN = frozenset(("check", "install"))


def jenkins(work: Work) -> Export:
    """Return the Jenkinsfile."""
    kept = [path for job in work.jobs for path in job.products if not path.startswith("/")]
    require_plain(kept, _GLOBS, "jenkins")
    archived = ",".join(f"{path}**" if path.endswith("/") else path for path in kept)
    names = unique([job.name for job in work.jobs], _stage_name, "jenkins")
    words = {"install": lines(work), "check": checking.lines(work), "report": checking.REPORT, "archived": archived}
    return beside(
        work, one_file("Jenkinsfile", filled("jenkins.jinja", work=work, names=names, **words), checking.note(work))
    )


def _stage_name(name: str) -> str:
    return f"step-{name}" if name in _OWN else name

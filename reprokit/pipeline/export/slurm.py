"""Slurm: one array job whose tasks are the stages, and what submits it level by level."""

from __future__ import annotations

from reprokit.pipeline.export.filled import filled
from reprokit.pipeline.export.names import dns_label
from reprokit.pipeline.export.work import Job, Work
from reprokit.replay.exports import Export

__all__ = ["slurm"]

_SCRIPT = "pipeline.sbatch"


def slurm(work: Work) -> Export:
    """Return the batch script, and the script that submits it when there is an order to keep."""
    arrays = [_array([job.number for job in level]) for level in work.levels]
    texts = {_SCRIPT: filled("sbatch.jinja", work=work, jobs=_numbered(work), label=dns_label(work.name))}
    if len(arrays) > 1:
        texts["submit.sh"] = filled("submit.jinja", arrays=arrays, script=_SCRIPT)
    return Export(main=_SCRIPT, texts=texts)


def _numbered(work: Work) -> list[Job]:
    return sorted(work.jobs, key=lambda job: job.number)


def _array(numbers: list[int]) -> str:
    """Return task numbers as sbatch takes them.

    >>> _array([1, 2, 3]), _array([0, 4])
    ('1-3', '0,4')
    """
    first, last = numbers[0], numbers[-1]
    if len(numbers) > 1 and numbers == list(range(first, last + 1)):
        return f"{first}-{last}"
    return ",".join(map(str, numbers))

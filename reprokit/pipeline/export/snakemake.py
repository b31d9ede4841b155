"""Snakemake: one rule a stage, joined by the files that they exchange."""

from __future__ import annotations

from reprokit.pipeline.export.filled import filled
from reprokit.pipeline.export.names import identifier, require_plain, unique
from reprokit.pipeline.export.work import Job, Work, one_file
from reprokit.replay.exports import Export

__all__ = ["snakemake"]

_WILD = r"[{}\n]|^\s|\s$"
_RESERVED = frozenset(("PYTHON", "all", "config", "rules"))
_STAMPS = ".reprokit/stamps"


def snakemake(work: Work) -> Export:
    """Return the Snakefile."""
    require_plain((path for job in work.jobs for path in (*job.reads, *job.products)), _WILD, "snakemake")
    names = unique([job.name for job in work.jobs], lambda name: identifier(name, _RESERVED), "snakemake")
    ends = [product for job in work.jobs for product in _products(job)]
    return one_file(
        "Snakefile", filled("snakemake.jinja", work=work, names=names, reads=_reads, products=_products, ends=ends)
    )


def _reads(job: Job) -> list[str]:
    """Return a stage's inputs as Snakemake's words: of what another stage makes, that stage's very product.

    A folder of data that no stage makes is none: its time says nothing of the files in it.
    """
    made = {made.path for made in job.takes}
    folders = tuple(path for path in made if path.endswith("/"))
    own = [path for path in job.reads if not path.endswith("/") and path not in made and not path.startswith(folders)]
    return [ascii(path.rstrip("/")) for path in (*own, *sorted(made))]


def _products(job: Job) -> list[str]:
    """Return a stage's outputs as Snakemake's words; of a stage that makes nothing, a stamp."""
    if not job.products:
        return [f"touch({f'{_STAMPS}/{job.name}'!a})"]
    return [f"directory({path.rstrip('/')!a})" if path.endswith("/") else ascii(path) for path in job.products]

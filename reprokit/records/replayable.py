"""Whether a run could be repeated exactly, read from its record alone.

Pure. It knows which gaps are still open; whether the bytes that were kept are still there is the
plan's to find out.
"""

from __future__ import annotations

from reprokit.records.run import FileUse, Gap, Run

__all__ = ["blocking", "is_settled", "kept_digests", "replayable", "unkept"]


def replayable(run: Run) -> bool:
    """Return whether nothing recorded so far prevents an exact replay.

    >>> replayable(Run(id="x")), replayable(Run(id="x", gaps=(Gap(aspect="code", message="m", blocks=True),)))
    (True, False)
    """
    return not blocking(run) and not unkept(run)


def blocking(run: Run) -> list[Gap]:
    """Return the open gaps because of which a replay could not be exact."""
    kept = kept_digests(run)
    return [gap for gap in run.gaps if gap.blocks and not is_settled(gap, kept)]


def is_settled(gap: Gap, kept: frozenset[str]) -> bool:
    """Return whether a gap is closed: by what was done at once, or because its bytes are kept by now.

    Args:
        gap: a gap of a run.
        kept: that run's ``kept_digests``.

    >>> is_settled(Gap(aspect="data", message="m", path="a", digest="sha256:1"), frozenset({"sha256:1"}))
    True
    """
    return bool(gap.settled) or (gap.digest is not None and gap.digest in kept)


def kept_digests(run: Run) -> frozenset[str]:
    """Return the digests of the file contents that are kept somewhere."""
    uses = (use for cell in run.cells for use in (*cell.reads, *cell.writes))
    large = () if run.code is None else run.code.large
    kept = {use.digest for use in (*uses, *run.artifacts, *large) if use.stored != "none" and use.digest is not None}
    return frozenset(kept)


def unkept(run: Run) -> dict[str, tuple[FileUse, list[int]]]:
    """Return the files that a replay needs and whose bytes are not kept, or not known, with the cells that read them.

    What the run itself wrote before it read it is made anew.
    """
    kept = kept_digests(run)
    found: dict[str, tuple[FileUse, list[int]]] = {}
    for cell in run.cells:
        for use in cell.reads:
            lost = use.state != "stable" or (use.stored == "none" and use.digest not in kept)
            if lost and not use.own:
                found.setdefault(use.path, (use, []))[1].append(cell.seq)
    return found

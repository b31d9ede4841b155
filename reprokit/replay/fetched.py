"""How the data that two executions of a cell got from other machines, or sent there, differs.

Pure. Bytes are compared by digest; where they were not seen, by the version that the other side gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from reprokit.digest import PREFIX
from reprokit.records import Difference, RemoteUse
from reprokit.replay.finding import Finding
from reprokit.replay.typed.shown import clip

__all__ = ["compare_remote"]


def compare_remote(ours: Sequence[RemoteUse], theirs: Sequence[RemoteUse]) -> list[Finding]:
    """Return what differs, address by address; the same data in another order is the same.

    >>> before = RemoteUse(kind="http", access="read", url="https://h/x", digest="sha256:1", size=5)
    >>> after = RemoteUse(kind="http", access="read", url="https://h/x", digest="sha256:2", size=6)
    >>> [finding.difference.where for finding in compare_remote([before], [after])]
    ['https://h/x']
    """
    found = []
    for name in dict.fromkeys(map(_name, (*ours, *theirs))):
        mine = [use for use in ours if _name(use) == name]
        yours = [use for use in theirs if _name(use) == name]
        for use in list(mine):
            match = next((other for other in yours if _same(use, other)), None)
            if match is not None:
                mine.remove(use)
                yours.remove(match)
        found += [_told(left, right) for left, right in zip_longest(mine, yours)]
    return found


def _name(use: RemoteUse) -> tuple[str, str, str, str | None]:
    return use.kind, use.access, use.url, use.query


def _same(left: RemoteUse, right: RemoteUse) -> bool:
    if left.digest is not None and right.digest is not None:
        return left.digest == right.digest
    # What is written gets a new version each time. Nothing known of one side: nothing to tell.
    return left.access == "write" or None in (left.version, right.version) or left.version == right.version


def _told(left: RemoteUse | None, right: RemoteUse | None) -> Finding:
    """Tell a difference. Data that only one side read is none: caches and repetitions change what is asked for."""
    use = left or right
    assert use is not None
    before, after = (_brief(side) if side else "absent" for side in (left, right))
    where = f"{use.url}: {clip(' '.join(use.query.split()))}" if use.query else use.url
    one_sided = left is None or right is None
    diverges = not one_sided or (use.access == "write" and use.kind != "http")
    return Finding(difference=Difference(what=use.access, where=where, before=before, after=after), diverges=diverges)


def _brief(use: RemoteUse) -> str:
    amount = f"{use.rows:,} rows" if use.rows is not None else "" if use.size is None else f"{use.size:,} bytes"
    known = use.digest.removeprefix(PREFIX)[:12] if use.digest else use.version or "not known"
    return f"{amount}, {known}" if amount else known

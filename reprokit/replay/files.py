"""How the files that two executions of a cell read or wrote differ, path by path, each content by its kind."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest

from reprokit.errors import StoreError
from reprokit.records import FileUse, FileVerdict
from reprokit.replay import folders
from reprokit.replay.finding import Context, Finding, brief, told
from reprokit.replay.typed.kinds import file_kind
from reprokit.replay.typed.outcome import Outcome, Places
from reprokit.replay.typed.text import anywhere

__all__ = ["compare_files"]

_READABLE = 64 * 10**6  # bytes; a larger file is compared by its digest alone
_NAMED = 3  # files of a folder that differ
_SHOWN = 10**6  # bytes; a longer text is no evidence of the cause
_TEXTS = ("text", "html", "svg", "csv", "tsv", "json", "xml")


def compare_files(
    ours: Sequence[FileUse], theirs: Sequence[FileUse], cell: int, context: Context
) -> tuple[list[Finding], list[FileVerdict]]:
    """Compare what two cells read, or what they wrote."""
    ours, theirs = folders.levelled(ours, theirs, context.read)
    mine, yours = _by_path(ours, context, context.how.here), _by_path(theirs, context, context.how.there)
    found, verdicts = [], []
    for key in sorted(mine.keys() | yours.keys()):
        for left, right in zip_longest(mine.get(key, ()), yours.get(key, ())):
            finding = _file(left, right, context)
            verdicts.append(_file_verdict(left, right, cell, finding))
            found += [finding] if finding else []
    return found, verdicts


def _file_verdict(left: FileUse | None, right: FileUse | None, cell: int, finding: Finding | None) -> FileVerdict:
    use = left or right
    assert use is not None
    return FileVerdict(
        path=use.path,
        access=use.access,
        cell=cell,
        verdict="identical" if finding is None else "diverged" if finding.diverges else "equivalent",
        before=left.digest if left else None,
        after=right.digest if right else None,
    )


def _by_path(uses: Sequence[FileUse], context: Context, places: Places) -> dict[str, list[FileUse]]:
    """Group uses by path; outside exact mode, by what the path is in any workspace and any process."""
    grouped: dict[str, list[FileUse]] = defaultdict(list)
    for use in uses:
        grouped[use.path if context.exact else anywhere(use.path, places)].append(use)
    return grouped


def _file(left: FileUse | None, right: FileUse | None, context: Context) -> Finding | None:
    if left is None or right is None:
        return _unpaired_file(left, right)
    moved = context.same_text(left.path, right.path) or ()
    if left.digest == right.digest and (left.digest or (left.size, left.state) == (right.size, right.state)):
        return Finding(diverges=False, rules=moved) if moved else None
    if left.files and right.files:
        return _dataset(left, right, context)
    kind = file_kind(left.path)
    contents, note = _contents(left, right, kind, context)
    outcome = context.contrast(*contents, kind) if contents else Outcome(detail=note)
    if outcome.rules is not None:
        return Finding(diverges=False, rules=(*outcome.rules, *moved))
    found = told(left.access, left.path, _file_brief(left), _file_brief(right), outcome.detail)
    assert found.difference is not None
    objects = (left.digest, right.digest) if left.digest and right.digest else ()
    difference = dataclasses.replace(found.difference, objects=objects)
    return dataclasses.replace(found, difference=difference, texts=_as_texts(contents, kind))


def _dataset(left: FileUse, right: FileUse, context: Context) -> Finding | None:
    """Compare two folders of very many files: those that differ are counted, and the first ones named."""
    pairs = folders.changed(left, right, context.read)
    before, after = _file_brief(left), _file_brief(right)
    if pairs is None:
        return told(left.access, left.path, before, after, "which files differ cannot be told")
    found = [(one or other, _file(one, other, context)) for one, other in pairs]
    differing = [use.path for use, finding in found if use and finding and finding.diverges]
    used = tuple(sorted({rule for _, finding in found if finding for rule in finding.rules}))
    if not differing:
        return Finding(diverges=False, rules=used) if used else None
    names = ", ".join(differing[:_NAMED]) + (", …" if len(differing) > _NAMED else "")
    detail = f"{len(differing):,} of {max(left.files, right.files):,} files differ: {names}"
    return told(left.access, left.path, before, after, detail)


def _unpaired_file(left: FileUse | None, right: FileUse | None) -> Finding:
    """A write only one run made is a divergence; a read is not: caches and order change what is read."""
    use = left or right
    assert use is not None
    before, after = (_file_brief(side) if side else "absent" for side in (left, right))
    found = told(use.access, use.path, before, after)
    if use.access == "read":
        return dataclasses.replace(found, diverges=False, rules=("read set",))
    return found


def _contents(
    left: FileUse, right: FileUse, kind: str | None, context: Context
) -> tuple[tuple[bytes, bytes] | None, str]:
    """Return both contents, or None and why they were not read, where a rule could use them."""
    if kind is None or left.digest is None or right.digest is None:
        return None, ""
    if max(left.size or 0, right.size or 0) > _READABLE:
        return None, f"compared by bytes: larger than {_READABLE // 10**6} MB"
    try:
        return (context.read(left.digest), context.read(right.digest)), ""
    except StoreError as error:
        return None, f"the contents cannot be compared: {error.message}"


def _as_texts(contents: tuple[bytes, bytes] | None, kind: str | None) -> tuple[str, str] | None:
    if contents is None or kind not in _TEXTS or max(map(len, contents)) > _SHOWN:
        return None
    return contents[0].decode(errors="replace"), contents[1].decode(errors="replace")


def _file_brief(use: FileUse) -> str:
    size = "size unknown" if use.size is None else f"{use.size:,} bytes"
    size = f"{use.files:,} files, {size}" if use.files else size
    return f"{size}, {brief(use.digest) if use.digest else use.state}"

"""Archives and compressed files compared by what is in them: names and contents, each content by its kind.

What is inside is read into memory up to a budget, never written to disk.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable
from typing import IO, Any

from reprokit.replay.typed import kinds
from reprokit.replay.typed.outcome import BUDGET, How, Outcome, TooLarge, same
from reprokit.replay.typed.sheets import cells_apart
from reprokit.replay.typed.shown import clip, limited

__all__ = ["compare_bzip2", "compare_gzip", "compare_tar", "compare_xz", "compare_zip"]

_DEPTH = 3  # archives inside archives
_MEMBERS = 100_000

Members = dict[str, tuple[Any, bytes]]  # name → what else must be the same, content


def compare_zip(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two ZIP archives (.npz, .xlsx and .docx among them) without the times that they keep."""
    return _compare("zip layout", _read_zip(left), _read_zip(right), how)


def compare_tar(left: bytes, right: bytes, how: How) -> Outcome:
    """Compare two tar archives without times and owners."""
    return _compare("tar layout", _read_tar(left), _read_tar(right), how)


def _compare(layout: str, ours: Members, theirs: Members, how: How) -> Outcome:
    if how.depth >= _DEPTH:
        raise TooLarge("an archive in an archive")
    used: list[str] = []
    lines = []
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            lines.append(f"{clip(name)}: {'added' if name in theirs else 'removed'}")
        elif ours[name][0] != theirs[name][0]:
            lines.append(f"{clip(name)}: {ours[name][0]} → {theirs[name][0]}")
        else:
            found = _member(name, ours[name][1], theirs[name][1], how)
            used += found.rules or ()
            lines += [] if found.rules is not None else [_line(name, found)]
    if not lines:
        return same(*sorted(set(used)) or [layout])
    cells = cells_apart(*({name: content for name, (_, content) in side.items()} for side in (ours, theirs)))
    before, after = (f"{len(side):,} files" for side in (ours, theirs))
    return Outcome(before=before, after=after, detail=cells or "\n".join(limited(lines, len(lines))))


def _line(name: str, found: Outcome) -> str:
    shown = found.detail or (f"{found.before} → {found.after}" if found.before or found.after else "its bytes changed")
    return f"{clip(name)}: " + shown.replace("\n", "\n  ")


def _member(name: str, left: bytes, right: bytes, how: How) -> Outcome:
    if left != right and name in _OFFICE:
        bare = [_OFFICE[name].sub(rb"\1\3", content) for content in (left, right)]
        if bare[0] == bare[1]:
            return same("office dates")
        left, right = bare
    return kinds.compare(left, right, kinds.file_kind(name), how.deeper())


# Who wrote an Office file, with which version, and when.
_OFFICE = {
    "docProps/core.xml": re.compile(
        rb"(<(dcterms:created|dcterms:modified|cp:lastModifiedBy|cp:lastPrinted|cp:revision)\b[^>]*>)[^<]*(</\2>)"
    ),
    "docProps/app.xml": re.compile(rb"(<(Application|AppVersion|TotalTime)>)[^<]*(</\2>)"),
}


def _read_zip(content: bytes) -> Members:
    members: Members = {}
    left = BUDGET
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist()[: _MEMBERS + 1]:
            if info.filename in members:
                raise ValueError(f"{clip(info.filename)} is in it twice")
            with archive.open(info) as file:
                data = _limited(file, left)
            left -= len(data) + 1000
            members[info.filename] = ("", data)
    return members


def _read_tar(content: bytes) -> Members:
    members: Members = {}
    left = BUDGET
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for info in archive:
            file = archive.extractfile(info) if info.isreg() else None
            data = _limited(file, left) if file else b""
            left -= len(data) + 1000
            members[info.name] = ((info.type, oct(info.mode), info.linkname), data)
            if left < 0:
                raise TooLarge("the archive")
    return members


def _limited(file: IO[bytes], most: int) -> bytes:
    """Return what a stream unfolds to.

    Raises:
        TooLarge: it is more than ``most`` bytes.
    """
    data = file.read(max(most, 0) + 1)
    if len(data) > most:
        raise TooLarge()
    return data


def compare_gzip(left: bytes, right: bytes, how: How, inner: str = "") -> Outcome:
    """Compare two gzip files: but for the time in their heads they are the same, or else what is in them is."""
    if left[:4] + left[8:] == right[:4] + right[8:]:
        return same("gzip date")
    return _unfolded("gzip layout", lambda data: gzip.GzipFile(fileobj=io.BytesIO(data)), left, right, how, inner)


def compare_bzip2(left: bytes, right: bytes, how: How, inner: str = "") -> Outcome:
    """Compare what is in two bzip2 files."""
    return _unfolded("bzip2 layout", lambda data: bz2.BZ2File(io.BytesIO(data)), left, right, how, inner)


def compare_xz(left: bytes, right: bytes, how: How, inner: str = "") -> Outcome:
    """Compare what is in two xz files."""
    return _unfolded("xz layout", lambda data: lzma.LZMAFile(io.BytesIO(data)), left, right, how, inner)


def _unfolded(layout: str, opened: Callable[[bytes], Any], left: bytes, right: bytes, how: How, inner: str) -> Outcome:
    if how.depth >= _DEPTH:
        raise TooLarge("an archive in an archive")
    contents = []
    for side in (left, right):
        with opened(side) as file:
            contents.append(_limited(file, BUDGET))
    found = kinds.compare(contents[0], contents[1], inner or None, how.deeper())
    return found if found.rules is None else same(*found.rules or (layout,))

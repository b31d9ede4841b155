"""The pictures that differ in two runs, as ``data:`` addresses: before, after, and where they differ.

Nothing of a picture is run: it is shown by an ``img`` element, in which SVG has no scripts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from reprokit.errors import StoreError
from reprokit.records import Difference, Verdict
from reprokit.replay.finding import Read
from reprokit.replay.outputs import decoded, output_list, output_parts
from reprokit.replay.typed.images import difference_picture
from reprokit.replay.typed.kinds import file_kind, mime_kind

__all__ = ["pictures_of"]

_MIMES = {"png": "image/png", "jpeg": "image/jpeg", "svg": "image/svg+xml"}
_OUTPUT = re.compile(r"output (\d+) \((.+)\)")
_LARGEST, _MOST = 5 * 10**6, 30  # bytes of a picture, pictures of a page


def pictures_of(verdict: Verdict, read: Read) -> dict[tuple[int, str], tuple[str, ...]]:
    """Return the pictures of each difference that is one of pictures, by cell and ``Difference.where``.

    Args:
        verdict: a comparison of two runs.
        read: returns the bytes of an object by its digest; may raise ``StoreError``.
    """
    found: dict[tuple[int, str], tuple[str, ...]] = {}
    for cell in verdict.cells:
        for difference in cell.differences:
            if len(found) < _MOST and len(shown := tuple(_addresses(difference, read))) > 1:
                found[cell.cell, difference.where] = shown
    return found


def _addresses(difference: Difference, read: Read) -> Iterator[str]:
    kind = _kind(difference)
    if kind not in _MIMES or len(difference.objects) != 2:
        return
    sides = [_content(difference, digest, read) for digest in difference.objects]
    if None in sides or any(len(side or b"") > _LARGEST for side in sides):
        return
    before, after = (side or b"" for side in sides)
    yield _address(before, _MIMES[kind])
    yield _address(after, _MIMES[kind])
    apart = _apart(before, after) if kind != "svg" else None
    if apart is not None:
        yield _address(apart, "image/png")


def _apart(before: bytes, after: bytes) -> bytes | None:
    try:
        return difference_picture(before, after)
    except ImportError:  # without Pillow the two are shown
        return None


def _kind(difference: Difference) -> str | None:
    match = _OUTPUT.fullmatch(difference.where) if difference.what == "output" else None
    if match:
        return mime_kind(match[2])
    return file_kind(difference.where) if difference.what in ("read", "write") else None


def _content(difference: Difference, digest: str, read: Read) -> bytes | None:
    """Return one side's picture; None when it is not there."""
    try:
        stored = read(digest)
        match = _OUTPUT.fullmatch(difference.where) if difference.what == "output" else None
        if match is None:
            return stored
        _, content = output_parts(output_list(stored)[int(match[1]) - 1])[match[2]]
    except (StoreError, ValueError, IndexError, KeyError):
        return None
    return content.encode("utf-8", "surrogatepass") if match[2] == "image/svg+xml" else decoded(content)


def _address(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"

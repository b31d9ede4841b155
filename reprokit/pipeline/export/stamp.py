"""The header of an exported file: who wrote it, of what, and whether a hand has changed it since.

It knows texts and their digests; it does not know files or targets.
"""

from __future__ import annotations

import re

from reprokit.digest import hex_of, of_bytes
from reprokit.version import VERSION

__all__ = ["is_edited", "stamped"]

_STAMP = re.compile(r"^(?://|#) reprokit-export .*\bcontent=(?P<content>\w+)$", re.MULTILINE)
_SHOWN = 32  # hexadecimal digits: what tells files apart, and still fits on a line


def stamped(text: str, *, target: str, spec: str, comment: str = "#") -> str:
    """Return a text with the two lines that say what it is, after its ``#!`` line if it has one.

    Args:
        text: what a target made; it ends with a newline.
        target: its name.
        spec: the digest of what is exported.
        comment: what a comment begins with in that language.

    >>> text = stamped("all:\\n", target="make", spec="sha256:" + "0" * 64)
    >>> is_edited(text), is_edited(text + "more:\\n")
    (False, True)
    """
    shebang, body = _parted(text)
    head = f"{comment} Written by `reprokit export --to {target}` (reprokit {VERSION}). Do not edit: export again.\n"
    rest = head + body
    stamp = f"{comment} reprokit-export target={target} spec={_short(spec)} content={_content(shebang + rest)}\n"
    return shebang + head + stamp + body


def is_edited(text: str) -> bool | None:
    """Return whether an exported text was changed after it was written; None when it was never exported."""
    found = _STAMP.search(text)
    if found is None:
        return None
    without = text[: found.start()] + text[found.end() + 1 :]
    return _content(without) != found["content"]


def _parted(text: str) -> tuple[str, str]:
    if not text.startswith("#!"):
        return "", text
    first, newline, rest = text.partition("\n")
    return first + newline, rest


def _content(text: str) -> str:
    return _short(of_bytes(text.encode("utf-8", "surrogateescape")))


def _short(digest: str) -> str:
    return hex_of(digest)[:_SHOWN]

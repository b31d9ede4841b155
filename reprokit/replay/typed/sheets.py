"""The cells of a workbook (.xlsx), to say which of them changed.

Reads the XML inside with a parser that takes no document type, so that no entity can grow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.parsers import expat

from reprokit.replay.typed.shown import clip, limited

__all__ = ["cells_apart"]

_READ = 64 * 10**6  # bytes of one sheet
_SHEET = re.compile(r"xl/worksheets/(sheet\d+)\.xml$")
_STRINGS = "xl/sharedStrings.xml"
_NAMED = 12


def cells_apart(left: Mapping[str, bytes], right: Mapping[str, bytes]) -> str:
    """Return which cells of two workbooks differ; "" when they are no workbooks or no cell does.

    Args:
        left: the files inside one workbook, by name.
        right: those inside the other.
    """
    names = sorted(name for name in left.keys() & right.keys() if _SHEET.match(name))
    if not names:
        return ""
    try:
        texts = [_strings(side.get(_STRINGS, b"")) for side in (left, right)]
        lines = []
        for name in names:
            ours, theirs = (_cells(side[name], text) for side, text in zip((left, right), texts, strict=True))
            title = _SHEET.sub(r"\1", name)
            lines += [
                f"{title} {place}: {clip(ours.get(place, 'absent'))} → {clip(theirs.get(place, 'absent'))}"
                for place in [*ours, *(place for place in theirs if place not in ours)]
                if ours.get(place) != theirs.get(place)
            ]
    except (expat.ExpatError, ValueError, IndexError):
        return ""
    return "\n".join(limited(lines, len(lines), _NAMED))


class _Reader:
    """Gathers the texts of elements; ``items`` are those of each shared string, ``cells`` those of each cell."""

    def __init__(self, content: bytes, strings: list[str]) -> None:
        if len(content) > _READ:
            raise ValueError("the sheet is too large")
        self.items: list[str] = []
        self.cells: dict[str, str] = {}
        self._strings = strings
        self._place, self._kind, self._inside, self._text = "", "", "", ""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.StartDoctypeDeclHandler = _refuse
        parser.Parse(content, True)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2]
        if name == "c":
            self._place, self._kind, self._text = attributes.get("r", ""), attributes.get("t", ""), ""
        elif name == "si":
            self._text = ""
        self._inside = name

    def _data(self, data: str) -> None:
        if self._inside in ("v", "t"):
            self._text += data
        elif self._inside == "f":
            self._text += data if self._text else f"={data}"

    def _end(self, tag: str) -> None:
        name = tag.rpartition(" ")[2]
        if name == "si":
            self.items.append(self._text)
        elif name == "f":
            self._text += " is "
        elif name == "c" and self._text:
            self.cells[self._place] = self._strings[int(self._text)] if self._kind == "s" else self._text
        self._inside = ""


def _refuse(*declared: object) -> None:
    raise ValueError("a document type is not read")


def _strings(content: bytes) -> list[str]:
    return _Reader(content, []).items if content else []


def _cells(content: bytes, strings: list[str]) -> dict[str, str]:
    return _Reader(content, strings).cells

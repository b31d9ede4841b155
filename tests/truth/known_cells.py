"""The cells of the ground truth, and what each does to files when nobody watches.

They stand in ``cells/*.txt``, one after the other, in the order in which they run::

    == library [modules, and !programs, without which it is left out]: what it is called in a list of misses
    < files whose bytes, as they were before the cell, its result hangs on
    > files that are there after the cell with bytes that it put there
    the code, in which ``@OUTSIDE@`` stands for the folder outside the project

Names are relative to the project; those of files outside it begin with ``../``. They are quoted as in a shell,
and ``{a,b}`` stands for both.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CELLS", "KnownCell", "missing", "possible"]

_FILES = ("python", "tables", "arrays", "processes", "places", "handles")
_HEAD = re.compile(r"== (?P<library>[^\[:]+?)(?: \[(?P<needs>[^\]]+)\])?(?:: (?P<name>.+))?")


@dataclass(frozen=True, slots=True)
class KnownCell:
    """One cell."""

    library: str
    name: str
    source: str
    reads: frozenset[str]
    writes: frozenset[str]
    needs: tuple[str, ...]


def _cells() -> Iterator[KnownCell]:
    for file in _FILES:
        text = Path(__file__).with_name("cells").joinpath(f"{file}.txt").read_text("utf-8")
        for block in re.split(r"^(?=== )", text, flags=re.MULTILINE)[1:]:
            yield _cell(block.strip("\n").split("\n"))


def _cell(lines: list[str]) -> KnownCell:
    head = _HEAD.fullmatch(lines.pop(0))
    assert head is not None
    named = {"<": "", ">": ""}
    while lines[0][:2] in ("< ", "> "):
        line = lines.pop(0)
        named[line[0]] = line[2:]
    return KnownCell(
        library=head["library"],
        name=head["name"] or "; ".join(lines)[:60],
        source="\n".join(lines),
        reads=frozenset(_names(named["<"])),
        writes=frozenset(_names(named[">"])),
        needs=tuple((head["needs"] or "").split()),
    )


def _names(line: str) -> Iterator[str]:
    for word in shlex.split(line):
        group = re.search(r"\{([^}]+)\}", word)
        for part in group[1].split(",") if group else [""]:
            name = word.replace(group[0], part) if group else word
            yield os.fsdecode(name.encode().replace(rb"\xff", b"\xff"))  # a byte that is no text


#: All of them, in the order in which they run.
CELLS = list(_cells())


def missing(cells: Sequence[KnownCell] = CELLS) -> list[str]:
    """Return the modules and programs that this environment lacks, so that their cells are left out."""
    needed = {need for cell in cells for need in cell.needs}
    return sorted(need for need in needed if not _is_there(need))


def _is_there(need: str) -> bool:
    if need.startswith("!"):
        return shutil.which(need[1:]) is not None
    return importlib.util.find_spec(need) is not None


def possible(cells: Sequence[KnownCell] = CELLS) -> list[KnownCell]:
    """Return the cells that can run here."""
    lacking = set(missing(cells))
    return [cell for cell in cells if lacking.isdisjoint(cell.needs)]

"""Laws of extracting: the cells that are taken give the value that all cells gave, whatever they do to each other.

Sessions are made of small cells that bind, alias, change, call and delete, in any order; they are run with plain
``exec``, so that Python itself is the judge.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reprokit.records import Cell
from reprokit.records.extraction import Attempt
from reprokit.replay.extract.known import Level
from reprokit.replay.extract.needs import needs_of
from reprokit.replay.extract.search import search
from reprokit.replay.extract.slice import chosen

NAMES = st.sampled_from("abcd")
NUMBERS = st.integers(0, 4)
TEMPLATES = (
    "{x} = [{n}]",
    "{x} = {n}",
    "{x} = {y}",
    "{x} = [{y}, {y}]",
    "{x} = list([{y}, {n}])",
    "{x} = {{'k': {y}}}",
    "{x} = {y}['k']",
    "{x} = {y}[0]",
    "{x}.append({n})",
    "{x}.append({y})",
    "{x}[0] = {y}",
    "{x}['k'] = {n}",
    "{x}[0].append({n})",
    "{x} += [{n}]",
    "{x} = {x} + [{n}]",
    "{x}, {y} = {y}, {x}",
    "for {x} in [{n}, 1]:\n    {y} = {x}",
    "for {x} in {y}:\n    {x}.append({n})",
    "if {x}:\n    {y} = {n}\nelse:\n    {y}.append({n})",
    "try:\n    {x} = {y}[7]\nexcept Exception:\n    {x} = [{n}]",
    "while {x}:\n    {x}.pop()",
    "with open('/dev/null') as {x}:\n    {y} = [{n}]",
    "def f(v={x}):\n    return [{y}, v]",
    "def f(v):\n    v.append({n})\n    return v",
    "def f(v):\n    global {x}\n    {x} = [v, {n}]",
    "def f(v):\n    {x}.append(v)",
    "def g(v):\n    return f(v)",
    "f = lambda v: {x}",
    "class C:\n    def __init__(self, v=None):\n        self.v = v\n    def get(self):\n        return {x}",
    "{x} = C({y})",
    "{x}.v.append({n})",
    "{x}.w = {y}",
    "{x} = {y}.get()",
    "{x} = f({y})",
    "f({x})",
    "g({y})",
    "{x} = g({y})",
    "del {x}",
    "{x}.sort()",
    "{x} = sorted({y})",
    "{x} = iter({y})",
    "{x} = next({y})",
    "{x} = [i for i in {y}]",
    "{x} = (i for i in {y})",
    "exec('{x} = [{n}]')",
    "globals()['{x}'] = [{n}]",
    "{x} = eval('{y}')",
    "setattr({x}, 'w', {n})",
    "({x} := {y})",
    "import copy\n{x} = copy.deepcopy({y})",
    "from copy import *\n{x} = copy({y})",
    "len = {n}\n{x} = [len]",
    "del len",
    "{x} = [max({n}, 2)]",
    "lst = []\nlst.append({x})",
    "{x} = lst",
    "lst[0].append({n})",
)


@st.composite
def sources(draw: st.DrawFn) -> str:
    lines = draw(st.lists(st.sampled_from(TEMPLATES), min_size=1, max_size=2))
    return "\n".join(line.format(x=draw(NAMES), y=draw(NAMES), n=draw(NUMBERS)) for line in lines)


@st.composite
def sessions(draw: st.DrawFn) -> list[str]:
    """Return a session in which every name is bound at first, and whose last cell is the one that is asked for."""
    start = [f"{name} = [{number}]" for number, name in enumerate("abcd")] + ["def f(v):\n    return [v]", "g = f"]
    return [*start, *draw(st.lists(sources(), max_size=12)), f"result = repr({draw(NAMES)})"]


def executed(cells: list[Cell]) -> list[Cell]:
    """Run cells in one namespace, as a kernel does, and return them with how they ended."""
    namespace: dict[str, Any] = {}
    ended = []
    for cell in cells:
        try:
            exec(cell.source, namespace)
        except Exception as error:
            ended.append(Cell(seq=cell.seq, source=cell.source, status="failed", error=repr(error)))
        else:
            ended.append(Cell(seq=cell.seq, source=cell.source, status="done"))
    ended.append(Cell(seq=0, source=hidden(namespace)))
    return ended


def hidden(namespace: dict[str, Any]) -> str:
    """Return the result, without the addresses in it."""
    text = namespace.get("result", "nothing")
    return "".join(part.split(" at 0x")[0] for part in text.split(">"))


def recorded(texts: list[str]) -> tuple[list[Cell], str]:
    *cells, result = executed([Cell(seq=seq, source=source) for seq, source in enumerate(texts, 1)])
    return cells, result.source


@given(sessions())
def test_all_that_is_possibly_needed_gives_the_same_value(texts: list[str]) -> None:
    cells, result = recorded(texts)
    kept = chosen(needs_of(cells), [len(cells)], level=Level.POSSIBLE)
    *ended, again = executed([cell for cell in cells if cell.seq in kept])
    assert again.source == result
    assert [cell.status for cell in ended] == [cell.status for cell in cells if cell.seq in kept]


@given(sessions())
def test_what_is_found_gives_the_same_value_and_nothing_of_it_can_be_left_out(texts: list[str]) -> None:
    cells, result = recorded(texts)
    by_number = {cell.seq: cell for cell in cells}

    def run(numbers: tuple[int, ...], plain: bool) -> Attempt:
        *ended, again = executed([by_number[seq] for seq in numbers])
        same = again.source == result and all(cell.status == by_number[cell.seq].status for cell in ended)
        return Attempt(cells=numbers, plain=plain, outcome="same" if same else "different")

    found = search(needs_of(cells), [len(cells)], run)
    assert found.same
    assert found.minimal
    assert run(found.cells, plain=False).outcome == "same"
    assert set(found.cells) <= set(by_number)
    assert list(found.cells) == sorted(found.cells)


@given(sessions())
def test_a_cell_needs_earlier_cells_only_and_less_sure_means_more(texts: list[str]) -> None:
    cells, _ = recorded(texts)
    needs = needs_of(cells)
    assert all(need.on < need.cell == seq for seq, found in needs.of.items() for need in found)
    slices = [set(chosen(needs, [len(cells)], level=level)) for level in Level]
    assert all(fewer <= more for fewer, more in pairwise(slices))

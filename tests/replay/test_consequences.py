"""Which of the cells that diverged are origins, and which only follow from them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from reprokit import digest
from reprokit.errors import ObjectMissing
from reprokit.records import Cell, FileUse, RandomState, Run, Verdict
from reprokit.replay.compare import compare


class Pair:
    """Two runs of the same cells, made step by step, with what each printed."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.left: list[Cell] = []
        self.right: list[Cell] = []

    def put(self, data: bytes) -> str:
        name = digest.of_bytes(data)
        self.objects[name] = data
        return name

    def read(self, name: str) -> bytes:
        if name not in self.objects:
            raise ObjectMissing(name)
        return self.objects[name]

    def cell(self, source: str, before: str, after: str, **fields: tuple[Any, Any]) -> Pair:
        """Add a cell that printed ``before`` in the first run and ``after`` in the second; fields are of both."""
        for at, (cells, shown) in enumerate(((self.left, before), (self.right, after))):
            outputs = self.put(json.dumps([{"output_type": "stream", "name": "stdout", "text": shown}]).encode())
            own = {name: values[at] for name, values in fields.items()}
            made = {"seq": len(cells) + 1, "source": source, "status": "done", "outputs": outputs, **own}
            cells.append(Cell(**made))
        return self

    def file(self, path: str, access: str, before: str, after: str) -> tuple[Any, Any]:
        sides = (before.encode(), after.encode())
        one, other = (FileUse(path=path, access=access, size=len(data), digest=self.put(data)) for data in sides)
        return (one,), (other,)

    def verdict(self, **fields: Any) -> Verdict:
        a, b = (
            Run(id=name, status="done", cells=tuple(cells)) for name, cells in (("a", self.left), ("b", self.right))
        )
        verdict = compare(a, b, self.read)
        assert verdict.validate() == verdict
        return verdict

    def origins(self) -> dict[int, int | None]:
        return {cell.cell: cell.consequence_of for cell in self.verdict().cells if cell.verdict == "diverged"}


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_a_variable_that_had_diverged(pair: Pair) -> None:
    pair.cell("import random\nx = random.random()\nprint(x)", "0.1", "0.2")
    pair.cell("y = x * 2", "", "")  # shows nothing, and passes it on
    pair.cell("print(y)", "0.2", "0.4")
    pair.cell("print('done')", "done", "done")
    assert pair.origins() == {1: None, 3: 1}
    verdict = pair.verdict()
    assert verdict.cells[0].cause is not None
    assert verdict.cells[2].cause is None


def test_a_later_difference_of_its_own_stays_an_origin(pair: Pair) -> None:
    pair.cell("x = draw()\nprint(x)", "0.1", "0.2")
    pair.cell("z = 5\nprint(other())", "1", "2")
    pair.cell("print(z)", "5", "6")
    assert pair.origins() == {1: None, 2: None, 3: None}  # z is a constant: nothing explains that it differs


def test_what_is_made_anew_is_clean(pair: Pair) -> None:
    pair.cell("x = draw()\nprint(x)", "0.1", "0.2")
    pair.cell("x = 3", "", "")
    pair.cell("print(f(x))", "3", "4")
    assert pair.origins() == {1: None, 3: None}
    other = Pair().cell("x = draw()\nprint(x)", "0.1", "0.2").cell("x = 3\nprint(f(x))", "3", "4")
    assert other.origins() == {1: None, 2: None}


@pytest.mark.parametrize("change", ["d['k'] = draw()", "d.k = draw()", "d.update(draw())", "d[0].k += draw()"])
def test_objects_changed_in_place(change: str, pair: Pair) -> None:
    pair.cell(f"{change}\nprint('x', clock())", "x 1", "x 2").cell("print(d)", "1", "2")
    assert pair.origins() == {1: None, 2: 1}


def test_functions_use_names_when_they_are_called(pair: Pair) -> None:
    pair.cell("def f():\n    return x", "", "")
    pair.cell("x = draw()\nprint(x)", "1", "2")
    pair.cell("def g():\n    return x + 1", "", "").cell("print(g())", "2", "3")
    assert pair.origins() == {2: None, 4: 2}


def test_magics_and_what_is_no_python(pair: Pair) -> None:
    pair.cell("%time x = draw()\nprint(x)", "1", "2").cell("!echo $x {x}", "1", "2").cell("this is no x (", "1", "2")
    assert pair.origins() == {1: None, 2: 1, 3: 1}


def test_a_file_that_had_diverged(pair: Pair) -> None:
    pair.cell("save()", "", "", writes=pair.file("out.csv", "write", "1", "2"))
    pair.cell("show()", "1", "2", reads=pair.file("out.csv", "read", "1", "2"))
    pair.cell("save2()", "", "", writes=pair.file("out.csv", "write", "1", "1"))
    pair.cell("show2()", "1", "2", reads=pair.file("out.csv", "read", "1", "1"))
    assert pair.origins() == {1: None, 2: 1, 4: None}


def test_data_that_changed_is_an_origin_once(pair: Pair) -> None:
    pair.cell("a = load()", "1", "2", reads=pair.file("a.csv", "read", "1", "2"))
    pair.cell("b = load()", "1", "2", reads=pair.file("b.csv", "read", "1", "2"))
    pair.cell("c = load()", "1", "2", reads=pair.file("a.csv", "read", "1", "2"))
    assert pair.origins() == {1: None, 2: None, 3: 1}
    assert [cell.cause for cell in pair.verdict().cells] == ["data", "data", None]


def states(start: str, end: str) -> tuple[RandomState, ...]:
    return (
        RandomState(at="start", states={"numpy": f"sha256:{start}"}),
        RandomState(at="end", states={"numpy": f"sha256:{end}"}),
    )


def test_a_generator_that_had_diverged(pair: Pair) -> None:
    pair.cell("shuffle()", "1", "2", random=(states("a", "b"), states("a", "c")))
    pair.cell("no_draw()", "1", "2", random=(states("b", "b"), states("c", "c")))
    pair.cell("draw()", "1", "2", random=(states("b", "d"), states("c", "e")))
    pair.cell("seed(1)\ndraw()", "1", "1", random=(states("d", "f"), states("e", "f")))
    pair.cell("draw()", "1", "2", random=(states("f", "g"), states("f", "g")))
    assert pair.origins() == {1: None, 2: None, 3: 1, 5: None}


def test_what_had_diverged_before_any_cell_showed_it(pair: Pair) -> None:
    pair.cell("import time\nbegan = time.time()\nplain = [1, 2]", "", "")
    pair.cell("age = began % 7", "", "")
    pair.cell("print(age)", "1", "2").cell("print(began % 5)", "3", "4").cell("print(plain)", "[1]", "[2]")
    assert pair.origins() == {3: None, 4: 3, 5: None}
    assert [cell.cause for cell in pair.verdict().cells if cell.cause] == ["time", "hidden-state"]


def test_a_value_that_no_cell_changed(pair: Pair) -> None:
    pair.cell("prices = [1, 20]\nlimit = 15", "", "")
    pair.cell("kept = [p for p in prices if p > limit]\nprint(kept)", "[20]", "[1, 20]")
    pair.cell("print(len(kept))", "1", "2").cell("print(limit)", "15", "0")
    assert pair.origins() == {2: None, 3: 2, 4: 2}
    assert pair.verdict().cells[1].cause == "hidden-state"


def test_a_helper_that_was_edited_is_one_origin(pair: Pair) -> None:
    pair.cell("import helper", "", "").cell("print(helper.one())", "1", "2").cell("print(helper.two())", "3", "4")
    a, b = (Run(id=name, cells=tuple(cells)) for name, cells in (("a", pair.left), ("b", pair.right)))
    verdict = compare(a, b, pair.read, code=("notes.md", "helper.py"))
    assert [(cell.cause, cell.consequence_of) for cell in verdict.cells] == [(None, None), ("code", None), (None, 2)]
    other = compare(a, b, pair.read, code=("notes.md",))
    assert other.first_divergence is not None
    assert other.first_divergence.cause == "nondeterminism"


def test_a_draw_of_its_own_is_no_consequence(pair: Pair) -> None:
    pair.cell("x = [id(0)]\nprint(x)", "1", "2")
    pair.cell("print(sample(x))", "1", "2", random=(states("a", "b"), states("c", "d")))
    assert pair.origins() == {1: None, 2: None}


def test_clocks_and_tokens_are_of_the_cell_that_reads_them(pair: Pair) -> None:
    pair.cell("x = draw()\nprint(x)", "1", "2")
    pair.cell("print(x.now(), datetime.now())", "2026-05-03 14:02", "2026-05-04 09:00")
    assert pair.origins() == {1: None, 2: None}
    assert [cell.cause for cell in pair.verdict().cells][1] == "time"


def test_an_edited_cell_is_an_origin(pair: Pair) -> None:
    pair.cell("x = draw()\nprint(x)", "1", "2")
    pair.cell("lr = 1\nx", "1", "2").cell("print(lr)", "1", "2")
    pair.right[1] = dataclasses.replace(pair.right[1], source="lr = 2\nx")
    assert pair.origins() == {1: None, 2: None, 3: 2}


def test_cells_that_did_not_run_follow_from_where_it_ended(pair: Pair) -> None:
    pair.cell("x = 1", "", "").cell("f()", "", "", status=("done", "failed")).cell("g()", "", "").cell("h()", "", "")
    pair.right = pair.right[:2]
    assert pair.origins() == {2: None, 3: 2, 4: 2}
    pair.right = pair.right[:1]
    assert pair.origins() == {2: None, 3: 2, 4: 2}


def test_the_results_of_a_run_follow_from_the_cell_that_wrote_them(pair: Pair) -> None:
    pair.cell("save()", "", "", writes=pair.file("out.csv", "write", "1", "2"))
    runs = [
        Run(id=name, cells=tuple(cells), artifacts=cells[0].writes)
        for name, cells in (("a", pair.left), ("b", pair.right))
    ]
    verdict = compare(*runs, pair.read)
    assert [(cell.cell, cell.consequence_of) for cell in verdict.cells] == [(1, None), (0, 1)]


def test_a_long_identical_run_is_not_read_at_all(pair: Pair) -> None:
    for _ in range(5):
        pair.cell("this is no python (", "1", "1")
    assert pair.origins() == {}

"""Code that Python runs, but that has more levels than a walk through its tree may have, stops nobody."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from reprokit.lint.check import check
from reprokit.records import Cell
from reprokit.replay.extract.needs import needs_of
from reprokit.replay.statements import statements

DEEP = {
    "a sum": "x = " + " + ".join(f"'line {number}'" for number in range(800)),
    "a chain of calls": "x = a" + ".pipe(f)" * 400,
    "branches": "if a == 0:\n    x = 0\n" + "".join(f"elif a == {n}:\n    x = {n}\n" for n in range(1, 500)),
    "too deep for Python": "x = " + "-" * 100_000 + "1",
}


@pytest.mark.parametrize("kind", DEEP)
def test_of_what_is_too_deep_every_word_counts(kind: str) -> None:
    (one,) = statements(DEEP[kind])
    assert (one.understood, one.opaque) == (False, True)
    assert "x" in one.used


@pytest.mark.parametrize("kind", DEEP)
def test_extract_asks_for_it_when_it_may_matter(kind: str) -> None:
    sources = ["a = 1", DEEP[kind], "x"]
    needs = needs_of([Cell(seq=seq, source=source, status="done") for seq, source in enumerate(sources, 1)])
    assert {need.on for need in needs.of[3]} == {2}
    assert 1 in {need.on for need in needs.of[2]} or "a" not in sources[1]


@pytest.mark.parametrize("kind", DEEP)
def test_lint_goes_on(kind: str, tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(DEEP[kind])])
    book.cells.append(nbformat.v4.new_code_cell("import random\nrandom.random()"))
    nbformat.write(book, tmp_path / "a.ipynb")
    assert any(finding.cell == 2 for finding in check(tmp_path / "a.ipynb", tmp_path))


def test_what_people_write_is_read() -> None:
    source = "x = " + "f(" * 40 + "1" + ")" * 40 + "\ny = " + " + ".join(["x"] * 100)
    assert [one.understood for one in statements(source)] == [True, True]

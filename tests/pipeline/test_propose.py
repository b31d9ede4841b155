"""Which values of a notebook could be parameters, and what it is with a cell of them."""

from __future__ import annotations

import nbformat
import pytest

from reprokit.notebook.parameters import declared
from reprokit.pipeline.clean import cleaned
from reprokit.pipeline.propose import Proposal, propose
from reprokit.pipeline.stages import Stage
from reprokit.records import Run

RUN = Run(id="1", root="/p", cwd="/p/nb")
STAGE = Stage(name="a", notebook="nb/a.ipynb", deps=("data/x.csv",), outs=("nb/out/y.csv",))


def notebook(*sources: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_markdown_cell("# title"), *map(nbformat.v4.new_code_cell, sources)]
    return nbformat.v4.new_notebook(cells=cells)


def proposed(*sources: str) -> Proposal | None:
    return propose(notebook(*sources), STAGE, RUN)


def test_plain_values_set_once_and_used_later() -> None:
    found = proposed(
        "import math", "n = 3  # trees\nrate: float = 0.1\nprint(n)", "names = ['a', 'b']\nprint(rate, names)"
    )
    assert found is not None
    assert dict(found.params) == {"n": 3, "rate": 0.1, "names": ["a", "b"]}
    sources = [cell["source"] for cell in found.content["cells"] if cell["cell_type"] == "code"]
    assert sources == [
        "n = 3  # trees\nrate: float = 0.1\nnames = ['a', 'b']",
        "import math",
        "print(n)",
        "print(rate, names)",
    ]
    parameters = declared(found.content)
    assert {name: one.default for name, one in parameters.items()} == dict(found.params)
    assert parameters["n"].comment == "trees"
    assert "+# %% tags=['parameters']" in found.diff.splitlines()
    nbformat.validate(found.content)


@pytest.mark.parametrize(
    "sources",
    [
        ("n = 3", "n += 1\nprint(n)"),
        ("n = 3", "n = 4\nprint(n)"),
        ("for n in range(3): print(n)", "n = 3\nprint(n)"),
        ("print(n)", "n = 3"),
        ("print(n)\nn = 3\nprint(n)",),
        ("n = 3",),
        ("n = len([1])", "print(n)"),
        ("n = {'a': 1}", "print(n)"),
        ("a = 1; b = 2", "print(a, b)"),
        ("def f():\n    global n\n    n = 2\nf()", "n = 3\nprint(n)"),
        ("path = '../data/x.csv'", "print(path)"),
        ("out = 'out'", "print(out)"),
        ("name = 'x.csv'", "print(name)"),
        ("_n = 3", "print(_n)"),
        ("from numbers import n", "n = 3\nprint(n)"),
    ],
)
def test_what_is_no_parameter(sources: tuple[str, ...]) -> None:
    assert proposed(*sources) is None


def test_a_notebook_that_has_parameters_gets_no_others() -> None:
    there = notebook("n = 3", "m = 4\nprint(n, m)")
    there["cells"][1]["metadata"]["tags"] = ["parameters"]
    assert propose(there, STAGE, RUN) is None


def test_the_code_of_a_notebook_alone_makes_its_clean_form() -> None:
    one = notebook("x = 1", "print(x)")
    other = notebook("x = 1", "print(x)")
    other["cells"][0]["source"] = "another title"
    other["cells"][1].update(execution_count=7, outputs=[nbformat.v4.new_output("stream", text="1")])
    other["cells"][1]["metadata"] = {"collapsed": True, "tags": []}
    other["metadata"]["kernelspec"] = {"name": "x", "display_name": "x"}
    assert cleaned(one) == cleaned(other)
    assert cleaned(nbformat.reads(cleaned(one).decode(), as_version=4)) == cleaned(one)
    other["cells"][1]["metadata"]["tags"] = ["parameters"]
    assert cleaned(one) != cleaned(other)
    other["cells"][1]["metadata"]["tags"] = []
    other["cells"][1]["source"] = "x = 2"
    assert cleaned(one) != cleaned(other)

"""What cells need of one another, case by case; what is asked for; and in which order cells are left out."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from reprokit.errors import UsageError
from reprokit.records import Cell, FileUse, Metric, RandomState, Run
from reprokit.records.extraction import Attempt, Extraction
from reprokit.replay.extract.extract import Request, planned
from reprokit.replay.extract.goals import Goal, find, only
from reprokit.replay.extract.known import Level
from reprokit.replay.extract.needs import Needs, needs_of
from reprokit.replay.extract.search import NoTime, search
from reprokit.replay.extract.slice import chosen, reasons
from reprokit.replay.extract.tags import tags_of
from reprokit.replay.extract.trial import part
from reprokit.replay.extract.written import write
from reprokit.views.extracted import extraction_text, heading

DIGEST = "sha256:" + "0" * 64


def session(*sources: str) -> list[Cell]:
    return [Cell(seq=seq, source=source, status="done", execution_count=seq) for seq, source in enumerate(sources, 1)]


def kept(cells: list[Cell], level: Level = Level.LIKELY) -> list[int]:
    """Return what the last cell needs, itself left out."""
    return list(chosen(needs_of(cells), [cells[-1].seq], level=level))[:-1]


# Each: the cells, and those of them that the last one is likely to need.
CASES: dict[str, tuple[list[str], list[int]]] = {
    "what nothing uses is left out": (["a = 1", "b = 2", "a + 1"], [1]),
    "the last definition counts": (["a = 1", "a = 2", "a"], [2]),
    "what a definition needs": (["a = 1", "b = a", "a = 5", "b"], [1, 2]),
    "a cell that was run again": (["a = 1", "b = a", "a = 2", "b = a", "b"], [3, 4]),
    "assignment into an item": (["d = {}", "d['k'] = 1", "d"], [1, 2]),
    "assignment into an attribute": (["o = O()", "o.x.y = 1", "o"], [1, 2]),
    "deleting an item": (["d = {1: 2}", "del d[1]", "d"], [1, 2]),
    "a method that changes": (["l = []", "l.append(1)", "l"], [1, 2]),
    "a method that does not": (["l = [1]", "l.count(1)", "l"], [1]),
    "in place": (["df = make()", "df.drop(columns=['a'], inplace=True)", "df"], [1, 2]),
    "not in place": (["df = make()", "df.drop(columns=['a'], inplace=False)", "df"], [1]),
    "training": (["m = Model()", "x = 1", "m.fit(x)", "m"], [1, 2, 3]),
    "adding in place": (["n = 1", "n += 1", "n"], [1, 2]),
    "an alias": (["a = [1]", "b = a", "b.append(2)", "a"], [1, 2, 3]),
    "an alias of an alias": (["a = [1]", "b = a", "c = b", "b = 0", "c.append(2)", "a"], [1, 2, 3, 5]),
    "a part of it": (["a = [[1]]", "b = a[0]", "b.append(2)", "a"], [1, 2, 3]),
    "a copy": (["a = [1]", "b = a.copy()", "b.append(2)", "a"], [1]),
    "put into a container": (["a = [1]", "l = []", "l.append(a)", "a.append(2)", "l"], [1, 2, 3, 4]),
    "figure and axes": (["fig, ax = figure()", "ax.plot([1])", "fig"], [1, 2]),
    "held by an object": (["m = Net()", "o = Adam(m.parameters())", "o.step()", "m"], [1, 2, 3]),
    "globals when it is called": (["k = 1", "def f():\n    return k", "k = 2", "f()"], [2, 3]),
    "functions that call functions": (
        ["def g():\n    return k", "def f():\n    return g()", "k = 2", "unused = 3", "f()"],
        [1, 2, 3],
    ),
    "a lambda": (["k = 1", "f = lambda: k", "k = 2", "f()"], [2, 3]),
    "a method of a class": (["class C:\n    def m(self):\n        return k", "c = C()", "k = 1", "c.m()"], [1, 2, 3]),
    "a function that changes a global": (["l = []", "def f():\n    l.append(1)", "f()", "l"], [1, 2, 3]),
    "a function that binds a global": (["def f():\n    global k\n    k = 1", "f()", "k"], [1, 2]),
    "a function that changes its argument": (["def f(v):\n    v.append(1)", "a = []", "f(a)", "a"], [1, 2, 3]),
    "a function that only reads its argument": (["def f(v):\n    return len(v)", "a = []", "f(a)", "a"], [2]),
    "a default is read at once": (["k = 1", "def f(v=k):\n    return v", "k = 2", "f()"], [1, 2]),
    "imports": (["import os", "import json", "json.dumps(1)"], [2]),
    "an import again": (["import json", "a = 1", "import json", "json.dumps(1)"], [1]),
    "a module is not changed by its functions": (["import math", "math.sqrt(2)", "math.pi"], [1]),
    "star import": (["from math import *", "a = 1", "sqrt(2)"], [1]),
    "an import that nothing names": (["import seaborn", "a = 1", "a"], [1, 2]),
    "settings": (["import plt", "plt.rcParams['a'] = 1", "plt.plot()"], [1, 2]),
    "a style": (["import seaborn as sns", "sns.set_theme()", "sns.lineplot()"], [1, 2]),
    "the environment": (["import os", "os.environ['A'] = 'b'", "a = 1", "a"], [1, 2, 3]),
    "the folder": (["import os", "os.chdir('x')", "open('a')"], [1, 2]),
    "%cd": (["%cd data", "open('a')"], [1]),
    "%matplotlib": (["%matplotlib inline", "a = 1", "a"], [1, 2]),
    "an extension": (["%load_ext sql", "a = 1", "%%sql\nselect 1"], [1]),
    "%%time": (["a = 1", "%%time\nb = a", "b"], [1, 2]),
    "%time": (["a = 1", "%time b = a", "b"], [1, 2]),
    "%timeit leaves nothing": (["a = 1", "%%timeit\na = 2", "a"], [1]),
    "%timeit of a name of its own": (["import numpy as np", "%%timeit\nb = 2\nr = np.random.default_rng()", "b"], []),
    "%timeit deletes nothing": (["a = 1", "%%timeit\na = 2\ndel a", "a"], [1]),
    "a result by what is no number": (["1", "Out['²']"], [1]),
    "a shell command with a name in it": (["name = 'x'", "other = 1", "!echo {name}"], [1]),
    "a shell command with a dollar": (["name = 'x'", "other = 1", "!echo $name"], [1]),
    "%%bash defines nothing": (["a = 1", "%%bash\na=2", "a"], [1]),
    "what a text names": (["limit = 3", "df = make()", "df.query('x > @limit')"], [1, 2]),
    "exec": (["exec('a = 1')", "b = 2", "a"], [1]),
    "globals()": (["globals()['a'] = 1", "b = 2", "a"], [1]),
    "deleted": (["a = 1", "del a", "a = 2", "a"], [3]),
    "a shadow is taken away": (["len = 3", "del len", "len([])"], [1, 2]),
    "a branch": (["a = 1", "c = 0", "if c:\n    a = 2", "a"], [1, 2, 3]),
    "the loop's name is its own": (["i = 5", "for i in range(3):\n    pass", "i"], [2]),
    "the last result": (["1 + 1", "2 + 2", "a = 1", "_"], [2]),
    "a result by its number": (["a = 1", "2 + 2", "3 + 3", "Out[2]"], [1, 2]),
    "an installation": (["%pip install x", "import x", "x.y"], [2]),
    "comprehensions have names of their own": (["x = 1", "y = [x for x in (1, 2)]", "y"], [2]),
    "a chain of two names": (["a = b = []", "a.append(1)", "b"], [1, 2]),
    "two names change places": (["a = [1]", "b = [2]", "a, b = b, a", "b.append(3)", "b"], [1, 2, 3, 4]),
    "a generator": (["g = iter([1, 2])", "next(g)", "g"], [1, 2]),
    "an f-string": (["a = 1", "b = 2", "f'{a}'"], [1]),
    "a decorator": (["def d(f):\n    return f", "k = 1", "@d\ndef g():\n    return k", "g()"], [1, 2, 3]),
    "with": (["p = 'a'", "with open(p) as f:\n    t = f.read()", "t"], [1, 2]),
    "a walrus": (["(a := 5)", "b = 1", "a"], [1]),
    "no Python at all": (["a = 1", "%%R\nb <- 2", "b"], [2]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_likely_to_be_needed(case: str) -> None:
    sources, expected = CASES[case]
    assert kept(session(*sources)) == expected


def test_a_file_is_needed_of_the_cell_that_wrote_it() -> None:
    cells = session("write()", "other()", "read()")
    use = FileUse(path="out/a.csv", access="write", digest=DIGEST)
    cells[0] = Cell(seq=1, source="write()", status="done", writes=(use,))
    cells[2] = Cell(seq=3, source="read()", status="done", reads=(FileUse(path="out/a.csv", access="read", own=True),))
    assert kept(cells) == [1]


def test_a_file_that_is_written_anew_does_not_need_the_one_before() -> None:
    written = FileUse(path="a.csv", access="write", digest=DIGEST)
    read = FileUse(path="a.csv", access="read", own=True)
    first = Cell(seq=1, source="one()", status="done", writes=(written,))
    anew = Cell(seq=2, source="two()", status="done", writes=(written,))
    more = Cell(seq=2, source="two()", status="done", reads=(read,), writes=(written,))
    last = Cell(seq=3, source="three()", status="done", reads=(read,))
    assert kept([first, anew, last]) == [2]
    assert kept([first, anew, last], Level.POSSIBLE) == [1, 2]
    assert kept([first, more, last]) == [1, 2]


def drew(seq: int, source: str, **draws: int) -> Cell:
    return Cell(seq=seq, source=source, status="done", random=(RandomState(at="end", draws=draws),))


def test_after_a_seed_every_draw_before_is_needed() -> None:
    cells = [
        drew(1, "f()", random=2),
        drew(2, "seed(1)", random=-1),
        drew(3, "g()", random=2),
        drew(4, "h()", random=2),
    ]
    assert kept(cells) == [2, 3]
    assert all(need.level == Level.HARD for need in needs_of(cells).of[4])


def test_without_a_seed_draws_are_not_needed_but_told() -> None:
    cells = [drew(1, "f()", random=2), drew(2, "g()", random=2)]
    assert kept(cells) == []
    assert needs_of(cells).unseeded == {1: ("random",), 2: ("random",)}


def test_a_generator_of_ones_own() -> None:
    for made, needed in (("rng = default_rng(3)", [1, 2]), ("rng = default_rng()", [1])):
        cells = [
            Cell(seq=1, source=made, status="done"),
            Cell(seq=2, source="a = rng.random()", status="done", random=(_own_draw(),)),
            Cell(seq=3, source="rng.random()", status="done", random=(_own_draw(),)),
        ]
        assert kept(cells) == needed


def _own_draw() -> RandomState:
    return RandomState(at="end", draws={"variable rng": 1})


def test_a_cell_that_raised_may_have_done_what_it_says() -> None:
    cells = session("a = 1", "a = 2\n1 / 0", "a")
    cells[1] = Cell(seq=2, source=cells[1].source, status="failed", error="ZeroDivisionError: division by zero")
    assert kept(cells) == [1, 2]


def test_reasons_are_told_as_a_chain() -> None:
    cells = session("import json", "a = [1]", "b = 3", "a.append(2)", "json.dumps(a)")
    needs = needs_of(cells)
    told = reasons(needs, chosen(needs, [5], level=Level.LIKELY))
    assert {seq: [(need.what, need.cell) for need in found] for seq, found in told.items()} == {
        1: [("imports `json`", 5)],
        2: [("defines `a`", 4)],
        4: [("changes `a`", 5)],
        5: [],
    }


# -- searching -----------------------------------------------------------------------------------


class Judge:
    """Says that the result is the same when some cells are there, and remembers what it was asked."""

    def __init__(self, *enough: Collection[int], plainly: bool = True, most: int = 1000) -> None:
        self.enough, self.plainly, self.most = enough, plainly, most
        self.asked: list[tuple[tuple[int, ...], bool]] = []

    def __call__(self, cells: tuple[int, ...], plain: bool) -> Attempt:
        if len(self.asked) == self.most:
            raise NoTime
        self.asked.append((cells, plain))
        same = any(set(some) <= set(cells) for some in self.enough) and (self.plainly or not plain)
        return Attempt(cells=cells, plain=plain, outcome="same" if same else "different")


SETTINGS = ["import os", *(f"os.environ['A{n}'] = '1'" for n in range(6)), "a = 1", "print(a)"]


def needs() -> Needs:
    return needs_of(session(*SETTINGS))


def test_what_does_not_matter_is_left_out_at_once() -> None:
    judge = Judge({8, 9})
    found = search(needs(), [9], judge)
    assert (found.cells, found.same, found.plain, found.minimal) == ((8, 9), True, True, True)
    assert judge.asked == [(tuple(range(1, 10)), True), ((8, 9), True)]


@pytest.mark.parametrize("needed", range(2, 8))
def test_the_one_setting_that_matters_is_found_by_halves(needed: int) -> None:
    judge = Judge({1, needed, 8, 9})
    found = search(needs(), [9], judge)
    assert (found.cells, found.minimal) == ((1, needed, 8, 9), True)
    assert len(judge.asked) < 12
    assert len(set(judge.asked)) == len(judge.asked)


def test_cells_that_reading_did_not_find_are_added() -> None:
    cells = needs_of(session("secret()", "b = thing.frob(1)", "a = 1", "print(a)"))
    judge = Judge({1, 3, 4})
    found = search(cells, [4], judge)
    assert (found.cells, found.same, found.minimal) == ((1, 3, 4), True, True)
    assert judge.asked[0] == ((3, 4), True)


def test_states_are_put_back_where_nothing_was_seeded() -> None:
    judge = Judge({8, 9}, plainly=False)
    found = search(needs(), [9], judge, plain_first=False)
    assert (found.cells, found.plain) == ((8, 9), False)
    assert [plain for _, plain in judge.asked] == [False, False, True]


def test_nothing_is_the_same() -> None:
    found = search(needs(), [9], Judge())
    assert (found.same, found.complete) == (False, True)
    assert {attempt.outcome for attempt in found.attempts} == {"different"}


@pytest.mark.parametrize("most", range(1, 5))
def test_what_was_certified_stays_when_the_time_is_over(most: int) -> None:
    found = search(needs(), [9], Judge({1, 4, 8, 9}, most=most))
    assert found.same
    assert not found.complete
    assert not found.minimal
    assert {1, 4, 8, 9} <= set(found.cells)


# -- what is asked for ---------------------------------------------------------------------------


def run() -> Run:
    written = FileUse(path="work/out/model.pkl", access="write", digest=DIGEST)
    lost = FileUse(path="work/lost.csv", access="write", state="missing")
    cells = (
        Cell(seq=1, source="a = 1", status="done"),
        Cell(seq=2, source="# the model\nimport x\ndump(a)", status="done", writes=(written, lost)),
        Cell(seq=3, source="plot(a)", status="done", outputs=DIGEST),
        Cell(seq=4, source="1 / 0", status="failed", error="ZeroDivisionError: division by zero", outputs=DIGEST),
        Cell(seq=5, source="wait()", status="interrupted", outputs=DIGEST),
        Cell(seq=6, source="metric()", status="done"),
    )
    metrics = (Metric(key="accuracy", value=0.5, cell=3), Metric(key="accuracy", value=0.9, cell=6))
    return Run(id="20260503-140211-abcd2345", root="/p", cwd="/p/work", status="done", cells=cells, metrics=metrics)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("work/out/model.pkl", Goal("file", "work/out/model.pkl", 2)),
        ("out/model.pkl", Goal("file", "work/out/model.pkl", 2)),
        ("model.pkl", Goal("file", "work/out/model.pkl", 2)),
        ("/p/work/out/model.pkl", Goal("file", "work/out/model.pkl", 2)),
        ("./out/model.pkl", Goal("file", "work/out/model.pkl", 2)),
        ("accuracy", Goal("metric", "accuracy", 6)),
        ("cell 3", Goal("cell", "", 3)),
        ("cell:3", Goal("cell", "", 3)),
        ("3", Goal("cell", "", 3)),
    ],
)
def test_a_result_is_found_by_any_name_that_people_use(asked: str, expected: Goal) -> None:
    assert find(run(), asked, Path("/p")) == expected


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("models.pkl", "it wrote work/out/model.pkl"),
        ("models.pkl", "its metrics are accuracy"),
        (".model.pkl", "it wrote work/out/model.pkl"),
        ("../../model.pkl", "it wrote work/out/model.pkl"),
        ("cell 9", "1 to 6"),
        ("cell 1", "shows nothing"),
        ("cell 2", "work/out/model.pkl"),
        ("cell 4", "ZeroDivisionError"),
        ("cell 5", "interrupted"),
        ("lost.csv", "missing"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_can(asked: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        find(run(), asked, Path("/p"))
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replay_of": "20260503-140211-aaaaaaaa"}, "is a replay"),
        ({"front": "script"}, "of a script"),
        ({"status": "running"}, "still open"),
        ({"cells": ()}, "no cell that ran to its end"),
    ],
)
def test_runs_without_cells_to_choose_from_are_refused(change: dict[str, object], words: str) -> None:
    other = Run.from_dict({**run().to_dict(), **change})
    with pytest.raises(UsageError, match=words):
        Request(other, ["accuracy"], Path("/p"))


def test_only_the_result_is_compared() -> None:
    bare = only(run(), [Goal("file", "work/out/model.pkl", 2), Goal("metric", "accuracy", 6)])
    assert [cell.seq for cell in bare.cells] == [2, 6]
    assert [use.path for use in bare.cells[0].writes] == ["work/out/model.pkl"]
    assert [(metric.value, metric.cell) for metric in bare.metrics] == [(0.9, 6)]


def test_edits_before_a_cell_that_is_left_out_are_there_for_the_next() -> None:
    edit = FileUse(path="helpers.py", access="read", digest=DIGEST)
    cells = (
        Cell(seq=1, source="a", status="done"),
        Cell(seq=2, source="b", status="done", edits=(edit,), head=("abc", "main")),
        Cell(seq=3, source="c", status="done"),
    )
    left = part(Run(id="20260503-140211-abcd2345", cells=cells), [1, 3])
    assert [cell.edits for cell in left.cells] == [(), (edit,)]
    assert left.cells[1].head == ("abc", "main")


# -- told ----------------------------------------------------------------------------------------


def test_a_plan_tells_each_cell_and_why() -> None:
    told = planned(Request(run(), ["model.pkl"], Path("/p")))
    assert [cell.cell for cell in told.cells] == [1, 2]
    text = extraction_text(told)
    assert "work/out/model.pkl: 2 of 6 cells would be run" in text
    assert "defines `a`, used by cell 2" in text
    assert told.validate() == told


def test_the_heading_says_nothing_of_the_machine() -> None:
    extraction = Extraction(
        run="20260503-140211-abcd2345", wanted=("work/out/model.pkl",), verdict="certified", total=6, plain=True
    )
    text = heading(extraction, run())
    assert "`work/out/model.pkl`" in text
    assert "folder `work`" in text
    assert "/p" not in text.replace("/project", "").replace("work/", "").replace("a plain", "")


@pytest.mark.parametrize("verdict", ["certified", "different"])
def test_the_notebook_says_what_it_is(tmp_path: Path, verdict: str) -> None:
    request = Request(run(), ["model.pkl"], Path("/p"))
    found = replace(planned(request), verdict=verdict)
    write(found, request.run, {2: ("injected-parameters",)}, tmp_path / "clean.ipynb")
    content = json.loads((tmp_path / "clean.ipynb").read_text())
    about, *cells = content["cells"]
    assert ("Not certified" in "".join(about["source"])) == (verdict == "different")
    assert ["".join(cell["source"]) for cell in cells] == [cell.source for cell in request.run.cells[:2]]
    assert [cell["metadata"].get("tags") for cell in cells] == [None, ["parameters"]]
    assert content["metadata"]["reprokit"] | {"replay": None} == {
        "run": request.run.id, "for": ["work/out/model.pkl"], "verdict": verdict, "cells": [1, 2], "replay": None,
    }  # fmt: skip


def test_a_cell_that_raised_is_tagged_and_told(tmp_path: Path) -> None:
    cells = (Cell(seq=1, source="a = 1\n1 / 0", status="failed", error="ZeroDivisionError: x"),)
    record = replace(run(), cells=(*cells, Cell(seq=2, source="a", status="done", outputs=DIGEST)))
    request = Request(record, ["cell 2"], Path("/p"))
    write(planned(request), record, {}, tmp_path / "clean.ipynb")
    about, first, _ = json.loads((tmp_path / "clean.ipynb").read_text())["cells"]
    assert first["metadata"]["tags"] == ["raises-exception"]
    assert "Cell 1 raises an error" in "".join(about["source"])


def test_parameters_are_known_from_the_notebook(tmp_path: Path) -> None:
    tagged = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["lr = 0.1"]}
    (tmp_path / "work.ipynb").write_text(json.dumps({"cells": [tagged]}))
    cells = tuple(session("lr = 0.1", "# Parameters\nlr = 0.5\n", "lr"))
    given = Run(
        id="20260503-140211-abcd2345", root=str(tmp_path), notebook="work.ipynb", cells=cells, params={"lr": 0.5}
    )
    assert tags_of(given) == {1: ("parameters",), 2: ("injected-parameters",)}
    assert tags_of(Run(id="20260503-140211-abcd2345", cells=cells)) == {}

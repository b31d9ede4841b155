"""A step whose parts are unchanged is taken over; whatever changed is told by name. Few runs, many looks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from steps import Workshop

from reprokit.pipeline import reuse
from reprokit.pipeline.spec import Spec
from reprokit.pipeline.step import look, perform
from reprokit.records import Run

PARAMETERS = "#: parameters\nn: int = 2\nday = '2024-01-01'"
READ = """\
import os, glob
from helper import double
rows = open('data/rows.txt').read().split()
print(double(n), len(rows), sorted(glob.glob('data/*.txt')), os.environ.get('LANG'))"""
WRITE = """\
import reprokit
open('out/result.txt', 'w').write(' '.join(rows * n))
reprokit.current_run().metric(score=n / 4)
n"""


@pytest.fixture(scope="module")
def train(workshop: Workshop) -> Spec:
    workshop.write("helper.py", "def double(x):\n    return 2 * x\n")
    workshop.write("other.py", "")
    workshop.write("data/rows.txt", "1 2 3")
    workshop.write("data/config.json", "{}")
    name = workshop.notebook("train.ipynb", PARAMETERS, READ, WRITE)
    return workshop.spec(notebook=name, params={"n": 3}, inputs=["data/config.json"], outputs=["out/result.txt"])


@pytest.fixture(scope="module")
def first(workshop: Workshop, train: Spec) -> Run:
    """The run that all others are compared with."""
    result = perform(train, store=workshop.store)
    assert result.exit_code == 0, result
    assert [made.path for made in result.outputs] == ["out/result.txt"]
    return workshop.store.load(str(result.run))


@pytest.fixture(autouse=True)
def kept(workshop: Workshop, first: Run) -> Iterator[None]:
    """Put every file back, as it was and not newer than it was seen."""
    files = [path for path in workshop.root.rglob("*") if path.is_file() and ".reprokit" not in path.parts]
    before = {path: path.read_bytes() for path in files if ".git" not in path.parts}
    yield
    for path in workshop.root.rglob("*"):
        if path.is_file() and not {".reprokit", ".git"} & set(path.parts) and path not in before:
            path.unlink()
    for path, content in before.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)


def reasons(workshop: Workshop, spec: Spec, **options: Any) -> list[str]:
    return reuse.lines(look(spec, store=workshop.store, **options))


def test_an_unchanged_step_is_taken_over(workshop: Workshop, train: Spec, first: Run) -> None:
    """Its results come back where they were, its executed notebook as well, and the new run says so."""
    result_file = workshop.root / "out" / "result.txt"
    content = result_file.read_bytes()
    result_file.unlink()
    told: list[str] = []
    asked = replace(train, reuse=True, output_notebook="out/train.ipynb", name="again")
    result = perform(asked, store=workshop.store, told=told.append)
    assert (result.exit_code, result.status, result.reused) == (0, "done", first.id)
    assert told == [f"reuse: yes: nothing changed since run {first.id}"]
    assert result_file.read_bytes() == content == b"1 2 3 1 2 3 1 2 3"
    assert [made.path for made in result.outputs] == ["out/result.txt"]
    assert result.metrics == {"score": 0.75}
    run = workshop.store.load(str(result.run))
    assert (run.reuse_of, run.status, run.cells, run.params) == (first.id, "done", (), {"n": 3})
    (entry,) = workshop.store.runs(query="name=again")
    assert (entry.reuse_of, entry.metrics) == (first.id, {"score": 0.75})


def test_the_executed_notebook_is_put_together_from_the_record(workshop: Workshop, train: Spec, first: Run) -> None:
    perform(replace(train, reuse=True, output_notebook="out/train.ipynb"), store=workshop.store)
    book = nbformat.read(workshop.root / "out" / "train.ipynb", as_version=4)
    kinds = [(cell.cell_type, cell.metadata.get("tags", [])) for cell in book.cells]
    assert kinds[:3] == [("markdown", []), ("code", ["parameters"]), ("code", ["injected-parameters"])]
    assert [cell.source for cell in book.cells[2:]] == [cell.source for cell in first.cells[1:]]
    assert book.cells[3].outputs[0].text.startswith("6 3 ['data/rows.txt']")
    assert book.cells[4].outputs[0].data["text/plain"] == "3"


def test_what_is_not_in_the_key_changes_nothing(workshop: Workshop, train: Spec, first: Run) -> None:
    """Outputs, markdown, cell ids and other files; a name, a tag, where the result goes; other modules; a commit."""
    path = workshop.root / "train.ipynb"
    book = nbformat.read(path, as_version=4)
    book.cells[0].source = "# Another title"
    for number, cell in enumerate(book.cells):
        cell.id = f"other-{number}"
    book.cells[2].outputs = [nbformat.v4.new_output("stream", text="old")]
    book.cells.append(nbformat.v4.new_code_cell(""))
    nbformat.write(book, path)
    workshop.write("other.py", "changed = 1")
    workshop.write("data/unread.bin", "a file that the pattern does not match, but the folder is listed")
    (workshop.root / "data/unread.bin").unlink()
    assert look(replace(train, name="x", tags={"a": "b"}, result="r.json"), store=workshop.store).run == first


def change_code(workshop: Workshop, spec: Spec) -> Spec:
    workshop.notebook("train.ipynb", PARAMETERS, READ, WRITE + " ")
    workshop.notebook("train.ipynb", PARAMETERS, READ + "\nprint(1)", WRITE)
    return spec


def add_cell(workshop: Workshop, spec: Spec) -> Spec:
    workshop.notebook("train.ipynb", PARAMETERS, READ, WRITE, "1 + 1")
    return spec


def change_read(workshop: Workshop, spec: Spec) -> Spec:
    workshop.write("data/rows.txt", "1 2 4")
    return spec


def remove_read(workshop: Workshop, spec: Spec) -> Spec:
    (workshop.root / "data/rows.txt").unlink()
    return spec


def change_declared(workshop: Workshop, spec: Spec) -> Spec:
    workshop.write("data/config.json", "{ }")
    return spec


def change_module(workshop: Workshop, spec: Spec) -> Spec:
    workshop.write("helper.py", "def double(x):\n    return x + x\n")
    return spec


def add_file(workshop: Workshop, spec: Spec) -> Spec:
    workshop.write("data/more.txt", "1")
    return spec


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (change_code, "code cell 2 changed since run {id}"),
        (add_cell, "the notebook has 4 code cells, then 3 in run {id}"),
        (change_read, "data/rows.txt changed since run {id}"),
        (remove_read, "data/rows.txt is gone since run {id}"),
        (change_declared, "data/config.json changed since run {id}"),
        (change_module, "helper.py changed since run {id}"),
        (add_file, "data/more.txt is new since run {id}"),
        (lambda _, spec: replace(spec, params={"n": 4}), "n 3 → 4 since run {id}"),
        (lambda _, spec: replace(spec, params={}), "n 3 → not given since run {id}"),
        (lambda _, spec: replace(spec, seed=1), "seed null → 1 since run {id}"),
        (lambda _, spec: replace(spec, inputs=()), "data/config.json was an input then in run {id}"),
        (lambda _, spec: replace(spec, outputs=("out/other.txt",)), "it did not make out/other.txt in run {id}"),
        (lambda _, spec: replace(spec, variables={"LANG": "de_DE"}), "variable LANG"),
        (lambda _, spec: replace(spec, variables={"OMP_NUM_THREADS": "1"}), "OMP_NUM_THREADS not set → 1 since run"),
        (lambda _, spec: replace(spec, notebook="helper.ipynb"), "there is no finished run of it"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_changed_is_told_by_name(workshop: Workshop, train: Spec, first: Run, change: Any, expected: str) -> None:
    workshop.notebook("helper.ipynb", PARAMETERS)
    told = reasons(workshop, change(workshop, train))
    assert len(told) == 1, told
    assert expected.format(id=first.id) in told[0]


def test_a_parameter_is_compared_by_value_and_type(workshop: Workshop, train: Spec, first: Run) -> None:
    same = replace(train, params={"n": 3, "day": "2024-01-01"})
    assert reasons(workshop, same) == [f"day not given → 2024-01-01 since run {first.id}"]


def test_lost_or_damaged_results_are_not_taken_over(workshop: Workshop, train: Spec, first: Run) -> None:
    """A damaged object is found out when it is put back: then the step runs."""
    (use,) = reuse.made(first).values()
    name = str(use.digest).removeprefix("sha256:")
    stored = workshop.store.layout.objects / name[:2] / name[2:]
    content = stored.read_bytes()
    (workshop.root / "out/result.txt").unlink()
    stored.rename(stored.with_suffix(".away"))
    assert reasons(workshop, train) == [f"the bytes of its result out/result.txt were not kept in run {first.id}"]
    stored.write_bytes(b"x" * len(content))
    told: list[str] = []
    result = perform(replace(train, reuse=True, tags={"damaged": "yes"}), store=workshop.store, told=told.append)
    assert result.reused is None
    assert "is damaged" in told[0]
    assert (workshop.root / "out/result.txt").read_bytes() == content
    os.replace(stored.with_suffix(".away"), stored)


UNSURE = "import os, random\nopen('out/key.txt', 'w').write(str(random.random()))\nos.urandom(4)"


def test_what_could_come_out_otherwise_is_taken_over_only_when_told(workshop: Workshop) -> None:
    workshop.notebook("unsure.ipynb", UNSURE)
    spec = workshop.spec(notebook="unsure.ipynb")
    run = workshop.store.load(str(perform(spec, store=workshop.store).run))
    (told,) = reasons(workshop, spec)
    assert "os.urandom" in told
    assert "(cell 1)" in told
    assert look(replace(spec, reuse="anyway"), store=workshop.store).run == run


def test_a_failed_run_is_never_taken_over(workshop: Workshop) -> None:
    workshop.notebook("failing.ipynb", "raise ValueError('on purpose')")
    spec = workshop.spec(notebook="failing.ipynb", reuse=True)
    result = perform(spec, store=workshop.store)
    assert (result.exit_code, result.status, result.reason) == (1, "failed", "ValueError: on purpose")
    assert reasons(workshop, spec) == ["there is no finished run of it"]


def test_results_behind_a_link_are_never_written(workshop: Workshop, tmp_path: Path) -> None:
    (workshop.root / "link").symlink_to(tmp_path)
    workshop.notebook("outside.ipynb", "open('link/a.txt', 'w').write('a')")
    spec = workshop.spec(notebook="outside.ipynb")
    first = perform(spec, store=workshop.store)
    assert look(spec, store=workshop.store).run is not None
    (tmp_path / "a.txt").write_text("mine")
    told = reasons(workshop, spec)
    assert told == [f"its result link/a.txt lies behind a link that leads out of the project in run {first.run}"]
    (workshop.root / "link").unlink()

"""What notebooks declare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from books import BOOK, notebook

from reprokit.errors import UsageError
from reprokit.notebook.parameters import declared, read_notebook


@pytest.mark.parametrize(
    ("name", "default", "annotation", "line"),
    [
        ("url", "http://h/?a=b", None, 4),
        ("lr", 1e-3, "float", 5),
        ("epochs", 10, None, 6),
        ("mode", "train", "Literal['train', 'test']", 8),
        ("layers", [64, 32], None, 9),
        ("options", {"depth": 3, "name": "a"}, None, 13),
        ("limit", None, "int | None", 14),
        ("width", 640, None, 15),
        ("height", 480, None, 15),
        ("first", None, None, 16),
        ("rest", None, None, 16),
        ("started", None, None, 21),
        ("required", None, "int", 22),
    ],
)
def test_declared(name: str, default: Any, annotation: str | None, line: int) -> None:
    found = declared(BOOK)[name]
    assert (found.default, found.annotation, found.line) == (default, annotation, line)


def test_declared_leaves_out_what_is_nested_or_imported_or_elsewhere() -> None:
    assert not declared(BOOK).keys() & {"hidden", "later", "Literal", "dt"}


def test_declared_of_a_notebook_without_the_cell_is_empty() -> None:
    assert declared(notebook(None)) == {}
    assert declared(notebook("a = 1", tag="other")) == {}


def test_declared_reads_past_magics_but_not_past_an_operator_at_the_start_of_a_line() -> None:
    magic = notebook("%matplotlib inline\n!ls\na = 1\nif a:\n    %time b = 2")
    assert {name: p.line for name, p in declared(magic).items()} == {"a": 3}
    assert declared(notebook("a = (7\n% 4)\nb = 2")).keys() == {"a", "b"}


def test_declared_says_which_line_is_not_python() -> None:
    with pytest.raises(UsageError, match=r"not valid Python \(line 2\)"):
        declared(notebook("a = 1\nb = = 2"))


@pytest.mark.parametrize(
    ("source", "comment"),
    [
        ("a = 1  # behind", "behind"),
        ("# above\n# it\na = 1", "above it"),
        ("# far\n\na = 1", ""),
        ("a = [\n  1,  # one\n]  # last", "last"),
        ("a = '# no comment'", ""),
        ("b = 1  # of b\na = 1", ""),
    ],
)
def test_comments_belong_to_their_parameter(source: str, comment: str) -> None:
    assert declared(notebook(source))["a"].comment == comment


def test_read_notebook(tmp_path: Path) -> None:
    nbformat.write(BOOK, tmp_path / "a.ipynb")
    assert declared(read_notebook(tmp_path / "a.ipynb")) == declared(BOOK)


def test_read_notebook_of_version_3(tmp_path: Path) -> None:
    cell = {"cell_type": "code", "input": "a = 1", "metadata": {"tags": ["parameters"]}, "outputs": []}
    sheet = {"cells": [cell | {"language": "python", "collapsed": False, "prompt_number": 1}], "metadata": {}}
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [sheet]}
    (tmp_path / "old.ipynb").write_text(json.dumps(old))
    assert declared(read_notebook(tmp_path / "old.ipynb"))["a"].default == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print(1)", "not JSON"),
        ("[]", "no nbformat"),
        ("{}", "no nbformat"),
        ('{"nbformat": 4, "nbformat_minor": 5}', "not a valid notebook"),
        ('{"nbformat": 99, "cells": []}', "not a valid notebook"),
        ('{"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": [1]}', "not a valid notebook"),
    ],
)
def test_read_notebook_refuses_what_is_not_one(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_notebook(tmp_path / "a.ipynb")


@pytest.mark.parametrize("wrong", ["trian.ipynb", "train"])
def test_read_notebook_names_the_close_one(tmp_path: Path, wrong: str) -> None:
    nbformat.write(BOOK, tmp_path / "train.ipynb")
    with pytest.raises(UsageError, match=r"there is no notebook .*did you mean .*train\.ipynb"):
        read_notebook(tmp_path / wrong)

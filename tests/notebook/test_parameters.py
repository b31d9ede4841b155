"""What notebooks declare, what users give, and whether the two agree."""

from __future__ import annotations

import ast
import datetime
import decimal
import enum
import json
from pathlib import Path
from typing import Any

import nbformat
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprokit.errors import UsageError
from reprokit.notebook.parameters import check, declared, parse_assignments, read_file, read_notebook

SOURCE = """\
import datetime as dt
from typing import Literal

url = "http://h/?a=b"
lr: float = 1e-3  # learning rate
epochs = 10
fast = False
mode: Literal["train", "test"] = "train"
layers = [
    64,
    32,
]
options = dict(depth=3, name="a")
limit: int | None = None
width, height = 640, 480
first, *rest = [1, 2, 3]
ratio: "Optional[float]" = None
sizes: list[int] = [1]
named: dict[str, float] = {}
pair: tuple[int, str] = (1, "a")
started = dt.date(2024, 1, 1)
required: int
if fast:
    hidden = 1
layers += [16]
"""


def notebook(source: str | None, *, tag: str = "parameters") -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_markdown_cell("# title", metadata={"tags": ["parameters"]})]
    if source is not None:
        cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": [tag]}))
    cells.append(nbformat.v4.new_code_cell("later = 1"))
    return nbformat.v4.new_notebook(cells=cells)


BOOK = notebook(SOURCE)


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
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("3", 3),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("0", 0),
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("null", None),
        ("~", None),
        ("[1, a, 1e3, no, 2024-01-01]", [1, "a", 1000.0, "no", "2024-01-01"]),
        ("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
        ('"7"', "7"),
        ("'it''s'", "it's"),
        # strings, though YAML 1.1 or papermill would make something else of them
        ("007", "007"),
        ("007.5", "007.5"),
        ("1_000", "1_000"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("None", "None"),
        ("", ""),
        ("-", "-"),
        ("---", "---"),
        ("...", "..."),
        ("a: b", "a: b"),
        ("# not a comment", "# not a comment"),
        ("a #b", "a #b"),
        ("*star", "*star"),
        ("http://h/?a=b&c", "http://h/?a=b&c"),
        ("two words", "two words"),
        ("line\nbreak", "line\nbreak"),
        ("'", "'"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_parse_assignments_types_values_as_yaml_1_2(text: str, value: Any) -> None:
    parsed = parse_assignments([("k", text)])["k"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_parse_assignments_keeps_text_for_a_parameter_that_takes_only_strings() -> None:
    known = declared(notebook('version = "1.0"\npattern: str = ""\nn = 1\nfree: "int | str" = 1'))
    given = [("version", "2.10"), ("pattern", "[a-z]*.csv"), ("n", "3"), ("free", "4")]
    assert parse_assignments(given, known) == {"version": "2.10", "pattern": "[a-z]*.csv", "n": 3, "free": 4}


def test_parse_assignments_refuses_an_open_list() -> None:
    with pytest.raises(UsageError, match=r"'k'.*not a YAML list"):
        parse_assignments([("k", "[1, 2")])


@pytest.mark.parametrize(("name", "remedy"), [("lr=0.1", "-p lr 0.1"), ("my-lr", "NAME VALUE"), ("class", "NAME")])
def test_parse_assignments_refuses_what_is_not_a_name(name: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_assignments([(name, "1")])
    assert remedy in caught.value.remedy


@given(st.text())
def test_parse_assignments_gives_a_value_or_a_usage_error_for_any_text(text: str) -> None:
    try:
        parse_assignments([("k", text)])
    except UsageError:
        assert text.strip()[:1] in ("[", "{", "'", '"')


def test_read_file(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("lr: 1e-3\non: yes\nid: 007\nwhen: 2024-01-01\nlayers:\n- 1\n- 2\n")
    assert read_file(tmp_path / "p.yaml") == {
        "lr": 0.001,
        "on": "yes",
        "id": "007",
        "when": "2024-01-01",
        "layers": [1, 2],
    }
    (tmp_path / "p.json").write_text('{"lr": 1E-3,\n\t"x": null}')
    assert read_file(tmp_path / "p.json") == {"lr": 0.001, "x": None}
    (tmp_path / "empty.yml").write_text("# nothing\n")
    assert read_file(tmp_path / "empty.yml") == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.yaml", "a: 1\nb: [", "line 2|line 3"),
        ("p.yaml", "- a\n", "does not map names"),
        ("p.yaml", "1: a\n", "does not map names"),
        ("p.yaml", "a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("p.yaml", "a: \x00", "not valid YAML"),
        ("p.json", "{", "not valid JSON"),
    ],
)
def test_read_file_says_in_one_line_what_is_wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_file(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_read_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_file(tmp_path / "p.yaml")


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


@pytest.mark.parametrize(
    ("name", "given_value", "plain"),
    [
        ("lr", 1, 1),
        ("lr", numpy.float64(0.5), 0.5),
        ("lr", numpy.float32(0.5), 0.5),
        ("epochs", numpy.int64(3), 3),
        ("epochs", numpy.array(3), 3),
        ("fast", numpy.bool_(True), True),
        ("url", numpy.str_("x"), "x"),
        ("url", Path("a/b"), "a/b"),
        ("url", datetime.date(2024, 1, 2), "2024-01-02"),
        ("url", datetime.datetime(2024, 1, 2, 3, 4), "2024-01-02T03:04:00"),
        ("url", numpy.datetime64("2024-01-02"), "2024-01-02"),
        ("epochs", enum.IntEnum("Size", {"BIG": 7}).BIG, 7),  # type: ignore[attr-defined]
        ("layers", (1, numpy.int8(2)), [1, 2]),
        ("options", {"a": (1, {"b": Path("c")})}, {"a": [1, {"b": "c"}]}),
        ("limit", None, None),
        ("limit", 5, 5),
        ("ratio", None, None),
        ("ratio", 1, 1),
        ("sizes", [1, 2], [1, 2]),
        ("named", {"a": 1}, {"a": 1}),
        ("pair", (1, "b"), [1, "b"]),
        ("mode", "test", "test"),
        ("started", "2024-01-01", "2024-01-01"),
        ("required", 1, 1),
    ],
)
def test_check_gives_plain_values(name: str, given_value: Any, plain: Any) -> None:
    checked = check(BOOK, {name: given_value})
    assert checked == {name: plain}
    assert type(checked[name]) is type(plain)
    assert ast.literal_eval(repr(checked)) == checked == json.loads(json.dumps(checked))
    assert check(BOOK, checked) == checked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", True),
        ("epochs", 0.5),
        ("epochs", "3"),
        ("epochs", None),
        ("fast", 1),
        ("lr", "fast"),
        ("lr", False),
        ("url", 3),
        ("layers", "64"),
        ("options", [1]),
        ("mode", "tset"),
        ("limit", "none"),
        ("limit", 1.5),
        ("ratio", "x"),
        ("sizes", ["a"]),
        ("sizes", [True]),
        ("named", {"a": "b"}),
        ("pair", (1, 2)),
        ("pair", (1, "a", 2)),
        ("required", "x"),
    ],
)
def test_check_refuses_another_type(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"parameter '{name}' is .*but the notebook wants"):
        check(BOOK, {name: value})


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        {1: "a"},
        {1, 2},
        b"bytes",
        decimal.Decimal("1.5"),
        1j,
        object(),
        numpy.array([1, 2]),
        numpy.longdouble("1.5"),
        [1, [object()]],
    ],
)
def test_check_refuses_what_a_notebook_cannot_be_given(value: Any) -> None:
    with pytest.raises(UsageError, match="which a notebook cannot be given"):
        check(BOOK, {"started": value})


def test_check_names_the_close_parameter() -> None:
    with pytest.raises(UsageError, match=r"no parameter 'epoch'.*did you mean epochs\?"):
        check(BOOK, {"epoch": 3})


def test_check_without_a_parameters_cell() -> None:
    assert check(notebook(None), {}) == {}
    with pytest.raises(UsageError, match=r"declares no parameters.*tag the cell"):
        check(notebook(None), {"a": 1})

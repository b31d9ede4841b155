"""What notebooks declare, what users give, and whether the two agree."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprokit.errors import UsageError
from reprokit.notebook import injected, spelled
from reprokit.notebook.fitting import check
from reprokit.notebook.given import parse_assignments, read_file
from reprokit.notebook.parameters import declared, read_notebook
from reprokit.notebook.schema import json_schema

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


def checked_value(name: str, value: Any) -> Any:
    return check(BOOK, {"required": 1, name: value})[name]


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
    checked = checked_value(name, given_value)
    assert checked == plain
    assert type(spelled.plain(checked)) is type(plain)
    assert json.loads(json.dumps(checked)) == checked
    assert spelled.spell(checked_value(name, checked)) == spelled.spell(checked)


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
        {1: {2}},
        b"bytes",
        "\udcff",
        1j,
        object(),
        numpy.array([1, 2]),
        numpy.longdouble("1.5"),
        [1, [object()]],
    ],
)
def test_check_refuses_what_a_notebook_cannot_be_given(value: Any) -> None:
    with pytest.raises(UsageError, match="which a notebook cannot be given"):
        check(BOOK, {"first": value})


SECRETS = notebook('api_token = ""\ndb = {}\naddress = ""\nnum_tokens = 1')


@pytest.mark.parametrize(
    ("name", "value"),
    [("api_token", "abc"), ("db", {"user": "me", "password": "x"}), ("address", "https://me:pw@host/data")],
)
def test_check_refuses_a_secret(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"parameter '{name}' was given a secret") as caught:
        check(SECRETS, {name: value})
    assert "environment variable" in (caught.value.remedy or "")


def test_what_only_sounds_like_a_secret_is_none() -> None:
    given = {"api_token": "", "db": {"password": None}, "address": "https://host/data", "num_tokens": 5}
    assert check(SECRETS, given) == given


def test_check_names_the_close_parameter() -> None:
    with pytest.raises(UsageError, match=r"no parameter 'epoch'.*did you mean epochs\?"):
        check(BOOK, {"epoch": 3})


def test_check_without_a_parameters_cell() -> None:
    assert check(notebook(None), {}) == {}
    with pytest.raises(UsageError, match=r"declares no parameters.*tag the cell"):
        check(notebook(None), {"a": 1})


# --- what a value is when it has come into the kernel

KINDS = """\
import datetime as dt
from decimal import Decimal
from pathlib import Path

folder = Path("data")
table: Path | None = None
day: dt.date = dt.date(2024, 1, 1)
moment: dt.datetime = dt.datetime(2024, 1, 1)
clock: dt.time = dt.time(8)
price: Decimal = Decimal("1.50")
shape = (28, 28)
pair: tuple[int, str] = (1, "a")
columns: set[str] = {"a"}
kept: frozenset[int] = frozenset()
paths: list[Path] = []
by_name: dict[str, dt.date] = {}
either: str | dt.date = ""
anything = None
label = f"{folder}-x"
ints: dict[int, str] = {}
raw: bytes = b""
"""
TYPED = notebook(KINDS)


@pytest.mark.parametrize(
    ("name", "given_value", "shown", "inside"),
    [
        ("folder", "a b/it's.csv", "a b/it's.csv", Path("a b/it's.csv")),
        ("table", "x", "x", Path("x")),
        ("table", None, None, None),
        ("day", "2024-02-29", "2024-02-29", datetime.date(2024, 2, 29)),
        ("day", datetime.date(2024, 2, 29), "2024-02-29", datetime.date(2024, 2, 29)),
        ("day", numpy.datetime64("2024-02-29"), "2024-02-29", datetime.date(2024, 2, 29)),
        ("moment", "2024-02-29T10:00:00+02:00", "2024-02-29T10:00:00+02:00", None),
        ("moment", datetime.datetime(2024, 2, 3), "2024-02-03T00:00:00", datetime.datetime(2024, 2, 3)),
        ("clock", "10:30", "10:30:00", datetime.time(10, 30)),
        ("price", "1.10", "1.10", decimal.Decimal("1.10")),
        ("price", decimal.Decimal("2.50"), "2.50", decimal.Decimal("2.50")),
        ("price", 3, "3", decimal.Decimal(3)),
        ("shape", [1, 2], [1, 2], (1, 2)),
        ("shape", (numpy.int64(7),), [7], (7,)),
        ("pair", [2, "b"], [2, "b"], (2, "b")),
        ("columns", ["b", "c"], ["b", "c"], {"b", "c"}),
        ("columns", [], [], set()),
        ("kept", {1}, [1], frozenset([1])),
        ("paths", ["a", "b"], ["a", "b"], [Path("a"), Path("b")]),
        ("by_name", {"x": "2024-01-02"}, {"x": "2024-01-02"}, {"x": datetime.date(2024, 1, 2)}),
        ("either", "2024-01-02", "2024-01-02", datetime.date(2024, 1, 2)),
        ("either", "words", "words", "words"),
        ("anything", (1, Path("p")), [1, "p"], (1, Path("p"))),
        ("anything", 'say "hi"\\ \n\té\x00🎉', 'say "hi"\\ \n\té\x00🎉', 'say "hi"\\ \n\té\x00🎉'),
        ("label", "plain", "plain", "plain"),
    ],
)
def test_record_and_cell_show_the_same_value(name: str, given_value: Any, shown: Any, inside: Any) -> None:
    """The record holds JSON, the injected cell an expression; both are the one value that was given."""
    checked = check(TYPED, {name: given_value})
    assert json.loads(json.dumps(checked)) == {name: shown}
    cell = injected.codify(checked)
    namespace: dict[str, Any] = {}
    exec(cell, namespace)
    if inside is not None or shown is None:
        assert namespace[name] == inside
        assert type(namespace[name]) is type(inside)
    again = check(TYPED, json.loads(json.dumps(checked)))
    if name != "anything":  # what nothing declares is known from the given object alone
        assert injected.codify(again) == cell


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("folder", 3),
        ("folder", "a\0b"),
        ("day", "yesterday"),
        ("day", "2024-02-30"),
        ("day", 20240229),
        ("clock", "25:00"),
        ("price", "much"),
        ("price", 1.5),
        ("price", "nan"),
        ("shape", 3),
        ("pair", ["a", 2]),
        ("columns", [1]),
        ("paths", [1]),
        ("by_name", {"x": "soon"}),
        ("ints", {"1": "a"}),
        ("raw", "x"),
        ("label", 3),
    ],
)
def test_what_would_be_another_value_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match="but the notebook wants") as caught:
        check(TYPED, {name: value})
    assert caught.value.remedy


def test_a_text_of_the_command_line_keeps_its_digits() -> None:
    known = declared(TYPED)
    texts = [("price", "1.50"), ("folder", "2024"), ("day", "2024-01-02"), ("shape", "[1, 2]"), ("table", "null")]
    given_values = parse_assignments(texts, known)
    assert given_values == {"price": "1.50", "folder": "2024", "day": "2024-01-02", "shape": [1, 2], "table": None}


def test_a_parameter_without_a_default_must_be_given() -> None:
    with pytest.raises(UsageError, match=r"'required' has no default.*-p required VALUE"):
        check(BOOK, {})
    assert check(BOOK, {"required": 2}) == {"required": 2}


def test_a_cell_that_cannot_be_read_stops_nobody_who_gives_no_parameter() -> None:
    odd = notebook("files = !ls\nn = 1")
    assert check(odd, {}) == {}
    with pytest.raises(UsageError, match="not valid Python"):
        check(odd, {"n": 2})


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


# --- schemas


def with_schema(source: str, schema: Any) -> nbformat.NotebookNode:
    book = notebook(source)
    book.metadata["reprokit"] = {"parameters": schema}
    return book


RANGE = {"properties": {"lr": {"minimum": 0, "maximum": 1}, "day": {"format": "date"}}, "required": ["lr"]}


def test_the_notebooks_own_schema_is_held() -> None:
    book = with_schema("lr = 0.1\nday = '2024-01-01'", RANGE)
    assert check(book, {"lr": 0.5}) == {"lr": 0.5}
    with pytest.raises(UsageError, match=r"parameter 'lr': 5 is greater than the maximum of 1"):
        check(book, {"lr": 5})
    with pytest.raises(UsageError, match=r"parameter 'day': 'soon' is not a 'date'"):
        check(book, {"day": "soon"})


def test_defaults_are_held_to_the_schema_too() -> None:
    with pytest.raises(UsageError, match=r"parameter 'lr': 3 is greater"):
        check(with_schema("lr = 3", RANGE), {})
    with pytest.raises(UsageError, match="'lr' is a required property"):
        check(with_schema("day = '2024-01-01'", RANGE), {})


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"properties": {"lr": {"type": "number or so"}}}, "is not valid"),
        (["lr"], "no JSON schema of an object"),
        ({"properties": {"lr": {"$ref": "http://example.org/lr.json"}}}, "refers to 'http://example.org/lr.json'"),
    ],
)
def test_a_schema_that_is_none_or_leads_elsewhere_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(with_schema("lr = 1", schema), {"lr": 1})


def test_the_schema_of_a_notebook_accepts_what_check_accepts() -> None:
    """Everything that is taken validates against the schema that is shown, and a default does as well."""
    shown = json_schema(TYPED, declared(TYPED))
    jsonschema.Draft202012Validator.check_schema(shown)
    validator = jsonschema.Draft202012Validator(shown)
    given_values = {"folder": "a", "day": "2024-01-02", "shape": (1, 2), "columns": {"a"}}
    assert list(validator.iter_errors(spelled.plain(check(TYPED, given_values)))) == []
    assert [error.validator for error in validator.iter_errors({"nonsense": 1})] == ["additionalProperties"]
    assert not validator.is_valid({"pair": [1]})
    properties = json_schema(BOOK, declared(BOOK))["properties"]
    assert properties["mode"] == {"enum": ["train", "test"], "default": "train"}
    assert properties["limit"] == {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}
    assert properties["lr"]["description"] == "learning rate"
    assert json_schema(BOOK, declared(BOOK))["required"] == ["required"]
    merged = json_schema(with_schema("lr = 0.1", RANGE), declared(notebook("lr = 0.1")))["properties"]["lr"]
    assert merged == {"type": "number", "default": 0.1, "minimum": 0, "maximum": 1}


def test_read_file_of_toml(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('lr = 0.1\nday = 2024-01-02\nlayers = [1, 2]\n[options]\na = "b"\n')
    found = read_file(tmp_path / "p.toml")
    assert found == {"lr": 0.1, "day": datetime.date(2024, 1, 2), "layers": [1, 2], "options": {"a": "b"}}
    assert check(TYPED, {"day": found["day"]}) == {"day": "2024-01-02"}
    (tmp_path / "p.toml").write_text("lr = ")
    with pytest.raises(UsageError, match="not valid TOML"):
        read_file(tmp_path / "p.toml")

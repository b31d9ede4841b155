"""Whether what is given agrees with what is declared, and what it is when it has come into the kernel."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from books import BOOK, TYPED, notebook

from reprokit.errors import UsageError
from reprokit.notebook import injected, spelled
from reprokit.notebook.fitting import check
from reprokit.notebook.given import parse_assignments
from reprokit.notebook.parameters import declared


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

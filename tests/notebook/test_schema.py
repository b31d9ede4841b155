"""The schema of a notebook's parameters: the one that is shown, and the notebook's own."""

from __future__ import annotations

from typing import Any

import jsonschema
import nbformat
import pytest
from books import BOOK, TYPED, notebook

from reprokit.errors import UsageError
from reprokit.notebook import spelled
from reprokit.notebook.fitting import check
from reprokit.notebook.parameters import declared
from reprokit.notebook.schema import json_schema


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

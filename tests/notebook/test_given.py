"""What users give on the command line and in files."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from books import TYPED, notebook
from hypothesis import given
from hypothesis import strategies as st

from reprokit.errors import UsageError
from reprokit.notebook.fitting import check
from reprokit.notebook.given import parse_assignments, read_file
from reprokit.notebook.parameters import declared


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


def test_read_file_of_toml(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('lr = 0.1\nday = 2024-01-02\nlayers = [1, 2]\n[options]\na = "b"\n')
    found = read_file(tmp_path / "p.toml")
    assert found == {"lr": 0.1, "day": datetime.date(2024, 1, 2), "layers": [1, 2], "options": {"a": "b"}}
    assert check(TYPED, {"day": found["day"]}) == {"day": "2024-01-02"}
    (tmp_path / "p.toml").write_text("lr = ")
    with pytest.raises(UsageError, match="not valid TOML"):
        read_file(tmp_path / "p.toml")

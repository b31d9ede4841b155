"""The document that says what a step is to be, and the ways in which it is handed over."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprokit import step
from reprokit.errors import EnvironmentBuildError, UsageError
from reprokit.pipeline.result import CODES, Result, write
from reprokit.pipeline.spec import JSON_SCHEMA, VERSION, Spec, encode, read
from reprokit.pipeline.step import refused
from reprokit.pipeline.surroundings import inherited

WHOLE: dict[str, Any] = {
    "schema": VERSION,
    "notebook": "a b.ipynb",
    "project": "/work",
    "params": {"lr": 0.1, "text": 'it\'s "$HOME" `x`\n', "none": None, "nested": {"a": [1]}},
    "cwd": "sub",
    "environment": {"python": "/usr/bin/python3"},
    "variables": {"A": "1", "B": None},
    "inherit": ["AWS_*"],
    "inputs": ["data"],
    "outputs": ["out/model.pkl"],
    "seed": 0,
    "output_notebook": "out.ipynb",
    "kernel": "python3",
    "name": "train",
    "tags": {"team": "pricing"},
    "cell_timeout": 1.5,
    "timeout": 60,
    "reuse": "anyway",
    "result": "result.json",
}


def test_the_schema_is_one_and_the_whole_form_fits_it() -> None:
    jsonschema.Draft202012Validator.check_schema(JSON_SCHEMA)
    jsonschema.validate(WHOLE, JSON_SCHEMA)
    assert Spec.from_dict(WHOLE).to_dict() == WHOLE
    assert JSON_SCHEMA["properties"].keys() == {"schema", *Spec.__dataclass_fields__}


def test_a_spec_comes_from_a_file_from_stdin_and_from_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(WHOLE)
    (tmp_path / "spec.json").write_text(text)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    spec = Spec.from_dict(WHOLE)
    assert read(str(tmp_path / "spec.json")) == read("-") == read(encode(spec)) == spec


@given(st.dictionaries(st.text(min_size=1), st.none() | st.text() | st.integers() | st.lists(st.floats(-1, 1))))
def test_one_word_crosses_every_shell(params: dict[str, Any]) -> None:
    word = encode(Spec(notebook="x.ipynb", params=params))
    assert set(word) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=:")
    assert read(word).params == params


def test_a_shell_hands_the_word_over_as_it_is() -> None:
    word = encode(Spec.from_dict(WHOLE))
    assert subprocess.run(["sh", "-c", f"printf %s {word}"], capture_output=True, text=True, check=True).stdout == word


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "not a JSON object"),
        ({}, "not one of notebook, script and run"),
        ({"notebook": "a", "script": "b"}, "not one of notebook"),
        ({"notebook": "a", "parms": {}}, r"unknown key 'parms'.*did you mean params\?"),
        ({"notebook": "a", "schema": "reprokit.step/2"}, "version 'reprokit.step/2'.*reads reprokit.step/1"),
        ({"notebook": "a", "timeout": 0}, "timeout"),
        ({"notebook": "a", "environment": {"python": "p", "run": "r"}}, "environment"),
        ({"notebook": "a", "variables": {"A": 1}}, r"variables\.A"),
        ({"notebook": "a", "reuse": "always"}, "reuse"),
        ({"notebook": "a", "arguments": ["x"]}, "has arguments, and no script"),
        ({"script": "a", "params": {"x": 1}}, "has params, and a script"),
    ],
)
def test_what_is_no_spec_is_refused_with_its_key(document: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Spec.from_dict(document)
    assert caught.value.remedy


@pytest.mark.parametrize("word", ["/nowhere/spec.json", "base64:%%%", "base64:bm90IGpzb24="])
def test_a_spec_that_cannot_be_read_is_one_line(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert step.main([word]) == 2
    said = capsys.readouterr().err
    assert said.startswith("reprokit: the spec ")
    assert said.count("\n") == 1


def test_help_names_every_exit_code_and_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert step.main(["--help"]) == 0
    told = capsys.readouterr().out
    for code, words in CODES.items():
        assert f"  {code:<5}{words}" in told
    assert step.main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == JSON_SCHEMA
    assert step.main([]) == step.main(["--nonsense"]) == 2


def test_what_can_be_tried_again_has_a_code_of_its_own() -> None:
    assert refused(UsageError("no such notebook")).exit_code == 2
    assert refused(EnvironmentBuildError("no network")).exit_code == 75


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write(Result(run="x", status="done", exit_code=0), tmp_path / "new" / "result.json")
    assert Result.from_dict(json.loads((tmp_path / "new" / "result.json").read_text())).run == "x"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["result.json"]
    (tmp_path / "taken").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write(Result(), tmp_path / "taken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "taken"]


def test_what_an_engine_sets_is_not_inherited() -> None:
    """Dask, loky and Ray limit the threads of their workers; a step computes as it does without them."""
    there = {"PATH": "/bin", "HOME": "/root", "LANG": "C", "OMP_NUM_THREADS": "1", "PYTHONPATH": "x", "AWS_REGION": "e"}
    found = inherited(["LANG", "AWS_*"], {"OMP_NUM_THREADS": "4", "PATH": None}, there)
    assert found == {"OMP_NUM_THREADS": "4", "PYTHONPATH": None, "PATH": None}

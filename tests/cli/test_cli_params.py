"""``reprokit params``, and what ``reprokit run`` makes of its words before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from reprokit.cli import main
from reprokit.errors import UsageError
from reprokit.notebook.given import read_named

SOURCE = """\
lr: float = 0.1  # learning rate
# of the model
mode: Literal["fast", "slow"] = "fast"
url = "http://h/?a=b"
layers = [
    64,
]
if lr:
    hidden = 1
rows: int"""


@pytest.fixture
def notebook(project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(project)
    cell = nbformat.v4.new_code_cell(SOURCE, metadata={"tags": ["parameters"]})
    book = nbformat.v4.new_notebook(cells=[cell])
    book.metadata["reprokit"] = {"parameters": {"properties": {"lr": {"maximum": 1}}}}
    nbformat.write(book, "train.ipynb")
    return "train.ipynb"


def test_the_table(notebook: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", notebook]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["name", "type", "default"]
    assert lines[1] == ["lr", "float", "0.1", "learning", "rate"]
    assert lines[2][-3:] == ["of", "the", "model"]
    assert lines[3] == ["url", "str", "'http://h/?a=b'"]
    assert lines[4] == ["layers", "list", "[64]"]
    assert lines[5][:2] == ["rows", "int"]
    assert "must be given" in " ".join(lines[5])
    assert len(lines) == 6, "a name in an `if` is no parameter"


def test_json_and_schema(notebook: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", notebook, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries[0] == {
        "name": "lr",
        "type": "float",
        "required": False,
        "default": 0.1,
        "expression": "0.1",
        "comment": "learning rate",
    }
    assert [entry["required"] for entry in entries] == [False, False, False, False, True]
    assert main(["params", notebook, "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["lr"] == {
        "type": "number",
        "default": 0.1,
        "description": "learning rate",
        "maximum": 1,
    }
    assert schema["required"] == ["rows"]


def test_a_notebook_without_parameters(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "plain.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)
    assert main(["params", str(path)]) == 0
    assert "declares no parameters" in capsys.readouterr().out
    assert main(["params", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-p lr 2 -p rows 1", "parameter 'lr': 2 is greater than the maximum of 1"),
        ("-p rows 1 -p mdoe slow", "no parameter 'mdoe': did you mean mode?"),
        ("-p rows 1 -p mode medium", "wants Literal['fast', 'slow']"),
        ("", "parameter 'rows' has no default: give it with `-p rows VALUE`"),
        ("-p hidden 2 -p rows 1", "no parameter 'hidden'"),
        ("-f params.yaml:evaluate", "params.yaml has no 'evaluate': it has train"),
        ("-f params.yaml:train.rows", "does not map names to values"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(
    notebook: str, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").write_text("train:\n  rows: 3\n")
    assert main(["run", notebook, *words.split()]) == 2
    assert message in capsys.readouterr().err
    assert not Path(".reprokit").exists()


def test_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: 1\nstages:\n  train:\n    lr: 1e-3\n")
    assert read_named(f"{path}:stages.train") == {"lr": 0.001}
    assert read_named(str(path))["a"] == 1
    odd = tmp_path / "odd:name.yaml"
    odd.write_text("b: 2")
    assert read_named(str(odd)) == {"b": 2}
    with pytest.raises(UsageError, match="does not map names"):
        read_named(f"{path}:a")

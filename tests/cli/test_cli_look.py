"""Looking at runs of a real store: lists, one run, one cell, and two runs compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reprokit.cli import main
from reprokit.store.store import Store

FIRST, SECOND = "20240101-000000-aaaaaaaa", "20240102-000000-bbbbbbbb"


def record(run_id: str, *, answer: float, name: str, **fields: Any) -> None:
    """Write a run of two cells, the second of which shows ``answer``."""
    store = Store.open()
    _, journal = store.new_run(run_id=run_id)
    output = {"output_type": "execute_result", "data": {"text/plain": str(answer)}, "metadata": {}}
    digest = store.objects.put_bytes(json.dumps([output]).encode())
    journal.append({"t": 1.0, "set": {"name": name, "started": 1.0, "notebook": "train.ipynb", **fields}})
    journal.append({"t": 2.0, "cell": 1, "set": {"source": "x = 41", "status": "done"}})
    journal.append({"t": 3.0, "cell": 2, "set": {"source": "x + 1", "status": "done", "outputs": digest}})
    journal.append({"t": 4.0, "set": {"status": "done", "ended": 4.0}})
    journal.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two runs, and the working directory in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()  # the top of the project, whatever lies above
    record(FIRST, answer=42, name="base", params={"lr": 0.1})
    record(SECOND, answer=43, name="tuned", params={"lr": 0.2}, capture={"tier": "watch"})
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_runs_lists_the_newest_first(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "runs").splitlines()
    assert [line.split()[0] for line in lines] == ["run", SECOND, FIRST]


def test_runs_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, "runs", "--json"))
    assert [entry["id"] for entry in found] == [SECOND, FIRST]
    assert found[0]["capture"] == {"tier": "watch", "complete": False}
    assert found[1]["capture"] is None
    assert {"name", "kind", "status", "started", "ended", "notebook", "metrics", "tags"} <= found[0].keys()
    assert (found[0]["params"], found[0]["replay_of"], found[0]["replayable"]) == ({"lr": 0.2}, None, True)


def test_runs_takes_a_query_and_a_limit(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [entry["id"] for entry in json.loads(shown(capsys, "runs", "--json", "lr<0.15", "base"))] == [FIRST]
    assert [entry["id"] for entry in json.loads(shown(capsys, "runs", "--json", "lr<0.15 base"))] == [FIRST]
    assert [entry["id"] for entry in json.loads(shown(capsys, "runs", "--json", "--limit", "1"))] == [SECOND]
    assert json.loads(shown(capsys, "runs", "--json", "nothing")) == []
    assert "No run matches" in shown(capsys, "runs", "nothing")


def test_runs_of_a_project_without_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "No runs yet" in shown(capsys, "runs")
    assert json.loads(shown(capsys, "runs", "--json")) == []
    assert list(tmp_path.iterdir()) == []


def test_show_is_of_the_latest_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "show").startswith(f"run {SECOND}")
    assert shown(capsys, "show", "base").startswith(f"run {FIRST}")
    assert shown(capsys, "show", "latest~1").startswith(f"run {FIRST}")


def test_show_json_holds_the_outputs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(shown(capsys, "show", "--json"))
    assert document["id"] == SECOND
    assert [cell["source"] for cell in document["cells"]] == ["x = 41", "x + 1"]
    assert document["cells"][1]["outputs"][0]["data"] == {"text/plain": "43"}


def test_show_json_says_null_for_outputs_that_are_gone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = json.loads(shown(capsys, "show", "--json", "--cell", "2"))["cells"][0]
    Store.open().objects.path(cell["outputs_digest"]).unlink()
    assert json.loads(shown(capsys, "show", "--json"))["cells"][1]["outputs"] is None


def test_show_one_cell(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "show", "latest", "--cell", "2")
    assert "x + 1" in text
    assert "x = 41" not in text
    cells = json.loads(shown(capsys, "show", "latest", "--cell", "2", "--json"))["cells"]
    assert [cell["seq"] for cell in cells] == [2]


@pytest.mark.parametrize("arguments", [["show", "--cell", "9"], ["show", "--cell", "9", "--json"]])
def test_show_a_cell_that_is_not_there(project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"reprokit: run {SECOND} has no cell 9: its cells are 1 to 2\n"


def test_diff_of_a_run_with_itself_is_0(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "diff", "base", FIRST).startswith("identical")
    assert json.loads(shown(capsys, "diff", "base", "base", "--json"))["verdict"] == "identical"


def test_diff_of_runs_that_differ_is_1(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "diverged at cell 2" in shown(capsys, "diff", "base", "tuned", code=1)
    verdict = json.loads(shown(capsys, "diff", "base", "tuned", "--json", code=1))
    assert (verdict["verdict"], verdict["run"], verdict["replay"]) == ("diverged", FIRST, SECOND)
    assert verdict["first_divergence"]["cell"] == 2


def test_diff_within_a_tolerance(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    third, fourth = "20240103-000000-cccccccc", "20240104-000000-dddddddd"
    record(third, answer=0.5, name="near")
    record(fourth, answer=0.5001, name="nearer")
    assert "0.5 → 0.5001" in shown(capsys, "diff", "near", "nearer", code=1)
    told = shown(capsys, "diff", "near", "nearer", "--rtol", "1e-3")
    assert told.splitlines()[0] == "equivalent: 2 of 2 cells, 0 files, allowing for numbers within rtol 0.001"
    assert json.loads(shown(capsys, "diff", "near", "nearer", "--atol", "0.01", "--json"))["verdict"] == "equivalent"
    assert "0.5 → 0.5001" in shown(capsys, "diff", "near", "nearer", "--compare", "exact", code=1)


@pytest.mark.parametrize(
    "arguments",
    [["--rtol", "-1"], ["--rtol", "nan"], ["--compare", "exact", "--rtol", "1"], ["--html", "no/such/folder.html"]],
)
def test_diff_that_cannot_be_made(project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["diff", "base", "tuned", *arguments]) == 2
    told = capsys.readouterr().err
    assert told
    assert "Traceback" not in told


def test_diff_as_a_page(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown(capsys, "diff", "base", "tuned", "--html", "out.html", code=1)
    page = (project / "out.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "output 1 (text/plain): 42 → 43" in page
    assert "parameters that differ" in page

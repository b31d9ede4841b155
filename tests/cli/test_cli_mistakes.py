"""A user's mistake is one line on stderr that says what to do, exit code 2, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from reprokit.cli import main
from reprokit.store.store import Store


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a notebook, and the working directory in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()  # the top of the project, whatever lies above
    cell = nbformat.v4.new_code_cell("lr = 0.1\nepochs = 3", metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "train.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=[]), tmp_path / "plain.ipynb")
    (tmp_path / "notes.txt").write_text("print(1)\n")
    (tmp_path / "bad.yaml").write_text("a: 1\nb: [\n")
    (tmp_path / "list.yaml").write_text("- a\n")
    return tmp_path


MISTAKES = [
    ("rnu train.ipynb", "there is no command 'rnu': did you mean `reprokit run`?"),
    ("xyzzy", "there is no command 'xyzzy': `reprokit --help` lists the commands"),
    ("train.ipynb", "did you mean `reprokit run train.ipynb`?"),
    ("--nope", "see `reprokit --help`"),
    ("run", "Missing argument 'NOTEBOOK|SCRIPT': see `reprokit run --help`"),
    ("run train.ipynb --nope", "see `reprokit run --help`"),
    ("run train.ipynb --timeout soon", "see `reprokit run --help`"),
    ("run trian.ipynb", "there is no notebook trian.ipynb: did you mean train.ipynb?"),
    ("run notes.txt", "notes.txt is not a notebook (it is not JSON): give an .ipynb file"),
    ("run .", ". cannot be read (Is a directory)"),
    ("run train.ipynb -f bad.yaml", "bad.yaml is not valid YAML (line 3"),
    ("run train.ipynb -f list.yaml", "list.yaml does not map names to values"),
    ("run train.ipynb -f none.yaml", "none.yaml cannot be read (No such file or directory)"),
    ("run train.ipynb -p epoch 3", "the notebook has no parameter 'epoch': did you mean epochs?"),
    ("run train.ipynb -p epochs 0.5", "parameter 'epochs' is 0.5 (float), but the notebook wants int"),
    ("run train.ipynb -p lr=0.1 x", "'lr=0.1' is not the name of a parameter: write `-p lr 0.1`"),
    ("run train.ipynb -p lr", "see `reprokit run --help`"),
    ("run plain.ipynb -p lr 1", "the notebook declares no parameters: tag the cell"),
    ("run train.ipynb --tag alpha", "'alpha' is not a tag: write `--tag KEY=VALUE`"),
    ("show", "no run is called 'latest'"),
    ("show nothing", "no run is called 'nothing'"),
    ("show ../../etc", "no run is called '../../etc'"),
    ("show 2024", "'2024' could be 2 runs (20240101-000000-aaaaaaaa, 20240102-000000-aaaaaaaa): give more"),
    ("diff 2024 2024", "'2024' could be 2 runs"),
    ("diff latest", "see `reprokit diff --help`"),
    ("replay", "see `reprokit replay --help`"),
    ("replay nothing", "no run is called 'nothing'"),
    ("replay x --env other", "see `reprokit replay --help`"),
    ("runs --limit 0", "see `reprokit runs --help`"),
]


def make_runs(names: tuple[str, ...]) -> None:
    for name in names:
        _, journal = Store.open().new_run(run_id=name)
        journal.append({"t": 1.0, "set": {"status": "done", "ended": 2.0}})
        journal.close()


def needs_runs(arguments: str) -> bool:
    return "2024" in arguments


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_mistake(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: str, expected: str, as_json: bool
) -> None:
    if needs_runs(arguments):
        make_runs(("20240101-000000-aaaaaaaa", "20240102-000000-aaaaaaaa"))
    command, *rest = arguments.split()
    assert main([command, *["--json"] * as_json, *rest]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("reprokit: ")
    assert expected in shown.err
    assert shown.err.count("\n") == 1
    if as_json:
        document = json.loads(shown.out)
        assert document.keys() == {"error", "remedy"}
        assert document["error"] in shown.err
    else:
        assert shown.out == ""


def test_a_mistake_before_anything_is_started_leaves_no_store(project: Path) -> None:
    assert main(["run", "train.ipynb", "-p", "epoch", "3"]) == 2
    assert not (project / ".reprokit").exists()


def test_what_a_name_holds_does_not_steer_the_terminal(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "a\x1b[31m\nb.ipynb"]) == 2
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert shown.count("\n") == 1


def test_a_wrong_setting_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "pyproject.toml").write_text("[tool.reprokit]\nstor = 'x'\n")
    assert main(["show"]) == 2
    assert "unknown setting 'stor' in pyproject.toml" in capsys.readouterr().err


def test_a_store_from_a_newer_version_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_runs(("20240101-000000-aaaaaaaa",))
    version = project / ".reprokit" / "VERSION"
    version.unlink()
    version.write_text("99\n")
    assert main(["show"]) == 2
    assert capsys.readouterr().err == "reprokit: the record has schema 99: upgrade reprokit to read it\n"

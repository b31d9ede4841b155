"""``reprokit lint``: findings as text and JSON, and exit codes that a build can rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reprokit.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the working directory in it."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    assert main(["lint", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_a_clean_script(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.py").write_text("x = 1\n")
    assert shown(capsys, "a.py", code=0) == "1 file: nothing found\n"


def test_findings_are_told_with_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.py").write_text("import random\n\nopen('/home/me/x.csv')\nrandom.random()\n")
    assert shown(capsys, "a.py", code=1) == (
        """\
a.py
  line 3: P301 '/home/me/x.csv' is a path of one machine
      → use a path relative to the notebook, and keep the data in the project
  line 4: R201 random.random draws from random without a seed
      → reprokit records and restores the state; `%repro seed N` makes plain reruns agree too

1 file: 1 warning, 1 for information
"""
    )


def test_what_is_for_information_is_no_failure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.py").write_text("import random\nrandom.random()\n")
    assert "R201" in shown(capsys, "a.py", code=0)
    assert shown(capsys, "a.py", "--quiet", code=0) == "1 file: nothing found\n"


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = {"cell_type": "code", "source": "print(1)\nprint(ghost)", "execution_count": 1, "outputs": []}
    kernel = {"kernelspec": {"language": "python"}}
    (folder / "a.ipynb").write_text(json.dumps({"nbformat": 4, "cells": [cell], "metadata": kernel}))
    (folder / "b.py").write_text("")
    document = json.loads(shown(capsys, "a.ipynb", "b.py", "--json", code=1))
    assert document == {
        "files": [
            {
                "path": "a.ipynb",
                "findings": [
                    {
                        "severity": "warning",
                        "code": "S104",
                        "message": "ghost is used, and no cell defines it",
                        "remedy": "bring back the cell that did, or mend the name",
                        "cell": 1,
                        "line": 2,
                    }
                ],
            },
            {"path": "b.py", "findings": []},
        ]
    }


def test_a_folder_stands_for_its_notebooks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("nb/a.ipynb", "nb/deep/b.ipynb", "nb/.ipynb_checkpoints/a-checkpoint.ipynb"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"nbformat": 4, "cells": [], "metadata": {}}))
    document = json.loads(shown(capsys, "nb", "--json", code=0))
    assert [file["path"] for file in document["files"]] == ["nb/a.ipynb", "nb/deep/b.ipynb"]


@pytest.mark.parametrize("arguments", [["absent.ipynb"], ["broken.ipynb"], ["broken.ipynb", "--json"], []])
def test_what_cannot_be_read_is_2(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    (folder / "broken.ipynb").write_text("{")
    assert main(["lint", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("reprokit: ")
    assert captured.err.count("\n") == 1


def test_names_that_act_on_a_terminal_are_shown_harmless(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.py").write_text("open('/home/me/\x1b[2J')\n")
    assert "\x1b" not in shown(capsys, "a.py", code=1)


def test_the_examples_have_no_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    examples = Path(__file__).parents[2] / "notebooks"
    assert "0 warnings" in shown(capsys, str(examples), code=0)


def test_help_stays_quick() -> None:
    code = (
        "import sys; from reprokit.cli import main; main(['--help'])\n"
        "assert not {'reprokit.lint', 'IPython', 'nbformat'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)

"""What a run's record says of it from its begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from reprokit.capture import header
from reprokit.capture.request import Request


@pytest.mark.parametrize(
    ("told", "recorded"),
    [("a.ipynb", "sub/a.ipynb"), ("../b.ipynb", "b.ipynb"), ("deeper/../a.ipynb", "sub/a.ipynb"), (None, None)],
)
def test_a_sessions_notebook_is_told_from_the_root_of_the_project(
    told: str | None, recorded: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "sub")
    assert header.of(Request(notebook=told), tmp_path, None)["notebook"] == recorded


def test_a_notebook_outside_of_the_project_keeps_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    known = header.of(Request(notebook="../b.ipynb"), tmp_path / "project", None)
    assert known["notebook"] == str((tmp_path / "b.ipynb").resolve())

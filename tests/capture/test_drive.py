"""What a parent tells the agent comes through whole, the project's settings among it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reprokit import settings
from reprokit.capture import drive as driving
from reprokit.capture.drive import Drive


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(driving.VARIABLE, str(tmp_path / "drive.json"))
    return tmp_path


def written(project: Path) -> Drive:
    path = project / "drive.json"
    driving.write(Drive(run_id="run", store=project / "store", project=project, kind="batch", seed=0), path)
    taken = driving.peek()
    assert taken is not None
    return taken


def test_the_settings_come_as_the_parent_read_them(project: Path) -> None:
    """A kernel of Python 3.10 has nothing that reads TOML."""
    (project / "pyproject.toml").write_text('[tool.reprokit]\nstore_limit = "1 MB"\n')
    taken = written(project)
    (project / "pyproject.toml").write_text("[tool.reprokit\nthis is none")
    assert settings.load(project, {}, table=taken.settings).store_limit == 1_000_000


def test_a_file_that_is_no_toml_is_left_to_the_agent_to_tell_of(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.reprokit\nthis is none")
    assert written(project).settings is None

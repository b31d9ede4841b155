"""A sample of the planted differences in files and packages; the whole table is for ``make soak``."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted_table import named
from planting import plant


@pytest.mark.parametrize(
    "name",
    [
        "code a submodule of a package of the project was edited",
        "data a file more lies in a folder in the second session",
        "config another parameter was given",
        "environment a package is gone",
        "none code and configuration were changed since",
    ],
)
def test_the_verdict_names_cause_and_cell(name: str, tmp_path: Path) -> None:
    case = named(name)
    assert plant(case, tmp_path / "case", explained=False).misses(case) == []


@pytest.mark.parametrize("name", ["config a key of a YAML file was changed"])
def test_experiments_find_it_too(name: str, tmp_path: Path) -> None:
    case = named(name)
    outcome = plant(case, tmp_path / "case")
    assert outcome.misses(case) == []
    assert outcome.explanation is not None
    assert outcome.explanation.how == "restored"

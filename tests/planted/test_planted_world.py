"""A sample of the planted differences in what is around a process; the whole table is for ``make soak``."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted_table import named
from planting import plant


@pytest.mark.parametrize(
    "name",
    [
        "network a service says something else today",
        "parallelism results in the order in which workers end",
        "hardware the machine is another architecture",
        "hidden-state a value was changed by a debugger",
        "two data was changed and the clock is shown",
        "none fewer processors and other permissions",
    ],
)
def test_the_verdict_names_cause_and_cell(name: str, tmp_path: Path) -> None:
    case = named(name)
    assert plant(case, tmp_path / "case", explained=False).misses(case) == []

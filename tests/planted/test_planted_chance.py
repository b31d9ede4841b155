"""A sample of the planted differences that nobody chose; the whole table is for ``make soak``."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted_table import named
from planting import plant


@pytest.mark.parametrize(
    "name",
    [
        "randomness a generator was made without a seed",
        "time a moment is kept and used later",
        "hash-order rows are parted by hash",
        "nondeterminism and a package that nothing uses is another one",
        "none the order of sets in an ordinary session",
    ],
)
def test_the_verdict_names_cause_and_cell(name: str, tmp_path: Path) -> None:
    case = named(name)
    assert plant(case, tmp_path / "case", explained=False).misses(case) == []

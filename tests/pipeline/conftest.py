"""One project a module: its runs are kept for all its tests, so that few kernels are started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from steps import Workshop


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A project under git; what one test leaves there the next one finds."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("HOME", str(home))
        place: Path = tmp_path_factory.mktemp("steps") / "project"
        yield Workshop.at(place)

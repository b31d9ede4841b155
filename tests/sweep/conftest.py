"""One project a module, with a sweep in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from placing import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A project with a store and the folder of a sweep; each test takes points of its own."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("HOME", str(home))
        yield Bench.at(tmp_path_factory.mktemp("sweep") / "project")

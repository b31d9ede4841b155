"""What a user is told in a notebook: would this replay, what is known of a file, and what steers the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import Kernel, make_project, observed, text

from reprokit.records import Run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Path:
    """A project that keeps no file of more than a kilobyte."""
    root = make_project(tmp_path_factory.mktemp("told") / "project", environ)
    settings = '[tool.reprokit]\nstore_limit = "1 kB"\nsnapshot_limit = "1 kB"\nprice_per_hour = 36\ncurrency = "EUR"\n'
    (root / "pyproject.toml").write_text(settings)
    return root


@pytest.fixture
def big(place: Path, kernel: Kernel) -> Iterator[Path]:
    """A file that is too large to be kept without being asked for, in an open run."""
    kernel.run("%load_ext reprokit")
    path = place / "big.bin"
    path.write_bytes(b"x" * 5000)
    kernel.run("%repro start told")
    yield path
    kernel.run("%repro stop")
    path.unlink(missing_ok=True)


def stopped(kernel: Kernel) -> Run:
    """End the open run and return its record."""
    kernel.run("%repro stop")
    return kernel.record("told")


def test_a_file_above_the_limit_is_told_with_its_cells_and_the_way_out(big: Path, kernel: Kernel) -> None:
    kernel.run("data = open('big.bin', 'rb').read()")
    kernel.run("more = open('big.bin', 'rb').read()")
    shown = text(kernel.run("%repro status"))
    assert "as long as 1 file stays as it is" in shown
    (line,) = [line for line in shown.splitlines() if "big.bin" in line and "limit" in line]
    assert line.lstrip().startswith("- cells ")
    assert "%repro data big.bin --store" in shown


def test_storing_settles_it_for_every_cell(big: Path, kernel: Kernel) -> None:
    kernel.run("data = open('big.bin', 'rb').read()")
    kernel.run("more = open('big.bin', 'rb').read()")
    before = text(kernel.run("%repro data big.bin"))
    assert "size   5.0 kB" in before
    assert "no, only its digest" in before
    assert "✓ stored, 5.0 kB" in text(kernel.run("%repro data big.bin --store"))
    shown = text(kernel.run("%repro status"))
    assert "as long as" not in shown
    assert "is stored as" in shown
    assert "kept   in the store" in text(kernel.run("%repro data big.bin"))
    run = stopped(kernel)
    uses = [use for cell in observed(run) for use in cell.reads if use.path == "big.bin"]
    assert {use.stored for use in uses} == {"object"}
    assert kernel.store().objects.get_bytes(uses[0].digest or "") == b"x" * 5000


def test_a_file_that_changed_since_is_not_passed_off_as_the_one_that_was_read(big: Path, kernel: Kernel) -> None:
    kernel.run("data = open('big.bin', 'rb').read()")
    kernel.run("%repro status")
    big.write_bytes(b"y" * 6000)
    assert "another version than the cells used" in text(kernel.run("%repro data big.bin --store"))
    assert "as long as 1 file" in text(kernel.run("%repro status"))


def test_an_untracked_file_that_no_cell_used_can_be_stored_too(big: Path, kernel: Kernel) -> None:
    assert "big.bin (0.0 MB) is too large to be kept" in text(kernel.run("%repro status"))
    kernel.run("%repro data big.bin --store")
    shown = text(kernel.run("%repro status"))
    assert "too large" not in shown
    assert "✓ big.bin is stored as" in shown


def test_a_file_that_no_cell_used(big: Path, kernel: Kernel) -> None:
    assert "no cell of this run has used it" in text(kernel.run("%repro data analysis.py"))


def test_configuration_resources_and_cost_are_in_the_status(big: Path, kernel: Kernel) -> None:
    (big.parent / "conf.json").write_text('{"lr": 0.1}')
    kernel.run("import json, argparse\nconf = json.load(open('conf.json'))\nargs = argparse.Namespace(epochs=3)")
    shown = text(kernel.run("%repro status"))
    assert "argparse args, conf.json" in shown
    run = stopped(kernel)
    assert run.config is not None
    assert (run.config.values["lr"], run.config.sources["lr"]) == (0.1, "conf.json")
    assert (run.config.values["epochs"], run.config.sources["epochs"]) == (3, "argparse args")
    assert run.resources is not None
    assert run.resources.currency == "EUR"
    assert (run.resources.cost or 0) > 0
    assert all(cell.resources is not None for cell in observed(run))
    assert "EUR" in text(kernel.run("%repro show told"))

"""The three example notebooks: captured, then everything that usually breaks is done, then replayed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from workbench import Bench

from reprokit.records import Run

FILES = {
    "explore": (
        {"notebooks/data/penguins.csv"},
        {"bills.png", "measured.parquet"},
    ),
    "train": (
        {"notebooks/data/breast_cancer.csv"},
        {"forest.joblib", "predictions.parquet", "roc.png", "metrics.json"},
    ),
}


def break_everything(bench: Bench, notebook: str) -> None:
    """Overwrite the data, edit the notebook, delete results, and dirty the tree."""
    for data in (bench.project / "notebooks" / "data").glob("*.csv"):
        data.write_text("gone\n")
    (bench.project / "notebooks" / f"{notebook}.ipynb").write_text("{}")
    (bench.project / "analysis.py").write_text("raise SystemExit\n")
    (bench.project / "new.py").write_text("import nothing\n")


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    """Return digest and mtime of every file but the store's."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".reprokit" not in path.parts
    }


def inputs(run: Run) -> set[str]:
    return {use.path for cell in run.cells for use in cell.reads if not use.own}


def results(run: Run) -> set[str]:
    return {use.path for cell in run.cells for use in cell.writes}


@pytest.mark.parametrize("notebook", ["explore", "train"])
def test_a_notebook_run_in_batch_replays_identical_in_a_new_environment(examples: Bench, notebook: str) -> None:
    """Captured with `reprokit run`, broken, and replayed from the lock alone."""
    examples.reprokit("run", f"notebooks/{notebook}.ipynb")
    run = examples.latest()
    reads, writes = FILES[notebook]
    assert inputs(run) == reads
    assert {Path(path).name for path in results(run)} >= writes
    assert all(use.state == "stable" and use.digest for cell in run.cells for use in (*cell.reads, *cell.writes))
    break_everything(examples, notebook)
    before = tree(examples.project)
    verdict = examples.verdict("latest", "--env", "locked")
    assert verdict["verdict"] == "identical"
    assert len(verdict["cells"]) >= len(run.cells)
    assert tree(examples.project) == before


def test_a_messy_session_replays_identical_in_a_new_environment(examples: Bench) -> None:
    """Cells re-run, edited, one failing: the session that happened, not the notebook that is left."""
    session = json.loads((examples.project / "notebooks" / "messy_session.json").read_text())
    sources = [cell["source"] for cell in session]
    start = "%load_ext reprokit\n%repro start messy"
    errors = examples.run_cells([start, *sources, "%repro stop"], cwd=examples.project / "notebooks")
    assert [error for error in errors if error] == ["ValueError"]
    run = examples.latest()
    assert [cell.source for cell in run.cells[1:-1]] == sources
    assert "failed" in {cell.status for cell in run.cells}
    assert "notebooks/data/penguins_raw.csv" in inputs(run)
    break_everything(examples, "messy")
    verdict = examples.verdict("messy", "--env", "locked")
    assert verdict["verdict"] == "identical"


def test_changed_code_diverges_with_the_first_cell_and_the_cause(examples: Bench) -> None:
    """`reprokit diff` of two runs of a notebook that was edited in between."""
    examples.reprokit("run", "notebooks/explore.ipynb", "--name", "before")
    data = examples.project / "notebooks" / "data" / "penguins.csv"
    rows = data.read_text().splitlines(keepends=True)
    data.write_text("".join(rows[:1] + rows[3:]))
    examples.reprokit("run", "notebooks/explore.ipynb", "--name", "after")
    verdict = json.loads(examples.reprokit("diff", "before", "after", "--json", code=1))
    assert verdict["verdict"] == "diverged"
    assert verdict["first_divergence"]["cause"] == "data"
    assert "penguins.csv" in json.dumps(verdict["first_divergence"])

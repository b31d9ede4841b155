"""A sweep as text and pictures: whatever names and values it has, nothing gets out of its place."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from reprokit.errors import UsageError
from reprokit.pipeline.sweep import results, written
from reprokit.pipeline.sweep.results import Point
from reprokit.views.sweep import sweep_table
from reprokit.views.sweep_plot import plot_page, plot_svg

EVIL = "</title><script>alert(1)</script>\x1b[31m"
POINTS = [
    Point(number=1, params={"lr": 1e-5, EVIL: "a"}, status="done", metrics={"acc": 0.5, "loss": 2}, run="r1"),
    Point(number=2, params={"lr": 0.1, EVIL: EVIL}, status="done", metrics={"acc": 0.9, "loss": 2.0}, run="r2"),
    Point(number=3, params={"lr": 1, EVIL: None}, status="failed", reason=f"Error: {EVIL}", cell=4, run="r3"),
    Point(number=4, params={"lr": 7}, status="done", metrics={"acc": float("nan")}, run="r4"),
    Point(number=5, params={"lr": 8}),
]


def document(points: list[Point] = POINTS) -> dict[str, Any]:
    return {
        "id": "20250101-000000-aaaaaaaa",
        "name": EVIL,
        "what": "nb.ipynb",
        "created": 0.0,
        "counts": {"done": 3, "failed": 1, "missing": 1, "total": 5},
        "best": {"metric": "acc", "which": "max", "point": 2},
        "points": [point.to_dict() for point in points],
    }


def test_the_table_tells_what_failed_what_is_missing_and_the_best() -> None:
    text = sweep_table(document())
    assert "\x1b" not in text
    assert "5 points: 3 done, 1 failed, 1 missing" in text
    assert "failed at cell 4: Error: </title>" in text
    assert "not run: 5" in text
    assert "best (max acc): point 2" in text
    assert "--resume 20250101-000000-aaaaaaaa" in text


@pytest.mark.parametrize("points", [POINTS, POINTS[:1], POINTS[3:]], ids=["all", "one", "none with the metric"])
def test_a_plot_is_well_formed_and_runs_nothing(points: list[Point]) -> None:
    picture = plot_svg(document(points), "acc")
    tree = ElementTree.fromstring(picture)
    names = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert names <= {"svg", "style", "g", "text", "line", "circle", "title"}
    assert len(list(tree.iter("{http://www.w3.org/2000/svg}circle"))) in (0, 4), "two points, two parameters"
    page = plot_page(document(points), "acc")
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_best_is_never_one_without_a_number() -> None:
    best = results.best(POINTS, "acc", "min")
    assert best is not None and best.number == 1  # noqa: PT018
    assert results.best(POINTS, "other", "max") is None
    assert [point.number for point in results.sort(POINTS, "acc")] == [2, 1, 3, 4, 5]
    assert [point.number for point in results.sort(POINTS, "lr")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.json", "t.jsonl", "t.parquet"])
def test_a_table_comes_back_from_every_format(name: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    points = [POINTS[0], Point(number=2, params={"lr": "auto", EVIL: [1, 2]})]
    written.write(points, tmp_path / name)
    text = b"" if name == "t.parquet" else (tmp_path / name).read_bytes()
    if name == "t.parquet":
        rows = parquet.read_table(tmp_path / name).to_pylist()
    elif name == "t.json":
        rows = json.loads(text)
    elif name == "t.jsonl":
        rows = [json.loads(line) for line in text.splitlines()]
    else:
        lines = text.decode().split("\n")
        rows = list(csv.DictReader(lines, delimiter="\t" if name == "t.tsv" else ","))
    assert [str(row["point"]) for row in rows] == ["1", "2"]
    assert [str(row["lr"]) for row in rows] == ["1e-05", "auto"]
    assert rows[0][EVIL] == "a"
    with pytest.raises(UsageError, match="names no format"):
        written.write(points, tmp_path / "t.xlsx")


def test_names_that_meet_are_told_apart() -> None:
    table = written.columns([Point(number=1, params={"run": 1, "acc": 2}, metrics={"acc": 3, "status": 4})])
    assert {"params.run", "acc", "metrics.acc", "metrics.status"} <= table.keys()

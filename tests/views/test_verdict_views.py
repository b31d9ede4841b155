"""How a verdict is shown: origins with what follows from each, keys, and pictures beside each other."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from reprokit import digest
from reprokit.errors import ObjectMissing
from reprokit.records import Cell, CellVerdict, Difference, Divergence, FileUse, Run, Verdict
from reprokit.replay.compare import compare
from reprokit.replay.pictures import pictures_of
from reprokit.views.html import verdict_html, verdict_page
from reprokit.views.json import verdict_json
from reprokit.views.verdict import follow_line, origin_cells, verdict_text


def output(before: str, after: str, detail: str = "") -> tuple[Difference, ...]:
    return (Difference(what="output", where="output 1 (stdout)", before=before, after=after, detail=detail),)


def cell(number: int, cause: str | None = None, of: int | None = None, shown: str = "1") -> CellVerdict:
    return CellVerdict(
        cell=number, verdict="diverged", cause=cause, consequence_of=of, differences=output(shown, f"{shown}!")
    )


KEYS = tuple(
    Difference(what=what, where=where, before=before, after=after)
    for what, where, before, after in (
        ("param", "lr", "0.1", "0.2"),
        ("config", "model.depth", "3", "4"),
        ("metric", "auc", "0.91", "0.92"),
        ("write", "model.bin", "9 bytes", "8 bytes"),
    )
)
VERDICT = Verdict(
    verdict="diverged",
    run="a",
    replay="b",
    first_divergence=Divergence(cell=2, cause="data", difference="output 1 (stdout): 2 → 2!"),
    cells=(
        CellVerdict(cell=1, verdict="identical"),
        cell(2, "data", shown="2"),
        cell(3, "time"),
        *(cell(number, of=2) for number in (4, 6, 7, 8)),
        CellVerdict(cell=5, verdict="identical"),
        CellVerdict(cell=0, verdict="diverged", cause="config", differences=KEYS),
    ),
)


def test_what_follows_is_folded_under_its_origin() -> None:
    assert (
        verdict_text(VERDICT)
        == """\
diverged at cell 2: output 1 (stdout): 2 → 2!
  most likely cause: data

cell 2
  output 1 (stdout): 2 → 2!
  and 4 cells that follow from it: 4, 6–8

cells
  1    identical
  2    diverged   data
  3    diverged   time
  4–8  diverged   follows from cell 2
  5    identical

also different
  cell 3 (most likely cause: time)
    output 1 (stdout): 1 → 1!
  the run as a whole (most likely cause: config)
    model.bin (written): 9 bytes → 8 bytes

parameters that differ
  lr  0.1  →  0.2

configuration that differs
  model.depth  3  →  4

metrics that differ
  auc  0.91  →  0.92"""
    )


def test_one_cell_follows() -> None:
    verdict = dataclasses.replace(VERDICT, cells=(cell(2, "data"), cell(3, of=2)))
    assert follow_line(verdict.cells[0], verdict) == "and 1 cell that follows from it: 3"
    assert follow_line(verdict.cells[1], verdict) == ""


def test_many_origins_are_told_shortly() -> None:
    verdict = dataclasses.replace(VERDICT, cells=tuple(cell(number, "time") for number in range(1, 10)))
    assert len(origin_cells(verdict)) == 9
    lines = verdict_text(verdict).splitlines()
    assert "  cell 6 (most likely cause: time): output 1 (stdout): 1 → 1!" in lines
    assert "  cell 5 (most likely cause: time)" in lines


def test_keys_alone_have_their_sections_alone() -> None:
    whole = CellVerdict(cell=0, verdict="diverged", cause="config", differences=KEYS[:1])
    verdict = dataclasses.replace(
        VERDICT,
        first_divergence=Divergence(cell=0, cause="config", difference="param lr: 0.1 → 0.2"),
        cells=(CellVerdict(cell=1, verdict="identical"), whole),
    )
    text = verdict_text(verdict)
    assert text.splitlines()[0] == "diverged: param lr: 0.1 → 0.2"
    assert "parameters that differ\n  lr  0.1  →  0.2" in text
    assert "the run as a whole" not in text


def test_the_page_folds_too() -> None:
    page = verdict_html(VERDICT)
    folded = re.search(r"<details><summary>(.*?)</summary>(.*?)</details>", page)
    assert folded is not None
    assert folded[1] == "and 4 cells that follow from it: 4, 6–8"
    assert folded[2].count("<h4>") == 4
    assert "<h4>cell 3 (most likely cause: time)</h4>" in page


def test_json_says_what_follows_from_what() -> None:
    cells = {one["cell"]: one for one in verdict_json(VERDICT)["cells"]}
    assert (cells[2]["cause"], cells[2]["consequence_of"]) == ("data", None)
    assert (cells[4]["cause"], cells[4]["consequence_of"]) == (None, 2)
    assert cells[4]["differences"][0].keys() == {"what", "where", "before", "after", "detail", "objects"}


# --- pictures ----------------------------------------------------------------------------------------


class Objects(dict[str, bytes]):
    def put(self, data: bytes) -> str:
        name = digest.of_bytes(data)
        self[name] = data
        return name

    def read(self, name: str) -> bytes:
        if name not in self:
            raise ObjectMissing(name)
        return self[name]


class Sources(HTMLParser):
    """Gathers what a page shows and may load."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.images += [value or "" for name, value in attrs if name == "src"]


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.frombytes("L", (4, 3), bytes([value, *range(11)])).save(file, "PNG")
    return file.getvalue()


SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert({0})</script><path d="M {0}"/></svg>'


def pictured(objects: Objects) -> Verdict:
    runs = []
    for name, value in (("a", 7), ("b", 9)):
        outputs = [
            {"output_type": "display_data", "data": {"image/png": base64.b64encode(png(value)).decode()}},
            {"output_type": "display_data", "data": {"image/svg+xml": SVG.format(value)}},
            {"output_type": "display_data", "data": {"image/png": "no picture" + name}},
        ]
        file = FileUse(path="fig.png", access="write", size=9, digest=objects.put(png(value)))
        shown = objects.put(json.dumps(outputs).encode())
        cells = (Cell(seq=1, source="plot()", status="done", outputs=shown, writes=(file,)),)
        runs.append(Run(id=name, status="done", cells=cells))
    return compare(runs[0], runs[1], objects.read)


def test_pictures_are_shown_before_after_and_where_they_differ() -> None:
    objects = Objects()
    verdict = pictured(objects)
    pictures = pictures_of(verdict, objects.read)
    assert {where: len(shown) for (_, where), shown in pictures.items()} == {
        "output 1 (image/png)": 3,
        "output 2 (image/svg+xml)": 2,
        "output 3 (image/png)": 2,
        "fig.png": 3,
    }
    before = pictures[1, "output 1 (image/png)"][0]
    assert base64.b64decode(before.removeprefix("data:image/png;base64,")) == png(7)
    page = Sources()
    page.feed(verdict_page(verdict, pictures=pictures))
    assert len(page.images) == 10
    assert all(address.startswith("data:image/") for address in page.images)
    assert "script" not in page.tags


def test_pictures_that_are_gone_are_left_out() -> None:
    objects = Objects()
    verdict = pictured(objects)
    assert pictures_of(verdict, Objects().read) == {}
    assert verdict.validate() == verdict


@pytest.mark.parametrize("address", ["http://h/x.png", "javascript:alert(1)", "data:text/html,x"])
def test_nothing_but_pictures_is_shown(address: str) -> None:
    shown = {(2, "output 1 (stdout)"): (address, 'data:image/png;base64,"><script>')}
    page = Sources()
    page.feed(verdict_page(VERDICT, pictures=shown))
    assert page.images == ['data:image/png;base64,"><script>']
    assert "script" not in page.tags


def test_a_page_of_its_own_loads_nothing() -> None:
    page = verdict_page(dataclasses.replace(VERDICT, run="<b>"))
    assert page.startswith("<!doctype html>")
    assert "default-src 'none'; img-src data:" in page
    assert "<title>diverged: &lt;b&gt;</title>" in page

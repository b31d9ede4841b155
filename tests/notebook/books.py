"""Notebooks that declare parameters of all kinds."""

from __future__ import annotations

import nbformat

SOURCE = """\
import datetime as dt
from typing import Literal

url = "http://h/?a=b"
lr: float = 1e-3  # learning rate
epochs = 10
fast = False
mode: Literal["train", "test"] = "train"
layers = [
    64,
    32,
]
options = dict(depth=3, name="a")
limit: int | None = None
width, height = 640, 480
first, *rest = [1, 2, 3]
ratio: "Optional[float]" = None
sizes: list[int] = [1]
named: dict[str, float] = {}
pair: tuple[int, str] = (1, "a")
started = dt.date(2024, 1, 1)
required: int
if fast:
    hidden = 1
layers += [16]
"""


def notebook(source: str | None, *, tag: str = "parameters") -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_markdown_cell("# title", metadata={"tags": ["parameters"]})]
    if source is not None:
        cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": [tag]}))
    cells.append(nbformat.v4.new_code_cell("later = 1"))
    return nbformat.v4.new_notebook(cells=cells)


BOOK = notebook(SOURCE)

KINDS = """\
import datetime as dt
from decimal import Decimal
from pathlib import Path

folder = Path("data")
table: Path | None = None
day: dt.date = dt.date(2024, 1, 1)
moment: dt.datetime = dt.datetime(2024, 1, 1)
clock: dt.time = dt.time(8)
price: Decimal = Decimal("1.50")
shape = (28, 28)
pair: tuple[int, str] = (1, "a")
columns: set[str] = {"a"}
kept: frozenset[int] = frozenset()
paths: list[Path] = []
by_name: dict[str, dt.date] = {}
either: str | dt.date = ""
anything = None
label = f"{folder}-x"
ints: dict[int, str] = {}
raw: bytes = b""
"""
TYPED = notebook(KINDS)

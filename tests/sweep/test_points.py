"""The points of a sweep: what words and files say, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprokit.errors import UsageError
from reprokit.notebook.parameters import declared
from reprokit.pipeline.sweep import points

KNOWN = declared(
    {"cells": [{"cell_type": "code", "source": "lr: float = 0.1\nkind = 'a'\nname: str = ''\nlayers = [1]",
                "metadata": {"tags": ["parameters"]}}]}
)  # fmt: skip


def test_grids_multiply_and_are_typed_as_p_is() -> None:
    found = points.grid(["lr=1e-3,1", "name=007,1.5", "layers=[1, 2],[]"], KNOWN)
    assert found[0] == {"lr": 0.001, "name": "007", "layers": [1, 2]}
    assert found[-1] == {"lr": 1, "name": "1.5", "layers": []}
    assert len(found) == 8
    assert points.grid(["kind=don't,\"a,b\",it's"]) == [{"kind": "don't"}, {"kind": "a,b"}, {"kind": "it's"}]


FILES = {
    "p.csv": '\ufefflr,name,layers\n0.5,007,"[1, 2]"\n,x,\n\n',
    "p.yaml": "- {lr: 0.5, name: '007', layers: [1, 2]}\n- {name: x}\n",
    "p.json": '[{"lr": 0.5, "name": "007", "layers": [1, 2]}, {"name": "x"}]',
    "p.jsonl": '{"lr": 0.5, "name": "007", "layers": [1, 2]}\n\n{"name": "x"}\n',
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_format_say_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name], "utf-8")
    found = points.from_file(tmp_path / name, KNOWN)
    assert found == [{"lr": 0.5, "name": "007", "layers": [1, 2]}, {"name": "x"}], "an empty cell leaves the default"


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40))
def test_a_sample_is_the_same_again_and_a_larger_one_begins_with_it(seed: int, few: int, more: int) -> None:
    words = ("lr=loguniform(1e-5,1e-1)", "n=int(3,500)", "x=uniform(-1,1)", "k=choice(a,[1,2],true)")
    spaces = [points.space(word) for word in words]
    small, large = sorted((few, more))
    found = points.sample(spaces, large, seed)
    assert points.sample(spaces, small, seed) == found[:small]
    for point in found:
        assert 1e-5 <= point["lr"] <= 1e-1
        assert point["n"] in range(3, 501)
        assert -1 <= point["x"] < 1
        assert point["k"] in ("a", [1, 2], True)
    alone = points.sample(spaces[:1], large, seed)
    assert [point["lr"] for point in alone] == [point["lr"] for point in found], "each has numbers of its own"


WRONG: dict[str, Any] = {
    "no value": (lambda: points.grid(["lr="]), "gives no values"),
    "an empty one": (lambda: points.grid(["lr=1,,2"]), "empty value"),
    "no name": (lambda: points.grid(["2x=1"]), "not the name of a parameter"),
    "a name twice": (lambda: points.grid(["lr=1", "lr=2"]), "twice"),
    "too many": (lambda: points.grid([f"x{n}=1,2" for n in range(20)]), "1,048,576 points"),
    "no distribution": (lambda: points.space("lr=normal(0,1)"), "no distribution"),
    "no bounds": (lambda: points.space("lr=loguniform(0,1)"), "no bounds"),
    "used up": (lambda: points.sample([points.space("n=int(1,3)")], 4, 0), "only 3 different points"),
    "given by two": (lambda: points.products([{"a": 1}], [{"a": 2}, {"b": 1}]), "'a' is given twice"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_makes_no_sense_is_one_clear_error(what: str) -> None:
    act, said = WRONG[what]
    with pytest.raises(UsageError, match=said) as caught:
        act()
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.csv", "lr,lr\n1,2\n", "does not name its columns"),
        ("p.csv", "lr\n1,2\n", "row 2 has 2 cells"),
        ("p.csv", 'lr\n"1\n', "not valid CSV"),
        ("p.csv", "lr\n", "holds no points"),
        ("p.yaml", "lr: 1\n", "not a list of points"),
        ("p.jsonl", "{\n", "not valid JSONL"),
        ("p.json", "[1]", "entry 1 does not map"),
    ],
)
def test_a_file_that_holds_no_points_is_named(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=said):
        points.from_file(tmp_path / name)
    with pytest.raises(UsageError, match="cannot be read"):
        points.from_file(tmp_path / "missing.csv")

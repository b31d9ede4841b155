"""What a checkpoint keeps of single values, and what it refuses: each by itself, in this process."""

from __future__ import annotations

import functools
import io
import pickle
import random
import socket
import sqlite3
import string
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprokit.capture.checkpoint import ordered, pickled
from reprokit.capture.checkpoint.refused import Refused


def again(tmp_path: Path, places: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
    """Return variables as they come back from a checkpoint."""
    path = tmp_path / "kept"
    with path.open("wb") as out:
        pickled.write(out, {"a": "ä"}, {"variables": variables}, places or {})
    reading = pickled.read(path)
    assert reading.opening == {"a": "ä"}
    found: dict[str, Any] = reading.parts(places or {})["variables"]
    assert list(found) == list(variables)
    return found


def test_arrays_that_share_memory_share_it_again(tmp_path: Path) -> None:
    base = np.arange(12.0)
    turned = np.asfortranarray(base.reshape(3, 4) * 2)
    given = {
        "base": base,
        "part": base[2:8].reshape(2, 3),
        "back": base[::-1],
        "turned": turned,
        "column": turned[:, 1],
        "names": np.array(["a", None, (1,)], dtype=object),
        "when": np.array(["2024-01-01"], dtype="M8[D]"),
        "pairs": np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
        "none": np.zeros((0, 3)),
        "scalar": np.array(5),
        "masked": np.ma.masked_array([1, 2], [True, False]),
    }
    given["fixed"] = np.arange(3)
    given["row"] = given["names"].reshape(1, 3)
    given["through"] = given["fixed"][1:]
    given["fixed"].flags.writeable = False
    found = again(tmp_path, **given)
    for name, value in given.items():
        assert repr(found[name]) == repr(value), name
        assert found[name].flags.f_contiguous == value.flags.f_contiguous, name
        assert found[name].flags.writeable == value.flags.writeable, name
    assert found["base"].flags.owndata
    found["base"][2] = 99
    assert (found["part"][0, 0], found["back"][9]) == (99, 99)
    found["turned"][0, 1] = 77
    assert found["column"][0] == 77
    found["names"][1] = "b"
    assert found["row"].tolist() == [["a", "b", (1,)]]


def test_tables_share_their_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": range(1000), "s": [f"s{number}" for number in range(1000)]})
    frame["c"] = frame["s"].astype("category")
    frame["o"] = pd.Series([f"o{number}" for number in range(1000)], dtype=object)
    found = again(tmp_path, frame=frame, same=frame, column=frame["n"])
    pd.testing.assert_frame_equal(found["frame"], frame)
    assert found["same"] is found["frame"]
    assert np.shares_memory(found["column"].to_numpy(), found["frame"]["n"].to_numpy())


def test_what_there_is_one_of_is_named(tmp_path: Path) -> None:
    """`from random import shuffle` draws from the global generator, in the new process too."""
    places = {"random": random._inst, "out": sys.stdout, "namespace": {"x": 1}}
    found = again(tmp_path, places, shuffle=random.shuffle, out=sys.stdout, space=places["namespace"], module=np.linalg)
    assert found["shuffle"].__self__ is random._inst
    assert found["out"] is sys.stdout
    assert found["space"] is places["namespace"]
    assert found["module"] is np.linalg


LEVEL = """
import enum
class Level(enum.IntEnum):
    LOW = 1
    BASE = 1
    HIGH = enum.auto()
    @property
    def word(self):
        return self.name.lower() + SUFFIX
SUFFIX = "!"
"""


def test_an_enumeration_of_the_notebook_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = vars(sys.modules["__main__"])
    for name in ("enum", "Level", "SUFFIX"):
        monkeypatch.setitem(space, name, None)
    exec(LEVEL, space)
    kind: Any = space["Level"]
    found = again(tmp_path, {"variables": space}, kind=kind, high=kind.HIGH, levels={kind.LOW: "a"})
    space["SUFFIX"] = "?"
    assert found["kind"] is not kind
    assert found["high"] is found["kind"](2)
    assert (found["high"].word, list(found["kind"].__members__)) == ("high?", ["LOW", "BASE", "HIGH"])
    assert found["levels"] == {found["kind"].BASE: "a"}


@functools.lru_cache
def cached(number: int) -> int:
    return number


def open_file() -> io.TextIOWrapper:
    return Path(__file__).open()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: (number for number in range(3)), "a generator"),
        (lambda: sqlite3.connect(":memory:"), "a database connection"),
        (threading.Lock, "a lock"),
        (threading.RLock, "a lock"),
        (threading.Event, "a lock"),
        (lambda: threading.Thread(), "a thread"),
        (socket.socket, "a socket"),
        (open_file, "an open file"),
        (lambda: np.memmap(io.BytesIO(b"1234") and Path(__file__), mode="r"), "an array in a file"),
    ],
)
def test_what_would_come_back_as_something_else_is_refused(make: Callable[[], Any], words: str) -> None:
    value = make()
    try:
        with pytest.raises(pickled.Unkept) as caught:
            pickled.write(io.BytesIO(), {}, {"variables": {"fine": 1, "rows": [value], "more": {"a": value}}}, {})
        assert caught.value.names == {"rows": words, "more": words}
    finally:
        if hasattr(value, "close"):
            value.close()


def test_a_filled_cache_is_refused_and_an_empty_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "__module__", "__main__")
    cached.cache_clear()
    assert pickled.refusal(cached, {}) is None
    cached(1)
    assert "cache of results" in (pickled.refusal(cached, {}) or "")
    cached.cache_clear()


def test_a_closed_file_stays_one(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("w") as text, (tmp_path / "b.bin").open("wb") as binary:
        pass
    found = again(tmp_path, text=text, binary=binary, memory=io.StringIO("abc"))
    assert (found["text"].closed, found["text"].name) == (True, str(tmp_path / "a.txt"))
    assert (found["binary"].closed, found["binary"].name, found["binary"].mode) == (True, binary.name, "wb")
    assert found["memory"].read() == "abc"


def test_the_users_own_pickling_stays_what_it_was() -> None:
    """dill teaches the standard library's pickler what it knows; here it must not."""
    before = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]
    assert pickled.refusal(lambda: 1, {}) is None
    assert pickle._Pickler.dispatch == before  # type: ignore[attr-defined]
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(lambda: 1)


def grown(items: list[Any]) -> set[Any]:
    made = set()
    for item in items:
        made.add(item)
    return made


def thinned(items: list[Any]) -> set[Any]:
    made = grown(items)
    made.difference_update(items[::3])
    return made


SETS = [
    set,
    frozenset,
    grown,
    thinned,
    lambda items: set(items).copy(),
    lambda items: set(items[::2]) | set(items[1::2]),
]


@settings(max_examples=60)
@given(st.lists(st.one_of(st.text(string.ascii_letters), st.integers(), st.tuples(st.integers())), max_size=120))
@pytest.mark.parametrize("kind", SETS)
def test_sets_keep_their_order(kind: Callable[[list[Any]], Any], items: list[Any]) -> None:
    value = kind(items)
    try:
        plan = ordered.plan(value)
    except Refused:
        assert isinstance(value, frozenset), "only of these there are a few that cannot be made again"
        return
    made = type(value)(list(value)) if plan is None else ordered.make(type(value), *plan)
    assert (list(made), type(made)) == (list(value), type(value))


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = sys.getrecursionlimit()
    yield
    assert sys.getrecursionlimit() == before


def test_tensors_that_share_memory_share_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # torch sets it as soon as there is an optimizer
    torch = pytest.importorskip("torch")
    whole = torch.ones(4, 4)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])
    found = again(tmp_path, whole=whole, part=whole[:2], weight=weight, data=weight.data, optimizer=optimizer)
    found["whole"][0] = 5
    found["data"][0] = 9
    assert found["part"][0].tolist() == [5, 5, 5, 5]
    assert found["weight"].tolist() == [9, 1]
    assert found["optimizer"].param_groups[0]["params"][0] is found["weight"]
    assert "of another type" in (pickled.refusal([whole, whole.view(torch.int32)], {}) or "")

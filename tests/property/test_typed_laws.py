"""Laws of the comparison by type: no rule hides a changed number, and tolerance only ever widens."""

from __future__ import annotations

import io
import json
import math
import pickle
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import joblib
import numpy as np
import pandas as pd
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from reprokit.replay.comparison import Comparison
from reprokit.replay.typed import kinds
from reprokit.replay.typed.numbers import close_texts
from reprokit.replay.typed.outcome import How

Numbers = Sequence[float]


def _saved(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def _frame(numbers: Numbers) -> pd.DataFrame:
    return pd.DataFrame({"name": [f"r{at}" for at in range(len(numbers))], "x": list(numbers)})


def _sqlite(numbers: Numbers) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.db")
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE t (x REAL)")
        database.executemany("INSERT INTO t VALUES (?)", [(number,) for number in numbers])
        database.commit()
        database.close()
        return path.read_bytes()


def _hdf5(numbers: Numbers) -> bytes:
    def write(file: io.BytesIO) -> None:
        with h5py.File(file, "w") as opened:
            opened["x"] = np.array(numbers)

    return _saved(write)


def _zip(numbers: Numbers) -> bytes:
    def write(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("results.json", json.dumps(list(numbers)))

    return _saved(write)


WRITERS: dict[str, Callable[[Numbers], bytes]] = {
    "x.txt": lambda numbers: "\n".join(f"value {number!r} end" for number in numbers).encode(),
    "x.json": lambda numbers: json.dumps({"x": list(numbers)}).encode(),
    "x.csv": lambda numbers: _frame(numbers).to_csv().encode(),
    "x.html": lambda numbers: _frame(numbers).to_html(float_format=repr).encode(),
    "x.svg": lambda numbers: f'<svg><path d="M {" ".join(map(repr, numbers))}"/></svg>'.encode(),
    "x.parquet": lambda numbers: _saved(_frame(numbers).to_parquet),
    "x.feather": lambda numbers: _saved(_frame(numbers).to_feather),
    "x.npy": lambda numbers: _saved(lambda file: np.save(file, np.array(numbers))),
    "x.npz": lambda numbers: _saved(lambda file: np.savez(file, x=np.array(numbers))),
    "x.h5": _hdf5,
    "x.db": _sqlite,
    "x.zip": _zip,
    "x.pkl": lambda numbers: pickle.dumps({"x": list(numbers), "y": np.array(numbers)}),
    "x.joblib": lambda numbers: _saved(lambda file: joblib.dump({"y": np.array(numbers)}, file)),
}
finite = st.floats(-1e9, 1e9).filter(lambda number: abs(number) > 1e-9)  # digits of every writer
several = st.lists(finite, min_size=1, max_size=4)
some_kind = st.sampled_from(sorted(WRITERS))


def used(name: str, left: bytes, right: bytes, **options: float) -> tuple[str, ...] | None:
    how = How(comparison=Comparison(**options))
    there = kinds.compare(left, right, kinds.file_kind(name), how)
    back = kinds.compare(right, left, kinds.file_kind(name), how)
    assert there.rules == back.rules
    assert (there.rules == ()) == (left == right)
    assert there.rules is not None or not there.detail.startswith("compared by bytes")
    return there.rules


@settings(max_examples=150)
@given(some_kind, several, st.data())
def test_no_rule_hides_a_changed_number(name: str, numbers: list[float], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(numbers) - 1))
    other = data.draw(finite | st.sampled_from([math.nextafter(numbers[at], math.inf), -numbers[at]]))
    assume(other != numbers[at])
    changed = [*numbers[:at], other, *numbers[at + 1 :]]
    write = WRITERS[name]
    assert used(name, write(numbers), write(numbers)) == ()
    assert used(name, write(numbers), write(changed)) is None


@settings(max_examples=150)
@given(some_kind, several, st.data())
def test_numbers_are_the_same_within_the_tolerance_and_no_further(
    name: str, numbers: list[float], data: st.DataObject
) -> None:
    rtol = data.draw(st.sampled_from([1e-3, 1e-6]))
    factors = data.draw(st.lists(st.sampled_from([1.0, 1 + rtol / 2]), min_size=len(numbers), max_size=len(numbers)))
    near = [number * factor for number, factor in zip(numbers, factors, strict=True)]
    write = WRITERS[name]
    assert used(name, write(numbers), write(near), rtol=rtol) is not None
    far = [*near[:-1], numbers[-1] * (1 + 3 * rtol)]
    assert used(name, write(numbers), write(far), rtol=rtol) is None


@settings(max_examples=150)
@given(some_kind, several, several, st.tuples(*[st.floats(0, 1)] * 2), st.tuples(*[st.floats(0, 1e6)] * 2))
def test_tolerance_only_widens(
    name: str, left: list[float], right: list[float], rtol: tuple[float, float], atol: tuple[float, float]
) -> None:
    right = (right + left)[: len(left)]
    one, other = WRITERS[name](left), WRITERS[name](right)
    if used(name, one, other, rtol=min(rtol), atol=min(atol)) is not None:
        assert used(name, one, other, rtol=max(rtol), atol=max(atol)) is not None


@given(st.integers(0, 23), st.integers(0, 255), st.binary(min_size=24, max_size=24))
def test_no_pixel_is_overlooked(at: int, value: int, pixels: bytes) -> None:
    assume(pixels[at] != value)
    changed = pixels[:at] + bytes([value]) + pixels[at + 1 :]

    def drawn(content: bytes, level: int) -> bytes:
        return _saved(lambda file: Image.frombytes("L", (6, 4), content).save(file, "PNG", compress_level=level))

    assert used("x.png", drawn(pixels, 0), drawn(pixels, 9)) == ("pixels",)
    assert used("x.png", drawn(pixels, 9), drawn(changed, 9)) is None


words = st.text(alphabet="ab .,:=()[]-e\n", max_size=12)


@given(words, st.integers(-(10**9), 10**9), words, st.integers(1, 9), st.floats(0, 1))
def test_counts_are_never_close(before: str, number: int, after: str, more: int, rtol: float) -> None:
    left, right = (f"{before} {value} {after}" for value in (number, number + more))
    assert not close_texts(left, right, Comparison(rtol=rtol, atol=100))


@given(st.text(max_size=60), st.text(max_size=60), st.floats(0, 1))
def test_any_text_can_be_looked_through_for_numbers(left: str, right: str, rtol: float) -> None:
    comparison = Comparison(rtol=rtol)
    assert close_texts(left, right, comparison) == close_texts(right, left, comparison)
    assert close_texts(left, left, Comparison(rtol=1))


@given(finite, finite, finite, finite)
def test_closeness_is_symmetric_and_widens(left: float, right: float, one: float, other: float) -> None:
    narrow, wide = sorted((abs(one) % 1, abs(other) % 1))
    assert Comparison(rtol=wide).close(left, right) == Comparison(rtol=wide).close(right, left)
    assert Comparison(rtol=wide).close(left, right) or not Comparison(rtol=narrow).close(left, right)
    assert Comparison().close(left, right) == (left == right)


BYTES = st.binary(max_size=200)
MAGIC = st.sampled_from(
    [
        b"",
        b"PK\x03\x04",
        b"\x93NUMPY\x01\x00",
        b"\x80\x04",
        b"SQLite format 3\0",
        b"\x89HDF\r\n\x1a\n",
        b"PAR1",
        b"\x1f\x8b",
    ]
)


@given(MAGIC, BYTES, BYTES, st.sampled_from(sorted({*kinds.FILE_KINDS.values(), "gzip csv", "xz pickle"})))
def test_no_bytes_break_a_reader_or_count_as_the_same_one_way_only(
    magic: bytes, left: bytes, right: bytes, kind: str
) -> None:
    how = How()
    there = kinds.compare(magic + left, magic + right, kind, how)
    assert (there.rules == ()) == (left == right)
    assert there.rules == kinds.compare(magic + right, magic + left, kind, how).rules

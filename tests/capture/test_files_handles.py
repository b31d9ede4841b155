"""What is read through a file that an earlier cell opened is named in the cell that reads it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from watched import Watched, sha256

from reprokit.capture.files.handles import Handles
from reprokit.capture.files.names import names_read, names_used
from reprokit.capture.files.uses import Debt, Use


@pytest.fixture(params=["", "watch", "basic"])
def watched(
    request: pytest.FixtureRequest, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    """The probe in each tier."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("REPROKIT_TIER", request.param)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    make_files()
    probe = Watched(project)
    yield probe
    probe.stop()


def make_files() -> None:
    Path("long.csv").write_text("x\n" * 100_000)
    pd.DataFrame({"x": range(50_000)}).to_csv("rows.csv")
    with h5py.File("a.h5", "w") as file:
        file["x"] = range(10)
    pq.write_table(pa.table({"x": list(range(10))}), "a.parquet")
    with zipfile.ZipFile("a.zip", "w") as archive:
        for name in ("in.bin", "other.bin"):
            archive.writestr(name, os.urandom(200_000))  # more than is read ahead
    with sqlite3.connect("a.db") as base:
        base.execute("create table t (x)")
    base.close()


OPENED = {
    "a file": ("f = open('long.csv')", "text = f.read()", "f.close()", "long.csv"),
    "a binary file": ("f = open('long.csv', 'rb', buffering=0)", "text = f.read(10)", "f.close()", "long.csv"),
    "a reader of pandas": (
        "f = pd.read_csv('rows.csv', iterator=True, chunksize=1000)",
        "[next(f) for _ in range(40)]",
        "f.close()",
        "rows.csv",
    ),
    "an archive": ("f = zipfile.ZipFile('a.zip')", "text = f.read('in.bin')", "f.close()", "a.zip"),
    "HDF5": ("f = h5py.File('a.h5')", "x = f['x'][:]", "f.close()", "a.h5"),
    "SQLite": (
        "f = sqlite3.connect('a.db')\nf.execute('select * from t')",
        "f.execute('select count(*) from t').fetchall()",
        "f.close()",
        "a.db",
    ),
    "Parquet": ("f = pq.ParquetFile('a.parquet')", "f.read()", "f.close()", "a.parquet"),
}


@pytest.mark.parametrize("kind", OPENED)
def test_what_is_read_later_is_named_there(kind: str, watched: Watched) -> None:
    first, second, end, name = OPENED[kind]
    namespace = watched.namespace
    namespace.update(pd=pd, zipfile=zipfile, h5py=h5py, sqlite3=sqlite3, pq=pq)
    for source in (first, "other = 1", second, end):
        with watched.cell(source=source):
            exec(source, namespace)
    digest = sha256(Path(name).read_bytes())
    assert [set(watched.reads(cell)) for cell in (1, 2, 3, 4)] == [{name}, set(), {name}, set()]
    assert [watched.reads(cell)[name].digest for cell in (1, 3)] == [digest, digest]


def test_a_file_that_is_read_and_closed_in_one_cell(watched: Watched) -> None:
    for source in ("f = open('long.csv')", "text = f.read(); f.close()", "f.closed"):
        with watched.cell(source=source):
            exec(source, watched.namespace)
    assert [set(watched.reads(cell)) for cell in (2, 3)] == [{"long.csv"}, set()]


def test_a_file_that_another_takes_the_place_of_is_not_read_by_that(watched: Watched) -> None:
    for source in (
        "f = open('long.csv', 'rb', buffering=0)",
        "f.close()\nf = open('a.zip', 'rb', buffering=0)",
        "f.read()",
    ):
        with watched.cell(source=source):
            exec(source, watched.namespace)
    assert set(watched.reads(3)) == {"a.zip"}
    exec("f.close()", watched.namespace)


def test_a_file_that_was_removed_meanwhile_is_what_it_was(watched: Watched) -> None:
    digest = sha256(Path("long.csv").read_bytes())
    for source in ("f = open('long.csv')", "import os; os.remove('long.csv')", "text = f.read(); f.close()"):
        with watched.cell(source=source):
            exec(source, watched.namespace)
    assert watched.reads(3)["long.csv"].digest == digest


def test_a_descriptor_that_is_still_hashed_is_not_taken_for_the_users(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345678")
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    owed = [True]
    handles = Handles(lambda path: None, lambda path: owed[0])
    number = os.open(path, os.O_RDONLY)
    try:
        handles.remember({str(path): Use(before=key, read=True, old=Debt(str(path), key))})
        handles.begin()
        os.read(number, 2)
        assert handles.used("", dict) == []  # it may be the background's
        owed[0] = False
        assert handles.used("", dict) == [(str(path), key[:2])]  # the background has closed its own by now
    finally:
        os.close(number)
    handles.begin()
    assert handles.used("", dict) == []


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("h = File()\nh['x']", {"File"}),
        ("h = h.again()", {"h"}),
        ("with File() as h:\n    h.read()", {"File"}),
        ("for row in rows:\n    total += row", {"rows", "total"}),
        ("!cat h\nx = !cat f\n%cd h\ny = h[0]", {"h"}),
        ("%%time\nh.read()", {"h"}),
        ("%%bash\ncat h", set()),
        ("[h[k] for k in names if k]", {"h", "names", "k"}),
        ("x =", set()),
    ],
)
def test_the_names_that_a_cell_takes_from_earlier_ones(source: str, used: set[str]) -> None:
    assert names_used(source)[0] == used


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("f.close()", set()),
        ("f.close()\nprint(f.closed)", {"print", "f"}),
        ("f.close(); f = open('b')", {"open"}),
        ("f.close().result()", set()),
        ("done.close(when)", {"done", "when"}),
        ("with f:\n    f.close()", {"f"}),
    ],
)
def test_what_a_cell_only_closes_is_not_read(source: str, read: set[str]) -> None:
    assert names_read(source) == read

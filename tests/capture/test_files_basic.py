"""The basic tier: no recorder and no watch. What libraries and programs are told stands in for what they open."""

from __future__ import annotations

import concurrent.futures
import inspect
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import h5py
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.json
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from watched import Watched

from reprokit.capture.files.commands import in_code, named

IN = b"x\n1\n"


@pytest.fixture
def place(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.setenv("REPROKIT_TIER", "basic")
    make_files()
    return project


@pytest.fixture
def basic(place: Path) -> Iterator[Watched]:
    probe = Watched(place)
    yield probe
    assert probe.stop().tier == "basic"


def make_files() -> None:
    Path("in.csv").write_bytes(IN)
    Path("in.json").write_text('{"x": 1}\n')
    table = pa.table({"x": [1, 2]})
    pq.write_table(table, "in.parquet")
    pa.feather.write_feather(table, "in.feather")
    pa.orc.write_table(table, "in.orc")
    with h5py.File("in.h5", "w") as file:
        file["x"] = [1, 2]
    for key in "ab":
        Path(f"parts/k={key}").mkdir(parents=True)
        pq.write_table(table, f"parts/k={key}/1.parquet")


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def inputs(basic: Watched) -> set[str]:
    """Return what the last cell read that it had not made itself; all of it has a digest."""
    assert [gap for gap in basic.gaps if gap.blocks] == []
    return {name for name, use in basic.reads().items() if not use.own}


# -- libraries ---------------------------------------------------------------------------------------------------


def h5(path: str, mode: str) -> None:
    with h5py.File(path, mode) as file:
        file.attrs["n"] = 1


PARTS = {"parts/k=a/1.parquet", "parts/k=b/1.parquet"}
LIBRARIES: dict[str, tuple[Callable[[], object], set[str], set[str]]] = {
    "pyarrow.parquet": (lambda: pq.read_table("in.parquet"), {"in.parquet"}, set()),
    "pyarrow.parquet, a path": (lambda: pq.read_schema(Path("in.parquet")), {"in.parquet"}, set()),
    "ParquetFile": (lambda: pq.ParquetFile("in.parquet").close(), {"in.parquet"}, set()),
    "pyarrow.parquet, a folder": (lambda: pq.read_table("parts"), PARTS, set()),
    "pyarrow.dataset": (lambda: pa.dataset.dataset(["in.parquet"]).to_table(), {"in.parquet"}, set()),
    "pyarrow.csv": (lambda: pa.csv.read_csv("in.csv"), {"in.csv"}, set()),
    "pyarrow.json": (lambda: pa.json.read_json("in.json"), {"in.json"}, set()),
    "pyarrow.feather": (lambda: pa.feather.read_table("in.feather"), {"in.feather"}, set()),
    "pyarrow.orc": (lambda: pa.orc.read_table("in.orc"), {"in.orc"}, set()),
    "memory_map": (lambda: pa.memory_map("in.csv").close(), {"in.csv"}, set()),
    "memory_map to write": (lambda: pa.memory_map("in.csv", "r+").close(), {"in.csv"}, set()),
    "write_table": (lambda: pq.write_table(pa.table({"x": [3]}), "out.parquet"), set(), {"out.parquet"}),
    "write_table onto": (lambda: pq.write_table(pa.table({"x": [3]}), "in.parquet"), set(), {"in.parquet"}),
    "polars": (lambda: pl.read_csv("in.csv"), {"in.csv"}, set()),
    "polars, a pattern": (lambda: pl.scan_parquet("parts/**/*.parquet").collect(), PARTS, set()),
    "polars, file:": (lambda: pl.read_parquet(Path("in.parquet").absolute().as_uri()), {"in.parquet"}, set()),
    "polars, sink": (lambda: pl.scan_csv("in.csv").sink_parquet("out.parquet"), {"in.csv"}, {"out.parquet"}),
    "duckdb": (lambda: duckdb.connect().sql("select * from 'in.csv'").fetchall(), {"in.csv"}, set()),
    "duckdb, a function": (lambda: duckdb.connect().read_parquet("in.parquet").fetchall(), {"in.parquet"}, set()),
    "duckdb, copy": (lambda: duckdb.connect().sql("copy (from 'in.csv') to 'out.csv'"), {"in.csv"}, {"out.csv"}),
    "duckdb, a database": (lambda: duckdb.connect("new.duckdb").close(), set(), {"new.duckdb"}),
    "h5py": (lambda: h5py.File("in.h5").close(), {"in.h5"}, set()),
    "h5py, r+": (lambda: h5("in.h5", "r+"), {"in.h5"}, {"in.h5"}),
    "h5py, a, new": (lambda: h5("out.h5", "a"), set(), {"out.h5"}),
    "h5py, w": (lambda: h5("in.h5", "w"), set(), {"in.h5"}),
}


@pytest.mark.parametrize("way", LIBRARIES)
def test_what_libraries_are_told(way: str, basic: Watched) -> None:
    call, read, written = LIBRARIES[way]
    with basic.cell():
        call()
    assert inputs(basic) == read
    assert set(basic.writes()) == written


def test_what_lies_outside_the_project(basic: Watched, tmp_path: Path) -> None:
    outside = tmp_path / "data"
    outside.mkdir()
    shutil.copy("in.parquet", outside / "in.parquet")
    with basic.cell():
        frame = pl.read_parquet(outside / "in.parquet")
        frame.write_csv(Path("out.csv").absolute())
        shell(f"cat {outside}/in.parquet > /dev/null")
    assert inputs(basic) == {f"{outside}/in.parquet"}
    assert set(basic.writes()) == {"out.csv"}


def test_what_is_overwritten_after_it_was_read_is_kept(basic: Watched) -> None:
    with basic.cell():
        pl.read_csv("in.csv").with_columns(y=1).write_csv("in.csv")
    assert basic.kept(basic.reads()["in.csv"]) == IN
    assert set(basic.writes()) == {"in.csv"}


def test_objects_that_read_when_they_are_used(basic: Watched) -> None:
    cells = [
        "lazy = pl.scan_csv('in.csv')",
        "frame = lazy.collect()",
        "few = lazy.head(1)",
        "frame = few.collect()",
        "duck = duckdb.connect()\nduck.sql(\"create view v as from 'in.csv'\")",
        "rows = duck.sql('from v').fetchall()",
        "pass",
    ]
    basic.namespace.update(pl=pl, duckdb=duckdb)
    for source in cells:
        with basic.cell(source=source):
            exec(source, basic.namespace)
    named = [set(basic.reads(cell)) for cell in range(1, 8)]
    assert named == [{"in.csv"}, {"in.csv"}, {"in.csv"}, {"in.csv"}, {"in.csv"}, {"in.csv"}, set()]


def test_a_failing_call_fails_as_before(basic: Watched) -> None:
    with basic.cell():
        with pytest.raises(FileNotFoundError):
            pq.read_table("missing.parquet")
        with pytest.raises(TypeError):
            pq.read_table()
        with pytest.raises(OSError, match="signature"):
            h5py.File("in.csv")
    assert set(basic.reads()) == {"in.csv"}
    assert basic.writes() == {}


def test_functions_look_as_before_and_are_put_back(place: Path) -> None:
    held = [
        (pl, "read_csv"), (pl.LazyFrame, "sink_csv"), (pq, "read_table"), (pq.ParquetFile, "__init__"), (duckdb, "sql"),
        (duckdb.DuckDBPyConnection, "execute"), (h5py.File, "__init__"), (pa.csv, "read_csv"), (duckdb, "connect"),
    ]  # fmt: skip
    look = lambda thing: (thing.__name__, thing.__doc__, thing.__module__, getattr(thing, "__qualname__", ""))  # noqa: E731
    functions = [getattr(owner, name) for owner, name in held]
    codes = [getattr(function, "__code__", None) for function in functions]
    before = [look(function) for function in functions]
    signatures = [inspect.signature(function) for function in (pl.read_csv, pq.read_table, h5py.File)]
    probe = Watched(place)
    with probe.cell():
        during = [look(getattr(owner, name)) for owner, name in held]
        assert [inspect.signature(function) for function in (pl.read_csv, pq.read_table, h5py.File)] == signatures
        assert pl.read_csv is functions[0]
    probe.stop()
    assert during == before
    after = [getattr(owner, name) for owner, name in held]
    assert [getattr(function, "__code__", None) for function in after] == codes
    assert [new for new, old in zip(after, functions, strict=True) if new is not old and new != old] == []


# -- programs ------------------------------------------------------------------------------------------------------

COMMANDS: dict[str, tuple[str, set[str], set[str]]] = {
    "read": ("cat in.csv", {"in.csv"}, set()),
    "a pattern": ("cat in.*v > out.txt", {"in.csv"}, {"out.txt"}),
    "in another folder": ("cd parts && cat k=a/1.parquet", {"parts/k=a/1.parquet"}, set()),
    "a folder": ("cp -r parts copy", PARTS, {name.replace("parts", "copy") for name in PARTS}),
    "found": ("find parts -name '*.parquet' | xargs cat", PARTS, set()),
    "append": ("echo 2 >> in.csv", {"in.csv"}, {"in.csv"}),
    "edit in place": ("sed -i s/1/2/ in.csv", {"in.csv"}, {"in.csv"}),
    "overwrite": ("echo 2 > in.csv", set(), {"in.csv"}),
    "read and overwrite": ("cat in.csv > new.tmp; mv new.tmp in.csv", {"in.csv"}, {"in.csv"}),
    "move": ("mv in.csv out.csv", {"in.csv"}, {"out.csv"}),
    "a folder is moved": ("mv parts moved", PARTS, {name.replace("parts", "moved") for name in PARTS}),
    "a script": ("echo 'cat in.csv' > run.sh; sh run.sh", set(), {"run.sh"}),
    "another language": (f"{sys.executable} -S -c 'print(open(\"in.csv\").read())'", {"in.csv"}, set()),
    "looked at": ("ls -la . in.csv; stat in.csv; test -f in.csv; du -s parts; find parts", set(), set()),
    "touch": ("touch in.csv", set(), set()),
    "remove": ("rm in.csv", set(), set()),
    "nothing": ("true", set(), set()),
}


@pytest.mark.parametrize("way", COMMANDS)
def test_what_programs_are_told(way: str, basic: Watched) -> None:
    command, read, written = COMMANDS[way]
    with basic.cell():  # as the run knows it
        Path("in.csv").read_bytes()
    with basic.cell():
        shell(command)
    assert inputs(basic) == read
    assert set(basic.writes()) == written
    if "in.csv" in read:
        assert basic.kept(basic.reads()["in.csv"]) == IN


def test_what_the_cell_made_and_a_child_uses_is_no_input(basic: Watched) -> None:
    with basic.cell():
        pl.DataFrame({"x": [1]}).write_parquet("new.parquet")
        Path("new.txt").write_text("new")
        pid = os.fork()
        if not pid:
            os.execvp("cp", ["cp", "new.parquet", "new.txt", "in.json", "parts"])
        os.waitpid(pid, 0)
    assert inputs(basic) == {"in.json"}
    assert set(basic.reads()) == {"in.json"}
    assert set(basic.writes()) == {
        "new.parquet",
        "new.txt",
        *(f"parts/{name}" for name in ("new.parquet", "new.txt", "in.json")),
    }


def test_a_folder_outside_behind_a_link(basic: Watched, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    Path("away").symlink_to(tmp_path / "data")
    with basic.cell():
        pid = os.fork()
        if not pid:
            os.execvp("cat", ["cat", "away/a.txt"])
        os.waitpid(pid, 0)
    assert inputs(basic) == {"away/a.txt"}
    assert basic.writes() == {}


def test_a_forked_child_says_what_it_opens(basic: Watched) -> None:
    with basic.cell():
        pid = os.fork()
        if not pid:
            Path(f"out{len(Path('in.csv').read_bytes())}.txt").write_text("out")
            os.execvp("cp", ["cp", "in.json", "copy.json"])
        os.waitpid(pid, 0)
    assert inputs(basic) == {"in.csv", "in.json"}
    assert set(basic.writes()) == {"out4.txt", "copy.json"}
    with basic.cell():
        pass
    assert basic.reads() == {}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools(method: str, basic: Watched) -> None:
    names = [f"{number}.csv" for number in range(3)]
    for name in names:
        Path(name).write_bytes(IN)
    context = multiprocessing.get_context(method)
    with basic.cell(), concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(os.path.getsize if method == "spawn" else _size, names)) == [4] * 3
    assert inputs(basic) == set(names)


def _size(name: str) -> int:
    return len(Path(name).read_bytes())


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("!cat in.csv", {"in.csv"}),
        ("x = !wc in.csv", {"in.csv"}),
        ("%%bash\ncat in.csv", {"in.csv"}),
        ("%%time\n!cat in.csv", {"in.csv"}),
        ("%%perl\nopen(F, 'in.csv')", {"in.csv"}),
        ("print('in.csv')", set()),
    ],
)
def test_what_a_cell_says_to_programs_that_are_told_nothing(source: str, read: set[str], basic: Watched) -> None:
    with basic.cell(source=source):
        subprocess.run(["cat", "-"], input=b"", check=True)
    assert set(basic.reads()) == read


# -- reading commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("wc in.csv; echo x > in.csv", {("in.csv", "used")}),
        ("echo x > in.csv; wc in.csv", {("in.csv", "output")}),
        ("while read line; do echo $line; done < in.csv", {("in.csv", "used")}),
        ("sort <(cat in.csv) in.json", {("in.csv", "used"), ("in.json", "told")}),
        ("dd if=in.csv of=out.csv", {("in.csv", "used")}),
        ("sort in.csv -o in.json", {("in.csv", "used")}),
        ("tee in.json < in.csv", {("in.csv", "used"), ("in.json", "output")}),
        ("tee -a in.json", {("in.json", "used")}),
        ("cat <<END > out.csv\nin.csv\nEND", {("out.csv", "output")}),
        ("cp in.csv in.json", {("in.csv", "used")}),
        ("VAR=1 env -i nohup /bin/cat in.csv", {("in.csv", "used")}),
        ("sh -c 'cat in.csv'", {("in.csv", "used")}),
        ("curl -s file://$(pwd)/in.csv", {("in.csv", "told")}),
        ("program --config=in.json in.csv", {("in.json", "told"), ("in.csv", "told")}),
        ("cat 'in.csv", {("in.csv", "used")}),  # no command at all
        ("cat in.csv # in.json", {("in.csv", "used")}),
        ("F=in.csv; cat $F ${F} $G", {("in.csv", "used")}),
        ("cat $PWD/in.csv > $OUT", {("in.csv", "used")}),
        ("git add in.csv", set()),
        ("", set()),
    ],
)
def test_the_words_of_a_command(command: str, told: set[tuple[str, str]], place: Path) -> None:
    found = {(os.path.relpath(name.path, place), name.use) for name in named(["/bin/sh", "-c", command], str(place))}
    assert found == told


def test_texts_of_a_program(place: Path) -> None:
    source = """open('in.csv'); f"parts/k={key}/1.parquet"; "%s.json" % name; '*'; '/'; 'missing'"""
    found = {os.path.relpath(name.path, place) for name in in_code(source, str(place))}
    assert found == {"in.csv", "in.json", *PARTS}

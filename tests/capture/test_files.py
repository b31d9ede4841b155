"""Every file a cell reads and writes is recorded with the digest of the bytes it had then, and no other file."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from watched import Watched, sha256

from reprokit.capture.code import listing
from reprokit.capture.files import watch
from reprokit.settings import Settings


@pytest.fixture
def place(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


@pytest.fixture(params=["watch", "best"])
def watched(place: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """The probe without the recorder, and with it as far as this system has it."""
    if request.param == "watch":
        monkeypatch.setenv("REPROKIT_TIER", "watch")
    (place / "in.csv").write_bytes(b"x,y\n1,2\n3,4\n")
    probe = Watched(place)
    yield probe
    probe.files.stop()
    probe.worker.stop()


@pytest.fixture
def only_watched(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """The probe without the recorder."""
    monkeypatch.setenv("REPROKIT_TIER", "watch")
    (place / "in.csv").write_bytes(b"x,y\n1,2\n3,4\n")
    probe = Watched(place)
    yield probe
    probe.files.stop()
    probe.worker.stop()


IN = sha256(b"x,y\n1,2\n3,4\n")
CHILD = [sys.executable, "-S", "-c"]


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True)


# -- reading -------------------------------------------------------------------------------------


def test_what_the_snapshot_reads_is_not_read_by_the_cell_that_starts_the_run(place: Path) -> None:
    (place / "in.csv").write_bytes(b"x,y\n1,2\n3,4\n")
    begun, read = threading.Event(), threading.Event()

    def snapshot() -> None:
        begun.wait(60)
        (place / "in.csv").read_bytes()
        read.set()

    probe = Watched(place, snapshot=snapshot)
    with probe.cell(source="%repro start"):
        begun.set()
        assert read.wait(60)
    assert probe.reads() == {}
    probe.stop()


READERS = {
    "open": lambda: open("in.csv").close(),
    "bytes name": lambda: open(b"in.csv", "rb").close(),
    "os.open": lambda: os.close(os.open("in.csv", os.O_RDONLY)),
    "pathlib": lambda: Path("in.csv").read_text(),
    "another way to it": lambda: open(f"../{Path.cwd().name}/./in.csv").close(),
    "pandas": lambda: pd.read_csv("in.csv"),
    "pandas with pyarrow": lambda: pd.read_csv("in.csv", engine="pyarrow"),
    "numpy": lambda: np.loadtxt("in.csv", delimiter=",", skiprows=1),
    "memmap": lambda: np.array(np.memmap("in.csv", mode="r")),
    "shell": lambda: shell("cat in.csv > /dev/null"),
    "child": lambda: subprocess.run([*CHILD, "open('in.csv').read()"], check=True),
    "thread": lambda: _in_thread(lambda: Path("in.csv").read_text()),
    "relative to a folder": lambda: _open_in_folder("in.csv"),
    "opened twice": lambda: (open("in.csv").close(), open("in.csv").close()),
}


def _in_thread(work: object) -> None:
    thread = threading.Thread(target=work)  # type: ignore[arg-type]
    thread.start()
    thread.join()


def _open_in_folder(name: str) -> None:
    folder = os.open(".", os.O_RDONLY)
    os.close(os.open(name, os.O_RDONLY, dir_fd=folder))
    os.close(folder)


@pytest.mark.parametrize("way", READERS)
def test_a_read_is_recorded(way: str, watched: Watched) -> None:
    with watched.cell():
        READERS[way]()
    reads = watched.reads()
    assert set(reads) == {"in.csv"}
    use = reads["in.csv"]
    assert (use.digest, use.size, use.state, use.own) == (IN, 12, "stable", False)
    assert watched.kept(use) == b"x,y\n1,2\n3,4\n"
    assert watched.writes() == {}
    assert watched.gaps == []


def test_looking_at_a_file_is_no_read(watched: Watched) -> None:
    with watched.cell():
        os.stat("in.csv")
        os.listdir(".")
        Path("in.csv").exists()
        list(Path().glob("*.csv"))
        with pytest.raises(FileNotFoundError):
            Path("absent.csv").read_text()
    assert watched.reads() == watched.writes() == {}


def test_what_happens_between_cells_is_nobodys(watched: Watched) -> None:
    with watched.cell():
        pass
    Path("in.csv").read_text()
    Path("out.csv").write_text("x")
    shell("cat in.csv > other.csv")
    with watched.cell():
        pass
    assert watched.reads() == watched.writes() == {}


def test_our_own_hashing_is_not_seen_as_a_read(watched: Watched) -> None:
    for number in range(30):
        Path(f"{number}.bin").write_bytes(os.urandom(300_000))
    with watched.cell(wait=False):
        for number in range(30):
            Path(f"{number}.bin").read_bytes()
    with watched.cell(wait=False):
        pass
    with watched.cell(wait=False):
        Path("in.csv").read_bytes()
    watched.settle()
    assert len(watched.reads(1)) == 30
    assert watched.reads(2) == {}
    assert set(watched.reads(3)) == {"in.csv"}
    with watched.cell():
        shell("cat in.csv > /dev/null")
    assert set(watched.reads()) == {"in.csv"}  # and a read of the user's is not taken for ours


def test_a_file_changed_by_somebody_else_has_its_new_digest(watched: Watched) -> None:
    with watched.cell():
        Path("in.csv").read_text()
    Path("in.csv").write_text("new")
    with watched.cell():
        Path("in.csv").read_text()
    with watched.cell():
        shell("cat in.csv > /dev/null")
    assert watched.reads(1)["in.csv"].digest == IN
    for cell in (2, 3):
        assert (watched.reads(cell)["in.csv"].digest, watched.reads(cell)["in.csv"].own) == (sha256(b"new"), False)


def test_same_size_and_time_do_not_hide_a_change(watched: Watched) -> None:
    digests = []
    for text in (b"aaa", b"bbb", b"ccc", b"ddd"):
        Path("in.csv").write_bytes(text)
        os.utime("in.csv", ns=(0, 10**18))
        with watched.cell():
            Path("in.csv").read_bytes()
        digests.append(watched.reads()["in.csv"].digest)
    assert digests == [sha256(text) for text in (b"aaa", b"bbb", b"ccc", b"ddd")]


# -- writing -------------------------------------------------------------------------------------

WRITERS = {
    "open": lambda: Path("out.bin").write_bytes(b"new"),
    "exclusive": lambda: os.write(os.open("out.bin", os.O_WRONLY | os.O_CREAT | os.O_EXCL), b"new"),
    "shell": lambda: shell("printf new > out.bin"),
    "child": lambda: subprocess.run([*CHILD, "open('out.bin', 'w').write('new')"], check=True),
    "thread": lambda: _in_thread(lambda: Path("out.bin").write_text("new")),
    "rename": lambda: (Path("out.tmp").write_text("new"), os.replace("out.tmp", "out.bin")),
    "rename by the shell": lambda: shell("printf new > out.tmp && mv out.tmp out.bin"),
    "moved from outside": lambda: _move_in("out.bin"),
    "copied": lambda: (Path("../made").write_text("new"), shutil.copy("../made", "out.bin")),
    "written in pieces": lambda: [_append("out.bin", letter) for letter in "new"],
    "hard link": lambda: (Path("out.tmp").write_text("new"), os.link("out.tmp", "out.bin"), os.unlink("out.tmp")),
}


def _append(name: str, text: str) -> None:
    with open(name, "a") as file:
        file.write(text)


def _move_in(name: str) -> None:
    Path("../made").write_text("new")
    shutil.move("../made", name)


@pytest.mark.parametrize("way", WRITERS)
def test_a_write_is_recorded(way: str, watched: Watched) -> None:
    with watched.cell():
        WRITERS[way]()
    writes = watched.writes()
    assert set(writes) == {"out.bin"}
    assert (writes["out.bin"].digest, writes["out.bin"].state) == (sha256(b"new"), "stable")
    assert watched.kept(writes["out.bin"]) == b"new"
    assert [use for use in watched.reads().values() if not use.own] == []


@pytest.mark.parametrize("way", [way for way in WRITERS if way not in ("exclusive", "written in pieces", "hard link")])
def test_overwriting_does_not_make_the_old_bytes_an_input(way: str, watched: Watched) -> None:
    Path("out.bin").write_text("something that was there before")
    with watched.cell():
        WRITERS[way]()
    assert set(watched.writes()) == {"out.bin"}
    assert "out.bin" not in watched.reads()


def test_libraries_that_open_files_themselves(watched: Watched) -> None:
    frame = pd.DataFrame({"x": [1, 2]})
    with watched.cell():
        frame.to_parquet("a.parquet")
    written = watched.writes()
    with watched.cell():
        assert pd.read_parquet("a.parquet").equals(frame)
    assert set(written) == {"a.parquet"}
    assert set(watched.reads()) == {"a.parquet"}
    assert watched.reads()["a.parquet"].own
    assert written["a.parquet"].digest == watched.reads()["a.parquet"].digest == sha256(Path("a.parquet").read_bytes())


def test_numpy_files(watched: Watched) -> None:
    with watched.cell():
        np.save("a.npy", np.arange(4))
        np.savez("b.npz", x=np.arange(3))
        np.arange(3).tofile("c.raw")
        shared = np.memmap("d.raw", dtype="u1", mode="w+", shape=(4,))
        shared[:] = 7
        shared.flush()
        del shared
    assert {name: use.digest for name, use in watched.writes().items()} == {
        name: sha256(Path(name).read_bytes()) for name in ("a.npy", "b.npz", "c.raw", "d.raw")
    }
    with watched.cell():
        np.load("a.npy")
        np.load("b.npz")["x"]
        np.fromfile("c.raw")
        np.load("a.npy", mmap_mode="r").sum()
    assert set(watched.reads()) == {"a.npy", "b.npz", "c.raw"}
    with watched.cell():
        changed = np.memmap("d.raw", dtype="u1", mode="r+", shape=(4,))
        changed[0] = 1
        changed.flush()
        del changed
    assert watched.reads()["d.raw"].digest == sha256(b"\7\7\7\7")
    assert watched.writes()["d.raw"].digest == sha256(b"\1\7\7\7")


def test_databases(watched: Watched) -> None:
    connection = sqlite3.connect("old.db")
    connection.execute("create table t (x)")
    connection.commit()
    connection.close()
    before = Path("old.db").read_bytes()
    with watched.cell():  # only read
        connection = sqlite3.connect("file:old.db?mode=ro", uri=True)
        connection.execute("select * from t").fetchall()
        connection.close()
    assert (set(watched.reads()), set(watched.writes())) == ({"old.db"}, set())
    with watched.cell():
        connection = sqlite3.connect("old.db")
        connection.execute("insert into t values (1)")
        connection.commit()
        connection.close()
        sqlite3.connect(":memory:").close()
    assert watched.reads()["old.db"].digest == sha256(before)
    assert {name: use.digest for name, use in watched.writes().items()} == {
        "old.db": sha256(Path("old.db").read_bytes())  # and not its journal, which is gone
    }


def test_archives(watched: Watched) -> None:
    with watched.cell():
        with zipfile.ZipFile("a.zip", "w") as archive:
            archive.write("in.csv")
        shutil.make_archive("b", "gztar", base_dir="in.csv")
        shutil.unpack_archive("a.zip", "unpacked")
    assert set(watched.writes()) == {"a.zip", "b.tar.gz", "unpacked/in.csv"}
    assert {name for name, use in watched.reads().items() if not use.own} == {"in.csv"}


def test_a_folder_made_in_the_cell(watched: Watched) -> None:
    with watched.cell():
        shell("mkdir -p deep/er/est && printf one > deep/er/est/one.txt && printf two > deep/two.txt")
        Path("python/made").mkdir(parents=True)
        pd.DataFrame({"x": [1]}).to_parquet("python/made/three.parquet")
    assert set(watched.writes()) == {"deep/er/est/one.txt", "deep/two.txt", "python/made/three.parquet"}
    with watched.cell():
        shell("printf more >> deep/er/est/one.txt; rm -r deep/two.txt; mkdir deep/.venv; echo x > deep/.venv/y")
    assert set(watched.writes()) == {"deep/er/est/one.txt"}


def test_many_folders_made_and_removed_are_still_seen(watched: Watched) -> None:
    for number in range(50):
        with watched.cell(wait=False):
            shell(f"mkdir made && echo {number} > made/file")
        shutil.rmtree("made")
    watched.settle()
    assert all(set(watched.writes(cell)) == {"made/file"} for cell in range(1, 51))


def test_folders_that_were_there_are_told_once(watched: Watched, place: Path) -> None:
    assert watched.folders == []
    with watched.cell():
        Path("new").mkdir()
        Path("new/a").write_text("x")
    assert watched.folders == []


def test_an_empty_folder_that_was_there_is_told(place: Path) -> None:
    Path("out/plots").mkdir(parents=True)
    probe = Watched(place)
    for name in "ab":
        with probe.cell():
            Path(f"out/plots/{name}").write_text("x")
    assert probe.folders == ["out/plots"]
    probe.stop()


# -- bytes at the time of use ----------------------------------------------------------------------


def test_read_then_overwritten_in_one_cell(watched: Watched) -> None:
    with watched.cell():
        text = Path("in.csv").read_text()
        Path("in.csv").write_text(text + "5,6\n")
    assert watched.reads()["in.csv"].digest == IN
    assert watched.kept(watched.reads()["in.csv"]) == b"x,y\n1,2\n3,4\n"
    assert watched.kept(watched.writes()["in.csv"]) == b"x,y\n1,2\n3,4\n5,6\n"


def test_many_overwrites_in_quick_cells_each_keep_their_bytes(watched: Watched) -> None:
    Path("big.bin").write_bytes(os.urandom(30_000_000))  # keeps the worker busy while the cells go on
    with watched.cell(wait=False):
        Path("big.bin").read_bytes()
    for number in range(20):
        with watched.cell(wait=False):
            before = Path("in.csv").read_text()
            Path("in.csv").write_text(before + f"{number}\n")
    watched.settle()
    text = "x,y\n1,2\n3,4\n"
    for number in range(20):
        assert watched.reads(number + 2)["in.csv"].digest == sha256(text.encode())
        text += f"{number}\n"
        assert watched.writes(number + 2)["in.csv"].digest == sha256(text.encode())
    assert watched.gaps == []


@pytest.mark.parametrize("end", ["remove", "rename", "rmtree", "replace", "truncate"])
def test_read_then_gone_before_it_was_hashed(end: str, watched: Watched) -> None:
    Path("folder").mkdir()
    Path("folder/file").write_text("bytes")
    Path("big.bin").write_bytes(os.urandom(30_000_000))
    with watched.cell(wait=False):
        Path("big.bin").read_bytes()
        Path("folder/file").read_text()
    with watched.cell(wait=False):
        if end == "remove":
            os.remove("folder/file")
        elif end == "rename":
            os.rename("folder/file", "elsewhere")
        elif end == "rmtree":
            shutil.rmtree("folder")
        elif end == "replace":
            os.replace("in.csv", "folder/file")
        else:
            os.truncate("folder/file", 1)
    watched.settle()
    assert watched.reads(1)["folder/file"].digest == sha256(b"bytes")
    assert watched.gaps == []


def test_a_renamed_file_was_an_input(watched: Watched) -> None:
    with watched.cell():
        os.rename("in.csv", "old.csv")
    assert watched.kept(watched.reads()["in.csv"]) == b"x,y\n1,2\n3,4\n"
    assert watched.writes()["old.csv"].digest == IN


def test_the_old_bytes_of_an_append_are_an_input(watched: Watched) -> None:
    with watched.cell():
        _append("in.csv", "5,6\n")
    assert watched.reads()["in.csv"].digest == IN
    assert watched.kept(watched.reads()["in.csv"]) == b"x,y\n1,2\n3,4\n"
    assert watched.writes()["in.csv"].digest == sha256(b"x,y\n1,2\n3,4\n5,6\n")


def test_opened_for_appending_and_left_as_it_was(watched: Watched) -> None:
    with watched.cell():
        open("in.csv", "a").close()
    assert watched.writes() == {}


def _rewrite(name: str) -> None:
    """Read and then overwrite a file, both by a library that opens files itself."""
    table = pq.read_table(name)  # pandas may open the file in Python, depending on its version
    pq.write_table(pa.table({"x": [number + 1 for number in table["x"].to_pylist()]}), name)


def test_rewritten_by_a_library_what_the_run_wrote(watched: Watched) -> None:
    with watched.cell():
        pd.DataFrame({"x": [1]}).to_parquet("a.parquet")
    before = sha256(Path("a.parquet").read_bytes())
    with watched.cell():
        _rewrite("a.parquet")
    use = watched.reads()["a.parquet"]
    assert (use.digest, use.own) == (before, True)
    assert watched.writes()["a.parquet"].digest == sha256(Path("a.parquet").read_bytes()) != before
    assert watched.gaps == []


def test_rewritten_by_a_library_what_the_run_had_read(watched: Watched) -> None:
    pd.DataFrame({"x": [1]}).to_parquet("a.parquet")
    before = sha256(Path("a.parquet").read_bytes())
    with watched.cell():
        pd.read_parquet("a.parquet")
    with watched.cell():
        _rewrite("a.parquet")
    use = watched.reads()["a.parquet"]
    assert (use.digest, use.own, use.stored) == (before, False, "object")
    assert watched.gaps == []


def test_rewritten_by_a_library_what_nobody_kept_is_told(only_watched: Watched) -> None:
    pd.DataFrame({"x": [1]}).to_parquet("a.parquet")
    with only_watched.cell():
        _rewrite("a.parquet")
    use = only_watched.reads()["a.parquet"]
    assert (use.digest, use.state) == (None, "unstable")
    assert [(gap.cell, gap.blocks) for gap in only_watched.gaps] == [(1, True)]


def test_rewritten_by_a_library_what_the_snapshot_holds(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPROKIT_TIER", "watch")
    pd.DataFrame({"x": [1]}).to_parquet("a.parquet")
    data = Path("a.parquet").read_bytes()
    probe = Watched(place)
    probe.files.knows({str(place / "a.parquet"): "the blob"}, {"the blob": data}.__getitem__)
    with probe.cell():
        _rewrite("a.parquet")
    assert (probe.reads()["a.parquet"].digest, probe.reads()["a.parquet"].stored) == (sha256(data), "git")
    pd.DataFrame({"x": [7]}).to_parquet("a.parquet")
    with probe.cell():
        _rewrite("a.parquet")
    assert probe.reads()["a.parquet"].state == "unstable"  # somebody changed it in between
    probe.stop()


def test_appended_by_the_shell(watched: Watched) -> None:
    with watched.cell():
        shell("echo two >> in.csv")
    assert watched.writes()["in.csv"].digest == sha256(b"x,y\n1,2\n3,4\ntwo\n")


def test_a_database_kept_open_over_cells(watched: Watched) -> None:
    with watched.cell(wait=False):
        connection = sqlite3.connect("kept.db")
        connection.execute("create table t (x)")
        connection.commit()
    first = sha256(Path("kept.db").read_bytes())
    with watched.cell():
        connection.execute("insert into t values (1)")
        connection.commit()
    connection.close()
    assert watched.writes(1)["kept.db"].digest == first
    assert (watched.reads(2)["kept.db"].digest, watched.reads(2)["kept.db"].own) == (first, True)
    assert watched.writes(2)["kept.db"].digest == sha256(Path("kept.db").read_bytes()) != first
    with watched.cell():
        pass
    assert watched.writes(3) == {}


def test_a_log_kept_open_over_cells(watched: Watched) -> None:
    with watched.cell(wait=False):
        log = open("log.txt", "w")  # noqa: SIM115
        log.write("one\n")
        log.flush()
    for number in range(3):
        with watched.cell(wait=False):
            log.write(f"{number}\n")
            log.flush()
    log.close()
    watched.settle()
    texts = ["one\n", "one\n0\n", "one\n0\n1\n", "one\n0\n1\n2\n"]
    assert [watched.writes(cell)["log.txt"].digest for cell in (1, 2, 3, 4)] == [sha256(t.encode()) for t in texts]


def test_what_is_written_through_memory_is_hashed_again(watched: Watched) -> None:
    """Writing to a mapped page again need not change the times, so nothing cached is believed of such a file."""
    Path("shared.bin").write_bytes(b"\0" * 4096)
    os.utime("shared.bin", ns=(10**18, 10**18))
    shared = np.memmap("shared.bin", dtype="u1", mode="r+")
    shared[0] = 1
    with watched.cell():
        Path("shared.bin").read_bytes()
    shared[0] = 2  # the page is dirty already: the times stay
    with watched.cell():
        Path("shared.bin").read_bytes()
    assert watched.reads(1)["shared.bin"].digest == sha256(b"\1" + b"\0" * 4095)
    assert watched.reads(2)["shared.bin"].digest == sha256(b"\2" + b"\0" * 4095)
    del shared


def test_making_what_is_there_already_is_no_use(watched: Watched) -> None:
    with watched.cell(), pytest.raises(FileExistsError):
        open("in.csv", "x")  # noqa: SIM115
    assert watched.reads() == watched.writes() == {}


def test_what_the_cell_itself_made_is_no_input(watched: Watched) -> None:
    with watched.cell():
        shell("echo made > made.txt")
        Path("made.txt").read_text()
        Path("other.txt").write_text("x")
        Path("other.txt").read_text()
        shell("cat other.txt > /dev/null")
    assert {name for name, use in watched.reads().items() if not use.own} == set()
    assert set(watched.writes()) == {"made.txt", "other.txt"}


def test_what_an_earlier_cell_wrote_is_own_until_somebody_changes_it(watched: Watched) -> None:
    with watched.cell():
        Path("made.txt").write_text("by the run")
    with watched.cell():
        Path("made.txt").read_text()
    assert watched.reads()["made.txt"].own
    Path("made.txt").write_text("by somebody")
    with watched.cell():
        Path("made.txt").read_text()
    use = watched.reads()["made.txt"]
    assert (use.own, use.digest) == (False, sha256(b"by somebody"))


def test_a_file_that_changes_while_it_is_in_use_is_told(watched: Watched) -> None:
    Path("big.bin").write_bytes(os.urandom(80_000_000))  # too large to be hashed on the user's path
    with watched.cell(wait=False):
        Path("big.bin").read_bytes()
        Path("big.bin").write_bytes(b"short")
    watched.settle()
    use = watched.reads()["big.bin"]
    assert (use.digest is None) == (use.state == "unstable")
    if use.digest is None:  # unless the background was faster
        assert [(gap.blocks, gap.cell) for gap in watched.gaps] == [(True, 1)]
    assert watched.writes()["big.bin"].digest == sha256(b"short")


def test_a_slow_end_of_a_cell_does_not_undo_what_the_background_found(watched: Watched) -> None:
    watched.begin()
    Path("in.csv").read_text()
    Path("out.csv").write_text("x")
    patch = watched.files.after_cell(1)
    watched.settle()  # everything is hashed before the session comes to write the end of the cell
    watched.take(1, patch)
    assert [use.state for use in (*watched.reads().values(), *watched.writes().values())] == ["stable"] * 2


# -- what is kept where ---------------------------------------------------------------------------


def test_a_file_above_the_limit_is_hashed_only(place: Path) -> None:
    Path("in.bin").write_bytes(b"12345")
    probe = Watched(place, Settings(store_limit=4))
    with probe.cell():
        Path("in.bin").read_bytes()
        Path("out.bin").write_bytes(b"123456")
    use = probe.reads()["in.bin"]
    assert (use.digest, use.stored) == (sha256(b"12345"), "none")
    assert not probe.objects.has(sha256(b"12345"))
    assert [(gap.aspect, gap.blocks) for gap in probe.gaps] == [("files", False)]
    assert probe.gaps[0].remedy == "`%repro data in.bin --store` or track it with DVC"
    assert (probe.gaps[0].path, probe.gaps[0].digest) == ("in.bin", sha256(b"12345"))
    probe.stop()


def test_what_the_snapshot_holds_is_not_kept_twice(place: Path) -> None:
    (place / "table.csv").write_bytes(b"tracked\n")
    shell("git add table.csv && git commit -qm table")
    tree = subprocess.run(["git", "ls-tree", "-r", "HEAD"], capture_output=True, text=True, check=True).stdout
    blobs = {line.split()[3]: line.split()[2] for line in tree.splitlines()}
    probe = Watched(place)
    probe.files.knows({str(place / name): blob for name, blob in blobs.items()})
    with probe.cell():
        Path("table.csv").read_bytes()
    assert (probe.reads()["table.csv"].stored, probe.reads()["table.csv"].digest) == ("git", sha256(b"tracked\n"))
    assert not probe.objects.has(sha256(b"tracked\n"))
    Path("table.csv").write_bytes(b"changed\n")  # of the same size
    with probe.cell():
        Path("table.csv").read_bytes()
    assert probe.kept(probe.reads()["table.csv"]) == b"changed\n"
    assert listing.__all__  # the session fills it in by this module
    probe.stop()


# -- what is not data ------------------------------------------------------------------------------


def test_noise_is_not_recorded(watched: Watched, place: Path) -> None:
    noise = [
        Path.home() / ".cache/matplotlib/fontlist.json",
        Path.home() / ".ipython/profile_default/history.sqlite",
        Path(pd.__file__).parent / "noise.txt",
        place / ".git/info/noise",
        place / "__pycache__/noise.txt",
        place / ".ipynb_checkpoints/noise.csv",
        place / ".reprokit/noise",
        place / "module.py",
        place / "Notebook.ipynb",
    ]
    made = [path for path in noise if not path.exists()]
    try:
        with watched.cell():
            for path in noise:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("x")
                path.read_text()
            Path("/proc/cpuinfo").read_text()
            Path("/etc/hostname").exists() and Path("/etc/hostname").read_text()
            open(os.devnull).close()
    finally:
        for path in made:
            path.unlink(missing_ok=True)
    assert watched.reads() == watched.writes() == {}


def test_the_user_may_exclude_files(place: Path) -> None:
    probe = Watched(place, Settings(ignore=("logs/*", "*.tmp")))
    with probe.cell():
        Path("logs").mkdir()
        Path("logs/a.log").write_text("x")
        Path("b.tmp").write_text("x")
        Path("c.csv").write_text("x")
    assert set(probe.writes()) == {"c.csv"}
    probe.stop()


def test_transient_files_are_not_recorded(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched.cell():
        Path("scratch.tmp").write_text("x")
        Path("scratch.tmp").read_text()
        Path("scratch.tmp").unlink()
        shell("echo x > shell.tmp; cat shell.tmp; rm shell.tmp")
        Path(f"/tmp/reprokit-test-{os.getpid()}").write_text("x")
    with watched.cell():  # left in the folder for such files by an earlier cell: of no interest, and no input
        Path(f"/tmp/reprokit-test-{os.getpid()}").read_text()
        os.unlink(f"/tmp/reprokit-test-{os.getpid()}")
    assert watched.reads(1) == watched.writes(1) == {}
    assert [use for use in watched.reads(2).values() if not use.own] == []


# -- outside the project and through links ----------------------------------------------------------


def test_a_file_outside_the_project_read_by_python(watched: Watched, tmp_path: Path) -> None:
    outside = tmp_path / "shared.csv"
    outside.write_bytes(b"shared")
    with watched.cell():
        pd.read_csv(outside)
    assert watched.kept(watched.reads()[str(outside)]) == b"shared"


def test_links(watched: Watched, tmp_path: Path, place: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/data.bin").write_bytes(b"far")
    os.symlink(tmp_path / "far", "data")
    os.symlink("in.csv", "latest.csv")
    os.symlink(place, tmp_path / "way")
    os.symlink("nowhere", "broken")
    with watched.cell():
        Path("data/data.bin").read_bytes()
        Path("latest.csv").read_bytes()
        (tmp_path / "way/in.csv").read_bytes()
        with pytest.raises(FileNotFoundError):
            Path("broken").read_text()
    assert {name: use.digest for name, use in watched.reads().items()} == {
        "data/data.bin": sha256(b"far"),
        "latest.csv": IN,
        "in.csv": IN,
    }
    with watched.cell():
        Path("latest.csv").write_bytes(b"through")
    assert watched.writes()["in.csv"].digest == sha256(b"through")


def test_a_project_reached_by_a_link(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "in.csv").write_bytes(b"x")
    os.symlink(project, tmp_path / "link")
    monkeypatch.chdir(tmp_path / "link")
    probe = Watched(tmp_path / "link")
    with probe.cell():
        Path("in.csv").read_bytes()
        (tmp_path / "link/in.csv").read_bytes()
        shell("cp in.csv out.csv")
    assert (set(probe.reads()), set(probe.writes())) == ({"in.csv"}, {"out.csv"})
    probe.stop()


# -- what is no regular file -------------------------------------------------------------------------


def test_a_pipe_is_told_and_never_waited_for(watched: Watched) -> None:
    os.mkfifo("pipe")
    with watched.cell():
        writer = threading.Thread(target=lambda: Path("pipe").write_bytes(b"x"))
        writer.start()
        assert Path("pipe").read_bytes() == b"x"
        writer.join()
    assert watched.reads() == watched.writes() == {}
    assert {gap.message for gap in watched.gaps} == {"pipe is a pipe: what goes through it is not kept"}


def test_folders_and_sockets_are_no_files(watched: Watched) -> None:
    Path("folder").mkdir()
    with watched.cell():
        os.close(os.open("folder", os.O_RDONLY))
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
        os.rename("folder", "renamed")
    assert watched.reads() == watched.writes() == {}
    assert watched.gaps == []


def test_a_file_that_may_not_be_read(place: Path) -> None:
    code = f"""
import ctypes, struct, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from watched import Watched
from pathlib import Path
ctypes.CDLL(None).capset(struct.pack("II", 0x20080522, 0), bytes(24))  # root too is now told no
probe = Watched(Path.cwd())
with probe.cell():
    try:
        open("secret")
        sys.exit("it can be read")
    except PermissionError:
        pass
    Path("open.txt").write_text("x")
assert set(probe.writes()) == {{"open.txt"}}, probe.writes()
assert probe.reads() == {{}}, probe.reads()
assert probe.gaps == [], probe.gaps
probe.stop()
"""
    (place / "secret").write_text("x")
    (place / "secret").chmod(0o000)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# -- very many, and very little ------------------------------------------------------------------------


def test_very_many_files_in_one_cell(watched: Watched) -> None:
    Path("many").mkdir()
    for number in range(20_000):
        os.close(os.open(f"many/{number}", os.O_CREAT | os.O_WRONLY))
    command = "import os\nfor n in range(20_000): os.close(os.open(f'many/{n}', os.O_RDONLY))"
    with watched.cell():
        subprocess.run([*CHILD, command], check=True)
    lost = any("were not seen" in gap.message for gap in watched.gaps)
    assert set(watched.reads()) == {"many/"}
    assert watched.reads()["many/"].files == 20_000 or lost
    assert ("some were not seen" in " ".join(watched.stop().reasons)) == lost


def test_a_file_that_is_opened_where_no_call_is_left_is_told(only_watched: Watched) -> None:
    def deeper() -> None:
        os.close(os.open("in.csv", os.O_RDONLY))
        deeper()

    with only_watched.cell(), contextlib.suppress(RecursionError):
        deeper()
    assert any("limit of recursion" in gap.message for gap in only_watched.gaps)
    with only_watched.cell():
        Path("in.csv").read_text()
    assert sum("limit of recursion" in gap.message for gap in only_watched.gaps) == 1


def test_a_queue_that_overflows_is_told(only_watched: Watched) -> None:
    with only_watched.cell():
        pass
    inotify = only_watched.files._observers.watch
    assert inotify is not None
    with only_watched.cell(), inotify._lock:  # as when the thread that empties the queue is not given time
        for _ in range(40_000):
            os.close(os.open("in.csv", os.O_RDONLY))
    assert any("were not seen" in gap.message for gap in only_watched.gaps)
    assert "so many files were used at once that some were not seen" in only_watched.stop().reasons


def test_a_process_with_many_open_files_is_watched(project: Path) -> None:
    code = f"""
import os, resource, sys
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(1500)]
sys.path.insert(0, {str(Path(__file__).parent)!r})
from watched import Watched
from pathlib import Path
probe = Watched(Path.cwd())
with probe.cell():
    os.system("echo x > out.txt")
with probe.cell():
    os.system("echo x > out.txt")
assert set(probe.writes()) == {{"out.txt"}}
assert probe.files._observers.watch._thread.is_alive()
probe.stop()
"""
    environ = {**os.environ, "REPROKIT_TIER": "watch"}
    subprocess.run([sys.executable, "-c", code], cwd=project, check=True, timeout=60, env=environ)


def test_a_thread_that_goes_on_does_not_break_the_record(watched: Watched) -> None:
    going = True

    def open_on() -> None:
        number = 0
        while going:
            Path(f"{number % 500}.txt").write_text("x")
            number += 1

    thread = threading.Thread(target=open_on)
    thread.start()
    for _ in range(30):
        with watched.cell(wait=False):
            time.sleep(0)
    going = False
    thread.join()
    watched.settle()


def test_the_network_is_noted(watched: Watched) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with watched.cell(), socket.create_connection(server.getsockname()):
            pass
    assert watched.network[1] == []
    with watched.cell(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outgoing:
        outgoing.connect(("192.0.2.1", 9))
    assert watched.network[2] == ["192.0.2.1:9"]


# -- the tier ----------------------------------------------------------------------------------------


def test_the_tier_is_stated(watched: Watched) -> None:
    with watched.cell():
        pass
    capture = watched.stop()
    assert (capture.tier, capture.complete) in (("complete", True), ("watch", False))
    assert bool(capture.reasons) != capture.complete


def test_without_watching_a_scan_finds_what_was_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("old.txt").write_text("old")
    Path("in.csv").write_text("x")
    for number in range(5):
        Path(f"folder{number}").mkdir()
    monkeypatch.setenv("REPROKIT_TIER", "watch")
    monkeypatch.setattr(watch, "_LIMIT", 3)  # as in a tree with more folders than can be watched
    probe = Watched(place)
    with probe.cell():
        Path("in.csv").read_text()
        shell("echo new > new.txt; echo more >> old.txt; echo x > made.txt")
        Path("made.txt").read_text()
    assert set(probe.writes()) == {"new.txt", "old.txt", "made.txt"}
    assert {name for name, use in probe.reads().items() if not use.own} == {"in.csv", "old.txt"}
    assert probe.kept(probe.reads()["old.txt"]) == b"old"
    assert ["cannot be watched" in gap.message for gap in probe.gaps] == [True]
    capture = probe.stop()
    assert (capture.tier, capture.complete) == ("basic", False)


def test_nothing_is_heard_after_the_end(watched: Watched) -> None:
    with watched.cell():
        pass
    watched.stop()
    Path("in.csv").read_text()
    assert watched.reads() == {}
    assert threading.active_count() == len([thread for thread in threading.enumerate() if thread.is_alive()])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reprokit")]


def test_an_artifact_is_hashed_now(watched: Watched) -> None:
    with watched.cell():
        use = watched.files.content(Path("in.csv"))
    assert (use.path, use.digest, use.stored) == ("in.csv", IN, "object")
    assert watched.reads() == {}
    assert watched.files.content(Path("absent")).state == "missing"

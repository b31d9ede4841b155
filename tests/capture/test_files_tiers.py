"""What each tier of capture sees, and that it says so: with the recorder from the start, put in later, and without."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import duckdb
import h5py
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from watched import Watched, sha256

from reprokit.capture.files import recorder

needs_recorder = pytest.mark.skipif(not recorder.is_available(), reason="no recorder was built for this system")
HERE = Path(__file__).parent


@pytest.fixture
def place(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


def at_work(place: Path) -> Iterator[Watched]:
    (place / "in.csv").write_bytes(b"x\n1\n")
    probe = Watched(place)
    yield probe
    probe.files.stop()
    probe.worker.stop()


@pytest.fixture
def recorded(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """The probe with the recorder, put in later.

    Tests work in the system's folder for temporary files, where what is written is of no interest: it is another.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    yield from at_work(place)


@pytest.fixture
def watch_only(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """The probe without the recorder."""
    monkeypatch.setenv("REPROKIT_TIER", "watch")
    yield from at_work(place)


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


def inputs(watched: Watched) -> dict[str, bytes]:
    """Return what the last cell read that it had not made itself, with the bytes that are kept."""
    assert [gap for gap in watched.gaps if gap.blocks] == []
    return {name: watched.kept(use) for name, use in watched.reads().items() if not use.own}


# -- children that change what they read: nothing of it is seen from Python -----------------------------

IN = b"x\n1\n"
CHANGES = {
    "append": ("echo 2 >> in.csv", {"in.csv": IN}, {"in.csv"}),
    "read and append": ("cat in.csv; echo 2 >> in.csv", {"in.csv": IN}, {"in.csv"}),
    "edit in place": ("sed -i s/1/2/ in.csv", {"in.csv": IN}, {"in.csv"}),
    "sort onto itself": ("sort -o in.csv in.csv", {"in.csv": IN}, {"in.csv"}),
    "move": ("mv in.csv out.csv", {"in.csv": IN}, {"out.csv"}),
    "move twice": ("mv in.csv a.csv; mv a.csv out.csv", {"in.csv": IN}, {"out.csv"}),
    "move and change": ("mv in.csv out.csv; echo 2 > out.csv", {"in.csv": IN}, {"out.csv"}),
    "move and back": ("mv in.csv a.csv; mv a.csv in.csv", {"in.csv": IN}, {"in.csv"}),
    "remove": ("cat in.csv; rm in.csv", {"in.csv": IN}, set()),
    "remove unread": ("rm in.csv", {}, set()),
    "overwrite unread": ("echo 2 > in.csv", {}, {"in.csv"}),
    "by a temporary file": ("cp in.csv new.tmp; echo 2 >> new.tmp; mv new.tmp in.csv", {"in.csv": IN}, {"in.csv"}),
    "made and used": ("echo 2 > a.csv; cat a.csv; cp a.csv out.csv; rm a.csv", {}, {"out.csv"}),
    "made and moved": ("echo 2 > a.csv; mv a.csv in.csv; cat in.csv", {}, {"in.csv"}),
    "a folder": ("mkdir new; cp in.csv new/; mv new old; cat old/in.csv", {"in.csv": IN}, {"old/in.csv"}),
    "touch": ("touch in.csv", {}, set()),
    "touch and append": ("touch in.csv; echo 2 >> in.csv", {"in.csv": IN}, {"in.csv"}),
    "touch and read": ("touch in.csv; cat in.csv", {"in.csv": IN}, set()),
    "append nothing": (": >> in.csv", {}, set()),
    "another language": (
        f'{sys.executable} -S -c \'f = open("in.csv", "r+"); t = f.read(); f.seek(0); f.write(t * 2)\'',
        {"in.csv": IN},
        {"in.csv"},
    ),
}


@needs_recorder
@pytest.mark.parametrize("way", CHANGES)
def test_children_that_change_what_they_read(way: str, recorded: Watched) -> None:
    command, read, written = CHANGES[way]
    with recorded.cell():
        shell(command)
    assert inputs(recorded) == read
    assert set(recorded.writes()) == written
    for name, use in recorded.writes().items():
        assert (use.digest, use.state) == (sha256(Path(name).read_bytes()), "stable")


@needs_recorder
def test_a_folder_that_was_there_is_moved(recorded: Watched) -> None:
    for name in ("a", "deep/b"):
        Path(f"old/{name}").parent.mkdir(parents=True, exist_ok=True)
        Path(f"old/{name}").write_text(name)
    with recorded.cell():
        shell("mv old new")
    assert inputs(recorded) == {"old/a": b"a", "old/deep/b": b"deep/b"}
    assert set(recorded.writes()) == {"new/a", "new/deep/b"}


@needs_recorder
def test_bytes_that_are_owed_from_an_earlier_cell_are_kept(recorded: Watched) -> None:
    Path("large.bin").write_bytes(os.urandom(60_000_000))  # keeps the background busy
    for number in range(20):
        Path(f"{number}.csv").write_text(str(number))
    with recorded.cell(wait=False):
        Path("large.bin").read_bytes()
        for number in range(20):
            Path(f"{number}.csv").read_text()
    with recorded.cell(wait=False):
        shell("for n in *.csv; do echo new > $n; done; rm large.bin; mv 3.csv elsewhere.csv")
    recorded.settle()
    assert [gap for gap in recorded.gaps if gap.blocks] == []
    for number in range(20):
        assert recorded.kept(recorded.reads(1)[f"{number}.csv"]) == str(number).encode()
    assert recorded.reads(1)["large.bin"].state == "stable"


# -- one file by two names ----------------------------------------------------------------------------------

BY_ITS_OTHER_NAME = {
    "Python": lambda: (Path("in.csv").read_text(), Path("other.csv").write_text("new")),
    "a child": lambda: (Path("in.csv").read_text(), shell("echo new > other.csv")),
    "a child that appends": lambda: (Path("in.csv").read_text(), shell("echo new >> other.csv")),
    "one child": lambda: shell("cat in.csv; echo new > other.csv"),
    "one child that appends": lambda: shell("cat in.csv; echo new >> other.csv"),
}


@needs_recorder
@pytest.mark.parametrize("way", BY_ITS_OTHER_NAME)
def test_a_file_that_is_changed_by_its_other_name(way: str, recorded: Watched) -> None:
    os.link("in.csv", "other.csv")
    with recorded.cell():
        BY_ITS_OTHER_NAME[way]()
    also = {"other.csv": IN} if "append" in way else {}
    assert inputs(recorded) == {"in.csv": IN, **also}
    assert set(recorded.writes()) == {"other.csv"}
    assert list(recorded.files._copies.iterdir()) == []


@needs_recorder
def test_rights_and_names_are_no_change(recorded: Watched) -> None:
    Path("large.bin").write_bytes(os.urandom(60_000_000))  # keeps the background busy
    with recorded.cell():
        Path("large.bin").read_bytes()
        Path("in.csv").read_text()
        os.chmod("in.csv", 0o600)
        os.link("in.csv", "other.csv")
    assert recorded.kept(recorded.reads()["in.csv"]) == IN


@needs_recorder
def test_bytes_that_are_owed_are_kept_when_another_name_is_changed(recorded: Watched) -> None:
    Path("large.bin").write_bytes(os.urandom(60_000_000))  # keeps the background busy
    os.link("in.csv", "other.csv")
    with recorded.cell(wait=False):
        Path("large.bin").read_bytes()
        shell("cat in.csv")
    with recorded.cell(wait=False):
        shell("echo new >> other.csv")
    recorded.settle()
    assert recorded.kept(recorded.reads(1)["in.csv"]) == IN
    assert recorded.kept(recorded.reads(2)["other.csv"]) == IN


@needs_recorder
def test_no_copy_of_lost_bytes_stays(recorded: Watched) -> None:
    for _ in range(3):
        with recorded.cell():
            shell("cat in.csv; echo 2 >> in.csv; cp in.csv b.csv; rm b.csv; cat in.csv; sed -i s/2/3/ in.csv")
        assert list(recorded.files._copies.iterdir()) == []
    recorded.stop()
    assert not recorded.files._copies.exists()


# -- libraries and pools, in the project and outside it ---------------------------------------------------


def _double(name: str) -> int:
    return len(pl.read_csv(name))


@needs_recorder
def test_what_libraries_read_and_write_outside_the_project(recorded: Watched, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    pl.DataFrame({"x": [1, 2]}).write_parquet(far / "t.parquet")
    with h5py.File(far / "t.h5", "w") as file:
        file["x"] = [1]
    folder = str(far)  # so that no literal names the files
    with recorded.cell():
        pl.scan_parquet(f"{folder}/t.parquet").collect()
        h5py.File(f"{folder}/t.h5", "r").close()
        duckdb.sql(f"copy (select * from '{folder}/t.parquet') to '{folder}/made.csv'")
        pq.write_table(pa.table({"x": [1]}), f"{folder}/other.parquet")
    assert set(inputs(recorded)) == {f"{folder}/t.parquet", f"{folder}/t.h5"}
    assert set(recorded.writes()) == {f"{folder}/made.csv", f"{folder}/other.parquet"}


@needs_recorder
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_pools(method: str, recorded: Watched, tmp_path: Path) -> None:
    far = tmp_path / "far.csv"
    far.write_text("x\n1\n2\n")
    context = multiprocessing.get_context(method)
    with recorded.cell(), concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        read = _in_child if method == "fork" else _double
        assert pool.submit(read, str(far)).result(timeout=60) == (6 if method == "fork" else 2)
    assert inputs(recorded) == {str(far): b"x\n1\n2\n"}


def _in_child(name: str) -> int:
    return len(Path(name).read_text())


@needs_recorder
def test_a_hive_of_files_in_folders_made_in_the_cell(recorded: Watched) -> None:
    table = pa.table({"k": ["a", "b"], "x": [1, 2]})
    with recorded.cell():
        pq.write_to_dataset(table, "hive", partition_cols=["k"])
        assert len(pa.dataset.dataset("hive", partitioning="hive").to_table()) == 2
    assert {os.path.dirname(name) for name in recorded.writes()} == {"hive/k=a", "hive/k=b"}
    assert inputs(recorded) == {}


# -- what is said of it -------------------------------------------------------------------------------------

COMPLETE = """
import os, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from watched import Watched
Path("in.csv").write_text("x")
Path("others.csv").write_text("x")
{before}
probe = Watched(Path.cwd())
def shell(command):
    subprocess.run(command, shell=True, check=True)
with probe.cell():
    {cell}
capture = probe.stop()
print(capture.tier, capture.complete, sorted(probe.reads()), sorted(probe.writes()), *capture.reasons, sep="|")
"""


def complete(place: Path, cell: str, before: str = "", meanwhile: str = "", **variables: str) -> list[str]:
    """Run one cell in a process that carries the recorder from its start; return tier, completeness and files.

    ``meanwhile`` is run by somebody else when the cell says "go"; the cell then gets a line.
    """
    code = COMPLETE.format(here=str(HERE), before=before, cell=textwrap.indent(cell, "    ").strip())
    environ = {**os.environ, **recorder.carried(os.environ), **variables}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=place, env=environ, **pipes) as process:  # type: ignore[call-overload]
        if meanwhile:
            assert process.stdout.readline() == "go\n"
            shell(f"cd {place}; {meanwhile}")
        out, _ = process.communicate("went\n", timeout=120)
    assert process.returncode == 0
    return str(out.strip().splitlines()[-1]).split("|")


@needs_recorder
def test_complete(place: Path) -> None:
    assert complete(place, "shell('cat in.csv > out.csv')") == ["complete", "True", "['in.csv']", "['out.csv']"]


@needs_recorder
def test_files_that_only_others_touch_are_not_the_cells(place: Path) -> None:
    """As when JupyterLab saves: somebody else is at work in the project meanwhile."""
    told = complete(
        place,
        "print('go', flush=True)\nsys.stdin.readline()\nPath('in.csv').read_text()",
        meanwhile="cat others.csv; echo x > theirs.csv; echo more >> others.csv",
    )
    assert told == ["complete", "True", "['in.csv']", "[]"]


@needs_recorder
def test_a_file_kept_open_over_cells_is_the_cells_that_writes(place: Path) -> None:
    code = COMPLETE.format(here=str(HERE), before="", cell="file = open('log.txt', 'w')").replace(
        "capture = probe.stop()",
        "with probe.cell():\n    file.write('x'); file.flush()\ncapture = probe.stop()",
    )
    environ = {**os.environ, **recorder.carried(os.environ)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True, cwd=place
    )
    assert done.stdout.strip().split("|") == ["complete", "True", "['log.txt']", "['log.txt']"]


@needs_recorder
def test_a_process_that_ran_before_is_said_not_to_be_seen(place: Path) -> None:
    before = "earlier = subprocess.Popen(['cat'], stdin=subprocess.PIPE)"
    told = complete(place, "shell('true')\nearlier.communicate()", before=before)
    assert told[:2] == ["watch", "False"]
    assert told[4:] == ["1 process was running before the run began, and what they do is not seen"]


@needs_recorder
@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no compiler to make such a program")
def test_a_program_that_cannot_be_looked_into_is_said(place: Path) -> None:
    (place / "open.c").write_text('#include <fcntl.h>\nint main(void) { return open("in.csv", O_RDONLY) < 0; }')
    made = subprocess.run(["gcc", "-static", "-o", "opens", "open.c"], cwd=place, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("the C library cannot be linked statically here")
    told = complete(place, "shell('./opens')")
    assert told[:2] == ["watch", "False"]
    assert "['in.csv'" in told[2]  # by the watch on the project
    assert told[4].endswith(f"programs that cannot be looked into were started: {place}/opens")


@needs_recorder
@pytest.mark.parametrize("tier", ["watch", "basic"])
def test_a_lower_tier_can_be_forced(tier: str, place: Path) -> None:
    told = complete(place, "Path('in.csv').read_text()\nshell('echo x > out.csv')", REPROKIT_TIER=tier)
    assert told[:4] == [tier, "False", "['in.csv']", "['out.csv']"]
    assert f"REPROKIT_TIER is {tier}" in told


@needs_recorder
def test_hosts_that_children_connect_to(recorded: Watched) -> None:
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    with recorded.cell():
        subprocess.run([sys.executable, "-S", "-c", code], check=True)
    assert recorded.network[1] == ["192.0.2.1:9"]
    with recorded.cell():
        pass
    assert recorded.network[2] == []


@needs_recorder
def test_put_in_later_it_is_not_complete(recorded: Watched) -> None:
    with recorded.cell():
        pass
    capture = recorded.stop()
    if "LD_PRELOAD" not in os.environ:
        # What other tests left running in this process is another reason, and told as such.
        reasons = [reason for reason in capture.reasons if "running before the run began" not in reason]
        assert (capture.tier, len(reasons)) in (("watch", 1), ("complete", 0))
        assert capture.complete is (not capture.reasons)


# -- without the recorder -------------------------------------------------------------------------------------


def test_what_the_watch_concludes_of_moves(watch_only: Watched) -> None:
    Path("old").mkdir()
    Path("old/a").write_text("a")
    with watch_only.cell():
        shell("mv in.csv out.csv; mv old new")
    assert inputs(watch_only) == {"in.csv": b"x\n1\n", "old/a": b"a"}
    assert set(watch_only.writes()) == {"out.csv", "new/a"}


def test_what_goes_on_from_known_bytes_used_them(watch_only: Watched) -> None:
    with watch_only.cell():
        Path("in.csv").read_text()
    with watch_only.cell():
        shell("echo 2 >> in.csv")
    assert inputs(watch_only) == {"in.csv": b"x\n1\n"}
    with watch_only.cell():
        shell("echo something else > in.csv")
    assert inputs(watch_only) == {}


def far_table(tmp_path: Path) -> Path:
    """Return a table outside the project, in a folder with another file."""
    far = tmp_path / "far"
    far.mkdir()
    pl.DataFrame({"x": [1]}).write_parquet(far / "t.parquet")
    (far / "other.csv").write_text("x")
    return far


@pytest.mark.parametrize(
    "named", ["in the source", "in a path", "in a string", "by a folder", "by a pattern", "by a shell"]
)
def test_folders_outside_that_a_cell_names_are_watched(named: str, watch_only: Watched, tmp_path: Path) -> None:
    far = far_table(tmp_path)
    source = {
        "in the source": f"pl.read_parquet('{far}/t.parquet')",
        "by a folder": f"pl.read_parquet('{far}' + '/t.parquet')",
        "by a pattern": f"pl.read_parquet('{far}/*.parquet')",
        "by a shell": f"!cat {far}/t.parquet",
    }.get(named, "pl.read_parquet(path)")
    values = {"in a path": far / "t.parquet", "in a string": f"{far}/t.parquet"}
    watch_only.namespace.update({"path": values.get(named), "number": 1})
    with watch_only.cell(source=source):
        pl.read_parquet(far / "t.parquet")
        shell("cat in.csv")
    assert set(inputs(watch_only)) == {str(far / "t.parquet"), "in.csv"}


def test_a_folder_behind_a_link_is_watched(watch_only: Watched, tmp_path: Path) -> None:
    os.symlink(far_table(tmp_path), "link")
    with watch_only.cell(source="pl.read_parquet('link/t.parquet')"):
        pl.read_parquet("link/t.parquet")
    assert set(inputs(watch_only)) == {"link/t.parquet"}


def test_only_the_named_file_of_a_broad_folder_is_watched(watch_only: Watched, tmp_path: Path) -> None:
    far = far_table(tmp_path)
    with watch_only.cell(source=f"x = '{far}/t.parquet'"):
        shell(f"cat {far}/t.parquet {far}/other.csv")
    assert set(inputs(watch_only)) == {str(far / "t.parquet")}


@pytest.mark.parametrize("named", ["{project}", "{project}/", "{project}/..", "../{name}"])
def test_a_cell_that_names_the_project_or_what_holds_it(named: str, watch_only: Watched, place: Path) -> None:
    source = f"root = '{named.format(project=place, name=place.name)}'"
    with watch_only.cell(source=source):
        pass
    with watch_only.cell(source=source):
        shell("mkdir -p made/deep; echo x > made/deep/file")
    assert set(watch_only.writes()) == {"made/deep/file"}


@pytest.mark.parametrize("source", ["!curl -s file://$(pwd)/in.csv", "%cd ../..", "!ls //", "x = '../'", "1 / 2"])
def test_what_names_no_data_is_not_watched(source: str, watch_only: Watched) -> None:
    watch = watch_only.files._observers.watch
    assert watch is not None
    before = watch.folders()
    with watch_only.cell(source=source):
        pass
    assert watch.folders() == before


class Touchy(str):
    """A value of the user's that tells when it is touched."""

    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError("touched")

    __len__ = __contains__ = __getitem__ = __hash__ = __str__  # type: ignore[assignment]


def test_values_of_the_users_own_types_are_left_alone(watch_only: Watched) -> None:
    watch_only.namespace.update({f"v{n}": Touchy("/etc/x") for n in range(3)})
    with watch_only.cell(source="print('/nowhere/at/all')"):
        Path("in.csv").read_text()
    assert set(inputs(watch_only)) == {"in.csv"}

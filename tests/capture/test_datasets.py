"""Folders of very many files: one line in a cell's record, and a manifest that names every file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watched import Watched, sha256

from reprokit.capture.files.datasets import FEW, gather
from reprokit.records import FileUse
from reprokit.settings import Settings


@pytest.fixture
def place(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def watched(place: Path) -> Iterator[Watched]:
    probe = Watched(place)
    yield probe
    probe.files.stop()
    probe.worker.stop()


def some(folder: str, count: int = FEW + 44) -> dict[str, bytes]:
    """Make files in a folder; return them by name."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    made = {f"{folder}/{number}.txt": f"{folder} {number}".encode() for number in range(count)}
    for name, data in made.items():
        Path(name).write_bytes(data)
    return made


def members(watched: Watched, use: FileUse) -> dict[str, FileUse]:
    """Return the files that a folder's manifest names."""
    assert use.digest is not None
    data = watched.objects.get_bytes(use.digest)
    assert sha256(data) == use.digest
    found = [FileUse.from_dict(item) for item in json.loads(data)]
    assert [one.path for one in found] == sorted(one.path for one in found)
    return {one.path: one for one in found}


def test_very_many_files_are_one_line(watched: Watched) -> None:
    made = some("images/train/cats") | some("images/train/dogs")
    Path("labels.csv").write_text("x")
    with watched.cell():
        for name in (*made, "labels.csv"):
            Path(name).read_bytes()
    reads = watched.reads()
    assert set(reads) == {"images/train/", "labels.csv"}
    use = reads["images/train/"]
    assert (use.files, use.stored, use.state, use.own) == (len(made), "object", "stable", False)
    assert use.size == sum(map(len, made.values()))
    files = members(watched, use)
    assert {name: watched.kept(one) for name, one in files.items()} == made
    assert watched.gaps == []


def test_the_same_files_make_the_same_manifest(watched: Watched) -> None:
    made = some("data")
    for command in ("cat", "head -c 1"):
        with watched.cell():
            subprocess.run(f"{command} data/*.txt > /dev/null", shell=True, check=True)
    with watched.cell():
        for name in reversed(made):
            Path(name).read_bytes()
    assert len({watched.reads(cell)["data/"].digest for cell in (1, 2, 3)}) == 1
    Path("data/7.txt").write_text("new")
    with watched.cell():
        for name in made:
            Path(name).read_bytes()
    assert watched.reads(4)["data/"].digest != watched.reads(1)["data/"].digest


def test_what_a_cell_writes_and_a_later_one_reads(watched: Watched) -> None:
    with watched.cell():
        made = some("out/parts")
    assert {name: use.files for name, use in watched.writes().items()} == {"out/parts/": len(made)}
    with watched.cell():
        for name in made:
            Path(name).read_bytes()
    assert watched.reads()["out/parts/"].own
    assert watched.writes() == {}
    Path("out/parts/0.txt").write_text("by somebody else")
    with watched.cell():
        for name in made:
            Path(name).read_bytes()
    use = watched.reads()["out/parts/"]
    assert not use.own
    assert [one.path for one in members(watched, use).values() if not one.own] == ["out/parts/0.txt"]


def test_few_files_are_each_named(watched: Watched) -> None:
    made = some("data", FEW)
    with watched.cell():
        for name in made:
            Path(name).read_bytes()
    assert set(watched.reads()) == set(made)


def test_files_above_the_limit_are_told_together(place: Path) -> None:
    made = some("data")
    probe = Watched(place, Settings(store_limit=3))
    with probe.cell():
        for name in made:
            Path(name).read_bytes()
    assert probe.reads()["data/"].stored == "none"
    (gap,) = probe.gaps
    assert gap.message.startswith(f"each of {len(made)} files (data/0.txt, ")
    assert "%repro data" in gap.remedy
    kept = probe.files.keep(Path("data"))
    assert (kept.path, kept.files, kept.stored) == ("data/", len(made), "object")
    assert all(probe.objects.has(sha256(data)) for data in made.values())
    probe.stop()


def test_very_many_small_files_are_kept_soon(watched: Watched) -> None:
    """One by one, each forced to the disk, they would take ten times as long as all together."""
    made = some("data", 2_000)
    code = "import sys\nfor name in sys.argv[1:]: open(name).close()"
    with watched.cell():
        subprocess.run([sys.executable, "-S", "-c", code, *made], check=True)
    assert watched.reads()["data/"].files == 2_000
    assert watched.objects._unsynced == set()
    assert all(watched.objects.has(sha256(data)) for data in made.values())


# -- which folders -----------------------------------------------------------------------------------


def paths(*folders: str, count: int = FEW + 1) -> list[str]:
    return [f"{folder}/{number}" for folder in folders for number in range(count)]


@pytest.mark.parametrize(
    ("used", "found"),
    [
        (paths("/p/data"), ["/p/data"]),
        ([*paths("/p/data"), "/p/a.csv", "/p/data.csv"], ["/p/data"]),
        ([*paths("/p/data/images"), "/p/data/labels.csv"], ["/p/data/images"]),
        (paths("/p/data/train", "/p/data/test"), ["/p/data"]),
        (paths("/p/in", "/p/out"), ["/p/in", "/p/out"]),
        ([f"/p/images/{n}/{m}.png" for n in range(100) for m in range(5)], ["/p/images"]),
        ([f"/p/{n}/x.csv" for n in range(300)], ["/p"]),
        (paths("/p"), ["/p"]),
        (paths("/p/data", count=FEW), []),
        ([], []),
    ],
)
def test_the_deepest_folder_that_gathers_them(used: list[str], found: list[str]) -> None:
    assert list(gather(used, "/p")) == found


names = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)


@given(st.lists(st.tuples(names, st.integers(1, 400)), max_size=6))
def test_gathered_or_few(chosen: list[tuple[str, int]]) -> None:
    """Nothing is lost or gathered twice; what is gathered lies in its folder; what is left over is not much."""
    used = sorted({f"/p/{folder}/{number}.x" for folder, count in chosen for number in range(count)})
    found = gather(used, "/p")
    inside = [path for below in found.values() for path in below]
    assert len(inside) == len(set(inside))
    assert set(inside) <= set(used)
    assert all(path.startswith(f"{folder}/") for folder, below in found.items() for path in below)
    assert all(len(below) > FEW for below in found.values())
    assert len(used) - len(inside) <= FEW * (1 + 2 * 4)
    assert os.sep == "/"

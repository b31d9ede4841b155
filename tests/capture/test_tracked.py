"""What git or DVC keeps already is recognised by its bytes, and not kept again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from watched import Watched, sha256

from reprokit.capture.files.tracked import outputs
from reprokit.digest import git_blob
from reprokit.settings import Settings

DATA = b"some data\n" * 100


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def place(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which DVC was initialised, with one file that it tracks."""
    monkeypatch.chdir(project)
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text("")
    (project / "data.bin").write_bytes(DATA)
    (project / "data.bin.dvc").write_text(
        f"outs:\n- md5: {md5(DATA)}\n  size: {len(DATA)}\n  hash: md5\n  path: data.bin\n"
    )
    return project


def cached(place: Path, data: bytes, name: str | None = None) -> None:
    """Put bytes into DVC's cache."""
    name = name or md5(data)
    path = place / ".dvc/cache/files/md5" / name[:2] / name[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def watched(place: Path) -> Iterator[Watched]:
    probe = Watched(place)
    know(probe)
    yield probe
    probe.files.stop()
    probe.worker.stop()


def know(probe: Watched) -> None:
    """Tell the probe what the code snapshot holds, as the session does."""
    files = [path for pattern in ("**/*.dvc", "**/dvc.lock", "**/dvc.yaml") for path in probe.project.glob(pattern)]
    probe.files.knows({str(path): git_blob(path.read_bytes()) for path in files if path.is_file()})


def stored(watched: Watched, name: str = "data.bin") -> str:
    """Read a file in a cell; return where it is kept."""
    with watched.cell():
        data = Path(name).read_bytes()
    use = watched.reads()[name]
    assert set(watched.reads()) == {name}
    assert (use.digest, use.size, use.state) == (sha256(data), len(data), "stable")
    assert watched.objects.has(sha256(data)) == (use.stored == "object")
    return use.stored


def test_in_the_cache(watched: Watched, place: Path) -> None:
    cached(place, DATA)
    assert stored(watched) == "dvc"


def test_by_a_remote(place: Path) -> None:
    (place / ".dvc/config").write_text("[core]\n    remote = away\n['remote \"away\"']\n    url = s3://bucket/x\n")
    probe = Watched(place)
    know(probe)
    assert stored(probe) == "dvc"
    probe.stop()


def test_neither_in_the_cache_nor_at_a_remote(watched: Watched) -> None:
    assert stored(watched) == "object"


def test_other_bytes_than_dvc_names(watched: Watched, place: Path) -> None:
    cached(place, DATA)
    Path("data.bin").write_bytes(DATA[:-1] + b"!")  # of the same size
    assert stored(watched) == "object"
    Path("data.bin").write_bytes(DATA + b"more")
    assert stored(watched) == "object"


def test_a_dvc_file_that_the_snapshot_does_not_have(watched: Watched, place: Path) -> None:
    """A replay could not find it."""
    cached(place, DATA)
    with (place / "data.bin.dvc").open("a") as file:
        file.write("desc: changed since\n")
    assert stored(watched) == "object"


def test_a_folder(place: Path) -> None:
    (place / "images/train").mkdir(parents=True)
    (place / "images/train/a.png").write_bytes(DATA)
    (place / "images/other.png").write_bytes(b"other")
    listing = json.dumps([{"md5": md5(DATA), "relpath": "train/a.png"}]).encode()
    name = md5(listing) + ".dir"
    (place / "images.dvc").write_text(f"outs:\n- md5: {name}\n  size: 1\n  nfiles: 1\n  hash: md5\n  path: images\n")
    cached(place, DATA)
    cached(place, listing, name)
    probe = Watched(place)
    know(probe)
    assert stored(probe, "images/train/a.png") == "dvc"
    assert stored(probe, "images/other.png") == "object"
    probe.stop()


@pytest.mark.parametrize(("wdir", "where"), [("", "dvc"), ("    wdir: sub\n", "object")])
def test_an_output_of_a_stage(wdir: str, where: str, place: Path) -> None:
    """One that is run in another folder is left to be found by a replay: its paths are relative to that."""
    (place / "sub").mkdir()
    (place / "sub/out.bin").write_bytes(DATA)
    lock = f"""schema: '2.0'
stages:
  make:
    cmd:
    - python make.py
    - 'echo "outs:"'
    deps:
    - path: make.py
      hash: md5
      md5: {md5(b"")}
      size: 0
    outs:
    - path: sub/out.bin
      hash: md5
      md5: {md5(DATA)}
      size: {len(DATA)}
"""
    (place / "dvc.lock").write_text(lock)
    (place / "dvc.yaml").write_text("stages:\n  make:\n    cmd: python make.py\n" + wdir)
    cached(place, DATA)
    probe = Watched(place)
    know(probe)
    assert stored(probe, "sub/out.bin") == where
    probe.stop()


def test_the_users_word_is_above_dvcs(watched: Watched, place: Path) -> None:
    cached(place, DATA)
    assert watched.files.keep(Path("data.bin")).stored == "object"
    assert stored(watched) == "object"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "outs: []",
        "outs: [{md5: d3b07384d113edec49eaa6238ad5ff00, path: a}]",
        "outs:\n- path: a\n",
        'outs:\n- md5: d3b07384d113edec49eaa6238ad5ff00\n  path: "a\\tb"\n',
        "deps:\n- md5: d3b07384d113edec49eaa6238ad5ff00\n  path: a\n",
        "outs:\n- md5: d3b07384d113edec49eaa6238ad5ff00\n  hash: etag\n  path: a\n",
        "\t\x00not yaml {{{",
    ],
)
def test_what_is_written_in_another_way_tracks_nothing(text: str) -> None:
    assert outputs(text) == []


def test_several_outputs() -> None:
    text = (
        "md5: aaaa\nframe: true\ndeps:\n- path: x\n  md5: d3b07384d113edec49eaa6238ad5ff00\nouts:\n"
        "- md5: d3b07384d113edec49eaa6238ad5ff00\n  size: 4\n  hash: md5\n  path: 'it''s.csv'\n  remote: away\n"
        "- md5: d3b07384d113edec49eaa6238ad5ff01.dir\n  size: 9\n  nfiles: 2\n  hash: md5\n  path: ../folder\n"
        "meta:\n  outs: none\n"
    )
    first, second = outputs(text)
    assert (first.path, first.size, first.remote) == ("it's.csv", 4, "away")
    assert (second.path, second.md5[-4:]) == ("../folder", ".dir")


# -- above the storing limit -----------------------------------------------------------------------------


def test_a_file_is_kept_when_the_user_says_so(place: Path) -> None:
    Path("big.bin").write_bytes(b"12345")
    probe = Watched(place, Settings(store_limit=4))
    with probe.cell():
        Path("big.bin").read_bytes()
    assert probe.reads()["big.bin"].stored == "none"
    use = probe.files.keep(Path("big.bin"))
    assert (use.path, use.digest, use.stored) == ("big.bin", sha256(b"12345"), "object")
    assert probe.kept(use) == b"12345"
    Path("big.bin").write_bytes(b"another")
    with probe.cell():
        Path("big.bin").read_bytes()
    assert probe.kept(probe.reads()["big.bin"]) == b"another"
    assert len(probe.gaps) == 1
    probe.stop()

"""A wheelhouse has everything: an environment is built from it alone, and what is missing or changed is named."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_environments import Index, any_wheel, git, make_venv, observed, project, says, source_archive, tiny_wheel, uv
from test_build_errors import BROKEN, WORKS

from reprokit.errors import EnvironmentBuildError, UsageError
from reprokit.replay import wheelhouse
from reprokit.replay.environment import build
from reprokit.replay.lock import Lock, make
from reprokit.store.objects import Objects


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """The only index there is."""
    made = Index(tmp_path / "index")
    any_wheel(made.files, "word", "1.0", "WORD = 'first'\n")
    any_wheel(made.files, "ipykernel", "1.0", "")
    source_archive(made.files, "brewed", "1.0", WORKS)
    made.publish()
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "UV_DEFAULT_INDEX": made.url,
        "PIP_INDEX_URL": made.url,
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "REPROKIT_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


@pytest.fixture
def lock(index: Index, objects: Objects, tmp_path: Path) -> Lock:
    """An index package, one built from its source, and a wheel that no index has."""
    python = make_venv(tmp_path / "recorded", "word", "brewed", "ipykernel", tiny_wheel(tmp_path / "local", "1.0"))
    return make(observed(python), objects)


@pytest.fixture
def house(lock: Lock, objects: Objects, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheelhouse, after which there is no index any more, nor anything in a cache."""
    wheelhouse.make(lock, objects, tmp_path / "house")
    nowhere(monkeypatch, tmp_path)
    return tmp_path / "house"


def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty-cache"))
    for path in (tmp_path / "index" / "files").iterdir():
        path.unlink()


def test_an_environment_is_built_from_it_alone(house: Path, lock: Lock, objects: Objects) -> None:
    made = build(lock, objects, offline=True, wheelhouse=house)
    assert (made.how, made.notes) == ("built", ())
    code = "import word, brewed, tiny; print(word.WORD, brewed.WORD, tiny.WORD)"
    assert says(made.python, code) == "first brewed tiny"


def test_pip_and_uv_take_it_as_it_is(house: Path, lock: Lock, tmp_path: Path) -> None:
    names = {path.name for path in house.iterdir()} - {"requirements.txt", "wheelhouse.json"}
    assert names == {
        "word-1.0-py3-none-any.whl",
        "ipykernel-1.0-py3-none-any.whl",
        "brewed-1.0-py3-none-any.whl",
        "tiny-1.0-py3-none-any.whl",
    }
    ours, theirs = make_venv(tmp_path / "ours"), make_venv(tmp_path / "theirs")
    install = ["install", "-q", "--require-hashes", "--no-deps", "-r", str(house / "requirements.txt")]
    command = [sys.executable, "-m", "pip", "--python", str(theirs), *install]
    done = subprocess.run(command, capture_output=True, check=False, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    uv("pip", *install, "--python", ours)
    for python in (ours, theirs):
        assert says(python, "import word, brewed, tiny; print(brewed.WORD)") == "brewed"


def test_what_is_missing_is_named(house: Path, lock: Lock, objects: Objects) -> None:
    (house / "word-1.0-py3-none-any.whl").unlink()
    with pytest.raises(EnvironmentBuildError, match=r"the wheelhouse lacks word 1\.0: `reprokit env"):
        build(lock, objects, wheelhouse=house)


def test_what_was_changed_is_named_and_not_installed(house: Path, lock: Lock, objects: Objects) -> None:
    any_wheel(house, "word", "1.0", "WORD = 'tampered'\n")
    with pytest.raises(EnvironmentBuildError, match=r"word-1\.0-py3-none-any\.whl in the wheelhouse is not what was"):
        build(lock, objects, wheelhouse=house)


def test_a_source_that_is_built_for_it_is_told(
    lock: Lock, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the wheel of the record, that is."""
    bare = dataclasses.replace(lock, extras=())
    packed = wheelhouse.make(bare, objects, tmp_path / "house")
    assert {one.name: one.source for one in packed} == {"word": "index", "ipykernel": "index", "brewed": "built"}
    nowhere(monkeypatch, tmp_path)
    made = build(bare, objects, wheelhouse=tmp_path / "house")
    assert made.notes == ("brewed 1.0 was built from its source for the wheelhouse",)
    assert says(made.python, "import brewed; print(brewed.WORD)") == "brewed"


def test_a_source_that_does_not_build_is_kept(lock: Lock, objects: Objects, tmp_path: Path, index: Index) -> None:
    path = source_archive(index.files, "brewed", "1.0", BROKEN)
    index.publish()
    again = make(observed(tmp_path / "recorded" / "bin" / "python"), objects)
    packed = wheelhouse.make(dataclasses.replace(again, extras=()), objects, tmp_path / "house")
    assert {one.name: one.source for one in packed}["brewed"] == "sdist"
    assert (tmp_path / "house" / path.name).read_bytes() == path.read_bytes()


def test_a_commit_is_built_for_it(
    index: Index, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project(tmp_path / "mine", says="commit")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (source / "backend.py").write_text(WORKS)
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git(source, *command)
    python = make_venv(tmp_path / "recorded", "ipykernel", f"brewed @ git+{source.as_uri()}")
    kept = make(observed(python), objects)
    (extra,) = kept.extras
    bare = dataclasses.replace(kept, extras=(dataclasses.replace(extra, digest=None, filename=None),))
    packed = wheelhouse.make(bare, objects, tmp_path / "house")
    assert {one.name: one.source for one in packed} == {"ipykernel": "index", "brewed": "commit"}
    source.rename(tmp_path / "gone")
    nowhere(monkeypatch, tmp_path)
    made = build(bare, objects, offline=True, wheelhouse=tmp_path / "house")
    (distribution,) = (d for d in observed(made.python).distributions if d.name == "brewed")
    assert (distribution.origin, distribution.commit) == ("vcs", extra.commit)


def test_a_kernel_is_added_where_there_was_none(
    lock: Lock, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = dataclasses.replace(lock, requirements=lock.requirements_of(["word"]), extras=())
    packed = wheelhouse.make(bare, objects, tmp_path / "house")
    assert {one.name: one.source for one in packed} == {"word": "index", "ipykernel": "kernel"}
    nowhere(monkeypatch, tmp_path)
    made = build(bare, objects, wheelhouse=tmp_path / "house")
    assert made.notes == ("ipykernel and what it needs were added: the recorded environment had no kernel",)


def test_a_folder_with_something_else_is_left_alone(lock: Lock, objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_text("mine")
    with pytest.raises(UsageError, match="is no wheelhouse, and not empty"):
        wheelhouse.make(lock, objects, tmp_path / "other")
    assert (tmp_path / "other" / "precious").read_text() == "mine"


def test_one_is_made_anew_whole_or_not_at_all(lock: Lock, objects: Objects, tmp_path: Path, index: Index) -> None:
    wheelhouse.make(lock, objects, tmp_path / "house")
    before = sorted(path.name for path in (tmp_path / "house").iterdir())
    (index.files / "word-1.0-py3-none-any.whl").unlink()
    index.publish()
    with pytest.raises(EnvironmentBuildError, match="has no word==1"):
        wheelhouse.make(lock, objects, tmp_path / "house")
    assert sorted(path.name for path in (tmp_path / "house").iterdir()) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert json.loads((tmp_path / "house" / "wheelhouse.json").read_text())["lock"] == lock.key


def test_there_is_no_such_folder(lock: Lock, objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no wheelhouse"):
        build(lock, objects, wheelhouse=tmp_path / "none")


def test_what_pip_downloaded_will_do(lock: Lock, objects: Objects, tmp_path: Path, index: Index) -> None:
    """A folder that says nothing of itself: the lock's own hashes decide."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in ("word", "ipykernel"):
        path = index.files / f"{name}-1.0-py3-none-any.whl"
        (folder / path.name).write_bytes(path.read_bytes())
    pins = lock.requirements_of(("word", "ipykernel"))
    small = dataclasses.replace(lock, requirements=pins, extras=())
    assert says(build(small, objects, wheelhouse=folder).python, "import word; print(word.WORD)") == "first"

"""Locks of real environments: pins with hashes, wheels, commits, and gaps that say what to do."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from made_environments import git, install, make_venv, observed, project, says, tiny_wheel, uv

from reprokit import digest
from reprokit.records import Distribution, Environment
from reprokit.replay import pins, wheels
from reprokit.replay.lock import Lock, ensure, make
from reprokit.store.layout import Layout
from reprokit.store.objects import Objects

PINS = ("six==1.16.0", "tabulate==0.9.0")


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_venv(tmp_path_factory.mktemp("pins") / "venv", *PINS)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made, _ = Layout(tmp_path, tmp_path / ".reprokit").create()
    return made


@pytest.fixture
def objects(layout: Layout) -> Objects:
    return Objects(layout.objects)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


def installed_again(lock: Lock, objects: Objects, folder: Path) -> Path:
    """Install the only extra of a lock, from what the store has."""
    (extra,) = lock.extras
    assert extra.digest is not None
    assert extra.filename is not None
    objects.restore(extra.digest, folder / extra.filename)
    return make_venv(folder / "again", "--no-index", "--no-deps", folder / extra.filename)


def with_version(environment: Environment, name: str, version: str) -> Environment:
    others = tuple(d for d in environment.distributions if d.name != name)
    added = Distribution(name=name, version=version)
    return dataclasses.replace(environment, distributions=(*others, added))


def test_index_packages_become_pins_with_hashes(venv: Path, objects: Objects) -> None:
    lock = make(observed(venv), objects)
    assert lock.pins == {"six": "1.16.0", "tabulate": "0.9.0"}
    assert lock.requirements.count("--hash=sha256:") == 4
    assert "//" not in lock.requirements
    assert (lock.extras, lock.gaps, lock.retry) == ((), (), False)


def test_making_a_lock_twice_gives_the_same(venv: Path, objects: Objects) -> None:
    environment = observed(venv)
    assert make(environment, objects).digest == make(environment, objects).digest


def test_equal_environments_have_equal_fingerprints(venv: Path, tmp_path: Path) -> None:
    other = make_venv(tmp_path / "a folder" / "other", *PINS)
    assert observed(other).fingerprint == observed(venv).fingerprint
    install(other, "six==1.17.0")
    assert observed(other).fingerprint != observed(venv).fingerprint


def test_lock_round_trip(venv: Path, objects: Objects) -> None:
    lock = make(observed(venv), objects)
    assert Lock.from_dict(json.loads(digest.canonical_json(lock.to_dict()))) == lock


@pytest.mark.parametrize("version", ["99.99", "1.0+nobody", "not a version"])
def test_a_version_that_no_index_has_leaves_the_others_locked(venv: Path, objects: Objects, version: str) -> None:
    lock = make(with_version(observed(venv), "six", version), objects)
    assert lock.pins == {"tabulate": "0.9.0"}
    (gap,) = lock.gaps
    assert gap.blocks
    assert gap.remedy
    assert f"six {version}" in gap.message
    assert not lock.retry


def test_the_hashed_text_is_what_pip_tools_writes(
    venv: Path, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = observed(venv)
    ours = make(environment, objects)
    monkeypatch.setattr(pins, "find_uv", lambda: None)
    assert make(environment, objects).requirements == ours.requirements


def test_unreachable_index_is_a_gap_and_is_tried_again(venv: Path, layout: Layout, objects: Objects) -> None:
    environment = observed(venv)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9")
        patch.setenv("UV_HTTP_RETRIES", "0")
        lock = ensure(layout, environment, objects)
    (gap,) = lock.gaps
    assert gap.blocks
    assert gap.message.startswith("the lock could not be made: ")
    assert lock.retry
    assert ensure(layout, environment, objects).pins == {"six": "1.16.0", "tabulate": "0.9.0"}


def test_switched_off_network_is_the_same_gap(
    venv: Path, objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    lock = make(observed(venv), objects)
    assert lock.retry
    assert lock.pins == {}


@pytest.mark.usefixtures("offline")
def test_a_local_wheel_is_kept_as_it_is(tmp_path: Path, objects: Objects) -> None:
    wheel = tiny_wheel(tmp_path / "wheels", "1.0")
    lock = make(observed(make_venv(tmp_path / "venv", wheel)), objects)
    (extra,) = lock.extras
    assert (extra.name, extra.version, extra.kind, extra.origin) == ("tiny", "1.0", "wheel", "local")
    assert (extra.digest, extra.filename) == (digest.of_file(wheel), wheel.name)
    assert lock.gaps == ()


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("then", ["gone", "built anew"])
def test_installed_files_become_a_wheel(tmp_path: Path, objects: Objects, then: str) -> None:
    wheel = tiny_wheel(tmp_path / "wheels", "1.0", says="installed")
    recorded = observed(make_venv(tmp_path / "venv", wheel))
    wheel.unlink()
    if then == "built anew":
        tiny_wheel(tmp_path / "wheels", "1.0", says="newer")
    lock = make(recorded, objects)
    again = installed_again(lock, objects, tmp_path)
    assert says(again, "import tiny; print(tiny.WORD)") == "installed"
    assert observed(again).fingerprint == recorded.fingerprint
    for command, text in (("tiny-command", "installed"), ("tiny-script", "script installed")):
        assert says(again, f"import os; os.system({str(again.parent / command)!r})") == text
    assert (again.parents[1] / "share" / "tiny.txt").read_text() == "shared\n"


@pytest.mark.usefixtures("offline")
def test_packing_is_deterministic(tmp_path: Path) -> None:
    venv = make_venv(tmp_path / "venv", tiny_wheel(tmp_path / "wheels", "1.0"))
    (info,) = venv.parents[1].glob("lib/*/site-packages/tiny-1.0.dist-info")
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(wheels.repack(info, tmp_path / name).read_bytes())
    assert made[0] == made[1]


def test_a_local_version_from_elsewhere_is_packed(tmp_path: Path, objects: Objects) -> None:
    """As a build for one accelerator is, which the usual index does not have."""
    tiny_wheel(tmp_path / "wheels", "1.0+cpu")
    source = ("--find-links", tmp_path / "wheels", "--no-index")
    recorded = observed(make_venv(tmp_path / "venv", *source, "tiny==1.0+cpu"))
    assert [d.origin for d in recorded.distributions] == ["index"]
    lock = make(recorded, objects)
    (extra,) = lock.extras
    assert (extra.version, extra.origin) == ("1.0+cpu", "index")
    assert extra.filename == "tiny-1.0+cpu-py3-none-any.whl"
    assert lock.gaps == ()


@pytest.mark.usefixtures("offline")
def test_missing_files_are_a_gap(tmp_path: Path, objects: Objects) -> None:
    wheel = tiny_wheel(tmp_path / "wheels", "1.0")
    venv = make_venv(tmp_path / "venv", wheel)
    recorded = observed(venv)
    wheel.unlink()
    (module,) = venv.parents[1].glob("lib/*/site-packages/tiny.py")
    module.unlink()
    (gap,) = make(recorded, objects).gaps
    assert gap.blocks
    assert f"{module} is gone" in gap.message


@pytest.mark.usefixtures("offline")
def test_too_large_is_a_gap(tmp_path: Path, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tiny_wheel(tmp_path / "wheels", "1.0")
    recorded = observed(make_venv(tmp_path / "venv", wheel))
    wheel.unlink()
    monkeypatch.setattr(wheels, "LIMIT", 10)
    (gap,) = make(recorded, objects).gaps
    assert gap.blocks
    assert "more than" in gap.message


@pytest.mark.parametrize("in_git", [True, False])
def test_an_editable_project_is_built_without_touching_it(tmp_path: Path, objects: Objects, in_git: bool) -> None:
    source = project(tmp_path / "mine", says="as it is")
    if in_git:
        git(source, "init", "-q")
    recorded = observed(make_venv(tmp_path / "venv", "-e", source))
    before = sorted(source.rglob("*"))
    lock = make(recorded, objects)
    assert sorted(source.rglob("*")) == before
    (extra,) = lock.extras
    assert (extra.origin, extra.url, extra.roots) == ("editable", source.as_uri(), (str(source / "src"),))
    assert lock.gaps == ()
    assert extra.digest is not None
    with zipfile.ZipFile(objects.path(extra.digest)) as archive:
        assert archive.read("mine/__init__.py") == b"WORD = 'as it is'\n"


def test_an_editable_project_that_moved_on_is_told(tmp_path: Path, objects: Objects) -> None:
    source = project(tmp_path / "mine")
    recorded = observed(make_venv(tmp_path / "venv", "-e", source))
    text = (source / "pyproject.toml").read_text()
    (source / "pyproject.toml").write_text(text.replace('"0.1"', '"0.2"'))
    (gap,) = make(recorded, objects).gaps
    assert not gap.blocks
    assert gap.message == "mine was installed as 0.1, and its source folder is 0.2 now"


def test_an_editable_project_that_is_gone_is_a_gap(tmp_path: Path, objects: Objects) -> None:
    source = project(tmp_path / "mine")
    recorded = observed(make_venv(tmp_path / "venv", "-e", source))
    source.rename(tmp_path / "elsewhere")
    (gap,) = make(recorded, objects).gaps
    assert gap.blocks
    assert f"{source} is gone" in gap.message


def test_a_commit_is_kept_as_a_commit(tmp_path: Path, objects: Objects) -> None:
    source = project(tmp_path / "mine")
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "first")
    commit = git(source, "rev-parse", "HEAD")
    recorded = observed(make_venv(tmp_path / "venv", f"mine @ git+{source.as_uri()}"))
    (extra,) = make(recorded, objects).extras
    assert (extra.kind, extra.url, extra.commit) == ("vcs", f"git+{source.as_uri()}", commit)
    assert extra.digest is not None, "its repository may be out of reach some day"


def test_what_conda_installed_is_locked_from_the_index_and_told(venv: Path, objects: Objects) -> None:
    environment = observed(venv)
    by_conda = tuple(dataclasses.replace(d, origin="unknown") for d in environment.distributions)
    lock = make(dataclasses.replace(environment, distributions=by_conda), objects)
    assert set(lock.pins) == {"six", "tabulate"}
    assert [gap.blocks for gap in lock.gaps] == [False, False]


def test_setuptools_mapping_gives_the_roots_without_running_it(tmp_path: Path) -> None:
    info = tmp_path / "mine-0.1.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("__editable__.mine-0.1.pth,,\n")
    (tmp_path / "__editable__.mine-0.1.pth").write_text("import __editable___mine_0_1_finder; x()\n")
    package = tmp_path / "source" / "mine"
    package.mkdir(parents=True)
    (tmp_path / "__editable___mine_0_1_finder.py").write_text(
        f"raise SystemExit\nMAPPING: dict[str, str] = {{'mine': {str(package)!r}}}\n"
    )
    assert wheels.import_roots(info) == (str(tmp_path / "source"),)


def test_ensure_makes_a_lock_once(venv: Path, layout: Layout, objects: Objects) -> None:
    environment = observed(venv)
    first = ensure(layout, environment, objects)
    path = layout.locks / f"{digest.hex_of(environment.fingerprint)}.json"
    inode = path.stat().st_ino
    assert ensure(layout, environment, objects) == first
    assert path.stat().st_ino == inode


def _ensure(layout: Layout, environment: Environment) -> tuple[str, int]:
    lock = ensure(layout, environment, Objects(layout.objects))
    return lock.digest, (layout.locks / f"{digest.hex_of(environment.fingerprint)}.json").stat().st_ino


def test_processes_share_one_lock(venv: Path, layout: Layout) -> None:
    environment = observed(venv)
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        made = [pool.submit(_ensure, layout, environment) for _ in range(4)]
        assert len({one.result() for one in made}) == 1


@pytest.mark.parametrize("damage", [b"", b'{"fingerprint": 1}', b"{"])
def test_a_damaged_lock_is_made_anew(venv: Path, layout: Layout, objects: Objects, damage: bytes) -> None:
    environment = observed(venv)
    lock = ensure(layout, environment, objects)
    (path,) = layout.locks.glob("*.json")
    path.write_bytes(damage)
    assert ensure(layout, environment, objects) == lock


def test_a_lock_without_its_wheel_is_made_anew(tmp_path: Path, layout: Layout, objects: Objects) -> None:
    environment = observed(make_venv(tmp_path / "venv", tiny_wheel(tmp_path / "wheels", "1.0")))
    (extra,) = ensure(layout, environment, objects).extras
    assert extra.digest is not None
    objects.path(extra.digest).unlink()
    ensure(layout, environment, objects)
    assert objects.has(extra.digest)


def test_reprokit_itself_is_not_locked(venv: Path, objects: Objects) -> None:
    lock = make(with_version(observed(venv), "reprokit", "0.1.0"), objects)
    assert set(lock.pins) == {"six", "tabulate"}
    assert lock.gaps == ()


def test_the_lock_installs_with_uv_as_it_stands(venv: Path, objects: Objects, tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(make(observed(venv), objects).requirements)
    python = make_venv(tmp_path / "again")
    uv("pip", "install", "-q", "--python", python, "--require-hashes", "--no-deps", "-r", requirements)
    assert observed(python).fingerprint == observed(venv).fingerprint

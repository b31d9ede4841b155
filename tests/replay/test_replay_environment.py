"""Environments made again from real locks: the same, once, whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_environments import ROOT, git, install, make_venv, observed, project, says, tiny_wheel

from reprokit.errors import EnvironmentBuildError, UsageError
from reprokit.records import Distribution, Environment, Gap
from reprokit.replay import install as installing
from reprokit.replay import interpreters, locked_files
from reprokit.replay.environment import build, cache_folder, choose, current, differences
from reprokit.replay.lock import Lock, make
from reprokit.store.objects import Objects

A = Distribution(name="a", version="1")

# Builds in a process of its own; with "wait" it stops before installing, until it is told to go on.
BUILD = """
import json, sys
sys.path.append(sys.argv[1])
from pathlib import Path
from reprokit.replay.environment import build
from reprokit.replay.lock import Lock
from reprokit.store.objects import Objects
def progress(text):
    if sys.argv[4] == "wait" and text.startswith("installing"):
        print("installing", flush=True)
        sys.stdin.readline()
lock = Lock.from_dict(json.loads(Path(sys.argv[2]).read_text()))
print(build(lock, Objects(Path(sys.argv[3])), progress=progress).how)
"""


def environment(*distributions: Distribution, python: str = "3.11.7", fingerprint: str = "") -> Environment:
    return Environment(
        fingerprint=fingerprint,
        python=python,
        implementation="cpython",
        executable="",
        prefix="",
        distributions=distributions,
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPROKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "environments"


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return observed(make_venv(tmp_path_factory.mktemp("recorded") / "venv", "six==1.16.0", "ipykernel"))


@pytest.fixture(scope="module")
def lock(recorded: Environment, tmp_path_factory: pytest.TempPathFactory) -> Lock:
    return make(recorded, Objects(tmp_path_factory.mktemp("objects")))


def started(lock: Lock, tmp_path: Path, how: str) -> subprocess.Popen[str]:
    path = tmp_path / "lock.json"
    path.write_text(json.dumps(lock.to_dict()))
    command = [sys.executable, "-c", BUILD, str(ROOT), str(path), str(tmp_path / "objects"), how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def repository(folder: Path, says: str) -> Path:
    """Make a git repository with the source of a package ``kept``."""
    project(folder, says=says)
    text = (folder / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(text.replace('"mine"', '"kept"'))
    (folder / "src" / "mine").rename(folder / "src" / "kept")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_what_is_built_is_what_was_recorded(recorded: Environment, lock: Lock, objects: Objects) -> None:
    told: list[str] = []
    made = build(lock, objects, progress=told.append)
    assert (made.how, made.notes) == ("built", ())
    assert observed(made.python).fingerprint == recorded.fingerprint
    assert told[1] == f"installing {len(recorded.distributions)} locked packages"


def test_every_origin_is_built_again(tmp_path: Path, objects: Objects) -> None:
    """An index package, a commit, a local wheel and an editable project, all changed or gone since."""
    wheel = tiny_wheel(tmp_path / "wheels", "1.0+cpu", says="cpu")
    source, kept = project(tmp_path / "mine", says="editable"), repository(tmp_path / "kept", says="commit")
    venv = make_venv(tmp_path / "venv", "six==1.16.0", wheel, f"kept @ git+{kept.as_uri()}", "ipykernel")
    install(venv, "-e", source)
    before = observed(venv)
    assert {d.origin for d in before.distributions} == {"index", "local", "vcs", "editable"}

    lock = make(before, objects)
    assert lock.gaps == ()
    wheel.unlink()
    source.rename(tmp_path / "moved")
    (kept / "src" / "kept" / "__init__.py").write_text("WORD = 'later'\n")
    git(kept, "commit", "-q", "-a", "-m", "second")

    code = "import tiny, mine, kept, six; print(tiny.WORD, mine.WORD, kept.WORD, six.__version__)"
    by_commit = tuple(dataclasses.replace(e, digest=None) if e.kind == "vcs" else e for e in lock.extras)
    made = build(dataclasses.replace(lock, extras=by_commit), objects)
    assert says(made.python, code) == "cpu editable commit 1.16.0", "fetched at its commit"
    assert observed(made.python).fingerprint == before.fingerprint

    kept.rename(tmp_path / "gone")
    made = build(lock, objects)
    assert says(made.python, code) == "cpu editable commit 1.16.0", "from the wheel that was kept of it"
    after = observed(made.python)
    assert differences(before, after) == ()
    assert after.fingerprint == before.fingerprint


def test_reuse_is_quick(lock: Lock, objects: Objects) -> None:
    made = build(lock, objects)
    spent = []
    for _ in range(5):
        before = os.times()
        again = build(lock, objects)
        spent.append(sum(os.times()[:4]) - sum(before[:4]))  # of processors, here and in children: no neighbour counts
        assert (again.how, again.python) == ("cached", made.python)
    assert min(spent) <= 0.3, spent


def test_what_was_changed_is_not_reused(lock: Lock, objects: Objects, recorded: Environment) -> None:
    first = build(lock, objects)
    install(first.python, "tabulate==0.9.0")
    second = build(lock, objects)
    assert second.how == "built"
    assert observed(second.python).fingerprint == recorded.fingerprint
    assert says(first.python, "import tabulate, six; print('still whole')") == "still whole"
    assert build(lock, objects) == dataclasses.replace(second, how="cached")


def _edited(path: Path) -> None:
    text = path.read_text()
    path.unlink()  # it may be a hard link into the installer's cache
    path.write_text(text + "# by hand\n")


def _shadowed(path: Path) -> None:
    (path.parent / "numpy.py").write_text("")


@pytest.mark.parametrize("tamper", [_edited, Path.unlink, _shadowed])
def test_a_tampered_environment_is_not_used(
    lock: Lock, objects: Objects, recorded: Environment, tamper: Callable[[Path], None]
) -> None:
    first = build(lock, objects)
    (six,) = first.python.parents[1].glob("lib/*/site-packages/six.py")
    tamper(six)
    second = build(lock, objects)
    assert second.how == "built"
    assert second.python != first.python
    assert observed(second.python).fingerprint == recorded.fingerprint
    assert says(second.python, "import six; print(six.__version__, hasattr(six, 'BY_HAND'))") == "1.16.0 False"


def test_running_in_an_environment_does_not_spoil_it(lock: Lock, objects: Objects) -> None:
    """Python writes compiled files, and some packages keep caches of theirs."""
    made = build(lock, objects)
    assert says(made.python, "import six, IPython; print(six.__version__)") == "1.16.0"
    (package,) = made.python.parents[1].glob("lib/*/site-packages/IPython")
    (package / "cache.tmp").write_text("kept")
    assert build(lock, objects) == dataclasses.replace(made, how="cached")


def test_an_environment_without_its_python_is_made_anew(lock: Lock, objects: Objects) -> None:
    first = build(lock, objects)
    first.python.unlink()
    again = build(lock, objects)
    assert (again.how, again.python) == ("built", first.python)


def test_a_killed_build_is_never_used(lock: Lock, tmp_path: Path, objects: Objects, cache: Path) -> None:
    process = started(lock, tmp_path, "wait")
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "installing\n"
        process.send_signal(signal.SIGKILL)
    half = [path for path in cache.iterdir() if path.is_dir()]
    assert len(half) == 1
    made = build(lock, objects)
    assert made.how == "built"
    assert made.python.is_relative_to(half[0])
    assert says(made.python, "import six; print(six.__version__)") == "1.16.0"


def test_processes_share_one_build(lock: Lock, tmp_path: Path) -> None:
    processes = [started(lock, tmp_path, "go") for _ in range(3)]
    assert sorted(process.communicate()[0].strip() for process in processes) == ["built", "cached", "cached"]


def test_a_wrong_hash_is_refused(objects: Objects, cache: Path, lock: Lock) -> None:
    text = f"six==1.16.0 \\\n    --hash=sha256:{'0' * 64}\n"
    with pytest.raises(EnvironmentBuildError) as caught:
        build(dataclasses.replace(lock, requirements=text), objects)
    assert "hash" in caught.value.log.lower()
    assert caught.value.remedy
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_an_unreachable_index_is_told(
    objects: Objects, lock: Lock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(EnvironmentBuildError, match="index can be reached"):
        build(lock, objects)


def test_a_python_that_is_not_here_is_told(objects: Objects, lock: Lock) -> None:
    with pytest.raises(EnvironmentBuildError) as caught:
        build(dataclasses.replace(lock, python="3.99.1"), objects)
    assert caught.value.remedy == "uv python install 3.99.1"


def test_another_patch_release_is_noted(objects: Objects, lock: Lock) -> None:
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    wanted = dataclasses.replace(lock, python=f"{minor}.99")
    made = build(wanted, objects)
    (note,) = made.notes
    assert note.startswith(f"Python {minor}.99 is not on this machine; {minor}.")
    assert build(wanted, objects).notes == made.notes


def test_a_missing_kernel_is_added_and_noted(objects: Objects, lock: Lock) -> None:
    """Within the lock: six stays as it was, although a newer one is there."""
    (six,) = (b for b in re.split(r"^(?=\S)", lock.requirements, flags=re.M) if b.startswith("six=="))
    made = build(dataclasses.replace(lock, requirements=six), objects)
    assert made.notes == ("ipykernel and what it needs were added: the recorded environment had no kernel",)
    assert says(made.python, "import ipykernel, six; print(six.__version__)") == "1.16.0"


def test_a_lock_with_blocking_gaps_is_refused(objects: Objects, lock: Lock) -> None:
    gaps = (Gap(aspect="environment", message="x 1 cannot be installed", remedy="mend it", blocks=True),)
    with pytest.raises(EnvironmentBuildError, match="x 1 cannot be installed: mend it"):
        build(dataclasses.replace(lock, gaps=gaps), objects)


def test_without_uv_venv_and_pip_do_it(
    objects: Objects, lock: Lock, recorded: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (installing, interpreters, locked_files):
        monkeypatch.setattr(module, "find_uv", lambda: None)
    made = build(lock, objects)
    assert observed(made.python).fingerprint == recorded.fingerprint


def test_choose() -> None:
    ours, theirs = environment(A, fingerprint="1"), environment(fingerprint="2")
    assert choose(ours, ours, "auto").use == "current"
    assert choose(ours, ours, "locked").use == "locked"
    decision = choose(ours, theirs, "auto")
    assert (decision.use, decision.why) == ("locked", "this environment differs: removed a 1")
    decision = choose(ours, theirs, "current")
    assert (decision.use, decision.differences) == ("current", ("removed a 1",))
    assert choose(ours, dataclasses.replace(ours, fingerprint="3"), "auto").why.endswith("the platform")
    with pytest.raises(UsageError):
        choose(ours, ours, "other")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (environment(A), environment(A), ()),
        (environment(A), environment(A, python="3.12.1"), ("python 3.11.7 → 3.12.1",)),
        (environment(A), environment(dataclasses.replace(A, version="2")), ("a 1 → 2",)),
        (environment(), environment(A), ("added a 1",)),
        (environment(A), environment(), ("removed a 1",)),
        (environment(A), environment(dataclasses.replace(A, origin="vcs")), ("a 1 (index) → (vcs)",)),
        (
            environment(dataclasses.replace(A, commit="c1")),
            environment(dataclasses.replace(A, commit="c2")),
            ("a 1 at c1 → c2",),
        ),
        (
            environment(dataclasses.replace(A, content="1")),
            environment(dataclasses.replace(A, content="2")),
            ("a 1 with other contents",),
        ),
        (environment(dataclasses.replace(A, url="x")), environment(A), ()),
        (environment(dataclasses.replace(A, name="reprokit")), environment(), ()),
    ],
)
def test_differences(before: Environment, after: Environment, expected: tuple[str, ...]) -> None:
    assert differences(before, after) == expected


def test_current_is_the_environment_of_this_process() -> None:
    assert current().executable == sys.executable


def test_cache_folder(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("REPROKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "reprokit" / "environments"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "reprokit" / "environments"

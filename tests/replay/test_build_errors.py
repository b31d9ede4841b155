"""What goes wrong while an environment is built: one clear message, what to do, and nothing half-built."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from made_environments import Index, any_wheel, make_venv, observed, says, source_archive

from reprokit.errors import EnvironmentBuildError
from reprokit.replay import install, interpreters, locked_files
from reprokit.replay.environment import build
from reprokit.replay.install_errors import explained
from reprokit.replay.lock import Extra, Lock, make, with_versions
from reprokit.store.objects import Objects

BROKEN = "raise SystemExit('no compiler here')\n"
# A build backend without any requirement, which makes a wheel of one module.
WORKS = """
import zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = "brewed-1.0-py3-none-any.whl", "brewed-1.0.dist-info"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as out:
        out.writestr("brewed.py", "WORD = 'brewed'\\n")
        out.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: brewed\\nVersion: 1.0\\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        out.writestr(f"{info}/RECORD", f"brewed.py,,\\n{info}/METADATA,,\\n{info}/WHEEL,,\\n{info}/RECORD,,\\n")
    return name
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of built environments."""
    monkeypatch.setenv("REPROKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "environments"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """The only index there is: with packages ``word`` and ``ipykernel``, and one that is built from its source."""
    made = Index(tmp_path / "index")
    any_wheel(made.files, "word", "1.0", "WORD = 'first'\n")
    any_wheel(made.files, "word", "2.0", "WORD = 'second'\n")
    any_wheel(made.files, "ipykernel", "1.0", "")
    source_archive(made.files, "brewed", "1.0", WORKS)
    made.publish()
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", made.url)
    monkeypatch.setenv("PIP_INDEX_URL", made.url)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return made


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


@pytest.fixture
def lock(index: Index, objects: Objects, tmp_path: Path) -> Lock:
    return make(observed(make_venv(tmp_path / "recorded", "word==1.0", "ipykernel", "brewed")), objects)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Gives the installer an empty cache, as another machine has it."""

    def forget() -> None:
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another-cache"))

    return forget


@pytest.fixture(params=["uv", "pip"])
def installer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The installer that is there when the environment is built."""
    if request.param == "pip":
        for module in (install, interpreters, locked_files):
            monkeypatch.setattr(module, "find_uv", lambda: None)
    return str(request.param)


def refused(lock: Lock, objects: Objects, cache: Path, **how: bool) -> EnvironmentBuildError:
    """Return the error of a build, having seen that it left nothing."""
    with pytest.raises(EnvironmentBuildError) as caught:
        build(lock, objects, **how)  # type: ignore[arg-type]
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert not cache.exists() or [path for path in cache.iterdir() if path.is_dir()] == []
    return caught.value


def test_it_is_built_where_nothing_is_wrong(
    lock: Lock, objects: Objects, cache: Path, installer: str, fresh: Callable[[], None]
) -> None:
    fresh()
    made = build(lock, objects)
    assert (made.how, made.notes) == ("built", ())
    assert says(made.python, "import word, brewed; print(word.WORD, brewed.WORD)") == "first brewed"


def test_another_file_on_the_index(
    lock: Lock, objects: Objects, cache: Path, index: Index, installer: str, fresh: Callable[[], None]
) -> None:
    """As after an attack, or where a file was replaced."""
    any_wheel(index.files, "word", "1.0", "WORD = 'tampered'\n")
    index.publish()
    fresh()
    error = refused(lock, objects, cache)
    assert error.message == "word==1.0 is not what was recorded: its bytes have another hash; it was not installed"


def test_a_version_that_is_gone(
    lock: Lock, objects: Objects, cache: Path, index: Index, installer: str, fresh: Callable[[], None]
) -> None:
    (index.files / "word-1.0-py3-none-any.whl").unlink()
    index.publish()
    fresh()
    error = refused(lock, objects, cache)
    assert error.message == "the index here has no word==1.0 that fits this machine"
    assert "UV_INDEX" in error.remedy


def test_a_yanked_version_is_installed_all_the_same(
    lock: Lock, objects: Objects, cache: Path, index: Index, installer: str, fresh: Callable[[], None]
) -> None:
    page = index.simple / "word" / "index.html"
    page.write_text(page.read_text().replace("<a ", '<a data-yanked="broken" '))
    fresh()
    assert says(build(lock, objects).python, "import word; print(word.WORD)") == "first"


def test_a_source_that_does_not_build(
    lock: Lock, objects: Objects, cache: Path, index: Index, installer: str, fresh: Callable[[], None]
) -> None:
    """Without the wheel that is kept of what was built where it was recorded."""
    source_archive(index.files, "brewed", "1.0", BROKEN)
    index.publish()
    fresh()
    broken = with_versions(dataclasses.replace(lock, extras=()), {"brewed": "1.0"})
    error = refused(broken, objects, cache)
    assert error.message.startswith("brewed")
    assert "could not be built from its source" in error.message
    assert "no compiler here" in error.log


def test_what_was_built_from_its_source_is_kept_as_a_wheel(
    lock: Lock, objects: Objects, cache: Path, index: Index, fresh: Callable[[], None]
) -> None:
    (extra,) = lock.extras
    assert (extra.name, extra.origin, lock.pins["brewed"]) == ("brewed", "index", "1.0")
    (index.files / "brewed-1.0.tar.gz").unlink()
    index.publish()
    fresh()
    made = build(lock, objects)
    assert says(made.python, "import brewed; print(brewed.WORD)") == "brewed"
    assert {d.origin for d in observed(made.python).distributions} == {"index"}


def test_an_index_that_does_not_answer(
    lock: Lock, objects: Objects, cache: Path, index: Index, fresh: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    fresh()
    (index.files / "word-1.0-py3-none-any.whl").unlink()
    error = refused(lock, objects, cache)
    assert error.message.startswith("the package index could not be reached (")
    assert "--wheelhouse" in error.remedy


def test_without_network_the_cache_has_to_do(
    lock: Lock, objects: Objects, cache: Path, fresh: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    fresh()
    addresses = locked_files.recorded(lock, objects, lock.pins)
    far = [
        {
            **one,
            "wheels": [{**f, "url": "http://127.0.0.1:9/" + locked_files.filename(f)} for f in one.get("wheels", [])],
        }
        for one in addresses
    ]
    away = objects.put_bytes(locked_files.written(far, lock.python).encode())
    error = refused(dataclasses.replace(lock, pylock=away), objects, cache, offline=True)
    assert error.message.endswith(" is not in the installer's cache, and the network is not to be used")
    assert re.split("==| ", error.message)[0] in lock.pins, error.log  # uv names either


@pytest.mark.parametrize(
    ("damage", "what"), [("missing", "is not in the store"), ("corrupt", "is damaged in the store")]
)
def test_a_wheel_of_the_store(lock: Lock, objects: Objects, cache: Path, damage: str, what: str) -> None:
    stored = objects.put_bytes(b"a wheel, say")
    extra = Extra(
        name="mine", version="1", kind="wheel", origin="local", digest=stored, filename="mine-1-py3-none-any.whl"
    )
    path = objects.path(stored)
    path.unlink()
    if damage == "corrupt":
        path.write_bytes(b"something else")
    error = refused(dataclasses.replace(lock, extras=(extra,)), objects, cache)
    assert error.message == f"the wheel of mine 1 {what} ({stored})"


def test_a_wheel_of_another_machine(lock: Lock, objects: Objects, cache: Path) -> None:
    stored = objects.put_bytes(b"a wheel, say")
    extra = Extra(
        name="mine", version="1", kind="wheel", origin="local", digest=stored, filename="mine-1-cp39-cp39-win32.whl"
    )
    error = refused(dataclasses.replace(lock, extras=(extra,)), objects, cache)
    assert "its wheel is for another machine (mine-1-cp39-cp39-win32.whl)" in error.message


def test_a_cache_that_was_written_through(lock: Lock, objects: Objects, cache: Path, tmp_path: Path) -> None:
    """What is installed shares its files with uv's cache: whoever edits them there changes what is installed next."""
    (site,) = (tmp_path / "recorded").glob("lib/*/site-packages")
    word = site / "word.py"
    assert word.stat().st_nlink > 1, "uv did not link it: then nothing can be written through"
    with word.open("r+") as stream:
        stream.write("WORD = 'edit!'\n")
    told: list[str] = []
    made = build(lock, objects, progress=told.append)
    assert says(made.python, "import word; print(word.WORD)") == "first"
    assert "installing word once more: the installer's cache was changed" in told


def test_a_commit_that_cannot_be_fetched(lock: Lock, objects: Objects, cache: Path, installer: str) -> None:
    url = f"git+{(objects.root.parent / 'nothing').as_uri()}"
    extra = Extra(name="mine", version="1", kind="vcs", origin="vcs", url=url, commit="1" * 40)
    error = refused(dataclasses.replace(lock, extras=(*lock.extras, extra)), objects, cache)
    assert error.message.startswith("mine")
    assert "could not be fetched from git" in error.message


def test_other_versions_are_locked_with_their_hashes(lock: Lock, objects: Objects, cache: Path, index: Index) -> None:
    other = with_versions(lock, {"Word": "2.0", "brewed": ""})
    assert other.pins == {"ipykernel": "1.0", "word": "2.0"}
    assert other.key != lock.key
    assert says(build(other, objects).python, "import word; print(word.WORD)") == "second"
    with pytest.raises(EnvironmentBuildError, match="no index has word 9"):
        with_versions(lock, {"word": "9"})


def test_the_recorded_addresses_serve_where_no_index_has_it(
    lock: Lock, objects: Objects, cache: Path, fresh: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a private index that is not configured on the other machine."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", (objects.root.parent / "empty").as_uri())
    fresh()
    assert says(build(lock, objects).python, "import word; print(word.WORD)") == "first"


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("error: something\n", "the environment could not be built (error: something)"),
        (
            "Because word was not found in the cache and kernel was not found in the cache, you require word==1.0.",
            "word==1.0 is not in the installer's cache, and the network is not to be used",
        ),
        ("ERROR: No matching distribution found for six==9.9", "the index here has no six==9.9 that fits this machine"),
    ],
)
def test_a_log_becomes_one_line(log: str, message: str) -> None:
    assert explained(log, offline=True).message == message

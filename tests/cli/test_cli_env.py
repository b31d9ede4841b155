"""What a run was installed with, seen, compared, exported and packed from the command line."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from reprokit import digest
from reprokit.cli import main
from reprokit.records import Distribution, Environment, Gap
from reprokit.replay.lock import Extra, Lock
from reprokit.store.store import Store

RUN, OTHER = "20240101-000000-aaaaaaaa", "20240102-000000-bbbbbbbb"
SIX = f"six==1.16.0 \\\n    --hash=sha256:{'a' * 64}\n"


def environment(*distributions: Distribution, name: str) -> Environment:
    return Environment(
        fingerprint=digest.of_bytes(name.encode()),
        python=platform.python_version(),
        implementation="cpython",
        executable=sys.executable,
        prefix="/gone",
        distributions=distributions,
    )


def record(store: Store, run_id: str, observed: Environment, lock: Lock) -> None:
    """Write a run with its environment and lock, as a session and its background process do."""
    _, journal = store.new_run(run_id=run_id)
    journal.append({"set": {"status": "done", "started": 1.0}, "add": {"environments": [observed.to_dict()]}})
    journal.close()
    store.layout.locks.mkdir(exist_ok=True)
    path = store.layout.locks / f"{digest.hex_of(observed.fingerprint)}.json"
    path.write_text(json.dumps(lock.to_dict()))


def wheel(path: Path) -> Path:
    info = "mine-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mine.py", "WORD = 'kept'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"mine.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def store(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A run with a package of an index and a wheel of its own, and a later one with another six."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder)
    made = Store.open()
    stored = made.objects.put_file(wheel(tmp_path / "mine-1.0-py3-none-any.whl")).digest
    six = Distribution(name="six", version="1.16.0")
    mine = Distribution(name="mine", version="1.0", origin="local", url="file:///gone/mine.whl", content="c")
    extra = Extra(
        name="mine", version="1.0", kind="wheel", origin="local", url=mine.url,
        digest=stored, filename="mine-1.0-py3-none-any.whl",
    )  # fmt: skip
    first, second = environment(mine, six, name="first"), environment(replace(six, version="1.17.0"), name="second")
    lock = Lock(fingerprint=first.fingerprint, python=first.python, requirements=SIX, extras=(extra,))
    record(made, RUN, first, lock)
    gap = Gap(aspect="environment", message="six 1.17.0 cannot be installed again", remedy="mend it", blocks=True)
    record(made, OTHER, second, Lock(fingerprint=second.fingerprint, python=second.python, gaps=(gap,)))
    return made


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(("env", *arguments)) == code
    return capsys.readouterr().out


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(("env", *arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_an_environment_is_shown(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, RUN)
    assert f"  python    {platform.python_version()}\n" in text
    assert "2 packages: 1 from an index, 1 from a file or folder" in text
    assert "mine 1.0 (from a file or folder file:///gone/mine.whl): kept as a wheel" in text
    assert "not built yet" in text


def test_what_cannot_be_installed_again_is_shown(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, OTHER)
    assert "lock      cannot be made again" in text
    assert "✗ six 1.17.0 cannot be installed again\n" in text
    assert "→ mend it" in text


def test_json_has_the_documented_form(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(shown(capsys, RUN, "--json"))
    assert document.keys() == {
        "run", "fingerprint", "python", "implementation", "packages", "gaps", "lock", "built",
    }  # fmt: skip
    assert {one["name"]: one["locked"] for one in document["packages"]} == {"mine": "wheel", "six": "hashes"}
    assert document["built"] is None


def test_two_runs_are_compared(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, RUN, "--diff", OTHER, code=1)
    assert text.splitlines()[1:] == ["  removed mine 1.0", "  six 1.16.0 → 1.17.0"]
    assert shown(capsys, RUN, "--diff", RUN) == f"The environment of {RUN} and that of {RUN} are the same.\n"
    document = json.loads(shown(capsys, RUN, "--diff", OTHER, "--json", code=1))
    assert document == {"run": RUN, "other": OTHER, "differences": ["removed mine 1.0", "six 1.16.0 → 1.17.0"]}


def test_a_run_is_compared_with_this_environment(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, RUN, "--diff", "current", code=1)
    assert "removed mine 1.0" in text
    assert "added pytest " in text


def test_an_export_of_several_files_wants_a_folder(
    store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "name a folder for them with -o DIR" in complaint(capsys, RUN, "--export", "requirements")
    assert shown(capsys, RUN, "--export", "requirements", "-o", str(tmp_path / "out")).endswith("is written\n")
    assert (
        (tmp_path / "out" / "requirements.txt")
        .read_text()
        .endswith(f"{SIX}mine==1.0 \\\n    --hash={digest.of_file(tmp_path / 'mine-1.0-py3-none-any.whl')}\n")
    )
    assert (tmp_path / "out" / "wheels" / "mine-1.0-py3-none-any.whl").is_file()


def test_an_export_of_one_file_is_printed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = store.layout.locks.glob(f"{digest.hex_of(digest.of_bytes(b'first'))}.json")
    lock = Lock.from_dict(json.loads(path.read_text()))
    path.write_text(json.dumps(replace(lock, extras=()).to_dict()))
    lines = shown(capsys, RUN, "--export", "requirements").splitlines()
    assert lines[1] == "# pip install --require-hashes --no-deps -r requirements.txt"
    assert "\n".join(lines[2:]) + "\n" == SIX


def test_what_cannot_be_exported_is_told(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert "six 1.17.0 cannot be installed again" in complaint(capsys, OTHER, "--export", "pylock")
    assert "the address of six was not recorded" in complaint(capsys, RUN, "--export", "pylock", "-o", "x")
    assert not Path("x").exists()


def test_mistakes_are_one_line(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert "use one at a time" in complaint(capsys, RUN, "--export", "uv", "--diff", "current")
    assert "add --export" in complaint(capsys, RUN, "-o", "x")
    assert "no run is called" in complaint(capsys, RUN, "--diff", "nothing")


def test_a_wheelhouse_is_made(store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of a lock that needs no index; with a kernel that is recorded as a wheel, too."""
    (path,) = store.layout.locks.glob(f"{digest.hex_of(digest.of_bytes(b'first'))}.json")
    lock = Lock.from_dict(json.loads(path.read_text()))
    kernel = replace(lock.extras[0], name="ipykernel")
    path.write_text(json.dumps(replace(lock, requirements="", extras=(*lock.extras, kernel)).to_dict()))
    house = tmp_path / "house"
    text = shown(capsys, RUN, "--wheelhouse", str(house))
    assert text.startswith(f"{house}: 1 package, ")
    assert f"`reprokit replay RUN --offline --wheelhouse {house}` uses it" in text
    target = tmp_path / "target"
    command = [sys.executable, "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "--target", str(target)]
    done = subprocess.run(
        [*command, "-r", str(house / "requirements.txt")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (target / "mine.py").read_text() == "WORD = 'kept'\n"


def test_a_replay_in_this_environment_tells_the_difference_first(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is run, or found to be unreplayable as here."""
    assert main(("replay", OTHER, "--env", "current")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"From the environment of {OTHER} to this environment:"
    assert any(line.startswith("  added pytest ") for line in lines)

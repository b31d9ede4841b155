"""An exported lock is taken by pip and uv as it is, and gives the recorded packages."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from made_environments import git, make_venv, observed, project, says, tiny_wheel, uv
from packaging.pylock import Pylock

from reprokit.errors import EnvironmentBuildError, UsageError
from reprokit.records import Distribution, Environment, Gap, Machine
from reprokit.replay import exports, locked_files
from reprokit.replay.exports import Recorded
from reprokit.replay.lock import Extra, make
from reprokit.store.objects import Objects

MACHINE = Machine(
    system="Linux", release="", architecture="x86_64", libc="", cpu="", cores=1, memory=None, hash_seed="random",
    threads={"OMP_NUM_THREADS": "1"},
)  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Two packages of an index, one of which asks for more than is installed, a wheel of no index, and a commit."""
    folder = tmp_path_factory.mktemp("recorded")
    source = project(folder / "mine", says="commit")
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "first")
    python = make_venv(folder / "venv", "six==1.16.0", tiny_wheel(folder / "wheels", "1.0"))
    uv("pip", "install", "-q", "--python", python, f"mine @ git+{source.as_uri()}")
    uv("pip", "install", "-q", "--python", python, "--no-deps", "python-dateutil==2.8.2", "jinja2==3.1.4")
    environment, objects = observed(python), Objects(folder / "objects")
    lock = make(environment, objects)
    assert lock.gaps == ()
    source.rename(folder / "gone")
    return Recorded(lock=lock, environment=environment, objects=objects, name="a run", machine=MACHINE)


def versions(python: Path) -> dict[str, str]:
    return {d.name: d.version for d in observed(python).distributions if d.name not in ("pip", "setuptools")}


def written(recorded: Recorded, form: str, folder: Path) -> Path:
    export = exports.plan(recorded, form)
    assert export.is_folder
    exports.write(export, recorded.objects, folder)
    return folder / export.main


def pip(python: Path, *arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


def assert_same(python: Path, recorded: Recorded) -> None:
    assert versions(python) == {d.name: d.version for d in recorded.environment.distributions}
    assert says(python, "import tiny, mine; print(tiny.WORD, mine.WORD)") == "tiny commit"


def test_pip_takes_the_requirements(recorded: Recorded, tmp_path: Path) -> None:
    path, python = written(recorded, "requirements", tmp_path / "out"), make_venv(tmp_path / "venv")
    pip(python, "install", "-q", "--require-hashes", "--no-deps", "-r", path)
    assert_same(python, recorded)


def test_uv_takes_the_requirements(recorded: Recorded, tmp_path: Path) -> None:
    path, python = written(recorded, "requirements", tmp_path / "out"), make_venv(tmp_path / "venv")
    uv("pip", "sync", "-q", "--python", python, "--require-hashes", path)
    assert_same(python, recorded)


@pytest.mark.parametrize("command", [("sync",), ("install", "-r")])
def test_uv_takes_the_pylock(recorded: Recorded, tmp_path: Path, command: tuple[str, ...]) -> None:
    path, python = written(recorded, "pylock", tmp_path / "out"), make_venv(tmp_path / "venv")
    uv("pip", *command, path, "-q", "--python", python)
    assert_same(python, recorded)


def test_pip_takes_the_pylock(recorded: Recorded, tmp_path: Path) -> None:
    path, python = written(recorded, "pylock", tmp_path / "out"), make_venv(tmp_path / "venv")
    pip(python, "install", "-q", "--no-deps", "-r", path)  # jinja2 asks for what was not installed
    assert_same(python, recorded)


def test_the_pylock_is_as_the_standard_says(recorded: Recorded) -> None:
    export = exports.plan(recorded, "pylock")
    lock = Pylock.from_dict(locked_files.parsed(export.texts["pylock.toml"]))
    lock.validate()
    assert {p.name: str(p.version) for p in lock.packages} == versions_of(recorded.environment)
    pinned = {p.name: p for p in lock.packages if p.name in recorded.lock.pins}
    for name, package in pinned.items():
        files = [*(package.wheels or []), *([package.sdist] if package.sdist else [])]
        assert {file.hashes["sha256"] for file in files} <= recorded.lock.hashes[name]


def versions_of(environment: Environment) -> dict[str, str]:
    return {d.name: d.version for d in environment.distributions}


def test_uv_takes_the_project(recorded: Recorded, tmp_path: Path) -> None:
    """With what was installed, not what the packages ask for: jinja2 wants markupsafe, which was not there."""
    path = written(recorded, "uv", tmp_path / "out")
    before = (path.parent / "uv.lock").read_bytes()
    uv("sync", "-q", "--locked", "--project", path.parent, "--python", sys.executable)
    assert (path.parent / "uv.lock").read_bytes() == before
    assert_same(path.parent / ".venv" / "bin" / "python", recorded)


def test_the_image_installs_what_was_recorded(recorded: Recorded, tmp_path: Path) -> None:
    """Its RUN line is run here, in place of a container."""
    path = written(dataclasses.replace(recorded, system=("libgomp1",)), "Dockerfile", tmp_path / "out")
    lines = path.read_text().splitlines()
    assert lines[0] == f"FROM python:{recorded.environment.python}-slim"
    assert any("apt-get install --yes --no-install-recommends libgomp1" in line for line in lines)
    assert 'ENV OMP_NUM_THREADS="1"' in lines
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    assert copied == {"requirements.txt", "wheels"}
    (command,) = (shlex.split(line)[1:] for line in lines if line.startswith("RUN pip"))
    python = make_venv(tmp_path / "venv")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), *command[1:]],
        cwd=path.parent, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_same(python, recorded)


def test_conda_takes_its_own_by_build_and_the_rest_by_hash(recorded: Recorded, tmp_path: Path) -> None:
    url = "https://conda.anaconda.org/conda-forge/noarch/six-1.16.0-pyh6c4a22f_0.conda"
    mkl = Distribution(name="conda:mkl", version="2023.2.0", origin="conda", url="pkgs/main/mkl-2023.2.0-h06a4308_5")
    found = [
        dataclasses.replace(d, origin="conda", url=url) if d.name == "six" else d
        for d in recorded.environment.distributions
    ]
    environment = dataclasses.replace(recorded.environment, distributions=(mkl, *found))
    lock = dataclasses.replace(recorded.lock, conda=(f"{url}#abc",))
    path = written(dataclasses.replace(recorded, environment=environment, lock=lock), "conda", tmp_path / "out")
    document = yaml.safe_load(path.read_text())
    python, mkl_line, forge, pip_itself, by_pip = document["dependencies"]
    assert mkl_line == "pkgs/main::mkl=2023.2.0=h06a4308_5"
    assert python == f"python={environment.python}"
    assert forge == "https://conda.anaconda.org/conda-forge::six=1.16.0=pyh6c4a22f_0"
    assert pip_itself == "pip"
    assert by_pip == {"pip": ["--requirement requirements.txt"]}
    text = (path.parent / "requirements.txt").read_text()
    assert "six==" not in text
    assert "jinja2==3.1.4" in text
    assert (path.parent / "conda-explicit.txt").read_text() == f"@EXPLICIT\n{url}#abc\n"


def test_a_commit_without_a_wheel_is_told(recorded: Recorded) -> None:
    extra = Extra(name="far", version="1", kind="vcs", origin="vcs", url="git+https://host/far", commit="c" * 40)
    lock = dataclasses.replace(recorded.lock, extras=(extra,))
    export = exports.plan(dataclasses.replace(recorded, lock=lock), "requirements")
    assert f"far @ git+https://host/far@{'c' * 40}\n" in export.texts["requirements-commits.txt"]
    assert export.notes == (f"far is fetched at commit {'c' * 40}: git's own hash vouches for it",)
    text = exports.plan(dataclasses.replace(recorded, lock=lock), "pylock").texts["pylock.toml"]
    (package,) = (one for one in locked_files.packages(text) if one["name"] == "far")
    assert package["vcs"] == {"type": "git", "url": "https://host/far", "commit-id": "c" * 40}


def test_one_file_when_there_are_no_wheels(recorded: Recorded, tmp_path: Path) -> None:
    lock = dataclasses.replace(recorded.lock, extras=())
    export = exports.plan(dataclasses.replace(recorded, lock=lock), "requirements")
    assert not export.is_folder
    exports.write(export, recorded.objects, tmp_path / "lock.txt")
    assert (tmp_path / "lock.txt").read_text() == export.texts["requirements.txt"]


def test_a_lock_that_is_not_complete_is_not_exported(recorded: Recorded) -> None:
    gap = Gap(aspect="environment", message="x 1 cannot be installed again", blocks=True)
    lock = dataclasses.replace(recorded.lock, gaps=(gap,))
    with pytest.raises(EnvironmentBuildError, match="x 1 cannot be installed again"):
        exports.plan(dataclasses.replace(recorded, lock=lock), "pylock")


def test_a_folder_with_something_in_it_is_left_alone(recorded: Recorded, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(UsageError):
        exports.write(exports.plan(recorded, "pylock"), recorded.objects, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_toml_holds_any_text() -> None:
    text = 'quote " backslash \\ line \n and é 😀'
    document = locked_files.parsed(f"value = {locked_files.toml({'a key': text})}")
    assert document == {"value": {"a key": text}}
    assert json.loads(json.dumps(document)) == document

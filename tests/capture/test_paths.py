"""Which paths are data, and what they are called."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from reprokit.capture.files.paths import Paths


@pytest.fixture
def paths(project: Path) -> Paths:
    return Paths(project, [project / ".reprokit"], ["logs/*", "*.tmp"])


@pytest.mark.parametrize("name", ["data.csv", "a/b/c.parquet", "model.pkl", "no_suffix", "config.yaml", "git/data"])
def test_data(name: str, paths: Paths, project: Path) -> None:
    assert paths.is_data(str(project / name))
    assert paths.name(str(project / name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "module.py",
        "lib.so",
        "Notebook.ipynb",
        ".git/config",
        ".reprokit/runs/x",
        "a/__pycache__/x",
        "logs/x.log",
        "deep/x.tmp",
        "node_modules/x.json",
        ".ipynb_checkpoints/x.csv",
        "pkg-1.0.dist-info/RECORD",
    ],
)
def test_noise_in_the_project(name: str, paths: Paths, project: Path) -> None:
    assert not paths.is_data(str(project / name))


def test_noise_elsewhere(paths: Paths) -> None:
    home = Path.home()
    for path in (
        "/usr/share/fonts/x.ttf",
        "/proc/self/status",
        "/dev/null",
        "/etc/passwd",
        os.path.join(sysconfig.get_path("stdlib"), "x.txt"),
        os.path.join(sysconfig.get_path("purelib"), "pandas/x.json"),
        os.path.join(sys.prefix, "share/x"),
        str(home / ".ipython/history.sqlite"),
        str(home / ".cache/matplotlib/fontlist.json"),
    ):
        assert not paths.is_data(path), path
    assert paths.is_data("/srv/data/x.csv")
    assert paths.is_data(str(home / "data/x.csv"))
    assert paths.is_data("/usrdata/x.csv")


def test_folders_of_jupyter_set_by_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", "/srv/ipython")
    monkeypatch.setenv("MPLCONFIGDIR", "/srv/matplotlib")
    paths = Paths(project)
    assert not paths.is_data("/srv/ipython/profile_default/history.sqlite")
    assert not paths.is_data("/srv/matplotlib/fontlist.json")
    assert paths.is_data("/srv/x.csv")


def test_a_project_inside_a_folder_of_noise_is_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for root in (tmp_path / ".cache/reprokit/workspaces/x", tmp_path / "a/.git/worktree", tmp_path / "node_modules/x"):
        root.mkdir(parents=True)
        paths = Paths(root)
        assert paths.is_data(str(root / "data.csv"))
        assert not paths.is_data(str(root / "node_modules/data.csv"))


def test_a_link_to_noise_is_noise(paths: Paths, project: Path) -> None:
    os.symlink(sysconfig.get_path("stdlib"), project / "standard")
    assert not paths.is_data(str(project / "standard/x.txt"))


def test_names(paths: Paths, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    os.symlink(project, tmp_path / "link")
    for given in ("x.csv", b"x.csv", Path("x.csv"), "./a/../x.csv", str(tmp_path / "link/x.csv")):
        assert paths.absolute(given) == str(project / "x.csv")
    assert paths.absolute("/srv/x") == paths.name("/srv/x") == "/srv/x"
    assert paths.name(str(tmp_path / "x")) == str(tmp_path / "x")
    assert paths.name(paths.absolute(os.fsencode("ümläut \udcff"))) == "ümläut \udcff"


def test_scratch(paths: Paths, project: Path) -> None:
    assert paths.is_scratch("/tmp/x")
    assert not paths.is_scratch("/tmpx/y")
    assert not paths.is_scratch(str(project / "x"))

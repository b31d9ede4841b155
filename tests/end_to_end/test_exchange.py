"""A run goes to a remote, comes to another machine, and gives the same there; only when the user there says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from workbench import Bench, kernel_of, session, uv

from reprokit.replay.mounts import unavailable

DATA = (
    "import random\nimport helper\ndata = open('data/table.csv').read()\n"
    "print(len(data), helper.FACTOR, random.random())"
)


class Elsewhere(Bench):
    """A project on a machine of its own: another home, another cache, another path."""

    def __init__(self, folder: Path, clone_of: Path | None = None) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        project = folder / "work" / "project"
        project.parent.mkdir()
        if clone_of is None:
            project.mkdir()
        else:
            subprocess.run(["git", "clone", "--quiet", str(clone_of), str(project)], check=True, env=self._own)
        super().__init__(project, folder / "cache")

    @property
    def _own(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.home)}

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "HOME": str(self.home)}


@pytest.fixture
def captured(bench: Bench) -> Bench:
    """A project with a run of uncommitted code, of data that git ignores, and of chance."""
    (bench.project / ".gitignore").write_text("data/\n")
    (bench.project / "helper.py").write_text("FACTOR = 1\n")
    bench.notebook("work.ipynb", DATA, "open('out.txt', 'w').write(data[:10])")
    bench.commit()
    (bench.project / "helper.py").write_text("FACTOR = 42  # not committed\n")
    (bench.project / "data").mkdir()
    (bench.project / "data" / "table.csv").write_text("a,b\n" + "1,2\n" * 1000)
    bench.reprokit("run", "work.ipynb", "-o", "out.ipynb")
    return bench


def test_a_run_replays_on_another_machine_once_it_is_trusted(captured: Bench, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    run_id = captured.latest().id
    captured.reprokit("tag", "latest", "team=ml")
    told = json.loads(captured.reprokit("push", str(remote), "--json"))
    assert [one["run"] for one in told["runs"]] == [run_id]
    assert told["runs"][0]["lacking"] == []
    again = json.loads(captured.reprokit("push", str(remote), run_id, "--json"))
    assert (again["runs"][0]["files"], again["bytes"]) == (0, 0), "all of it is there"
    other = Elsewhere(tmp_path / "there", captured.project)
    captured.project.rename(tmp_path / "gone")
    assert run_id in other.reprokit("pull", str(remote))
    assert "was there" in other.reprokit("pull", str(remote), run_id[:15])
    run = other.latest()
    assert (run.id, run.origin, run.tags) == (run_id, str(remote), {"team": "ml"})
    assert "the store is sound" in other.reprokit("fsck")
    before = subprocess.run(["git", "status", "--porcelain"], cwd=other.project, capture_output=True, check=True).stdout

    refused = json.loads(other.reprokit("replay", run_id, "--json", code=3))
    assert "came from" in refused["error"]
    assert f"reprokit trust {run_id}" in refused["remedy"]
    assert "replay of" in other.reprokit("replay", run_id, "--dry-run"), "looking is not running"
    assert "2 cells" in other.reprokit("trust", run_id)
    assert other.verdict(run_id)["verdict"] == "identical"
    other.reprokit("trust", run_id, "--remove")
    other.reprokit("replay", run_id, code=3)
    after = subprocess.run(["git", "status", "--porcelain"], cwd=other.project, capture_output=True, check=True).stdout
    assert after == before

    third = Elsewhere(tmp_path / "third")  # no git at all, and from the second
    other.reprokit("push", str(tmp_path / "second remote"), run_id)
    third.reprokit("pull", str(tmp_path / "second remote"))
    assert third.verdict(run_id, "--trust")["verdict"] == "identical"


def test_code_that_names_its_own_folder_finds_it_elsewhere(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads, writes and shows the path that it had; there is nothing at that path on the other machine."""
    (bench.project / "data.txt").write_text("one\n")
    bench.notebook(
        "work.ipynb",
        f"import os\ntext = open('{bench.project}/data.txt').read()\nprint(text, os.getcwd())",
        f"open('{bench.project}/out.txt', 'w').write(text)",
    )
    bench.commit()
    bench.reprokit("run", "work.ipynb")
    bench.reprokit("push", str(tmp_path / "remote"))
    other = Elsewhere(tmp_path / "there", bench.project)
    bench.project.rename(tmp_path / "gone")
    other.reprokit("pull", str(tmp_path / "remote"))
    if not unavailable():
        assert other.verdict("latest", "--trust")["verdict"] == "identical"
        assert not bench.project.exists()
        assert not (other.project / "out.txt").exists()
    monkeypatch.setenv("REPROKIT_MOUNTS", "never")
    told = other.reprokit("replay", "latest", "--trust", code=1)
    assert f"{bench.project}, where the project was made, which cells 1, 2 name" in told
    assert not bench.project.exists()


def test_a_project_without_git_and_a_name_for_the_remote(tmp_path: Path) -> None:
    first, second = Elsewhere(tmp_path / "first"), Elsewhere(tmp_path / "second")
    settings = f'[tool.reprokit]\nremote = "{tmp_path}/remote"\n'
    for one in (first, second):
        (one.project / "pyproject.toml").write_text(settings)
    (first.project / "helper.py").write_text("FACTOR = 42\n")
    (first.project / "data").mkdir()
    (first.project / "data" / "table.csv").write_text("a,b\n1,2\n")
    first.notebook("work.ipynb", DATA)
    ids = []
    for number in range(2):
        (first.project / "helper.py").write_text(f"FACTOR = {number}\n")
        first.reprokit("run", "work.ipynb")
        ids.append(first.latest().id)
        first.reprokit("push")
    shutil.rmtree(first.project)
    second.reprokit("pull", ids[1])
    assert [run["id"] for run in json.loads(second.reprokit("runs", "--json"))] == ids[1:]
    second.reprokit("pull")
    assert second.verdict(ids[0], "--trust")["verdict"] == "identical"
    assert "has no run called 'nobody'" in second_error(second, "pull", "nobody")


def second_error(bench: Bench, *arguments: str) -> str:
    told: str = json.loads(bench.reprokit(*arguments, "--json", code=2))["error"]
    return told


def test_without_a_remote_it_says_how_to_name_one(bench: Bench) -> None:
    bench.notebook("work.ipynb", "1")
    bench.reprokit("run", "work.ipynb")
    assert second_error(bench, "push") == "no remote is named"
    assert "gs://" in json.loads(bench.reprokit("push", "gs://bucket/x", "--json", code=2))["remedy"]


def wheel(folder: Path) -> Path:
    """Write a wheel that no index has."""
    path = folder / "inhouse-1.0-py3-none-any.whl"
    info = "inhouse-1.0.dist-info"
    files = {
        "inhouse.py": "ANSWER = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: inhouse\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return path


def test_the_environment_travels_with_the_run(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is on no index is installed on a machine that never had it."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    python, own = tmp_path / "recorded" / "bin" / "python", wheel(tmp_path)
    uv("venv", "--quiet", "--no-project", "--python", sys.executable, tmp_path / "recorded")
    uv("pip", "install", "--quiet", "--python", python, "ipykernel", own)
    kernel_of(python, tmp_path / "jupyter" / "kernels" / "recorded")
    session(bench, "recorded", ["%repro start", "import inhouse, random\nprint(inhouse.ANSWER, random.random())"])
    told = json.loads(bench.reprokit("env", "latest", "--json"))  # locks it, as the background process does
    assert [gap for gap in told["gaps"] if gap["blocks"]] == []
    run_id = bench.latest().id
    bench.reprokit("push", str(tmp_path / "remote"), run_id)
    other = Elsewhere(tmp_path / "there")
    own.unlink()
    shutil.rmtree(tmp_path / "recorded")
    bench.project.rename(tmp_path / "gone")
    other.reprokit("pull", str(tmp_path / "remote"))
    verdict = other.verdict(run_id, "--trust")
    assert verdict["verdict"] == "identical"

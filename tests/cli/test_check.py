"""Pinned runs: how they are pinned, replayed by ``check`` and by pytest, and what is said of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from reprokit.cli import main
from reprokit.cli.check import parse
from reprokit.errors import UsageError
from reprokit.replay.apart import Apart
from reprokit.replay.check import Item, check
from reprokit.replay.comparison import Comparison
from reprokit.replay.conditions import Conditions
from reprokit.settings import Settings
from reprokit.store.layout import Layout
from reprokit.store.store import Store

SCRIPT = """
import os, signal, time
import reprokit
with reprokit.run("{name}") as run:
    if os.environ.get("FIFO"):
        open(os.environ["FIFO"], "w").close()
        signal.pause()
    print({shown})
"""
SHOWN = {"steady": "1", "drifting": "time.perf_counter_ns() % 1000003"}
BROKEN, GONE = "20240103-000000-cccccccc", "20240104-000000-dddddddd"


def write(store: Store, run_id: str, **fields: Any) -> None:
    """Write a run of one cell by hand."""
    _, journal = store.new_run(run_id=run_id)
    journal.append({"t": 1.0, "set": {"started": 1.0, "status": "done", "ended": 2.0, **fields}})
    journal.append({"t": 1.5, "cell": 1, "set": {"source": "1", "status": "done"}})
    journal.close()


def opened(project: Path) -> Store:
    """Return a store that lies in a project."""
    return Store(Layout(project, project / ".reprokit"), Settings())


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the processes of these tests see."""
    cache = tmp_path_factory.mktemp("cache")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("REPROKIT_", "GIT_", "PYTEST_"))}
    return {**plain, "HOME": str(cache), "REPROKIT_CACHE": str(cache), "REPROKIT_LOCK": "never"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Path:
    """A project with a pinned run of each kind: steady, drifting, one that cannot be replayed, one that is gone."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_other.py").write_text("def test_other():\n    pass\n")
    for name, shown in SHOWN.items():
        (folder / f"{name}.py").write_text(SCRIPT.format(name=name, shown=shown))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for name in SHOWN:
        subprocess.run([sys.executable, f"{name}.py"], cwd=folder, env=environ, check=True, capture_output=True)
    store = opened(folder)
    gap = {"aspect": "files", "message": "x.csv was not kept", "remedy": "put it back", "blocks": True}
    write(store, BROKEN, name="broken", gaps=[gap])
    write(store, GONE)
    for name in (*SHOWN, "broken"):
        store.pin(store.resolve(name), name)
    store.pin(GONE, "gone")
    shutil.rmtree(store.layout.run_folder(GONE))
    return folder


@pytest.fixture
def inside(project: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of that project, with the working directory in it."""
    for name in ("HOME", "REPROKIT_CACHE", "REPROKIT_LOCK"):
        monkeypatch.setenv(name, environ[name])
    monkeypatch.chdir(project)
    return opened(project)


@pytest.fixture
def by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with two runs and a replay, none of which is ever replayed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    store = opened(tmp_path)
    write(store, "20240101-000000-aaaaaaaa", name="base")
    write(store, "20240102-000000-bbbbbbbb", name="base", replay_of="20240101-000000-aaaaaaaa", kind="replay")
    write(store, "20240103-000000-cccccccc")
    return store


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line that a command ends with that could not do its work."""
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


# -- check ----------------------------------------------------------------------------------------


def test_all_pinned_runs_are_checked(inside: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "new" / "junit.xml"
    assert main(["check", "--json", "--junit", str(report)]) == 1  # a divergence outranks what cannot be replayed
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert {name: one["verdict"] for name, one in found.items()} == {
        "broken": "unreplayable",
        "gone": "unreplayable",
        "steady": "identical",
        "drifting": "diverged",
    }
    assert list(found)[:2] == ["broken", "gone"]  # oldest first
    assert "put it back" in found["broken"]["reasons"][0]
    assert f"reprokit pin {GONE} --remove" in found["gone"]["reasons"][0]
    assert found["drifting"]["first_divergence"]["cell"] == 1
    assert inside.load(found["steady"]["replay"]).replay_of == found["steady"]["run"]
    (suite,) = ET.fromstring(report.read_bytes())
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "2")
    cases = {case.get("name"): next(part.tag for part in case) for case in suite}
    assert cases == {"broken": "error", "gone": "error", "steady": "system-out", "drifting": "failure"}


def test_runs_that_are_named_are_checked_once(inside: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "broken", "gone", BROKEN]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: 2 unreplayable"


def test_an_interruption_ends_the_replays(project: Path, environ: dict[str, str], tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    words = [sys.executable, "-m", "reprokit", "check", "steady"]
    checking = subprocess.Popen(
        words, cwd=project, env={**environ, "FIFO": str(fifo)}, stderr=subprocess.PIPE, text=True
    )
    with open(fifo):  # the replay is in the middle of its cell
        pass
    workspaces = Path(environ["REPROKIT_CACHE"]) / "workspaces"
    assert list(workspaces.iterdir()) != []
    checking.send_signal(signal.SIGINT)
    _, said = checking.communicate()
    assert (checking.returncode, said) == (130, "reprokit: interrupted\n")
    assert list(workspaces.iterdir()) == []
    assert not any(str(fifo).encode() in environ_of(pid) for pid in os.listdir("/proc") if pid.isdecimal())


def environ_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def test_a_replay_that_dies_does_not_end_the_others(by_hand: Store) -> None:
    """Two replays, of which one kills itself and the other ends without an answer."""
    codes = {
        "20240101-000000-aaaaaaaa": "import os; os.kill(os.getpid(), 9)",
        "20240103-000000-cccccccc": "raise SystemExit('no such luck')",
    }

    def start(project: Path, run_id: str, **given: Any) -> Apart:
        return Apart(project, run_id, command=(sys.executable, "-c", codes[run_id]), **given)

    items = [Item(run=run_id, name=run_id) for run_id in codes]
    found = check(by_hand, items, conditions=Conditions(), comparison=Comparison(), start=start)
    assert [(one.verdict.verdict, one.verdict.reasons) for one in found] == [
        ("unreplayable", ("its process was killed by signal 9",)),
        ("unreplayable", ("its process ended with status 1: no such luck",)),
    ]


def test_nothing_to_check_is_said(by_hand: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "check").startswith("reprokit: no run is pinned: pin one with `reprokit pin RUN`")
    assert "no run is called 'nothing'" in refused(capsys, "check", "nothing")


def test_a_report_that_cannot_be_written_is_refused_before_anything_runs(
    by_hand: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand.pin("20240101-000000-aaaaaaaa", "base")
    Path("file").touch()
    assert "--junit" in refused(capsys, "check", "--junit", "file/junit.xml")
    assert len(by_hand.runs()) == 3


# -- pin and tag ----------------------------------------------------------------------------------


def test_a_run_is_pinned_under_its_name(by_hand: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pin", "base"]) == main(["pin", "20240103", "--name", "a \x1b[31mname"]) == 0
    assert by_hand.pins() == {"20240101-000000-aaaaaaaa": "base", "20240103-000000-cccccccc": "a \x1b[31mname"}
    assert "\x1b" not in capsys.readouterr().out
    main(["pin", "--json"])
    assert json.loads(capsys.readouterr().out)[0] == {"run": "20240101-000000-aaaaaaaa", "name": "base"}
    main(["show", "20240101"])
    assert "pinned" in capsys.readouterr().out


def test_a_pin_that_could_not_be_replayed_is_told(by_hand: Store, capsys: pytest.CaptureFixture[str]) -> None:
    gap = {"aspect": "files", "message": "x.csv was not kept", "remedy": "put it back", "blocks": True}
    write(by_hand, "20240105-000000-eeeeeeee", gaps=[gap])
    assert main(["pin", "latest"]) == 0
    assert "`reprokit show 20240105-000000-eeeeeeee` says why" in capsys.readouterr().err


def test_a_pin_is_released(by_hand: Store, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pin", "20240103", "--name", "x"])
    shutil.rmtree(by_hand.layout.run_folder("20240103-000000-cccccccc"))
    assert main(["pin", "x", "--remove"]) == 0  # also when its run is gone
    assert by_hand.pins() == {}
    assert "is not pinned" in refused(capsys, "pin", "base", "--remove")


def test_two_runs_are_not_pinned_under_one_name(by_hand: Store, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pin", "base"])
    said = refused(capsys, "pin", "20240103", "--name", "base")
    assert "20240101-000000-aaaaaaaa is pinned as base" in said
    assert main(["pin", "base", "--name", "base"]) == 0  # the same run again


def test_a_run_that_is_open_is_not_pinned(by_hand: Store, capsys: pytest.CaptureFixture[str]) -> None:
    from reprokit.store.liveness import this_process

    _, journal = by_hand.new_run(run_id="20240105-000000-eeeeeeee")
    journal.append({"t": 1.0, "set": {"started": 1.0, "writers": [this_process().to_dict()]}})
    journal.close()
    assert "is still open: `%repro stop` ends it" in refused(capsys, "pin", "20240105")


@pytest.mark.parametrize("words", [["--remove"], ["--name", "x"], ["base", "--name", " "], ["nothing"]])
def test_what_makes_no_sense_is_refused(words: list[str], by_hand: Store, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "pin", *words)
    assert by_hand.pins() == {}


def test_a_run_is_tagged(by_hand: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tag", "base", "owner=Ann", "note=a=b", "--json"]) == 0  # the run, not its newer replay
    told = {"run": "20240101-000000-aaaaaaaa", "tags": {"owner": "Ann", "note": "a=b"}}
    assert json.loads(capsys.readouterr().out) == told
    assert main(["tag", "20240102", "of=replay"]) == 0
    assert by_hand.load("20240102-000000-bbbbbbbb").tags == {"of": "replay"}
    assert "'owner' is no tag" in refused(capsys, "tag", "base", "owner")


# -- pytest ---------------------------------------------------------------------------------------


@pytest.fixture
def tested(project: Path, environ: dict[str, str]) -> Any:
    """Run pytest in the project, with this plugin alone."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "reprokit.pytest_plugin", "-p", "no:cacheprovider", *words]
        variables = {**environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False)

    return run


def test_pinned_runs_are_tests(tested: Any) -> None:
    done = tested("--reprokit", "-k", "drifting or test_other")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "reprokit::drifting" in done.stdout
    assert "diverged at cell 1: output 1" in done.stdout
    assert "most likely cause:" in done.stdout
    assert "1 failed, 1 passed, 3 deselected" in done.stdout


def test_pinned_runs_are_collected_only_when_asked_for(tested: Any) -> None:
    def collected(*words: str) -> list[str]:
        return [line for line in tested("--collect-only", "-q", *words).stdout.splitlines() if "::" in line]

    pinned = ["reprokit::broken", "reprokit::gone"]
    assert collected() == ["test_other.py::test_other"]
    assert collected("-o", "reprokit=true")[:3] == ["test_other.py::test_other", *pinned]
    assert collected("-o", "reprokit=true", "test_other.py") == ["test_other.py::test_other"]


def test_what_the_plugin_cannot_do_is_one_line(tested: Any, tmp_path: Path) -> None:
    done = tested("--reprokit", "-o", "reprokit_options=--nothing")
    assert done.returncode == 4
    assert "ERROR: reprokit: No such option" in done.stderr
    (tmp_path / ".git").mkdir()
    done = tested("--reprokit", "--rootdir", str(tmp_path))
    assert done.returncode == 4
    assert "ERROR: reprokit: no run is pinned in" in done.stderr


def test_the_options_of_the_replays_are_those_of_check() -> None:
    found = parse(["--no-network", "--rtol", "1e-6", "--timeout", "5"], Settings())
    assert (found["conditions"].network, found["comparison"].rtol, found["timeout"]) == ("closed", 1e-6, 5)
    with pytest.raises(UsageError, match="--nothing"):
        parse(["--nothing"], Settings())


def test_the_plugin_is_one_that_pytest_finds() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    assert '[project.entry-points.pytest11]\nreprokit = "reprokit.pytest_plugin"\n' in project

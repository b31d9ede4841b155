"""Replays through the interface that explain and check build on: one factor of the record changed, the rest kept."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from reprokit.errors import UsageError
from reprokit.notebook import engine
from reprokit.records import Cell, FileUse, Gap, Library, Machine, Metric, Run
from reprokit.replay.conditions import Conditions
from reprokit.replay.execute import replay
from reprokit.replay.facts import plan_replay
from reprokit.replay.plan import Facts, plan
from reprokit.replay.prefix import prefix
from reprokit.replay.process import THREAD_LIMITS, variables
from reprokit.store.store import Store

CELLS = (
    "import os, random\nprint(os.environ.get('PYTHONHASHSEED'))",
    "print(open('data.txt').read(), open('kept.txt').read())",
    "import helper\nprint(helper.value)",
    "print(random.random())",
)


def recorded(project: Path, *cells: str) -> tuple[Store, Run]:
    """Commit the project, run a notebook of these cells in it, and return its record."""
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(notebook, project / "work.ipynb")
    for command in (["add", "--all"], ["commit", "-q", "-m", "work"]):
        subprocess.run(["git", *command], cwd=project, check=True, capture_output=True)
    store = Store.open(project)
    return store, engine.run_notebook(store, project / "work.ipynb")


def texts(store: Store, run_id: str) -> list[str]:
    """Return what each cell printed."""
    found = []
    for cell in store.load(run_id).cells:
        outputs = json.loads(store.objects.get_bytes(cell.outputs)) if cell.outputs else []
        found.append("".join(output.get("text", "") for output in outputs))
    return found


def test_one_factor_at_a_time(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPROKIT_CACHE", str(tmp_path / "cache"))
    (project / ".gitignore").write_text("data.txt\n")
    for name, text in (("data.txt", "old"), ("kept.txt", "tracked"), ("helper.py", "value = 'old code'\n")):
        (project / name).write_text(text)
    store, run = recorded(project, *CELLS)
    before = texts(store, run.id)
    for name, text in (("data.txt", "new"), ("kept.txt", "changed"), ("helper.py", "value = 'new code'\n")):
        (project / name).write_text(text)

    def under(**changed: object) -> list[int]:
        """Replay and return the cells that print something else."""
        result = replay(store, run, conditions=Conditions(environment="current", **changed))  # type: ignore[arg-type]
        assert {name: store.load(result.replay).conditions[name] for name in changed} == changed
        after = texts(store, result.replay)
        said = [cell.cell for cell in result.verdict.cells if cell.verdict == "diverged"]
        assert said == [seq for seq, (old, new) in enumerate(zip(before, after, strict=False), 1) if old != new]
        return said

    assert under() == []
    assert under(data="current") == [2]
    assert under(code="current") == [3]
    assert under(random="fresh") == [4]
    assert under(hash_seed="7") == [1]
    assert under(until=2) == []
    refs = subprocess.run(
        ["git", "for-each-ref", "refs/reprokit/today-*"], cwd=project, capture_output=True, check=True
    )
    assert refs.stdout == b""
    assert not list((tmp_path / "cache" / "workspaces").iterdir())


def test_a_plan_under_conditions(project: Path) -> None:
    store, run = recorded(project, "print(1)", "print(2)")
    assert plan_replay(store, run).conditions == {}
    told = plan_replay(store, run, Conditions(environment="current", clock="recorded", until=1))
    assert told.cells == (1,)
    assert "condition    clock recorded" in told.text()
    with pytest.raises(UsageError, match="no cell up to number 1"):
        plan_replay(store, replace(run, cells=run.cells[1:]), Conditions(until=1))


@pytest.mark.parametrize(
    "changed",
    [
        {"environment": "other"},
        {"clock": "stopped"},
        {"threads": 0},
        {"until": 0},
        {"hash_seed": "-1"},
        {"hash_seed": "4294967296"},
        {"packages": {"numpy": "1"}, "environment": "current"},
    ],
)
def test_what_is_no_condition_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Conditions(**changed)  # type: ignore[arg-type]


def test_conditions_are_a_record() -> None:
    one = Conditions(packages={"numpy": "1.26.4"}, hash_seed="random", until=3)
    assert Conditions.from_dict(one.to_dict()) == one
    assert one.changed() == {"packages": {"numpy": "1.26.4"}, "hash_seed": "random", "until": 3}


def machine(**fields: object) -> Machine:
    plain: dict[str, object] = {"system": "", "release": "", "architecture": "", "libc": "", "cpu": "", "memory": None}
    return Machine(**{**plain, "cores": 10**6, "hash_seed": "0", **fields})  # type: ignore[arg-type]


def test_thread_limits_are_those_that_held(project: Path) -> None:
    """On a machine with another number of processors, where the libraries would choose another one themselves."""
    store = Store.open(project)
    openblas = Library(name="libscipy_openblas64_-ff651d7f", kind="blas", path="/a", detail={"threads": 7})
    later = replace(openblas, detail={"threads": 1})  # the cell limited it, and will do so again
    openmp = Library(name="libgomp-a34b3233", kind="openmp", path="/b", detail={"threads": 5})
    run = Run(id="x", machine=machine(threads={"MKL_NUM_THREADS": "3"}), libraries=(openblas, later, openmp))
    told = variables(store, run)
    assert {name: told[name] for name in THREAD_LIMITS if told.get(name)} == {
        "OPENBLAS_NUM_THREADS": "7",
        "OMP_NUM_THREADS": "5",
        "MKL_NUM_THREADS": "3",
    }
    one = variables(store, run, Conditions(threads=1))
    assert {one[name] for name in THREAD_LIMITS} == {"1"}
    from reprokit.capture.environment.machine import observe

    here = replace(run, machine=machine(cores=observe().cores))
    assert not any(variables(store, here).get(name) for name in THREAD_LIMITS)


def test_a_hash_seed_takes_the_place_of_the_secret(project: Path) -> None:
    run = Run(id="x", machine=machine(hash_seed="random", hash_secret="00" * 24))
    assert variables(Store.open(project), run, Conditions(hash_seed="5"))["PYTHONHASHSEED"] == "5"
    assert "REPROKIT_HASH_SECRET" not in variables(Store.open(project), run, Conditions(hash_seed="5"))


def test_the_beginning_of_a_run() -> None:
    late = FileUse(path="b", access="write", digest="sha256:1")
    run = Run(
        id="x",
        cells=(Cell(seq=1, source="a", status="done"), Cell(seq=2, source="b", status="done", writes=(late,))),
        gaps=(Gap(aspect="code", message="of all"), Gap(aspect="code", message="late", cell=2)),
        metrics=(Metric(key="m", value=1, cell=2),),
        artifacts=(late,),
    )
    first = prefix(run, 1)
    assert [cell.seq for cell in first.cells] == [1]
    assert [gap.message for gap in first.gaps] == ["of all"]
    assert (first.metrics, first.artifacts) == ((), ())
    assert prefix(run, None) is run
    assert prefix(run, 2) == run


def test_a_file_outside_is_mounted_where_that_can_be_done() -> None:
    use = FileUse(path="/data/x.csv", access="read", digest="sha256:aa", stored="object")
    run = Run(id="x", cells=(Cell(seq=1, source="a", status="done", reads=(use,)),))
    facts = Facts(objects=frozenset(["sha256:aa"]), outside={"/data/x.csv": "sha256:bb"}, no_mounts="")
    (restore,) = plan(run, facts).restores
    assert (restore.path, restore.source, plan(run, facts).reasons) == ("/data/x.csv", "mount", ())
    (reason,) = plan(run, replace(facts, no_mounts="the system refused")).reasons
    assert "the system refused" in reason.why
    (reason,) = plan(run, replace(facts, objects=frozenset())).reasons
    assert "has changed" in reason.why
    assert plan(run, replace(facts, outside={"/data/x.csv": "sha256:aa"})).in_place == ("/data/x.csv",)

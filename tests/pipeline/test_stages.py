"""Runs become one pipeline through the files that they exchanged; what is no pipeline is refused with a remedy."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprokit.errors import UsageError
from reprokit.pipeline.stages import Pipeline, Stage
from reprokit.records import Cell, FileUse, Run


def run(name: str, *, reads: str = "", writes: str = "", own: str = "", **fields: object) -> Run:
    """Return a run of a notebook; files are words, ``path=digest`` where the digest matters."""
    uses = [_use(word, "read") for word in reads.split()]
    uses += [_use(word, "read", own=True) for word in own.split()]
    cell = Cell(seq=1, source="", reads=tuple(uses), writes=tuple(_use(word, "write") for word in writes.split()))
    values: dict[str, object] = {"status": "done", "notebook": f"nb/{name}.ipynb", "root": "/p", "cwd": "/p/nb"}
    return Run(id=f"id-{name}", cells=(cell,), **{**values, **fields})  # type: ignore[arg-type]


def _use(word: str, access: str, own: bool = False) -> FileUse:
    path, _, digest = word.partition("=")
    return FileUse(path=path, access=access, digest=f"sha256:{digest or path}", own=own)


PREPARE = run("prepare", reads="data/raw.csv", writes="out/train.csv out/test.csv")
TRAIN = run("train", reads="out/train.csv", writes="out/model.pkl out/scores.json", params={"n": 3})
EVALUATE = run("evaluate", reads="out/test.csv out/model.pkl", writes="out/roc.png out/metrics.json", own="out/roc.png")


@given(st.permutations([PREPARE, TRAIN, EVALUATE]))
def test_what_one_wrote_and_another_read_joins_them(runs: list[Run]) -> None:
    pipeline = Pipeline.of_runs(runs)
    assert [stage.name for stage in pipeline.stages] == ["prepare", "train", "evaluate"]
    assert pipeline.upstream("evaluate") == ("prepare", "train")
    assert pipeline.inputs == ("data/raw.csv",)
    assert pipeline.notes == ()


def test_a_stage_says_what_its_run_used() -> None:
    stage = Pipeline.of_runs([EVALUATE]).stages[0]
    assert stage == Stage(
        name="evaluate",
        notebook="nb/evaluate.ipynb",
        cwd="nb",
        deps=("out/model.pkl", "out/test.csv"),
        metrics=("out/metrics.json",),
        plots=("out/roc.png",),
        run="id-evaluate",
    )
    assert Stage.from_dict(stage.to_dict()) == stage


def test_what_a_run_made_itself_is_no_dependency_and_modules_are() -> None:
    one = run("a", reads="x.csv", writes="tmp.csv", own="tmp.csv")
    (stage,) = Pipeline.of_runs([one], modules=lambda _: ["helper.py"]).stages
    assert stage.deps == ("helper.py", "x.csv")


def test_another_version_of_a_file_is_told() -> None:
    later = run("prepare", writes="out/train.csv=new")
    (note,) = Pipeline.of_runs([later, TRAIN]).notes
    assert note.startswith("train read another out/train.csv than run id-prepare of prepare wrote")


@pytest.mark.parametrize(
    ("runs", "problem"),
    [
        ([run("a", reads="x", writes="y"), run("b", reads="y", writes="x")], "in a circle"),
        ([run("a", writes="x"), run("b", writes="x")], "nb/a.ipynb and nb/b.ipynb write x"),
        ([run("a", writes="x"), run("b", notebook="nb/a.ipynb", writes="x")], "two runs of nb/a.ipynb write x"),
        ([run("a", writes="x/"), run("b", writes="x/1.png")], "write x/1.png"),
        ([run("a", reads="x", writes="x")], "reads x and overwrites it"),
        ([run("a", status="failed")], "is failed"),
        ([run("a", notebook=None)], "of no notebook"),
    ],
)
def test_what_is_no_pipeline_is_refused(runs: list[Run], problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as refused:
        Pipeline.of_runs(runs)
    assert refused.value.remedy


def test_a_circle_names_each_file_of_it() -> None:
    runs = [run("a", reads="z", writes="x"), run("b", reads="x", writes="y"), run("c", reads="y", writes="z")]
    with pytest.raises(UsageError) as refused:
        Pipeline.of_runs(runs)
    for link in ("b.ipynb reads x of nb/a.ipynb", "c.ipynb reads y of nb/b.ipynb", "a.ipynb reads z of nb/c.ipynb"):
        assert link in str(refused.value)


def test_names_are_made_different() -> None:
    runs = [
        run("1", notebook="a/work.ipynb"),
        run("2", notebook="b/work.ipynb"),
        dataclasses.replace(run("3"), name="01 last (v2)"),
    ]
    assert {stage.name for stage in Pipeline.of_runs(runs).stages} == {"a-work", "b-work", "01-last-v2"}


def test_many_files_in_a_folder_of_the_runs_own_are_one_output() -> None:
    many = " ".join(f"out/tiles/{number}.npy" for number in range(30))
    assert Pipeline.of_runs([run("a", writes=f"{many} out/x.csv")]).stages[0].outs == ("out/tiles/", "out/x.csv")
    there_before = run("a", writes=many, folders=("out/tiles",))
    assert len(Pipeline.of_runs([there_before]).stages[0].outs) == 30
    reader = run("b", reads="out/tiles/3.npy")
    assert Pipeline.of_runs([reader, run("a", writes=many)]).upstream("b") == ("a",)

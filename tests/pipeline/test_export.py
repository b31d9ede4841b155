"""What every export has in common: one command a stage, the same bytes each time, and no harm to what a hand wrote."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from exporting import EVALUATE, PLOT, PREPARE, TRAIN, same_parameters, text, work, written

from reprokit.errors import UsageError
from reprokit.pipeline import export
from reprokit.pipeline.export import TARGETS
from reprokit.pipeline.export.stamp import is_edited
from reprokit.pipeline.spec import read
from reprokit.pipeline.stages import Stage

ALL = (EVALUATE, PLOT, TRAIN, PREPARE)
PLAIN = sorted(TARGETS.keys() - {"docker"})  # which needs a recorded environment
WORD = re.compile(r"base64:[A-Za-z0-9_=-]+")


def changed(stage: Stage, **fields: object) -> Stage:
    return dataclasses.replace(stage, **fields)


@pytest.mark.parametrize("target", PLAIN)
def test_every_stage_is_one_call_of_the_step(target: str) -> None:
    specs = [read(word).to_dict() for word in WORD.findall(text(target))]
    by_name = {spec["name"]: spec for spec in specs}
    assert len(specs) == 4
    assert by_name.keys() == {stage.name for stage in ALL}
    assert same_parameters(by_name["train"], TRAIN)
    assert by_name["train"]["cwd"] == "nb"
    assert by_name["evaluate"]["seed"] == 7
    assert by_name["evaluate"]["outputs"] == ["metrics.json"]
    assert (by_name["plot"]["script"], by_name["plot"]["arguments"]) == ("plot.py", ["-v"])


@pytest.mark.parametrize("target", PLAIN)
def test_parameters_are_nowhere_but_in_the_word_and_in_comments(target: str) -> None:
    mark = TARGETS[target].comment
    lines = WORD.sub("", text(target)).splitlines()
    outside = "\n".join(line for line in lines if not line.startswith(mark))
    assert "quoted" not in outside
    assert "secrets" not in outside
    assert "☃" not in "\n".join(lines)  # the comments are ASCII, and hold on one line what is told of a stage
    assert sum("quoted" in line for line in lines) == 1


@pytest.mark.parametrize("target", PLAIN)
def test_the_same_pipeline_gives_the_same_bytes(target: str) -> None:
    assert text(target) == text(target)
    assert text(target, *ALL) == text(target, *(changed(stage, run="another") for stage in ALL), checked=())
    assert text(target) != text(target, EVALUATE, PLOT, TRAIN, changed(PREPARE, params={"scale": 3}))


@pytest.mark.parametrize("target", PLAIN)
def test_a_file_says_what_made_it_and_notices_a_hand(target: str) -> None:
    made = export.plan(work(), target)
    for content in made.texts.values():
        assert f"`reprokit export --to {target}` (reprokit " in content
        assert f"target={target} spec={work().digest.partition(':')[2][:32]} content=" in content
        assert is_edited(content) is False
        assert is_edited(content.replace("reprokit.step", "reprokit.stop", 1) + "#\n") is True
        assert is_edited(content.removesuffix("\n")) is True
    assert is_edited("all:\n") is None


def test_a_stage_comes_after_those_whose_products_it_reads() -> None:
    jobs = {job.name: job for job in work().jobs}
    assert next(iter(jobs)) == "prepare"
    assert [jobs[name].level for name in ("prepare", "train", "plot", "evaluate")] == [0, 1, 1, 2]
    assert [(made.by, made.path) for made in jobs["evaluate"].takes] == [
        ("prepare", "out/clean.txt"),
        ("train", "m.bin"),
    ]
    assert export.plan(work(), "make").notes == (
        "/data/map.csv lies outside of the project: it must be there where the jobs run",
    )


def test_steps_reuse_only_when_that_is_asked_for() -> None:
    assert "reuse" not in work().jobs[0].spec.to_dict()
    assert work(reuse=True).jobs[0].spec.to_dict()["reuse"] is True


# -- writing -----------------------------------------------------------------------------------------------


def test_an_export_is_written_again_unless_a_hand_changed_it(tmp_path: Path) -> None:
    path = written("make", tmp_path)
    first = path.read_text()
    assert export.write(export.plan(work(), "make"), None, path) == []  # as it was
    newer = export.plan(work(PREPARE), "make")
    assert export.write(newer, None, path) == [path]
    assert path.read_text() != first
    edited = path.read_text().replace("PYTHON ?= python", "PYTHON ?= python3")
    path.write_text(edited)
    with pytest.raises(UsageError, match="edited by hand"):
        export.write(export.plan(work(), "make"), None, path)
    assert path.read_text() == edited
    assert export.write(export.plan(work(), "make"), None, path, force=True) == [path]
    assert path.read_text() == first


def test_a_file_that_is_no_export_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "Makefile"
    path.write_bytes(b"all:\n\techo \xff\n")
    with pytest.raises(UsageError, match="was not exported"):
        export.write(export.plan(work(), "make"), None, tmp_path, into=True)
    assert path.read_bytes() == b"all:\n\techo \xff\n"


def test_of_several_files_none_is_written_when_one_may_not_be(tmp_path: Path) -> None:
    (tmp_path / "submit.sh").write_text("sbatch mine\n")
    with pytest.raises(UsageError, match=r"submit\.sh"):
        export.write(export.plan(work(), "slurm"), None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["submit.sh"]


def test_several_files_do_not_go_into_one(tmp_path: Path) -> None:
    path = tmp_path / "job"
    path.write_text("mine")
    with pytest.raises(UsageError, match="this export is 2 files"):
        export.write(export.plan(work(), "slurm"), None, path)


# -- what cannot be -----------------------------------------------------------------------------------------


def test_an_unknown_target_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="did you mean github"):
        export.plan(work(), "gihub")
    with pytest.raises(UsageError, match="airflow, argo, docker"):
        export.plan(work(), "xyz")


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("argo", ("Train", "train")),
        ("argo", ("a_b", "a-b")),
        ("airflow", ("a_b", "a-b")),
        ("prefect", ("a_b", "a-b")),
        ("kubeflow", ("A", "a")),
        ("snakemake", ("a_b", "a-b")),
        ("make", ("clean", "step-clean")),
        ("gitlab", ("image", "step-image")),
        ("jenkins", ("check", "step-check")),
    ],
)
def test_two_names_that_become_one_are_refused(target: str, names: tuple[str, str]) -> None:
    stages = [Stage(name=name, notebook=f"{n}.ipynb") for n, name in enumerate(names)]
    with pytest.raises(UsageError, match="cannot tell"):
        text(target, *stages)


@pytest.mark.parametrize("target", PLAIN)
def test_names_that_mean_something_to_a_target_are_converted(target: str) -> None:
    """The tools themselves are asked in ``test_export_tools``."""
    names = (
        "all",
        "check",
        "class",
        "clean",
        "dag",
        "dsl",
        "flow",
        "image",
        "import",
        "os",
        "pipeline",
        "run",
        "task",
        "1st",
    )
    stages = [Stage(name=name, notebook=f"{n}.ipynb") for n, name in enumerate(names)]
    assert {read(word).name for word in WORD.findall(text(target, *stages))} == set(names)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("make", "out/a b.txt"),
        ("make", "out/a$b.txt"),
        ("make", "out/a%b.txt"),
        ("make", "year=2024/a.txt"),
        ("snakemake", "out/{a}.txt"),
        ("github", "out/${{ a }}.txt"),
        ("gitlab", "out/*.txt"),
        ("jenkins", "out/a,b.txt"),
        ("argo", "out/{{a}}.txt"),
    ],
)
def test_a_file_whose_name_a_target_takes_for_something_else_is_refused(target: str, path: str) -> None:
    with pytest.raises(UsageError, match="cannot name the file"):
        text(target, Stage(name="one", notebook="1.ipynb", deps=(path,), outs=(f"{path}.out",)))


def test_what_is_too_long_for_a_command_line_is_refused() -> None:
    with pytest.raises(UsageError, match="too many for a command line"):
        work(changed(PREPARE, params={"words": ["word"] * 20_000}))


def test_names_of_a_hand_written_file_are_names_of_targets() -> None:
    odd = Stage(name="my train (été)", notebook="1.ipynb")
    assert "\nmy-train-t: $(STAMPS)/my-train-t\n" in text("make", odd)
    assert "task_id='my-train-t'" in text("airflow", odd)


def test_nothing_is_nothing_to_export() -> None:
    from reprokit.pipeline.export.work import Work
    from reprokit.pipeline.stages import Pipeline

    with pytest.raises(UsageError, match="no stage"):
        Work.of(Pipeline(), "nothing")

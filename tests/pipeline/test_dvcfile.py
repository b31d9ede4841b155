"""dvc.yaml and params.yaml: what is written, and that what was changed by hand stays, comments too."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reprokit.errors import UsageError
from reprokit.notebook.given import read_file
from reprokit.pipeline.dvcfile import CLEAN_STAGE, merged, merged_params
from reprokit.pipeline.stages import Pipeline, Stage

A = Stage(name="a", notebook="nb/a.ipynb", cwd="nb", deps=("data/x.csv",), outs=("out/y.csv",), run="1")
TRAIN = Stage(
    name="train",
    notebook="nb/train.ipynb",
    cwd="nb",
    params={"n": 3, "rate": 0.1},
    deps=("out/y.csv",),
    outs=("model.pkl",),
    metrics=("metrics.json",),
    run="2",
)


def write(text: str, *stages: Stage, before: Stage | None = None) -> tuple[str, list[str]]:
    return merged(text, Pipeline(stages=stages), ".reprokit/clean", base=lambda run, name: before)


def stages_of(text: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = YAML(typ="safe").load(text)["stages"]
    return found


FIRST, _ = write("", A, TRAIN)
INSTALLED = ".reprokit/clean/environment.txt"


def test_a_new_file() -> None:
    stages = stages_of(FIRST)
    assert list(stages) == [CLEAN_STAGE, "a", "train"]
    assert stages["train"] == {
        "cmd": "reprokit run nb/train.ipynb --name train -f params.yaml:train",
        "deps": [".reprokit/clean/nb/train.ipynb", "out/y.csv", INSTALLED],
        "params": ["train"],
        "outs": ["model.pkl"],
        "metrics": ["metrics.json"],
        "meta": {"reprokit": {"run": "2"}},
    }
    assert "cache" not in FIRST


def test_written_again_it_is_the_same() -> None:
    assert write(FIRST, A, TRAIN, before=TRAIN)[0] == FIRST


def test_the_rest_of_the_file_is_left_as_it_was() -> None:
    theirs = (
        "# ours\nstages:\n    fetch:   # nightly\n        cmd: 'curl x'\n        outs:\n          - raw.csv\n"
        "vars:\n  - a: 1\n"
    )
    text, _ = write(theirs, A)
    assert all(line in text.splitlines() for line in theirs.splitlines())
    assert set(stages_of(text)) == {CLEAN_STAGE, "fetch", "a"}


def test_changes_by_hand_stay_and_news_of_the_run_come_in() -> None:
    by_hand = (
        FIRST.replace("--name train -f params.yaml:train", "--name train -f params.yaml:train --timeout 60")
        .replace("    - out/y.csv\n", "    - out/y.csv\n    - conf.toml  # by hand\n")
        .replace("    outs:\n    - model.pkl", "    outs:\n    - model.pkl:\n        persist: true")
        .replace("  train:\n", "  # the best we have\n  train:\n    frozen: true\n")
    )
    newer = dataclasses.replace(TRAIN, run="3", deps=("out/z.csv",), outs=("model.pkl", "log.csv"))
    text, notes = write(by_hand, A, newer, before=TRAIN)
    train = stages_of(text)["train"]
    assert train["cmd"] == "reprokit run nb/train.ipynb --name train -f params.yaml:train --timeout 60"
    assert train["deps"] == [".reprokit/clean/nb/train.ipynb", "conf.toml", INSTALLED, "out/z.csv"]
    assert train["outs"] == [{"model.pkl": {"persist": True}}, "log.csv"]
    assert train["frozen"] is True
    assert train["meta"] == {"reprokit": {"run": "3"}}
    assert "# by hand" in text
    assert "# the best we have" in text
    assert notes == []


def test_what_was_taken_out_by_hand_does_not_come_back() -> None:
    without = FIRST.replace("    metrics:\n    - metrics.json\n", "")
    assert "metrics" not in stages_of(write(without, A, TRAIN, before=TRAIN)[0])["train"]


def test_every_stage_depends_on_what_is_installed() -> None:
    """Which DVC has to look at each time: no file of the project says it."""
    stages = stages_of(write("", A, dataclasses.replace(TRAIN, notebook="train.py"))[0])
    clean = stages.pop(CLEAN_STAGE)
    assert clean["always_changed"] is True
    assert INSTALLED in cast("list[str]", clean["outs"])
    assert all(INSTALLED in cast("list[str]", stage["deps"]) for stage in stages.values())
    script = stages_of(write("", dataclasses.replace(TRAIN, notebook="train.py"))[0])
    assert script[CLEAN_STAGE]["cmd"] == "reprokit step --clean .reprokit/clean"


def older(text: str) -> str:
    """Return what a version wrote that knew nothing of this."""
    lines = (line for line in text.splitlines(keepends=True) if INSTALLED not in line and "always_changed" not in line)
    return "".join(lines)


def test_what_an_older_version_wrote_gets_it_and_a_hand_can_take_it_out() -> None:
    assert stages_of(write(older(FIRST), TRAIN, before=TRAIN)[0])["train"] == stages_of(FIRST)["train"]
    renewed = stages_of(write(older(FIRST), A, TRAIN, before=TRAIN)[0])
    assert renewed[CLEAN_STAGE]["always_changed"] is True
    first, last = FIRST.rsplit(f"    - {INSTALLED}\n", 1)
    by_hand = (first + last).replace("    always_changed: true\n", "")
    assert by_hand.count(INSTALLED) == FIRST.count(INSTALLED) - 1
    assert write(by_hand, TRAIN, before=TRAIN)[0] == by_hand
    own = older(FIRST).replace("reprokit step --clean", "sh clean.sh")
    text, (note,) = write(own, TRAIN, before=TRAIN)
    assert text == own, "nobody makes that file"
    assert "changed by hand" in note


def test_an_output_that_was_made_a_plot_by_hand_stays_one() -> None:
    moved = FIRST.replace("    outs:\n    - model.pkl\n", "    plots:\n    - model.pkl\n")
    train = stages_of(write(moved, A, TRAIN, before=None)[0])["train"]
    assert train.get("outs") is None
    assert train["plots"] == ["model.pkl"]


def test_a_command_of_the_users_own_is_left_and_told() -> None:
    changed = FIRST.replace("cmd: reprokit run nb/train.ipynb --name train -f params.yaml:train", "cmd: make train")
    text, (note,) = write(changed, A, TRAIN, before=TRAIN)
    assert stages_of(text)["train"]["cmd"] == "make train"
    assert "changed by hand" in note


def test_a_stage_of_somebody_elses_is_not_touched() -> None:
    with pytest.raises(UsageError, match="not reprokit's"):
        write("stages:\n  train:\n    cmd: make\n", TRAIN)


def test_a_second_pipeline_joins_the_first() -> None:
    text, _ = write(write("", A)[0], TRAIN)
    clean = stages_of(text)[CLEAN_STAGE]
    assert clean["deps"] == ["nb/a.ipynb", "nb/train.ipynb"]
    assert clean["cmd"] == "reprokit step --clean .reprokit/clean nb/a.ipynb nb/train.ipynb"
    assert text == FIRST


@pytest.mark.parametrize("text", ["- a", "stages: 3", "stages: ["])
def test_a_file_that_is_not_valid_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        write(text, A)


def test_a_script_a_seed_and_another_folder_are_in_the_command() -> None:
    script = Stage(name="s", notebook="bin/s.py", run="1", seed=4, arguments=("--fast", "a b"))
    assert stages_of(write("", script)[0])["s"]["cmd"] == "reprokit run bin/s.py --name s --seed 4 -- --fast 'a b'"
    elsewhere = dataclasses.replace(A, cwd=".")
    assert stages_of(write("", elsewhere)[0])["a"]["cmd"] == "reprokit run nb/a.ipynb --name a --cwd ."


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), VALUES, min_size=1, max_size=4))
def test_parameters_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, params: dict[str, object]) -> None:
    """What is written into params.yaml is what `reprokit run -f` reads."""
    text, _ = merged_params("", Pipeline(stages=(dataclasses.replace(A, params=params),)), {}.get)
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    path.write_text(text, "utf-8")
    assert read_file(path)["a"] == params


def test_parameters_changed_by_hand_stay() -> None:
    text = "# tuned\ntrain:\n  n: 30  # enough\n  rate: 0.1\n  extra: x\n"
    newer = dataclasses.replace(TRAIN, params={"n": 3, "rate": 0.5, "depth": 2})
    after, (note,) = merged_params(text, Pipeline(stages=(newer,)), {"train": TRAIN}.get)
    assert after == "# tuned\ntrain:\n  n: 30  # enough\n  rate: 0.5\n  extra: x\n  depth: 2\n"
    assert note.startswith("train.n is 30")


def test_places_of_notebooks_outside_stay_inside() -> None:
    outside = dataclasses.replace(A, notebook="../shared/a.ipynb", cwd="../shared")
    assert str(Path(stages_of(write("", outside)[0])[CLEAN_STAGE]["outs"][0])).startswith(".reprokit/clean/")  # type: ignore[index]

"""``%repro`` as its user meets it: forms, help, completion, the status display."""

from __future__ import annotations

import pytest
from kernels import Kernel, observed, text

from reprokit.magics import VERBS

WRONG = {
    "start": ["start --seed", "start --seed x", "start a b", "start --nope"],
    "stop": ["stop now"],
    "status": ["status now"],
    "seed": ["seed", "seed x", "seed 1 2"],
    "config": ["config", "config missing.yaml"],
    "assume": ["assume", 'assume "open'],
    "param": ["param", "param x", "param =1"],
    "metric": ["metric", "metric x"],
    "artifact": ["artifact", "artifact missing.png"],
    "note": ["note"],
    "runs": ["runs a b"],
    "show": ["show a b"],
    "diff": ["diff", "diff a b c"],
    "replay": ["replay"],
}


def test_every_verb_has_its_wrong_forms_tried() -> None:
    assert set(WRONG) == set(VERBS)


@pytest.mark.parametrize("verb", WRONG)
def test_a_wrong_argument_is_one_line_with_the_right_form(kernel: Kernel, verb: str) -> None:
    kernel.run("%load_ext reprokit")
    if verb != "start":
        kernel.run("%repro start wrong")
    for words in WRONG[verb]:
        outputs = kernel.run(f"%repro {words}")
        assert [output["output_type"] for output in outputs] == ["display_data"], words
        line = outputs[0]["data"]["text/plain"]
        assert line.startswith("reprokit: ")
        assert "\n" not in line
        assert "Traceback" not in line
        assert ": " in line.removeprefix("reprokit: "), "it says what to do"


@pytest.mark.parametrize("words", ["", "statsu", "nonsense"])
def test_an_unknown_verb_is_one_line(kernel: Kernel, words: str) -> None:
    kernel.run("%load_ext reprokit")
    shown = text(kernel.run(f"%repro {words}"))
    assert shown.startswith("reprokit: ")
    assert "%repro st" in shown


def test_verbs_without_a_run_say_so(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    assert "no run is open" in text(kernel.run("%repro stop"))
    assert "No run is open" in text(kernel.run("%repro status"))


@pytest.mark.parametrize(
    ("line", "offered"),
    [("%repro st", {"start", "stop", "status"}), ("%repro start --", {"--seed", "--config", "--tag"})],
)
def test_verbs_and_options_complete(kernel: Kernel, line: str, offered: set[str]) -> None:
    kernel.run("%load_ext reprokit")
    shown = text(kernel.run(f"print(*get_ipython().complete(None, {line!r}, {len(line)})[1])"))
    assert offered <= set(shown.split())


def test_help_names_every_verb(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    shown = text(kernel.run("print(get_ipython().inspector.info(get_ipython().find_line_magic('repro'))['docstring'])"))
    assert all(f"%repro {verb}" in shown for verb in VERBS)


def test_the_status_is_rich_and_is_no_output_of_the_cell(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start shown")
    kernel.run("import random\nrandom.random()")
    (output,) = kernel.run("%repro status")
    assert "Would this run replay?" in output["data"]["text/plain"]
    assert "Would this run replay?" in output["data"]["text/html"]
    assert "<script" not in output["data"]["text/html"]
    kernel.run("%repro stop")
    store = kernel.store()
    run = kernel.record("shown")
    assert store.objects.get_bytes(str(observed(run)[2].outputs)) == b"[]"


def test_looking_at_runs_from_a_cell(kernel: Kernel) -> None:
    run = kernel.capture("x = 1", name="looked")
    assert run.id in text(kernel.run("%repro runs"))
    assert run.id in text(kernel.run("%repro show looked"))
    assert "identical" in text(kernel.run(f"%repro diff {run.id} {run.id}"))
    assert "no run is called" in text(kernel.run("%repro show nobody"))

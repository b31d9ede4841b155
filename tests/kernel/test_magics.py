"""``%repro`` and ``%%repro``: every verb, every wrong form, and cells that behave as without them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from kernels import Kernel, outputs_of, text

from reprokit.magics import VERBS

# Words that are wrong with a run open → the form that must be shown.
WRONG = {
    "": "%repro start|stop|status",
    "strat": "%repro start",
    "nonsense": "start|stop",
    "start again": "%repro stop",
    "stop now": "%repro stop",
    "status please": "%repro status",
    "seed": "%repro seed N",
    "seed many": "%repro seed N",
    "seed 1 2": "%repro seed N",
    "config": "%repro config FILE",
    "config absent.yaml": "check the path",
    "config analysis.py": ".yaml",
    "assume": '%repro assume "TEXT"',
    'assume "open': '"TEXT"',
    "param": "%repro param K=V",
    "param lr": "%repro param K=V",
    "param =1": "%repro param K=V",
    "metric": "%repro metric K=V",
    "metric auc": "%repro metric K=V",
    "artifact": "%repro artifact PATH",
    "artifact absent.bin": "check the path",
    "data": "%repro data PATH",
    "data absent.bin": "check the path",
    "data a b": "%repro data PATH",
    "note": '%repro note "TEXT"',
    "diff": "%repro diff RUN",
    "diff a b c": "%repro diff RUN",
    "replay": "%repro replay RUN",
    "show a b": "%repro show",
    "runs a b": "%repro runs",
}
# The same with no run open.
WRONG_WITHOUT = {
    "start --seed many": "%repro start [NAME]",
    "start --seed": "%repro start [NAME]",
    "start one two": "%repro start [NAME]",
    "start --colour red": "%repro start [NAME]",
    "start --config absent.yaml": "check the path",
    "start --tag team": "%repro start [NAME]",
    "stop": "%repro start",
    "seed 1": "%repro start",
    'note "x"': "%repro start",
    "param a=1": "%repro start",
}


@pytest.fixture(autouse=True)
def loaded(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")


def test_every_verb_has_its_wrong_forms_tried() -> None:
    assert {words.split()[0] for words in (*WRONG, *WRONG_WITHOUT) if words} >= set(VERBS)


def assert_one_line(outputs: list[Any], form: str) -> None:
    shown = text(outputs)
    assert form in shown
    assert "Traceback" not in shown
    assert shown.startswith("reprokit: ")
    assert shown.count("\n") == 0
    assert [output["output_type"] for output in outputs] == ["display_data"]


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_get_the_right_form(words: str, kernel: Kernel) -> None:
    kernel.run("%repro start wrong")
    assert_one_line(kernel.run(f"%repro {words}"), WRONG[words])
    assert "cells" in text(kernel.run("%repro status"))  # the run goes on


@pytest.mark.parametrize("words", WRONG_WITHOUT)
def test_wrong_words_without_a_run(words: str, kernel: Kernel) -> None:
    assert_one_line(kernel.run(f"%repro {words}"), WRONG_WITHOUT[words])
    assert "No run is open" in text(kernel.run("%repro status"))


def test_everything_said_is_recorded(kernel: Kernel) -> None:
    (kernel.project / "conf.yaml").write_text("model:\n  depth: 3\npassword: hunter2\n")
    (kernel.project / "model.bin").write_bytes(b"model")
    kernel.run("%repro start said --seed 7 --config conf.yaml --tag team=pricing --tag stage=2")
    for line in (
        "param lr=0.1 name=base deep=true layers=[1,2]",
        "metric auc=0.93",
        'assume "prices are in EUR"',
        'note "first try"',
        "note of several words",
        "artifact model.bin",
        "seed 9",
        "config conf.yaml",
    ):
        shown = text(kernel.run(f"%repro {line}"))
        assert "Error" not in shown
        assert shown.strip(), line
    kernel.run("%repro stop")
    run = kernel.record("said")
    assert (run.seed, run.tags) == (9, {"team": "pricing", "stage": "2"})
    assert run.params == {"lr": 0.1, "name": "base", "deep": True, "layers": [1, 2]}
    assert [(metric.key, metric.value) for metric in run.metrics] == [("auc", 0.93)]
    assert [(one.text, one.holds) for one in run.assumptions] == [("prices are in EUR", None)]
    assert run.notes == ("first try", "of several words")
    assert [(use.path, use.size) for use in run.artifacts] == [("model.bin", 5)]
    assert run.config is not None
    assert run.config.values["model.depth"] == 3
    assert run.config.sources["model.depth"] == "conf.yaml"
    assert run.config.values["password"] == "[redacted]"


def test_with_jax_it_is_told_that_its_keys_are_not_seeded(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%repro start keys")
    assert "JAX" not in text(kernel.run("%repro seed 5"))
    kernel.run("import sys, types\nsys.modules['jax'] = types.ModuleType('jax')")
    assert "jax.random.key(5)" in text(kernel.run("%repro seed 5"))


def test_a_seed_at_the_start_gives_the_same_draws(kernel: Kernel) -> None:
    draw = "import random, numpy as np\n(random.random(), np.random.rand(), np.random.default_rng().random())"
    drawn = []
    for _ in range(2):
        kernel.run("%repro start --seed 5")
        kernel.run("x = 1")
        drawn.append(text(kernel.run(draw)))
        kernel.run("%repro stop")
    assert drawn[0].strip() == drawn[1].strip()


def test_status_is_text_and_html(kernel: Kernel) -> None:
    kernel.run("%repro start looked")
    (shown,) = kernel.run("%repro status")
    assert {"text/plain", "text/html"} <= set(shown["data"])
    assert "looked" in shown["data"]["text/plain"]
    assert "Would this run replay?" in shown["data"]["text/plain"]
    assert "Would this run replay?" in shown["data"]["text/html"]
    assert "<script" not in shown["data"]["text/html"]
    kernel.run("%repro stop")
    run = kernel.record("looked")
    status = next(cell for cell in run.cells if cell.source == "%repro status" and cell.observed)
    assert outputs_of(kernel.store(), status) == []  # what reprokit shows is no output of the cell


def test_help(kernel: Kernel) -> None:
    request = kernel.send("%repro?")
    kernel.outputs_of(request)
    reply = kernel.client.session.msg("inspect_request", {"code": "%repro", "cursor_pos": 6, "detail_level": 0})
    kernel.client.shell_channel.send(reply)
    content = kernel.client.get_shell_msg(timeout=60)["content"]
    assert content["found"]
    shown = re.sub(r"\x1b\[[0-9;]*m", "", content["data"]["text/plain"])
    for verb in VERBS:
        assert f"%repro {verb}" in shown
    assert "%%repro" in shown


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%repro st", {"%repro start", "%repro status", "%repro stop"}),
        ("%repro ", {f"%repro {verb}" for verb in VERBS}),
        ("%repro s", {f"%repro {verb}" for verb in VERBS if verb.startswith("s")}),
        ("%repro no", {"%repro note"}),
        ("%repro start --s", {"%repro start --seed"}),
        ("%repro start ", {"%repro start --seed", "%repro start --config", "%repro start --tag"}),
    ],
)
def test_completion(line: str, expected: set[str], kernel: Kernel) -> None:
    found = set(kernel.complete(line))  # with what IPython offers everywhere, such as `not`
    assert expected <= found
    assert {f"%repro {verb}" for verb in VERBS} & found <= expected


# -- %%repro ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    ["x = 20\nx + 1", "import asyncio\nawait asyncio.sleep(0.01)\n5", "1/0", "print('out')", "x = 1;", "!echo x"],
)
def test_a_cell_as_a_run_behaves_as_a_cell(body: str, kernel: Kernel) -> None:
    bare = [self_free(output) for output in kernel.run(f"#\n{body}")]
    shown = [self_free(output) for output in kernel.run(f"%%repro single\n{body}")]
    assert [output for output in shown if not output.get("metadata", {}).get("reprokit")] == bare
    run = kernel.record("single")
    assert run.cells[-1].source == f"%%repro single\n{body}"
    assert run.status == ("failed" if body == "1/0" else "done")
    assert "No run is open" in text(kernel.run("%repro status"))


def test_a_cell_as_a_run_that_is_no_python(kernel: Kernel) -> None:
    (bare,) = kernel.run("#\ndef broken(:")
    (shown,) = kernel.run("%%repro broken\ndef broken(:")
    assert shown["evalue"].split("(")[0] == bare["evalue"].split("(")[0]
    assert shown["evalue"].endswith("line 2)")
    assert "No run is open" in text(kernel.run("%repro status"))


def self_free(output: dict[str, Any]) -> dict[str, Any]:
    """Return an output without what counts executions and lines."""
    return {key: value for key, value in output.items() if key not in ("execution_count", "traceback")}


def test_a_cell_as_a_run_takes_options(kernel: Kernel) -> None:
    kernel.run("%%repro optioned --seed 3 --tag a=b\nopen('one.txt', 'w').write('x')")
    run = kernel.record("optioned")
    assert (run.kind, run.seed, run.tags, run.status) == ("block", 3, {"a": "b"}, "done")
    assert [use.path for use in run.cells[-1].writes] == ["one.txt"]


def test_a_cell_as_a_run_without_a_name(kernel: Kernel) -> None:
    kernel.run("%%repro\nnameless = 1")
    assert kernel.record("latest").cells[-1].source == "%%repro\nnameless = 1"
    assert text(kernel.run("nameless")) == "1"


def test_runs_and_show_by_the_command_line(kernel: Kernel) -> None:
    run = kernel.capture("x = 1", name="listed")
    assert "identical" in text(kernel.run(f"%repro diff {run.id} {run.id}"))
    assert "listed" in text(kernel.run("%repro runs"))
    assert "listed" in text(kernel.run("%repro show"))
    assert "no run is called" in text(kernel.run("%repro show nosuchrun"))


def test_loading_twice_and_unloading(kernel: Kernel) -> None:
    kernel.run("%load_ext reprokit")
    kernel.run("%reload_ext reprokit")
    kernel.run("%repro start reloaded")
    kernel.run("x = 1")
    kernel.run("%unload_ext reprokit")
    assert kernel.record("reloaded").status == "done"
    kernel.run("%load_ext reprokit")
    assert "No run is open" in text(kernel.run("%repro status"))


def test_a_secret_parameter_is_not_recorded(kernel: Kernel) -> None:
    kernel.run("%repro start secretive")
    kernel.run('%repro param api_key=hunter2 lr=1 db=\'{"password": "hunter2"}\'')
    kernel.run("%repro stop")
    params = kernel.record("secretive").params
    assert params == {"api_key": "[redacted]", "lr": 1, "db": {"password": "[redacted]"}}

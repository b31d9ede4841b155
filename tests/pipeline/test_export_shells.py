"""Parameters reach the step unharmed through make, the shells and YAML; each file is checked by what reads it."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from exporting import EVALUATE, PLOT, PREPARE, TRAIN, same_parameters, shell, telling_python, text, told, written

from reprokit.pipeline.export.filled import document
from reprokit.pipeline.spec import read

STAGES = {stage.name: stage for stage in (EVALUATE, PLOT, TRAIN, PREPARE)}
ORDER = {"prepare": 0, "plot": 1, "train": 1, "evaluate": 2}


def assert_all_told(specs: list[dict[str, Any]]) -> None:
    """Assert that each stage was called once, after those that it needs, with its parameters."""
    assert sorted(spec["name"] for spec in specs) == sorted(STAGES)
    assert [ORDER[spec["name"]] for spec in specs] == [0, 1, 1, 2]
    assert all(same_parameters(spec, STAGES[spec["name"]]) for spec in specs)


def with_inputs(folder: Path) -> Path:
    for stage in STAGES.values():
        for path in (stage.notebook, *(dep for dep in stage.deps if not dep.startswith("/"))):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text("")
    return folder


# -- make --------------------------------------------------------------------------------------------------


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    """A Makefile in a folder with all that it reads."""
    here = with_inputs(tmp_path / "project")
    inside = dataclasses.replace(PLOT, deps=("out/clean.txt",))
    return written("make", here, EVALUATE, inside, TRAIN, PREPARE)


def test_make_calls_every_stage_in_order_and_then_no_more(makefile: Path, tmp_path: Path) -> None:
    python, log = telling_python(tmp_path)
    make = ["make", "--no-print-directory", f"PYTHON='{python}'"]
    assert shell([*make, "--dry-run"], makefile.parent).count("reprokit.step") == 4
    assert told(log) == []
    shell([*make, "-j4"], makefile.parent)
    assert_all_told(told(log))
    assert "Nothing to be done" in shell(make, makefile.parent)


def test_make_runs_again_what_a_change_makes_out_of_date(makefile: Path, tmp_path: Path) -> None:
    python, log = telling_python(tmp_path)
    make = ["make", f"PYTHON='{python}'"]
    shell(make, makefile.parent)
    log.unlink()
    later = makefile.stat().st_mtime + 100
    os.utime(makefile.parent / "nb" / "train.ipynb", (later, later))
    shell([*make, "evaluate"], makefile.parent)
    assert [spec["name"] for spec in told(log)] == ["train", "evaluate"]
    shell([*make, "clean"], makefile.parent)
    assert shell([*make, "--dry-run"], makefile.parent).count("reprokit.step") == 4


# -- Slurm -------------------------------------------------------------------------------------------------

# What Slurm does with an array, here and at once.
SBATCH = """#!/bin/bash
set -eu
for word; do
    case "$word" in --array=*) tasks=${word#--array=} ;; esac
done
count=$(cat count 2> /dev/null || echo 0)
echo $((count + 1)) > count
for task in $(eval "echo $(echo "$tasks" | sed -E 's/([0-9]+)-([0-9]+)/{\\1..\\2}/g; s/,/ /g')"); do
    SLURM_ARRAY_TASK_ID=$task bash "${@: -1}"
done
echo "$((count + 1));cluster"
"""


def test_the_batch_script_is_a_stage_a_task(tmp_path: Path) -> None:
    script = written("slurm", tmp_path / "a b")
    shell(["bash", "-n", script], tmp_path)
    shell(["sh", "-n", script.with_name("submit.sh")], tmp_path)
    python, log = telling_python(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text(SBATCH)
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    last = shell(["sh", script.with_name("submit.sh")], tmp_path, PATH=path, PYTHON=str(python))
    assert last.strip() == "3;cluster"  # three levels
    assert_all_told(told(log))


def test_directives_are_those_that_sbatch_reads(tmp_path: Path) -> None:
    """They count up to the first command only."""
    lines = written("slurm", tmp_path).read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert lines[0] == "#!/bin/bash"
    assert not [line for line in lines[first:] if line.startswith("#SBATCH")]
    assert "--array=0-3" in directives
    assert "--requeue" in directives
    assert "--signal=B:TERM@90" in directives
    assert all(re.fullmatch(r"--[a-z-]+(=\S+)?", line) for line in directives)


def test_stages_that_need_nothing_of_each_other_are_one_array() -> None:
    from exporting import work

    from reprokit.pipeline import export

    points = [dataclasses.replace(PREPARE, name=f"point-{n}", outs=(f"out/{n}.txt",)) for n in range(12)]
    made = export.plan(work(*points), "slurm")
    assert list(made.texts) == ["pipeline.sbatch"]
    assert "#SBATCH --array=0-11\n" in made.texts["pipeline.sbatch"]


# -- YAML --------------------------------------------------------------------------------------------------


def test_the_lines_of_github_call_the_steps_and_the_check(tmp_path: Path) -> None:
    python, log = telling_python(tmp_path)
    workflow = yaml.safe_load(text("github"))
    assert workflow["on"].keys() == {"push", "pull_request", "workflow_dispatch"}
    runs = [step["run"] for step in workflow["jobs"]["check"]["steps"] if "run" in step]
    assert runs[-1].splitlines() == ["python -m reprokit pull", "python -m reprokit check --junit reprokit-check.xml"]
    assert "if" not in workflow["jobs"]["check"]  # on every push
    for step in workflow["jobs"]["pipeline"]["steps"]:
        assert "${{" not in str(step)
        if step.get("name") in STAGES:
            shell(["bash", "-e", "-c", step["run"]], tmp_path, PATH=f"{python.parent}:/usr/bin:/bin")
    assert_all_told(told(log))
    kept = workflow["jobs"]["pipeline"]["steps"][-1]["with"]["path"].split("\n")
    assert sorted(kept) == ["a.png", "m.bin", "metrics.json", "out/clean.txt"]


def test_the_jobs_of_gitlab_need_each_other_and_hand_on_what_they_make(tmp_path: Path) -> None:
    python, log = telling_python(tmp_path)
    jobs = yaml.safe_load(text("gitlab"))
    assert jobs["evaluate"]["needs"] == ["prepare", "train"]
    assert jobs["prepare"]["artifacts"]["paths"] == ["out/clean.txt"]
    assert jobs["check"]["script"][-1] == "python -m reprokit check --junit reprokit-check.xml"
    for name in ("prepare", "plot", "train", "evaluate"):
        (line,) = jobs[name]["script"]
        shell(["bash", "-c", line], tmp_path, PATH=f"{python.parent}:/usr/bin:/bin")
    assert_all_told(told(log))


def test_texts_come_through_yaml() -> None:
    value = {
        "on": ["yes", "1e3", "a: b", "# no", "${{ x }}", " - ", "", "two\nlines", "ü☃", "tab\t"],
        "off": {"null": None},
    }
    assert yaml.safe_load(document(value)) == value


# -- Argo --------------------------------------------------------------------------------------------------


def test_argo_names_what_is_there_and_hands_on_what_is_made() -> None:
    spec = yaml.safe_load(text("argo"))["spec"]
    templates = {template["name"]: template for template in spec["templates"]}
    tasks = {task["name"]: task for task in templates[spec["entrypoint"]]["dag"]["tasks"]}
    assert tasks.keys() == STAGES.keys()
    for name, task in tasks.items():
        template = templates[task["template"]]
        inputs = {one["name"]: one["path"] for one in template.get("inputs", {}).get("artifacts", ())}
        given = {one["name"]: one["from"] for one in task.get("arguments", {}).get("artifacts", ())}
        assert inputs.keys() == given.keys()
        for key, source in given.items():
            maker, product = re.fullmatch(r"\{\{tasks\.([a-z]+)\.outputs\.artifacts\.([a-z0-9-]+)\}\}", source).groups()  # type: ignore[union-attr]
            assert maker in task["dependencies"]
            made = {one["name"]: one["path"] for one in templates[maker]["outputs"]["artifacts"]}
            assert made[product] == inputs[key]  # it lies in one place for the maker and the reader
        assert all(path.startswith("/work/") for path in inputs.values())
        assert same_parameters(read(template["container"]["command"][-1]).to_dict(), STAGES[name])
        assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", one) for one in (name, *inputs))


# -- Jenkins: its linter needs a server, so the structure is read here --------------------------------------


def words_of_groovy(source: str) -> list[str]:
    """Return the words, strings and braces of a Jenkinsfile; anything else is a mistake."""
    token = re.compile(r"\s+|//[^\n]*|('(?:[^'\\\n]|\\.)*'|\w+:?|[{}()])")
    words, place = [], 0
    while place < len(source):
        found = token.match(source, place)
        assert found is not None, source[place : place + 40]
        words += [found[1]] if found[1] else []
        place = found.end()
    return words


def tree_of(words: list[str]) -> list[Any]:
    """Return the blocks of a Jenkinsfile: a list of words, in which a list is what braces hold."""
    stack: list[list[Any]] = [[]]
    for word in words:
        if word == "{":
            stack.append([])
        elif word == "}":
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(word)
    assert len(stack) == 1
    return stack[0]


def test_the_jenkinsfile_is_a_declarative_pipeline_of_the_stages(tmp_path: Path) -> None:
    python, log = telling_python(tmp_path)
    name, body = tree_of(words_of_groovy(text("jenkins")))
    assert name == "pipeline"
    assert [word for word in body if isinstance(word, str)] == ["agent", "any", "options", "stages", "post"]
    stages = body[body.index("stages") + 1]
    labels = [word.strip("'") for word in stages if isinstance(word, str) and word.startswith("'")]
    assert labels == ["install", "check", "prepare", "plot", "train", "evaluate"]
    for block in [word for word in stages if isinstance(word, list)]:
        assert [word for word in block if isinstance(word, str)] in (["steps"], ["steps", "post"])
        steps = block[1]
        assert steps[::2] == ["sh"] * (len(steps) // 2)
        for line in steps[1::2]:
            assert "\\" not in line
            if "reprokit.step" in line:
                shell(["sh", "-xe", "-c", line[1:-1]], tmp_path, PATH=f"{python.parent}:/usr/bin:/bin")
    assert_all_told(told(log))


def test_no_line_of_a_jenkinsfile_is_ended_by_an_escape() -> None:
    r"""Groovy reads ``\uXXXX`` before anything else, in comments too: after an even number of backslashes."""
    escapes = re.findall(r"(?<!\\)(?:\\\\)*\\u(....)", text("jenkins"))
    assert escapes
    assert all(re.fullmatch("[0-9a-f]{4}", escape) and escape not in ("000a", "000d") for escape in escapes)


def test_what_the_user_says_to_install_is_one_string() -> None:
    command = "pip install 'a>1' \"$X\" \\\n  && echo done"
    jenkins = words_of_groovy(text("jenkins", install=command))
    line = jenkins[jenkins.index("sh") + 1]
    assert ast.literal_eval(line) == command  # Groovy's escapes are Python's here
    assert yaml.safe_load(text("gitlab", install=command))["default"]["before_script"] == [command]
    steps = yaml.safe_load(text("github", install=command))["jobs"]["check"]["steps"]
    assert command in [step.get("run") for step in steps]


# -- Python ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["airflow", "kubeflow", "prefect"])
@pytest.mark.parametrize("name", ["o'clock", 'a"b', "back\\slash", "{x}", "ü"])
def test_generated_python_compiles_whatever_the_names_are(target: str, name: str) -> None:
    stage = dataclasses.replace(PREPARE, outs=(f"out/{name}.txt",), notebook=f"{name}.ipynb")
    tree = ast.parse(text(target, stage, image=f"registry/{name}"))
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    (spec,) = (shlex.split(word)[-1] for word in words if "base64:" in word)
    assert read(spec).notebook == f"{name}.ipynb"

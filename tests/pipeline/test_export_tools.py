"""Each export before the tool that it is for, or the tool's own schema (`make test-orchestrators`)."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from exporting import EVALUATE, PLOT, PREPARE, TRAIN, same_parameters, shell, telling_python, told, written

from reprokit.pipeline.spec import read
from reprokit.pipeline.stages import Stage

TOOLS = Path(__file__).resolve().parents[2] / "build" / "orchestrators"
STAGES = {stage.name: stage for stage in (EVALUATE, PLOT, TRAIN, PREPARE)}
AFTER = {"prepare": [], "plot": ["prepare"], "train": ["prepare"], "evaluate": ["prepare", "train"]}
# Names that mean something to one or the other.
ODD = (
    "all",
    "check",
    "class",
    "clean",
    "dag",
    "dsl",
    "flow",
    "image",
    "import",
    "input",
    "os",
    "pipeline",
    "rule",
    "1st",
)

pytestmark = [
    pytest.mark.orchestrators,
    pytest.mark.skipif(not TOOLS.exists(), reason="the orchestrators are not installed: make test-orchestrators"),
    pytest.mark.parametrize(
        "stages", [(), tuple(Stage(name=n, notebook=f"{n}.ipynb") for n in ODD)], ids=["small", "odd"]
    ),
]


def wanted(stages: tuple[Stage, ...]) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages} or STAGES


def assert_steps(words: list[str], stages: tuple[Stage, ...]) -> None:
    """Assert that these are the steps of all stages, with their parameters."""
    specs = {spec["name"]: spec for spec in (read(word).to_dict() for word in words)}
    assert len(words) == len(specs)
    assert specs.keys() == wanted(stages).keys()
    assert all(same_parameters(specs[name], stage) for name, stage in wanted(stages).items())


@pytest.mark.parametrize(("target", "schema"), [("github", "github-workflows"), ("gitlab", "gitlab-ci")])
def test_the_schema_of_github_and_gitlab(target: str, schema: str, stages: tuple[Stage, ...], tmp_path: Path) -> None:
    path = written(target, tmp_path, *stages)
    shell([TOOLS / "tools/bin/check-jsonschema", "--builtin-schema", f"vendor.{schema}", path], tmp_path)


def test_what_is_known_to_make_workflows_unsafe(stages: tuple[Stage, ...], tmp_path: Path) -> None:
    written("github", tmp_path, *stages)
    shell([TOOLS / "tools/bin/zizmor", "--offline", "--no-progress", tmp_path], tmp_path)


@pytest.mark.skipif(shutil.which("groovy") is None, reason="groovy is not installed")
def test_groovy_reads_the_jenkinsfile(stages: tuple[Stage, ...], tmp_path: Path) -> None:
    """As a declarative pipeline: the words of one, each in its place. Jenkins' own linter needs a server."""
    path = written("jenkins", tmp_path, *stages)
    reader = Path(__file__).with_name("jenkinsfile.groovy")
    ((word, _, body),) = json.loads(shell(["groovy", reader, path], tmp_path, HOME=str(tmp_path)))
    assert word == "pipeline"
    parts = {word: inside for word, _, inside in body}
    labels = [given[0] for word, given, _ in parts["stages"]]
    assert labels[:2] == ["install", "check"]
    assert len(set(labels)) == len(labels)
    steps = [inside[0][2] for _, _, inside in parts["stages"][2:]]
    lines = [given[0] for ((word, given, _),) in steps]
    assert all(line.startswith("python -m reprokit.step base64:") for line in lines)
    assert_steps([line.split()[-1] for line in lines], stages)
    path.write_text(path.read_text().replace("steps {", "step {", 1))
    with pytest.raises(AssertionError, match="step in stage"):
        shell(["groovy", reader, path], tmp_path, HOME=str(tmp_path))


def test_shellcheck(stages: tuple[Stage, ...], tmp_path: Path) -> None:
    written("slurm", tmp_path, *stages)
    shell([TOOLS / "tools/bin/shellcheck", *sorted(tmp_path.iterdir())], tmp_path)


def test_snakemake(stages: tuple[Stage, ...], tmp_path: Path) -> None:
    stages = tuple(dataclasses.replace(stage, deps=()) if stage.name == "plot" else stage for stage in stages)
    path = written("snakemake", tmp_path, *(stages or without_outside()))
    for stage in wanted(stages).values():
        for name in (stage.notebook, *stage.deps):
            if name.startswith(("data", stage.notebook)):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text("")
    command = [TOOLS / "tools/bin/snakemake", "--snakefile", path, "--dry-run", "--printshellcmds", "--quiet", "host"]
    told = shell(command, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"), HOME=str(tmp_path / "home"))
    assert_steps([line.split()[-1] for line in told.splitlines() if "-m reprokit.step" in line], stages)


def without_outside() -> tuple[Stage, ...]:
    return (EVALUATE, dataclasses.replace(PLOT, deps=("out/clean.txt",)), TRAIN, PREPARE)


AIRFLOW = """
import json, sys, warnings
warnings.simplefilter("ignore")
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
bag = DagBag(sys.argv[1])
tasks = [task for dag in bag.dags.values() for task in dag.tasks]
found = {task.task_id: [task.bash_command, sorted(task.upstream_task_ids), task.cwd] for task in tasks}
print("FOUND", json.dumps([bag.import_errors, list(bag.dags), found]))
"""


def test_the_dag_bag_of_airflow(stages: tuple[Stage, ...], tmp_path: Path) -> None:
    path = written("airflow", tmp_path / "dags", *stages, up="..")
    home = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    printed = shell([TOOLS / "airflow/bin/python", "-c", AIRFLOW, path], tmp_path, **home)
    (line,) = (line for line in printed.splitlines() if line.startswith("FOUND "))
    errors, dags, tasks = json.loads(line.removeprefix("FOUND "))
    assert (errors, dags) == ({}, ["small"])
    assert_steps([command.split()[-1] for command, _, _ in tasks.values()], stages)
    assert all(Path(cwd).resolve() == tmp_path.resolve() for _, _, cwd in tasks.values())
    if not stages:
        assert {name: upstream for name, (_, upstream, _) in tasks.items()} == AFTER


ARGO = """
import json, sys, yaml
from hera.workflows.models import WorkflowTemplate
document = yaml.safe_load(open(sys.argv[1]))
read = WorkflowTemplate.model_validate(document)
print(json.dumps([document, json.loads(read.model_dump_json(exclude_unset=True, by_alias=True))]))
"""


def test_the_models_of_argo(stages: tuple[Stage, ...], tmp_path: Path) -> None:
    """They are made of Argo's own schema. An unknown key they lose without a word, so nothing may be lost; what is
    named is checked in ``test_export_shells``."""
    path = written("argo", tmp_path, *stages)
    document, understood = json.loads(shell([TOOLS / "tools/bin/python", "-c", ARGO, path], tmp_path))
    assert understood == document
    templates = [one for one in document["spec"]["templates"] if "container" in one]
    assert_steps([one["container"]["command"][-1] for one in templates], stages)


def test_the_compiler_of_kubeflow(stages: tuple[Stage, ...], tmp_path: Path) -> None:
    path, compiled = written("kubeflow", tmp_path, *stages, image="registry/small:1"), tmp_path / "pipeline.yaml"
    shell([TOOLS / "kfp/bin/kfp", "dsl", "compile", "--py", path, "--output", compiled], tmp_path, HOME=str(tmp_path))
    document: dict[str, Any] = next(yaml.safe_load_all(compiled.read_text()))
    containers = [one["container"] for one in document["deploymentSpec"]["executors"].values()]
    assert_steps([one["command"][-1] for one in containers], stages)
    assert {one["image"] for one in containers} == {"registry/small:1"}
    tasks = document["root"]["dag"]["tasks"]
    assert not any(task["cachingOptions"] for task in tasks.values())
    if not stages:
        assert {name: task.get("dependentTasks", []) for name, task in tasks.items()} == AFTER


PREFECT = """
import json, runpy, sys
names = runpy.run_path(sys.argv[1])
for value in names.values():
    if type(value).__name__ == "Task":
        value.fn()
print("FOUND", json.dumps([type(names["pipeline"]).__name__, names["pipeline"].name]))
"""


def test_the_flow_of_prefect(stages: tuple[Stage, ...], tmp_path: Path) -> None:
    path, (python, log) = written("prefect", tmp_path, *stages), telling_python(tmp_path)
    home = {"PREFECT_HOME": str(tmp_path / "prefect"), "HOME": str(tmp_path), "REPROKIT_PYTHON": str(python)}
    printed = shell([TOOLS / "prefect/bin/python", "-c", PREFECT, path], tmp_path, **home)
    (line,) = (line for line in printed.splitlines() if line.startswith("FOUND "))
    assert json.loads(line.removeprefix("FOUND ")) == ["Flow", "small"]
    specs = {spec["name"]: spec for spec in told(log)}
    assert specs.keys() == wanted(stages).keys()
    assert all(same_parameters(specs[name], stage) for name, stage in wanted(stages).items())

"""What is exported of captured notebooks runs, and gives what the sessions gave, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from warm import Warm
from workbench import REPOSITORY, Bench

TOOLS = REPOSITORY / "build" / "orchestrators"
NOTEBOOKS = ("prepare.ipynb", "train.ipynb", "evaluate.ipynb")
LABEL = 'it\'s "quoted"\n$HOME `id` \\ %s {{ x }} ${{ y }} {z} ü☃'


class Captured(Bench):
    """A project in which three notebooks were captured, and what they wrote."""

    def __init__(self, folder: Path, warm: Warm | None) -> None:
        super().__init__(folder / "project", folder / "cache", warm)
        self.project.mkdir()
        self.home = folder / "home"
        self.home.mkdir()
        self.notebooks: tuple[str, ...] = ()
        self.session: dict[str, bytes] = {}

    @property
    def environ(self) -> dict[str, str]:
        """What the user's processes see: a HOME of their own, and this interpreter as ``python``."""
        kept = {k: v for k, v in super().environ.items() if not k.startswith(("REPROKIT_", "GIT_", "XDG_"))}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"HOME": str(self.home), "PATH": path, "GIT_CONFIG_NOSYSTEM": "1", "REPROKIT_LOCK": "never"}
        return {**kept, **own, "REPROKIT_CACHE": str(self.cache)}

    def capture(self, folder: str, **params: Sequence[str]) -> None:
        """Commit what is there, run the notebooks, and keep what they wrote; then it is gone."""
        author = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.org")
        for command in (["init", "-q"], ["add", "--all"], [*author, "commit", "-q", "-m", "start"]):
            subprocess.run(["git", *command], cwd=self.project, env=self.environ, check=True)
        self.notebooks = tuple(f"{folder}{name}" for name in NOTEBOOKS)
        self.out = self.project / folder / "out"
        for notebook in self.notebooks:
            self.reprokit("run", notebook, *params.get(Path(notebook).stem, ()))
        self.session = self.made()
        self.forget()

    def forget(self) -> None:
        """Remove what the stages make."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()

    def made(self) -> dict[str, bytes]:
        """Return what lies among the outputs."""
        return {path.name: path.read_bytes() for path in sorted(self.out.iterdir())}

    def exported(self, target: str, output: str = "exported/") -> Path:
        """Export the three notebooks and return the folder."""
        self.reprokit("export", *self.notebooks, "--to", target, "-o", output, "--install", "true", "--force")
        return self.project / output

    def shell(self, *command: object, **variables: str) -> str:
        """Run a command in the project."""
        environ = {**self.environ, **variables}
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=self.project, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words[:3]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Captured:
    """Three notebooks that import nothing large; one has a parameter that no shell can be given as it is."""
    bench = Captured(tmp_path_factory.mktemp("light"), warm)
    (bench.project / "out").mkdir()
    (bench.project / "data.txt").write_text("1\n2\n3\n")
    (bench.project / ".gitignore").write_text("out/\n")
    bench.notebook(
        "prepare.ipynb",
        "rows = [int(line) * 2 for line in open('data.txt')]\nopen('out/rows.txt', 'w').write(str(rows))",
    )
    bench.notebook(
        "train.ipynb",
        "#: parameters\nrate: float = 0.1\nlabel = ''",
        "import ast, json\nrows = ast.literal_eval(open('out/rows.txt').read())\n"
        "json.dump({'weight': sum(rows) * rate, 'label': label}, open('out/model.json', 'w'))",
    )
    bench.notebook(
        "evaluate.ipynb",
        "import json\nmodel = json.load(open('out/model.json'))\n"
        "json.dump({'score': model['weight'] / 3}, open('out/metrics.json', 'w'))",
    )
    bench.capture("", train=("-p", "rate", "0.5", "-p", "label", LABEL))
    return bench


def assert_same(bench: Captured, session: Mapping[str, bytes] | None = None) -> None:
    assert bench.session
    assert bench.made() == (session or bench.session)


def test_what_one_export_begins_another_ends(light: Captured) -> None:
    """One stage by each of three targets, all in one folder: they mean the same steps."""
    light.forget()
    folder = light.exported("make")
    light.exported("slurm")
    light.exported("github")
    light.shell("make", "-f", folder / "Makefile", "prepare")
    light.shell("bash", folder / "pipeline.sbatch", SLURM_ARRAY_TASK_ID="1")
    workflow = yaml.safe_load((folder / ".github" / "workflows" / "reprokit.yml").read_text())
    (line,) = (step["run"] for step in workflow["jobs"]["pipeline"]["steps"] if step.get("name") == "evaluate")
    light.shell("bash", "-e", "-c", line)
    assert_same(light)
    assert json.loads(light.session["model.json"]) == {"weight": 6.0, "label": LABEL}
    train = json.loads(light.reprokit("show", "train", "--json"))
    assert (train["status"], train["params"]) == ("done", {"rate": 0.5, "label": LABEL})
    light.forget()


def test_the_check_of_a_ci_system_replays_in_a_fresh_clone(light: Captured, tmp_path: Path) -> None:
    run = json.loads(light.reprokit("runs", "notebook=prepare.ipynb", "--json"))[-1]["id"]
    light.reprokit("push", str(tmp_path / "remote"), run)
    light.reprokit("export", run, "--to", "gitlab", "-o", "ci.yml", "--install", "true")
    lines = yaml.safe_load((light.project / "ci.yml").read_text())["check"]["script"]
    assert [line.split()[3] for line in lines] == ["pull", "trust", "check"]
    clone = tmp_path / "clone"
    light.shell("git", "clone", "-q", light.project, clone)
    for line in lines:
        light.shell("sh", "-ec", f"cd '{clone}' && {line}", REPROKIT_REMOTE=str(tmp_path / "remote"))
    report = (clone / "reprokit-check.xml").read_text()
    assert 'tests="1"' in report
    assert 'failures="0"' in report


def test_a_step_whose_files_are_carried(light: Captured, tmp_path: Path) -> None:
    """As a container of Kubeflow is called: files come from, and go to, places of the orchestrator's."""
    light.forget()
    text = (light.exported("kubeflow") / "pipeline_kfp.py").read_text()
    (word,) = (line for line in text.splitlines() if "carried" in line and '"name":"evaluate"' in decoded(line))
    (tmp_path / "given").write_bytes(light.session["model.json"])
    spec = word.split('"')[-2] if word.rstrip().endswith('"]') else word.split("'")[-2]
    carried = ("python", "-m", "reprokit.pipeline.carried", spec)
    taken, given = tmp_path / "given", tmp_path / "kept" / "metrics"
    light.shell(*carried, "--take", "out/model.json", taken, "--give", "out/metrics.json", given)
    assert given.read_bytes() == light.session["metrics.json"]
    done = subprocess.run(
        [sys.executable, *carried[1:], "--take", "out/model.json", str(tmp_path / "gone")],
        cwd=light.project, env=light.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "gone" in done.stderr
    assert "Traceback" not in done.stderr
    light.forget()


def test_the_run_of_a_container_is_pushed_however_it_ended(light: Captured, tmp_path: Path) -> None:
    """As a container of Argo is called; without a remote it is told that the run is lost with the container."""
    light.forget()
    templates = yaml.safe_load((light.exported("argo") / "workflow.yaml").read_text())["spec"]["templates"]
    command = next(one["container"]["command"] for one in templates if one["name"] == "prepare")
    data = light.project / "data.txt"

    def ended(**variables: str) -> tuple[int, str]:
        words, environ = [sys.executable, *command[1:]], {**light.environ, **variables}
        done = subprocess.run(words, cwd=light.project, env=environ, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = ended()
    assert code == 0
    assert "stays in this container: set `remote`" in said
    text = data.read_text()
    data.write_text("not a number\n")
    try:
        code, said = ended(REPROKIT_REMOTE=str(tmp_path / "remote"))
    finally:
        data.write_text(text)
    assert code == 1, said
    (run,) = json.loads(light.reprokit("runs", "--limit", "1", "--json"))
    assert run["status"] == "failed"
    clone = tmp_path / "clone"
    light.shell("git", "clone", "-q", light.project, clone)
    light.shell("sh", "-ec", f"cd '{clone}' && python -m reprokit pull '{tmp_path / 'remote'}' {run['id']}")
    assert (clone / ".reprokit" / "runs" / run["id"]).is_dir()
    (tmp_path / "file").write_text("")
    assert ended(REPROKIT_REMOTE=str(tmp_path / "file" / "remote"))[0] == 75
    light.forget()


def decoded(line: str) -> str:
    import base64

    word = line.split("base64:")[1].split("'")[0].split('"')[0]
    return base64.urlsafe_b64decode(word).decode()


# -- the command -------------------------------------------------------------------------------------------


def test_the_command_writes_again_but_never_over_a_hand(light: Captured) -> None:
    words = ("export", *light.notebooks, "--to", "make")
    printed = light.reprokit(*words)
    light.reprokit(*words, "-o", "a.mk")
    path = light.project / "a.mk"
    assert path.read_text() == printed
    assert "as it was" in light.reprokit(*words, "-o", "a.mk")
    path.write_text(printed + "# mine\n")
    told = json.loads(light.reprokit(*words, "-o", "a.mk", "--json", code=2))
    assert "edited by hand" in told["error"]
    assert "--force" in told["remedy"]
    light.reprokit(*words, "-o", "a.mk", "--force")
    assert path.read_text() == printed


def test_the_stages_of_dvc_are_exported_as_the_runs_are(light: Captured) -> None:
    light.reprokit("step", *light.notebooks)
    try:
        assert light.reprokit("export", "dvc.yaml", "--to", "make") == light.reprokit(
            "export", *light.notebooks, "--to", "make"
        )
    finally:
        for name in ("dvc.yaml", "params.yaml"):
            (light.project / name).unlink()


def test_the_command_tells_what_it_wrote(light: Captured) -> None:
    document = json.loads(light.reprokit("export", *light.notebooks, "--to", "slurm", "-o", "jobs", "--json"))
    assert [(stage["name"], stage["after"]) for stage in document["stages"]] == [
        ("prepare", []),
        ("train", ["prepare"]),
        ("evaluate", ["train"]),
    ]
    assert document["files"] == ["pipeline.sbatch", "submit.sh"]
    assert document["written"] == ["jobs/pipeline.sbatch", "jobs/submit.sh"]
    targets = {one["target"] for one in json.loads(light.reprokit("export", "--list", "--json"))}
    assert targets >= {"airflow", "argo", "docker", "github", "gitlab", "jenkins", "kubeflow", "make", "prefect"}
    listed = light.reprokit("export", "--list")
    assert all(f"\n{target} " in listed for target in targets)


def test_mistakes_are_one_line(light: Captured) -> None:
    def refused(*words: str) -> str:
        return str(json.loads(light.reprokit("export", *words, "--json", code=2))["error"])

    assert "not said what to export to" in refused("latest")
    assert "'mak' is nothing to export to" in refused("latest", "--to", "mak")
    assert "no run is called 'nosuch'" in refused("nosuch", "--to", "make")
    assert "this export is 2 files" in refused(*light.notebooks, "--to", "slurm")
    assert "cannot be exported together" in refused("dvc.yaml", "latest", "--to", "make")
    assert "there is no dvc.yaml" in refused("dvc.yaml", "--to", "make")
    assert "outside of the project" in refused("latest", "--to", "docker", "-o", str(light.home))
    block = "import reprokit\nwith reprokit.run('block'):\n    pass\n"
    light.shell("python", "-c", block)
    assert "no notebook" in refused("block", "--to", "make")


# -- the pipeline of penguins, whole -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Captured:
    """The example pipeline, captured."""
    bench = Captured(tmp_path_factory.mktemp("penguins"), warm)
    (bench.project / ".gitignore").write_text("out/\n")
    ignored = shutil.ignore_patterns("out", ".ipynb_checkpoints")
    for name in ("pipeline", "data"):
        shutil.copytree(REPOSITORY / "notebooks" / name, bench.project / "notebooks" / name, ignore=ignored)
    bench.capture("notebooks/pipeline/")
    return bench


@pytest.fixture
def forgotten(penguins: Captured) -> Iterator[Captured]:
    """The same, with nothing that the stages make."""
    penguins.forget()
    yield penguins
    assert_same(penguins)
    assert {"model.pkl", "metrics.json", "confusion.png"} <= penguins.session.keys()


@pytest.mark.soak
def test_make_runs_the_pipeline(forgotten: Captured) -> None:
    forgotten.shell("make", "-f", forgotten.exported("make") / "Makefile", "-j2")


@pytest.mark.soak
def test_the_batch_script_runs_the_pipeline(forgotten: Captured) -> None:
    script = forgotten.exported("slurm") / "pipeline.sbatch"
    for task in range(3):
        forgotten.shell("bash", script, SLURM_ARRAY_TASK_ID=str(task))


needs_tools = pytest.mark.skipif(not TOOLS.exists(), reason="make test-orchestrators installs them")


@pytest.mark.orchestrators
@needs_tools
def test_snakemake_runs_the_pipeline(forgotten: Captured) -> None:
    path = forgotten.exported("snakemake") / "Snakefile"
    words = (TOOLS / "tools/bin/snakemake", "--snakefile", path, "--cores", "2", "--config", f"python={sys.executable}")
    forgotten.shell(*words)
    forgotten.shell(*words, "--dry-run")


@pytest.mark.orchestrators
@pytest.mark.timeout(1800)  # a server and a database of its own, made here
@needs_tools
def test_airflow_runs_the_pipeline(forgotten: Captured) -> None:
    folder = forgotten.exported("airflow", "dags/")
    variables = {
        "AIRFLOW_HOME": str(forgotten.home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "REPROKIT_PYTHON": sys.executable,
    }
    airflow = TOOLS / "airflow/bin/airflow"
    forgotten.shell(airflow, "db", "migrate", **variables)
    forgotten.shell(airflow, "dags", "test", "prepare-to-evaluate", **variables)


@pytest.mark.orchestrators
@pytest.mark.timeout(1800)  # a server and a database of its own, made here
@needs_tools
def test_prefect_runs_the_pipeline(forgotten: Captured) -> None:
    path = forgotten.exported("prefect", "flows/") / "pipeline_flow.py"
    variables = {
        "PREFECT_HOME": str(forgotten.home / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "REPROKIT_PYTHON": sys.executable,
    }
    forgotten.shell(TOOLS / "prefect/bin/python", path, **variables)

"""Sessions become a pipeline of DVC in one command; what DVC then makes is what the sessions made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from workbench import REPOSITORY, Bench

from reprokit.records import Run
from reprokit.store.store import Store

PREPARE = (
    "n = 4\nrows = [int(line) for line in open('raw.csv').read().split()[1:]][:n]\n"
    "open('rows.txt', 'w').write(repr(rows))"
)
TRAIN = "import scale\nmodel = [scale.factor * power * x for x in eval(open('rows.txt').read())]\nprint(len(model))"
SAVE = (
    "import json\nopen('model.txt', 'w').write(repr(model))\n"
    "json.dump({'largest': max(model)}, open('scores.json', 'w'))"
)
EVALUATE = "total = sum(eval(open('model.txt').read()))\nassert total < 1000"
METRICS = "import json\njson.dump({'total': total}, open('metrics.json', 'w'))"


class Pipeline(Bench):
    """A project with DVC."""

    @property
    def environ(self) -> dict[str, str]:
        """What the user's processes see: the environment is active, and DVC keeps to itself."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**super().environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.cache)}

    def dvc(self, *arguments: str, code: int = 0) -> str:
        """Run DVC and return what it printed."""
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=self.project, env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def repro(self, code: int = 0) -> list[str]:
        """Run what is out of date, and return which stages ran, but for the cleaning of notebooks."""
        said = self.dvc("repro", code=code)
        ran = [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]
        return [name for name in ran if name != "clean-notebooks"]

    def copy(self, place: Path) -> Pipeline:
        """Return another project that is just as this one."""
        shutil.copytree(self.project, place, symlinks=True)
        return Pipeline(place, self.cache)

    def products(self) -> dict[str, str]:
        """Return path → SHA-256 of all that the stages say they write."""
        stages = yaml.safe_load((self.project / "dvc.yaml").read_text())["stages"]
        named = [
            path for stage in stages.values() for key in ("outs", "metrics", "plots") for path in stage.get(key, ())
        ]
        chosen = [path for path in named if not path.startswith(".reprokit/")]
        return {path: hashlib.sha256((self.project / path).read_bytes()).hexdigest() for path in chosen}

    def run_of(self, name: str) -> Run:
        """Return the newest run of a stage."""
        store = Store.open(self.project)
        return store.load(store.runs(query=f"name={name}", limit=1)[0].id)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a HOME that has nothing in it."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "home").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("REPROKIT_", "GIT_", "XDG_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "A Tester")
            patch.setenv(f"GIT_{role}_EMAIL", "tester@example.org")
        yield folder


def repository(folder: Path, cache: Path) -> Pipeline:
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    return Pipeline(folder, cache)


@pytest.fixture(scope="module")
def small(place: Path) -> Pipeline:
    """Three small notebooks, captured, made a pipeline, and run once."""
    bench = repository(place / "small", place / "cache")
    (bench.project / "raw.csv").write_text("value\n1\n2\n3\n4\n5\n")
    (bench.project / "scale.py").write_text("factor = 10\n")
    bench.notebook("prepare.ipynb", PREPARE)
    bench.notebook("train.ipynb", "#: parameters\npower = 2", TRAIN, SAVE)
    bench.notebook("evaluate.ipynb", EVALUATE, METRICS)
    bench.commit()
    for name in ("prepare", "train", "evaluate"):
        bench.reprokit("run", f"{name}.ipynb")
    bench.reprokit("step", "evaluate.ipynb", "train.ipynb", "prepare.ipynb")
    assert bench.repro() == ["prepare", "train", "evaluate"]
    bench.commit()
    return bench


def test_nothing_runs_when_nothing_changed(small: Pipeline, tmp_path: Path) -> None:
    """Nor when Jupyter saved a notebook again with outputs, counts and other metadata."""
    bench = small.copy(tmp_path / "copy")
    assert bench.repro() == []
    notebook = nbformat.read(bench.project / "train.ipynb", as_version=4)
    notebook.cells[1].update(execution_count=9, outputs=[nbformat.v4.new_output("stream", text="4\n")])
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# What this is"))
    notebook.metadata["widgets"] = {}
    nbformat.write(notebook, bench.project / "train.ipynb")
    assert bench.repro() == []
    notebook.cells[-1].source += "\n"
    notebook.cells[-1].source += "print('saved')"
    nbformat.write(notebook, bench.project / "train.ipynb")
    assert bench.repro() == ["train"], "the model is the same, so nothing after it runs"


def test_a_parameter_runs_what_depends_on_it(small: Pipeline, tmp_path: Path) -> None:
    bench = small.copy(tmp_path / "copy")
    params = bench.project / "params.yaml"
    assert params.read_text() == "train:\n  power: 2\n"
    params.write_text("train:\n  power: 3\n")
    assert bench.repro() == ["train", "evaluate"]
    assert json.loads((bench.project / "metrics.json").read_text()) == {"total": 300}
    assert bench.run_of("train").params == {"power": 3}
    params.write_text("train:\n  power: 2\n")
    said = bench.dvc("repro")
    assert "Stage 'train' is cached" in said, "DVC has what it made before: no output turns its run cache off"
    assert json.loads((bench.project / "metrics.json").read_text()) == {"total": 200}
    assert not any(causes(bench).values()), "each is judged by the run whose results lie there, not by the newest"


def test_data_and_modules_run_what_depends_on_them(small: Pipeline, tmp_path: Path) -> None:
    bench = small.copy(tmp_path / "copy")
    (bench.project / "scale.py").write_text("factor = 20\n")
    assert bench.repro() == ["train", "evaluate"]
    (bench.project / "raw.csv").write_text("value\n1\n2\n3\n4\n6\n")
    assert bench.repro() == ["prepare"], "only four rows are used, so the others have what they had"
    assert json.loads((bench.project / "metrics.json").read_text()) == {"total": 400}


def test_another_package_runs_the_stages_again(
    small: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = small.copy(tmp_path / "copy")
    install(tmp_path / "packages", "abacus")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    said = bench.dvc("repro", "prepare")
    assert "Running stage 'prepare'" in said
    assert "abacus==1.2" in (bench.project / ".reprokit" / "clean" / "environment.txt").read_text().splitlines()
    assert bench.run_of("prepare").environment != small.run_of("prepare").environment
    assert "Running stage 'prepare'" not in bench.dvc("repro", "prepare")
    monkeypatch.delenv("PYTHONPATH")
    assert "Stage 'prepare' is cached" in bench.dvc("repro", "prepare"), "it is as it was at the first run"


def install(folder: Path, name: str) -> None:
    """Put a package's metadata where it counts as installed."""
    package = folder / f"{name}-1.2.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")


def test_a_stage_that_fails_stops_the_pipeline_and_is_a_run(small: Pipeline, tmp_path: Path) -> None:
    bench = small.copy(tmp_path / "copy")
    (bench.project / "params.yaml").write_text("train:\n  power: 100\n")
    assert bench.repro(code=255) == ["train", "evaluate"]
    run = bench.run_of("evaluate")
    assert (run.status, run.cells[-1].status) == ("failed", "failed")
    assert bench.run_of("train").status == "done"
    (bench.project / "params.yaml").write_text("train:\n  power: 2\n")
    assert bench.repro() == [], "what was made before comes back without a run"


def test_the_lock_and_the_runs_agree(small: Pipeline) -> None:
    """Each file in dvc.lock has the bytes that the stage's run used, by the object that the run names."""
    stages = yaml.safe_load((small.project / "dvc.lock").read_text())["stages"]
    store = Store.open(small.project)
    for name in ("prepare", "train", "evaluate"):
        run = small.run_of(name)
        uses = [use for cell in run.cells for use in (*cell.reads, *cell.writes)]
        written = {use.path: use.digest for cell in run.cells for use in cell.writes}
        assert {out["path"] for out in stages[name]["outs"]} == set(written)
        for out in stages[name]["outs"]:
            assert hashlib.md5(store.objects.get_bytes(written[out["path"]] or "")).hexdigest() == out["md5"]
        known = {use.path: use.digest for use in uses}
        for dep in stages[name]["deps"]:
            if dep["path"] in known:
                content = (small.project / dep["path"]).read_bytes()
                assert hashlib.md5(content).hexdigest() == dep["md5"]
                assert f"sha256:{hashlib.sha256(content).hexdigest()}" == known[dep["path"]]
        assert run.params == stages[name].get("params", {}).get("params.yaml", {}).get(name, {})


def test_a_newer_run_changes_its_stage_and_leaves_the_rest(small: Pipeline, tmp_path: Path) -> None:
    bench = small.copy(tmp_path / "copy")
    file = bench.project / "dvc.yaml"
    by_hand = (
        file.read_text()
        .replace("  train:\n", "  # by hand\n  train:\n")
        .replace("- model.txt\n", "- model.txt  # big\n")
    )
    file.write_text(by_hand)
    assert "wrote dvc.yaml\n" in bench.reprokit("step", "train.ipynb")
    renewed = file.read_text()
    assert "# by hand" in renewed
    assert "# big" in renewed
    assert bench.run_of("train").id in renewed
    assert bench.repro() == []
    shown: dict[str, Any] = json.loads(bench.reprokit("step", "train.ipynb", "--dry-run", "--json"))
    assert shown["files"] == []
    assert [stage["name"] for stage in shown["stages"]] == ["train"]


def test_what_cannot_be_a_stage_is_refused_and_nothing_is_written(small: Pipeline, tmp_path: Path) -> None:
    bench = small.copy(tmp_path / "copy")
    before = (bench.project / "dvc.yaml").read_bytes()
    bench.reprokit("step", "nothing.ipynb", code=2)
    bench.notebook("new.ipynb", "1")
    bench.reprokit("step", "new.ipynb", code=2)
    bench.reprokit("step", "latest", "--write", "--dry-run", code=2)
    (bench.project / "model.txt.dvc").write_text("outs:\n- path: model.txt\n")
    bench.reprokit("step", "train.ipynb", code=2)
    (bench.project / "model.txt.dvc").unlink()
    subprocess.run(["git", "add", "--force", "model.txt"], cwd=bench.project, check=True)
    bench.reprokit("step", "train.ipynb", code=2)
    assert (bench.project / "dvc.yaml").read_bytes() == before


GATE = """
  gate:
    cmd: reprokit validate train --metric 'largest <= 100' -o gate.json
    deps:
    - scores.json
    outs:
    - gate.json
"""


def test_a_gate_that_does_not_hold_stops_the_pipeline(small: Pipeline, tmp_path: Path) -> None:
    """A stage of its own, of whose report the next stage depends."""
    bench = small.copy(tmp_path / "copy")
    file = bench.project / "dvc.yaml"
    code = "    - .reprokit/clean/evaluate.ipynb\n"
    first, last = file.read_text().rsplit(code, 1)  # the stage that cleans has it, too
    file.write_text(f"{first}{code}    - gate.json\n{last}{GATE}")
    assert bench.repro() == ["gate", "evaluate"]
    assert json.loads((bench.project / "gate.json").read_text())["holds"] is True
    (bench.project / "params.yaml").write_text("train:\n  power: 3\n")
    said = bench.dvc("repro", code=255)
    assert "FAIL metric largest <= 100: largest is 120" in said
    assert "Running stage 'evaluate'" not in said
    bench.reprokit("pin", bench.run_of("prepare").id, "--name", "base")
    assert "as in the pinned run" in bench.reprokit("validate", "prepare", "--against", "base")
    (bench.project / "raw.csv").write_text("amount\n1\n2\n3\n4\n")
    bench.reprokit("run", "prepare.ipynb", "--name", "prepare")
    said = bench.reprokit("validate", "prepare", "--against", "base", code=1)
    assert "raw.csv: column value is gone; column amount is new" in said
    bench.reprokit("validate", "prepare", code=2)


def causes(bench: Pipeline, *arguments: str) -> dict[str, set[str]]:
    """Return the causes for which each pin and stage is out of date, having checked the exit code."""
    command = [sys.executable, "-m", "reprokit", "stale", "--json", *arguments]
    done = subprocess.run(command, cwd=bench.project, env=bench.environ, capture_output=True, text=True, check=False)
    items = json.loads(done.stdout)
    assert done.returncode == int(any(item["stale"] for item in items))
    return {item["name"]: {reason["cause"] for reason in item["reasons"]} for item in items}


def test_what_is_out_of_date_is_told_with_the_cause(small: Pipeline, tmp_path: Path) -> None:
    bench = small.copy(tmp_path / "copy")
    fresh: dict[str, set[str]] = {"prepare": set(), "train": set(), "evaluate": set()}
    assert causes(bench) == fresh
    bench.reprokit("pin", bench.run_of("train").id, "--name", "model")
    assert causes(bench) == {"model": set(), **fresh}
    assert causes(bench, "--older-than", "0s", "evaluate") == {"evaluate": {"age", "upstream"}}
    (bench.project / "raw.csv").write_text("value\n7\n")
    (bench.project / "params.yaml").write_text("train:\n  power: 5\n")
    (bench.project / "scale.py").write_text("factor = 11\n")
    notebook = nbformat.read(bench.project / "evaluate.ipynb", as_version=4)
    notebook.cells[0].source += "\nprint(total)"
    nbformat.write(notebook, bench.project / "evaluate.ipynb")
    assert causes(bench) == {
        "model": {"code"},
        "prepare": {"data"},
        "train": {"code", "config", "upstream"},
        "evaluate": {"code", "upstream"},
    }
    bench.reprokit("stale", "nothing", code=2)
    bench.reprokit("stale", "--older-than", "soon", code=2)


@pytest.mark.soak
def test_another_package_is_told(small: Pipeline, tmp_path: Path) -> None:
    bench = small.copy(tmp_path / "copy")
    install(tmp_path / "packages", "abacus")
    command = [sys.executable, "-m", "reprokit", "run", "prepare.ipynb", "--name", "prepare"]
    environ = {**bench.environ, "PYTHONPATH": str(tmp_path / "packages")}
    subprocess.run(command, cwd=bench.project, env=environ, check=True, capture_output=True)
    assert causes(bench, "prepare") == {"prepare": {"environment"}}


def test_watching_runs_what_is_out_of_date(small: Pipeline, tmp_path: Path) -> None:
    bench = small.copy(tmp_path / "copy")
    before = bench.run_of("train").id
    (bench.project / "scale.py").write_text("factor = 12\n")
    command = [sys.executable, "-m", "reprokit", "stale", "--watch", "--every", "0.1"]
    watching = subprocess.Popen(
        command, cwd=bench.project, env=bench.environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert watching.stderr is not None
    said = []
    try:
        for line in watching.stderr:
            said.append(line)
            if line.startswith("dvc repro"):
                break
        watching.send_signal(signal.SIGINT)
        watching.stderr.read()
        assert watching.wait() == 130
    finally:
        watching.kill()
        watching.communicate()
    assert said[-1].rstrip().endswith(": done"), said
    assert any(line.startswith("train: scale.py changed") for line in said)
    assert bench.run_of("train").id != before
    assert not any(causes(bench).values())


def test_the_example_pipeline_gives_what_its_sessions_gave(place: Path) -> None:
    """Three notebooks worked in as people do, one command, `dvc repro`: every output has the same bytes."""
    bench = repository(place / "example", place / "cache")
    shutil.copytree(REPOSITORY / "notebooks" / "pipeline", bench.project / "work", ignore=shutil.ignore_patterns("out"))
    (bench.project / "data").mkdir()
    shutil.copy(REPOSITORY / "notebooks" / "data" / "penguins_raw.csv", bench.project / "data")
    (bench.project / ".gitignore").write_text("out/\n")
    bench.commit()
    names = ("prepare", "train", "evaluate")
    for name in names:
        path = bench.project / "work" / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        cells = ["%load_ext reprokit", "%repro start", *sources, "%repro stop"]
        errors = bench.run_cells(cells, cwd=path.parent, JPY_SESSION_NAME=str(path))
        assert not any(errors)
    shown = json.loads(bench.reprokit("step", *(f"work/{name}.ipynb" for name in names), "--write", "--json"))
    assert [stage["name"] for stage in shown["stages"]] == list(names)
    assert shown["notes"] == []
    assert {one["notebook"]: sorted(one["params"]) for one in shown["proposals"]} == {
        "work/prepare.ipynb": ["features", "seed", "test_share"],
        "work/evaluate.ipynb": ["n_bootstrap"],
    }
    in_sessions = bench.products()
    assert set(in_sessions) == {
        path.relative_to(bench.project).as_posix() for path in (bench.project / "work" / "out").iterdir()
    }
    shutil.rmtree(bench.project / "work" / "out")
    assert bench.repro() == list(names)
    assert bench.products() == in_sessions
    assert bench.run_of("evaluate").params == {"n_bootstrap": 2000}

"""Notebooks extracted from one long, messy session: which cells they have, that they are certified, and that they run.

One kernel records the session; each test takes other results out of it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from warm import Warm
from workbench import Bench

MESSY = {
    "start": "%load_ext reprokit\n%repro start messy",
    "imports": "import json, os, random, time\nfrom pathlib import Path",
    "plotting": "import matplotlib.pyplot as plt",
    "rows": "rows = [3, 1, 2]",
    "dead": "scratch = [row * 1000 for row in rows]",
    "function": "def scaled(values):\n    return [value * factor for value in values]",
    "factor": "factor = 2",
    "append": "rows.append(10)",
    "alias": "alias = rows\nalias.sort()",
    "write": "Path('out').mkdir()\nPath('out/clean.json').write_text(json.dumps(scaled(rows)))",
    "factor again": "factor = 5",
    "raises": "rows.append(1 / 0)",
    "read": "clean = json.loads(Path('out/clean.json').read_text())",
    "shell": "!wc -c < out/clean.json > size.txt",
    "seed": "random.seed(7)",
    "first": "first = random.random()",
    "second": "second = random.random()",
    "model": "Path('model.json').write_text(json.dumps({'w': sum(scaled(clean)), 'noise': second}))",
    "unused": "os.environ['NOBODY_READS_THIS'] = '1'",
    "style": "plt.rcParams['lines.linewidth'] = 7",
    "figure": "plt.plot([1, 3, 2]);",
    "total": "total = sum(clean)",
    "metric": "%repro metric total={total}",
    "free": "Path('free.txt').write_text(str(random.Random().random()))",
    "clock": "Path('now.txt').write_text(str(time.time_ns()))",
    "later": "rows = clean = factor = None",
    "stop": "%repro stop",
}
NUMBER = {name: seq for seq, name in enumerate(MESSY, 1)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with nothing in it, for all tests here."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("REPROKIT_", "GIT_", "XDG_"))]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "A Tester")
            patch.setenv(f"GIT_{role}_EMAIL", "tester@example.org")
        yield folder


@pytest.fixture(scope="module")
def messy(home: Path, tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Bench:
    """A project in which the session was recorded."""
    project = tmp_path_factory.mktemp("project")
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=project, check=True)
    bench = Bench(project, tmp_path_factory.mktemp("cache"), warm)
    errors = bench.run_cells(list(MESSY.values()))
    assert {name for name, error in zip(MESSY, errors, strict=True) if error} == {"raises"}
    return bench


def extracted(bench: Bench, *options: str, code: int = 0) -> dict[str, Any]:
    """Extract from the session, and return what was found."""
    found: dict[str, Any] = json.loads(bench.reprokit("extract", "messy", *options, "--json", code=code))
    return found


def names(found: dict[str, Any]) -> list[str]:
    """Return the kept cells by the names they have here."""
    return [name for name, seq in NUMBER.items() if seq in [cell["cell"] for cell in found["cells"]]]


MODEL = (
    "imports", "rows", "function", "factor", "append", "alias", "write", "factor again", "read", "seed", "first",
    "second", "model",
)  # fmt: skip


def test_a_file_is_made_by_its_cells_alone_also_in_plain_jupyter(messy: Bench, tmp_path: Path) -> None:
    (messy.project / "model.json").rename(tmp_path / "recorded.json")
    clean = tmp_path / "clean.ipynb"
    found = extracted(messy, "--for", "model.json", "-o", str(clean), "--budget", "0")
    assert names(found) == list(MODEL)
    assert (found["verdict"], found["comparison"]["verdict"], found["plain"]) == ("certified", "identical", True)
    notebook = nbformat.read(clean, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["reprokit"]["run"] == found["run"]
    assert notebook.metadata["reprokit"]["for"] == ["model.json"]
    assert "Certified" in notebook.cells[0].source
    assert str(messy.project.parent) not in clean.read_text()
    plain = tmp_path / "elsewhere"
    plain.mkdir()
    NotebookClient(notebook, resources={"metadata": {"path": str(plain)}}, kernel_name="python3").execute()
    assert (plain / "model.json").read_bytes() == (tmp_path / "recorded.json").read_bytes()
    assert not (messy.project / "model.json").exists()  # nothing is run in the project


def test_what_does_not_matter_is_found_by_trying(messy: Bench, tmp_path: Path) -> None:
    """The setting that nobody reads is left out; the one that the figure shows stays."""
    planned = extracted(messy, "--for", "cell", str(NUMBER["figure"]), "--dry-run")
    assert names(planned) == ["imports", "plotting", "unused", "style", "figure"]
    clean = tmp_path / "clean.ipynb"
    found = extracted(messy, "--for", "cell", str(NUMBER["figure"]), "-o", str(clean))
    assert names(found) == ["plotting", "style", "figure"]
    assert (found["verdict"], found["minimal"], found["plain"]) == ("certified", True, True)
    refused = messy.reprokit("extract", "messy", "--for", "model.json", "-o", str(clean), "--json", code=2)
    assert "--force" in json.loads(refused)["remedy"]


def test_a_metric_and_what_a_shell_wrote_in_one_notebook(messy: Bench, tmp_path: Path) -> None:
    clean = tmp_path / "clean.ipynb"
    found = extracted(messy, "--for", "total", "--for", "size.txt", "-o", str(clean), "--budget", "0")
    assert found["verdict"] == "certified"
    kept = names(found)
    assert {"start", "write", "read", "shell", "total", "metric"} <= set(kept)
    assert not {"dead", "raises", "seed", "first", "second", "model", "free", "stop"} & set(kept)


def test_what_had_no_seed_is_certified_with_states_put_back_and_told(messy: Bench, tmp_path: Path) -> None:
    clean = tmp_path / "clean.ipynb"
    text = messy.reprokit("extract", "messy", "--for", "free.txt", "-o", str(clean))
    assert text.startswith("certified: free.txt identical")
    assert "in a plain Jupyter it differs" in text
    assert "In a plain Jupyter the result differs" in nbformat.read(clean, as_version=4).cells[0].source


def test_what_is_not_the_same_is_not_written(messy: Bench, tmp_path: Path) -> None:
    clean = tmp_path / "clean.ipynb"
    found = extracted(messy, "--for", "now.txt", "-o", str(clean), "--budget", "0", code=1)
    assert (found["verdict"], found["notebook"]) == ("different", None)
    assert not clean.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--for", "model.pkl"), "model.json"),
        (("--for", "accuracy"), "total"),
        (("--for", "cell", "99"), "1 to 27"),
        (("--for", "cell 12"), "ZeroDivisionError"),
        (("--for", "cell 5"), "shows nothing"),
        (("--for", "model.json", "something"), "one word too many"),
    ],
)
def test_what_cannot_be_extracted_is_refused_before_anything_runs(
    messy: Bench, options: tuple[str, ...], words: str
) -> None:
    told = json.loads(messy.reprokit("extract", "messy", *options, "--dry-run", "--json", code=2))
    assert words in f"{told['error']}: {told['remedy']}"


def test_no_notebook_is_named(messy: Bench, tmp_path: Path) -> None:
    told = json.loads(messy.reprokit("extract", "messy", "--for", "model.json", "--json", code=2))
    assert "-o" in told["remedy"]
    nowhere = str(tmp_path / "no" / "clean.ipynb")
    told = json.loads(messy.reprokit("extract", "messy", "--for", "model.json", "-o", nowhere, "--json", code=2))
    assert "no folder" in told["error"]


def test_parameters_stay_parameters(messy: Bench, tmp_path: Path) -> None:
    """What was given to a notebook can be given to the extracted one, and is found by papermill."""
    sources = ("#: parameters\nrate = 1", "dead = 1", "open('rate.txt', 'w').write(str(rate))")
    messy.notebook("work.ipynb", *sources)
    messy.reprokit("run", "work.ipynb", "-p", "rate", "3")
    run, clean = messy.latest(), tmp_path / "clean.ipynb"
    found = json.loads(messy.reprokit("extract", run.id, "--for", "rate.txt", "-o", str(clean), "--json"))
    assert found["verdict"] == "certified"
    tags = [cell.metadata.get("tags", []) for cell in nbformat.read(clean, as_version=4).cells]
    assert tags == [[], ["parameters"], ["injected-parameters"], []]
    replays = messy.reprokit("extract", found["replay"], "--for", "rate.txt", "--dry-run", "--json", code=2)
    assert run.id in json.loads(replays)["remedy"]

"""The same cells with and without reprokit: nothing that a user can see, keep or ask about differs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from pairs import Pair, Side, read_sheet

from reprokit.capture.files import recorder
from reprokit.store.store import Store

SHEETS = sorted(Path(__file__).with_name("sheets").glob("*.ipy"))


@pytest.fixture(scope="session")
def environ() -> dict[str, str]:
    """What both kernels are started with."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("REPROKIT_", "GIT_", "XDG_", "JPY_", "PYTEST"))
    }
    names = {f"GIT_{role}_{what}": "tester" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    dates = {f"GIT_{role}_DATE": "2026-01-01T00:00:00Z" for role in ("AUTHOR", "COMMITTER")}
    return {**kept, **names, **dates, "GIT_CONFIG_NOSYSTEM": "1", "REPROKIT_LOCK": "never"}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Path:
    """A project with a little of everything: code, data, something staged, something changed, something new."""
    root = tmp_path_factory.mktemp("template") / "project"
    (root / "data").mkdir(parents=True)
    (root / "data" / "numbers.csv").write_text("x,y\n" + "".join(f"{n},{n * n}\n" for n in range(100)))
    (root / "helpers.py").write_text("VALUE = 1\n\n\ndef double(x):\n    return 2 * x\n")
    (root / ".gitignore").write_text("*.tmp\n")

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=root, env={**environ, "HOME": str(root)}, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "start")
    (root / "helpers.py").write_text("VALUE = 2\n\n\ndef double(x):\n    return 2 * x\n")
    (root / "staged.txt").write_text("staged\n")
    git("add", "staged.txt")
    (root / "staged.txt").write_text("staged and changed\n")
    (root / "untracked.txt").write_text("untracked\n")
    return root


def compare(pair: Pair, cells: Iterable[tuple[str, str]], *, warnings: int = 0) -> None:
    """Give both kernels of a pair all cells; nothing may differ, and reprokit may have had nothing to say."""
    try:
        pair.start()
        for number, (source, words) in enumerate(cells, start=1):
            pair.run(number, source, words)
        pair.finish()
    finally:
        pair.stop()
    assert not pair.differences, "\n".join(pair.differences)
    assert len(pair.warnings) <= warnings, pair.warnings


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.stem)
def test_cells_do_the_same(path: Path, tmp_path: Path, template: Path, environ: dict[str, str]) -> None:
    # From a robbed session something is taken that it cannot do without: that is told once.
    compare(Pair(tmp_path, template, environ), read_sheet(path).cells, warnings=int(path.stem == "robbed"))


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem == "process" else pytest.mark.soak) for path in SHEETS],
    ids=lambda path: path.stem,
)
@pytest.mark.skipif(not recorder.is_available(), reason="there is no native recorder for this system")
def test_cells_do_the_same_where_the_recorder_is_preloaded(
    path: Path, tmp_path: Path, template: Path, environ: dict[str, str]
) -> None:
    pair = Pair(tmp_path, template, environ, carried=True)
    compare(pair, read_sheet(path).cells, warnings=int(path.stem == "robbed"))


NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("carried", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["loaded", "preloaded"])
@pytest.mark.parametrize(
    "name", ["messy", *(pytest.param(name, marks=pytest.mark.soak) for name in ("explore", "train"))]
)
def test_example_notebooks_do_the_same(
    name: str, carried: bool, tmp_path: Path, template: Path, environ: dict[str, str]
) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    seed = "import random, numpy as np; random.seed(1); np.random.seed(1)"
    unseeded = "import functools; np.random.default_rng = functools.partial(np.random.default_rng, 1)"
    cells = [seed, unseeded, *(cell.source for cell in notebook.cells if cell.cell_type == "code")]
    pair = Pair(tmp_path, template, environ, carried=carried)
    for side in pair.sides:
        shutil.copytree(NOTEBOOKS / "data", side.project / "data", dirs_exist_ok=True)
    compare(pair, [(source, "") for source in cells])


CELLS = (
    "import random, sys\nimport pandas as pd\nrandom.seed(3)",
    "print('out')\nprint('err', file=sys.stderr)\nrandom.random()",
    "pd.read_csv('data/numbers.csv').sample(3, random_state=1)",
    "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))",
    "%matplotlib inline\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2])",
    "!echo shell",
    "import warnings\nfor _ in range(2): warnings.warn('careful')",
    "from tqdm.auto import tqdm\nlist(tqdm(range(2), disable=True))",
    "await __import__('asyncio').sleep(0, 'awaited')",
    "open('made.txt', 'w').write('made')",
)


def shown(notebook: Any, side: Side) -> list[Any]:
    """Return the outputs of a notebook's cells, as they can be compared."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = json.dumps([[cell.execution_count, cell.outputs] for cell in cells])
    return list(json.loads(re.sub(r"ipykernel_\d+", "ipykernel", side.without_names(text, {}))))


@pytest.fixture
def sides(tmp_path: Path, template: Path, environ: dict[str, str]) -> Iterator[tuple[Side, Side]]:
    """Two projects, each with a kernel."""
    pair = Pair(tmp_path, template, environ)
    for side in pair.sides:
        side.ready()
    yield pair.sides
    pair.stop()


def test_nbclient_saves_the_same(sides: tuple[Side, Side]) -> None:
    saved = []
    for side, first in zip(sides, ("pass", "%load_ext reprokit\n%repro start"), strict=True):
        cells = [nbformat.v4.new_code_cell(source, id=f"cell{n}") for n, source in enumerate((first, *CELLS))]
        notebook = nbformat.v4.new_notebook(cells=cells)
        NotebookClient(notebook, resources={"metadata": {"path": str(side.project)}}).execute(env=side.environ)
        saved.append(shown(notebook, side)[1:])
    assert saved[0] == saved[1]


def test_papermill_saves_the_same(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    for side, engine in zip(sides, (None, "reprokit"), strict=True):
        for name in ("HOME", "IPYTHONDIR", "MPLCONFIGDIR", "PYTHONHASHSEED", "REPROKIT_LOCK"):
            monkeypatch.setenv(name, side.environ[name])
        parameters = nbformat.v4.new_code_cell("n = 1", metadata={"tags": ["parameters"]})
        cells = [parameters, *map(nbformat.v4.new_code_cell, (*CELLS, "n"))]
        kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec})
        nbformat.write(notebook, side.project / "in.ipynb")
        papermill.execute_notebook(
            side.project / "in.ipynb",
            side.project / "out.ipynb",
            parameters={"n": 5},
            cwd=side.project,
            kernel_name="python3",
            engine_name=engine,
            progress_bar=False,
        )
        saved.append(shown(nbformat.read(side.project / "out.ipynb", as_version=4), side))
    assert saved[0] == saved[1]


def test_a_restart_in_the_middle_of_a_run(sides: tuple[Side, Side]) -> None:
    plain, watched = sides
    watched.run("%load_ext reprokit\n%repro start cut")
    for side in sides:
        side.run("x = 1")
        side.restart()
    for number, cell in enumerate(("x", *CELLS)):
        found = [side.result(side.send(cell, cell_id=str(number), answers=False), "") for side in sides]
        assert found[0].shown == found[1].shown
        assert found[0].reply == found[1].reply
    watched.run("%load_ext reprokit\n%repro start again")
    watched.run("%repro stop")
    runs = {run.name: run.status for run in Store.open(watched.project).runs()}
    assert runs["again"] == "done"
    assert runs["cut"] in ("done", "interrupted")
    assert plain.files().keys() == watched.files().keys()

"""The pipeline of three notebooks under reprokit, papermill, DVC and Snakemake: whole processes, in one run.

Each works in a project of its own and goes through the same story: run for the first time, run again, run with another
parameter of the second step, fail in the third step, run when that is mended. All must make the same files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from measure import BIN, ROOT, Options, Row, environment, notebook_project, paired_ratio, run, timed, told, workspace

_SNAKEMAKE = ROOT / "build" / "orchestrators" / "tools" / "bin" / "snakemake"  # `make test-orchestrators`
_STEPS = ("prepare", "train", "evaluate")
_TREES = 120
_HOME = "notebooks/pipeline"
_MADE = {  # by each step
    "prepare": ("train.csv", "test.csv", "unknown.csv"),
    "train": ("model.pkl", "cross_validation.json"),
    "evaluate": ("confusion.png", "guessed.csv", "metrics.json"),
}
_READ = {
    "prepare": ("../data/penguins_raw.csv",),
    "train": ("out/train.csv",),
    "evaluate": ("out/test.csv", "out/unknown.csv", "out/model.pkl"),
}
_STATE = (".reprokit", "dvc.lock", ".dvc/cache", ".dvc/tmp", ".snakemake", "executed", f"{_HOME}/out")

Commands = Callable[[int], Sequence[Sequence[str | Path]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run the pipeline: ``commands`` takes the number of trees, and returns what a user would type."""

    name: str
    place: Path
    commands: Commands

    def run(self, trees: int) -> None:
        """Run it, to its end or to the first command that fails."""
        for command in self.commands(trees):
            run(command, self.place, **_variables(self.place))

    def fail(self, trees: int) -> None:
        """Run it, and see that it fails."""
        try:
            self.run(trees)
        except RuntimeError as error:
            if "not yet" in str(error):
                return
            raise
        raise RuntimeError(f"{self.name} did not fail")

    def forget(self) -> None:
        """Remove what earlier runs made, results and books alike."""
        for name in _STATE:
            path = self.place / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        (self.place / "executed").mkdir()

    def write(self, source: str) -> None:
        """Give the last notebook a last cell."""
        path = self.place / _HOME / "evaluate.ipynb"
        notebook = json.loads((ROOT / _HOME / "evaluate.ipynb").read_text())
        cell = {"cell_type": "code", "execution_count": None, "id": "last", "metadata": {}, "outputs": []}
        notebook["cells"].append({**cell, "source": source})
        path.write_text(json.dumps(notebook))

    def made(self) -> dict[str, str]:
        """Return what the steps wrote."""
        found = sorted((self.place / _HOME / "out").iterdir())
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    with workspace() as folder:
        ways = list(_ways(folder))
        times: dict[str, dict[str, list[float]]] = {}
        for number in range(-1, 1 if options.quick else options.repeats):
            for told_as, way, taken in _round(ways, number):
                if number >= 0:
                    times.setdefault(told_as, {}).setdefault(way, []).append(taken)
        yield from (_row(told_as, taken) for told_as, taken in times.items())
    if len(ways) < 5:
        yield Row(what="pipeline under Snakemake", measured="left out", peers="`make test-orchestrators` installs it")


def _row(told_as: str, times: Mapping[str, Sequence[float]]) -> Row:
    ours, *peers = times
    ratios = [f"{paired_ratio(times[ours], times[peer]):.2f} × {peer}" for peer in peers if peer in _PEERS]
    return Row(what=f"pipeline, {told_as}", measured=", ".join(ratios), peers=told(times))


def _round(ways: Sequence[Way], number: int) -> Iterator[tuple[str, str, float]]:
    """Go through the story with each way in turn, chapter by chapter; yield chapter, way and seconds."""
    ordered = list(ways)[:: 1 if number % 2 == 0 else -1]
    trees = _TREES + 10 + number  # what no cache has seen
    for way in ordered:
        way.write("# as it was")
        way.forget()
        yield "first run", way.name, timed(partial(way.run, _TREES))
    for way in ordered:
        yield "nothing changed", way.name, timed(partial(way.run, _TREES))
    for way in ordered:
        _write_params(way.place, trees)
        yield "another parameter of the 2nd step", way.name, timed(partial(way.run, trees))
    for way in ordered:
        way.write("raise RuntimeError('not yet')")
        way.fail(trees)
        way.write(f"# mended {number}")
        yield "the 3rd step failed and is mended", way.name, timed(partial(way.run, trees))
        _write_params(way.place, _TREES)
    if len({tuple(way.made().items()) for way in ways}) != 1:
        raise RuntimeError(f"they did not make the same: { ({way.name: way.made() for way in ways}) }")


# -- the ways ---------------------------------------------------------------------------------------

_PEERS = ("papermill", "DVC", "Snakemake")


def _ways(folder: Path) -> Iterator[Way]:
    yield _under_reprokit(folder / "reprokit")
    yield Way(name="reprokit --reuse", place=_project(folder / "reuse"), commands=_reusing)
    yield Way(name="papermill", place=_project(folder / "papermill"), commands=_papermill)
    yield _under_dvc(folder / "dvc")
    snakemake = shutil.which("snakemake", path=f"{_SNAKEMAKE.parent}:{os.environ['PATH']}")
    if snakemake is not None:
        yield _under_snakemake(folder / "snakemake", snakemake)


def _under_reprokit(place: Path) -> Way:
    """The pipeline that `reprokit step` makes of captured runs; DVC runs it."""
    way = Way(name="reprokit", place=_project(place), commands=lambda trees: [[BIN / "dvc", "repro"]])
    plain = dataclasses.replace(way, commands=_reusing)
    plain.run(_TREES)
    run([BIN / "reprokit", "step", *(f"{_HOME}/{name}.ipynb" for name in _STEPS)], way.place, **_variables(way.place))
    return way


def _reusing(trees: int) -> Sequence[Sequence[str | Path]]:
    given = {"train": ("-p", "n_estimators", str(trees))}
    start = (BIN / "reprokit", "run", "--reuse")
    return [[*start, f"{_HOME}/{name}.ipynb", *given.get(name, ())] for name in _STEPS]


def _papermill(trees: int) -> Sequence[Sequence[str | Path]]:
    given = {"train": ("-p", "n_estimators", str(trees))}
    return [[BIN / "papermill", *_words(name), *given.get(name, ())] for name in _STEPS]


def _words(name: str) -> list[str]:
    return [f"{_HOME}/{name}.ipynb", f"executed/{name}.ipynb", "--cwd", _HOME]


def _under_dvc(place: Path) -> Way:
    """Stages written by hand, that call papermill."""
    stages = {name: _stage(name) for name in _STEPS}
    stages["train"]["cmd"] += " -p n_estimators ${train.n_estimators}"
    stages["train"]["params"] = ["train.n_estimators"]
    way = Way(name="DVC", place=_project(place), commands=lambda trees: [[BIN / "dvc", "repro"]])
    run([BIN / "dvc", "init", "--quiet"], way.place, **_variables(way.place))
    _write_params(way.place, _TREES)
    (way.place / "dvc.yaml").write_text(json.dumps({"stages": stages}))  # which is YAML
    return way


def _stage(name: str) -> dict[str, object]:
    reads = [os.path.normpath(f"{_HOME}/{path}") for path in _READ[name]]
    made = [f"{_HOME}/out/{path}" for path in _MADE[name]]
    return {"cmd": f"papermill {' '.join(_words(name))}", "deps": [f"{_HOME}/{name}.ipynb", *reads], "outs": made}


def _under_snakemake(place: Path, program: str) -> Way:
    """Rules written by hand, that call papermill."""
    way = Way(
        name="Snakemake",
        place=_project(place),
        commands=lambda trees: [[program, "--cores", "1", "--config", f"trees={trees}"]],
    )
    last = json.dumps([f"{_HOME}/out/{path}" for path in _MADE["evaluate"]])
    (way.place / "Snakefile").write_text(f"rule all:\n    input: {last[1:-1]}\n" + "".join(map(_rule, _STEPS)))
    return way


def _rule(name: str) -> str:
    stage = _stage(name)
    params = "    params: trees=config['trees']\n" if name == "train" else ""
    given = " -p n_estimators {params.trees}" if name == "train" else ""
    reads, made = (json.dumps(stage[key])[1:-1] for key in ("deps", "outs"))
    return f"rule {name}:\n    input: {reads}\n    output: {made}\n{params}    shell: '{stage['cmd']}{given}'\n"


# -- places -----------------------------------------------------------------------------------------


def _project(place: Path) -> Path:
    notebook_project(place)
    (place / "executed").mkdir()
    (place / ".gitignore").write_text("out/\nexecuted/\n")
    return place


def _write_params(place: Path, trees: int) -> None:
    """Set the parameter where the way has it in a file."""
    path = place / "params.yaml"
    if not path.exists():
        if (place / ".dvc").exists():
            path.write_text(f"train:\n  n_estimators: {trees}\n")
        return
    lines = path.read_text().splitlines()
    kept = [f"  n_estimators: {trees}" if line.strip().startswith("n_estimators") else line for line in lines]
    path.write_text("\n".join(kept) + "\n")


def _variables(place: Path) -> dict[str, str]:
    path = f"{BIN}:{environment()['PATH']}"
    caches = {"DVC_SITE_CACHE_DIR": f"{place}-cache", "XDG_CACHE_HOME": f"{place}-cache"}
    return {"PATH": path, "DVC_NO_ANALYTICS": "1", "DVC_STUDIO_OFFLINE": "1", **caches}

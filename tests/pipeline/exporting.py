"""Pipelines to export, and an interpreter that only tells what it was called with."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reprokit.pipeline import export
from reprokit.pipeline.export.work import Work
from reprokit.pipeline.spec import read
from reprokit.pipeline.stages import Pipeline, Stage

# What shells, template languages and file formats take for something else.
NASTY: dict[str, Any] = {
    "text": 'it\'s "quoted"\n\t$HOME ${HOME} $(id) `id` \\ \\n %s %% 100% #c ; & | > < ~ * ? [a] !x',
    "templates": "{{ jinja }} {% if %} ${{ secrets.X }} {wildcard} {{{}}} <<EOF @x@ \\u000a \\u00",
    "unicode": "ü → ☃ 𝄞 \u2028 \u0085 \x1b[31m",
    "name $(id)": [None, True, -1.5e-7, {"": "--option"}],
}

PREPARE = Stage(
    name="prepare", notebook="prepare.ipynb", params={"scale": 2}, deps=("data/raw.txt",), outs=("out/clean.txt",)
)
TRAIN = Stage(name="train", notebook="nb/train.ipynb", cwd="nb", params=NASTY, deps=("out/clean.txt",), outs=("m.bin",))
PLOT = Stage(
    name="plot", notebook="plot.py", deps=("out/clean.txt", "/data/map.csv"), plots=("a.png",), arguments=("-v",)
)
EVALUATE = Stage(
    name="evaluate", notebook="evaluate.ipynb", deps=("m.bin", "out/clean.txt"), metrics=("metrics.json",), seed=7
)


def work(*stages: Stage, **more: Any) -> Work:
    """Return what is exported of stages; by default a small pipeline that splits and joins, no lock of anything."""
    more.setdefault("install", "true")
    pipeline = Pipeline.of_stages(stages or (EVALUATE, PLOT, TRAIN, PREPARE))
    return Work.of(pipeline, more.pop("name", "small"), python="3.11.7", **more)


def text(target: str, *stages: Stage, **more: Any) -> str:
    """Return the main file of an export."""
    made = export.plan(work(*stages, **more), target)
    return made.texts[made.main]


def written(target: str, folder: Path, *stages: Stage, **more: Any) -> Path:
    """Write an export into a folder and return its main file."""
    made = export.plan(work(*stages, **more), target)
    export.write(made, None, folder, into=True)
    return folder / made.main


def telling_python(folder: Path) -> tuple[Path, Path]:
    """Return an interpreter that appends its arguments to a file, and makes no product; and that file."""
    log, script = folder / "calls.txt", folder / "telling python" / "python"
    script.parent.mkdir(parents=True)
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> "{log}"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script, log


def told(log: Path) -> list[dict[str, Any]]:
    """Return the specs of the steps that were called, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    calls = [line.partition("-m reprokit.step ") for line in lines]
    assert all(before == "" and separator for before, separator, _ in calls), lines
    return [read(word).to_dict() for _, _, word in calls]


def shell(command: Sequence[object], folder: Path, **variables: str) -> str:
    """Run a command and return what it printed."""
    environ = {**os.environ, **variables}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def same_parameters(spec: dict[str, Any], stage: Stage) -> bool:
    """Return whether a step gets a stage's parameters as they are, types and all."""
    return json.dumps(spec.get("params", {}), sort_keys=True) == json.dumps(dict(stage.params), sort_keys=True)

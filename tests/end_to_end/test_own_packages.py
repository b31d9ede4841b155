"""An editable package and a package built here: replayed as they were, in a new environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from uv import find_uv_bin
from workbench import REPOSITORY, UV_CACHE, Bench

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "1.0"
[tool.hatch.build.targets.wheel]
packages = ["{name}"]
"""


def package(folder: Path, name: str, answer: int) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name))
    (folder / name / "__init__.py").write_text(f"ANSWER = {answer}\n")
    return folder


def needed(*names: str) -> str:
    """Return the part of the lock that these distributions need, themselves and with all that they need."""
    wanted, waiting = set[str](), [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in wanted and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            wanted.add(name)
            waiting += map(Requirement, distribution(name).requires or ())
    lock = (REPOSITORY / "requirements-dev.txt").read_text()
    parts = re.split(r"^(?=[a-z0-9]\S*==)", lock, flags=re.MULTILINE)
    return "".join(part for part in parts if canonicalize_name(part.partition("==")[0]) in wanted)


def uv(*arguments: object) -> None:
    command = [find_uv_bin(), "--quiet", *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, "UV_CACHE_DIR": UV_CACHE}, capture_output=True)


def test_editable_and_local_packages_come_back(bench: Bench, tmp_path: Path) -> None:
    """One editable inside the project, one editable outside it, one wheel that is on no index."""
    python = tmp_path / "env" / "bin" / "python"
    inside = package(bench.project / "lib", "inside", 1)
    outside = package(tmp_path / "outside", "outside", 2)
    built = package(tmp_path / "built", "built", 3)
    uv("venv", "--python", sys.executable, tmp_path / "env")
    lock = tmp_path / "lock.txt"
    lock.write_text(needed("reprokit", "hatchling", "editables"))
    uv("pip", "install", "--python", python, "--require-hashes", "--no-deps", "-r", lock)
    install = ("pip", "install", "--python", python, "--no-deps", "--no-build-isolation")
    uv(*install, built, REPOSITORY)
    uv(*install, "--editable", inside, "--editable", outside)
    bench.notebook("work.ipynb", "import inside, outside, built\nprint(inside.ANSWER, outside.ANSWER, built.ANSWER)")
    bench.commit()

    def reprokit(*arguments: str) -> str:
        command = [python, "-m", "reprokit", *arguments]
        done = subprocess.run(
            command, cwd=bench.project, env=bench.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    reprokit("run", "work.ipynb")
    run = bench.latest()
    assert run.environment is not None
    origins = {d.name: d.origin for d in run.environment.distributions}
    assert (origins["inside"], origins["outside"], origins["built"]) == ("editable", "editable", "local")
    # What the background process does at the start of a session, done now.
    observed = tmp_path / "environment.json"
    observed.write_text(json.dumps(run.environment.to_dict()))
    locker = [python, "-m", "reprokit.replay.lock", bench.project / ".reprokit", bench.project, observed]
    subprocess.run(locker, check=True, cwd=bench.project, env=bench.environ, capture_output=True)

    (inside / "inside" / "__init__.py").write_text("ANSWER = 0\n")
    assert json.loads(reprokit("replay", "latest", "--json"))["verdict"] == "identical", "in today's environment"
    (outside / "outside" / "__init__.py").write_text("ANSWER = 0\n")
    assert json.loads(reprokit("replay", "latest", "--json"))["verdict"] == "identical", "as it was, not as it is"
    uv("pip", "uninstall", "--python", python, "built")
    verdict = json.loads(reprokit("replay", "latest", "--json"))
    assert verdict["verdict"] == "identical"

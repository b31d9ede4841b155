"""The main job, shown end to end: capture a session, break everything, replay it, prove it is the same.

    python demo/run.py [FOLDER]

Makes a project of its own in FOLDER (a new temporary one by default), with an environment of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from uv import find_uv_bin

REPOSITORY = Path(__file__).resolve().parent.parent
LOCK = REPOSITORY / "requirements-dev.txt"
NOTEBOOK = "train.ipynb"
DATA = "data/breast_cancer.csv"
BEGAN = time.monotonic()


def main(folder: Path) -> int:
    project, python = folder / "project", folder / "env" / "bin" / "python"
    say("A project under git, with an environment of its own")
    make_environment(python)
    make_project(project)

    say("Yesterday: a session in a Jupyter kernel, nothing declared, nothing seeded, cells run again")
    run(python, REPOSITORY / "demo" / "session.py", project / "notebooks" / NOTEBOOK, cwd=project)

    say("Overnight: everything that usually breaks")
    damage(project, python)

    say("Today")
    before = fingerprint(project)
    code = reprokit(python, "replay", "latest", cwd=project)
    print(f"exit code {code}")
    if fingerprint(project) != before:
        print("the replay changed the user's project")
        return 1
    print("the project is as it was before the replay, byte for byte")
    print(f"\n{time.monotonic() - BEGAN:.0f} s in all; everything is in {folder}")
    return code


def make_environment(python: Path) -> None:
    """Make the user's environment: the example packages, Jupyter's kernel, and reprokit."""
    environment = python.parent.parent
    uv("venv", "--quiet", "--python", sys.executable, environment)
    uv("pip", "install", "--quiet", "--python", python, "--require-hashes", "--no-deps", "-r", LOCK)
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", "--no-build-isolation", REPOSITORY)
    print("$ uv venv && uv pip install …   (pandas, scikit-learn, matplotlib, ipykernel, reprokit)")


def make_project(project: Path) -> None:
    """Make a project under git that holds one of the example notebooks and its data."""
    notebooks = project / "notebooks"
    (notebooks / "data").mkdir(parents=True)
    shutil.copy(REPOSITORY / "notebooks" / NOTEBOOK, notebooks)
    shutil.copy(REPOSITORY / "notebooks" / DATA, notebooks / DATA)
    (project / ".gitignore").write_text("out/\n")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "A classifier for fine needle aspirates")
    print("$ git init && git add --all && git commit")


def damage(project: Path, python: Path) -> None:
    """Do to the project what a night of work does."""
    data = project / "notebooks" / DATA
    rows = data.read_text().splitlines(keepends=True)
    data.write_text("".join(rows[:1] + rows[100:]))
    print(f"- {DATA} was overwritten: {len(rows) - 1} rows became {len(rows) - 100}")

    path = project / "notebooks" / NOTEBOOK
    notebook = json.loads(path.read_text())
    edited = next(cell for cell in notebook["cells"] if cell["id"] == "models")
    edited["source"] = "models = {}  # start anew"
    path.write_text(json.dumps(notebook))
    print(f"- {NOTEBOOK} was edited: its models are gone")

    shutil.rmtree(project / "notebooks" / "out")
    (project / "scratch.py").write_text("import sklearn\n")
    print("- the results were deleted, and an untracked file dirties the tree")

    for package, other in (("pandas", "pandas<2.3"), ("scikit-learn", "scikit-learn<1.7")):
        old = version(python, package)
        uv("pip", "install", "--quiet", "--python", python, "--upgrade", package)
        if version(python, package) == old:  # the newest already: then it goes the other way
            uv("pip", "install", "--quiet", "--python", python, other)
        print(f"- {package} {old} became {version(python, package)} in the environment")


def version(python: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def fingerprint(project: Path) -> dict[str, tuple[bytes, int]]:
    """Return bytes and mtime of every file of the project but reprokit's own."""
    files = (path for path in project.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files if ".reprokit" not in path.parts}


def say(title: str) -> None:
    print(f"\n=== {title}", flush=True)


def reprokit(python: Path, *arguments: str, cwd: Path) -> int:
    print(f"$ reprokit {' '.join(arguments)}", flush=True)
    return subprocess.run([python.parent / "reprokit", *arguments], cwd=cwd, check=False).returncode


def run(*command: object, cwd: Path | None = None) -> None:
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)


def uv(*arguments: object) -> None:
    run(find_uv_bin(), *arguments)


def git(project: Path, *arguments: str) -> None:
    who = {f"GIT_{role}_{key}": text for role in ("AUTHOR", "COMMITTER") for key, text in _WHO.items()}
    subprocess.run(["git", *arguments], cwd=project, check=True, env={**os.environ, **who})


_WHO = {"NAME": "demo", "EMAIL": "demo@localhost"}

if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="reprokit-demo-"))
    sys.exit(main(target.resolve()))

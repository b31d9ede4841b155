"""A pipeline as the files of an orchestrator, which all do no more than call the step command.

``TARGETS`` says what there is; ``plan`` returns the files of one, ``write`` puts them where no hand has
changed what lies there. Neither knows runs: ``source`` finds what is exported.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from reprokit.digest import of_file
from reprokit.errors import UsageError
from reprokit.pipeline.export.stamp import is_edited, stamped
from reprokit.pipeline.export.work import Work
from reprokit.replay.exports import Export
from reprokit.store.objects import Objects

__all__ = ["TARGETS", "Target", "plan", "target_of", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A kind of files that a pipeline can be exported as; the module of its name makes them.

    Attributes:
        about: what they are, in one line.
        file: the first of them.
        comment: what a comment begins with in them.
        locks: whether the recorded environment goes into them,
        installs: or does unless the user says how a job's Python is put in order.
    """

    about: str
    file: str
    comment: str = "#"
    locks: bool = False
    installs: bool = False


TARGETS: Mapping[str, Target] = {
    "airflow": Target(about="a DAG of Apache Airflow (2.10 or later)", file="pipeline_dag.py"),
    "argo": Target(about="a WorkflowTemplate of Argo Workflows", file="workflow.yaml"),
    "docker": Target(about="an image with the locked environment, hashes checked", file="Dockerfile", locks=True),
    "github": Target(
        about="a workflow of GitHub Actions that replays and compares the runs on every push",
        file=".github/workflows/reprokit.yml",
        installs=True,
    ),
    "gitlab": Target(about="jobs of GitLab CI, with that check too", file=".gitlab-ci.yml", installs=True),
    "jenkins": Target(
        about="a declarative Jenkinsfile, with that check too", file="Jenkinsfile", comment="//", installs=True
    ),
    "kubeflow": Target(about="a pipeline for the compiler of Kubeflow Pipelines (2)", file="pipeline_kfp.py"),
    "make": Target(about="a Makefile for GNU make", file="Makefile"),
    "prefect": Target(about="a flow of Prefect (3)", file="pipeline_flow.py"),
    "slurm": Target(about="an array job for sbatch, and what submits it in order", file="pipeline.sbatch"),
    "snakemake": Target(about="a Snakefile", file="Snakefile"),
}


def target_of(name: str) -> Target:
    """Return the target of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in TARGETS:
        close = difflib.get_close_matches(name, TARGETS, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"use one of {', '.join(TARGETS)}"
        raise UsageError(f"{name!r} is nothing to export to", remedy=remedy)
    return TARGETS[name]


def plan(work: Work, name: str) -> Export:
    """Return the files of one target, each with the header that says what it is; the same work, the same bytes.

    Raises:
        UsageError: there is no such target, or it cannot express something of the work.
        EnvironmentBuildError: the target needs a lock that is not complete.
    """
    target = target_of(name)
    make = cast("Callable[[Work], Export]", getattr(import_module(f"{__name__}.{name}"), name))
    made = make(work)
    texts = {
        path: stamped(text, target=name, spec=work.digest, comment=target.comment) for path, text in made.texts.items()
    }
    return dataclasses.replace(made, texts=texts, notes=(*made.notes, *_notes(work)))


def _notes(work: Work) -> Iterator[str]:
    for path in work.outside:
        yield f"{path} lies outside of the project: it must be there where the jobs run"


def write(
    export: Export, objects: Objects | None, output: Path, *, into: bool = False, force: bool = False
) -> list[Path]:
    """Write the files of an export, all or none.

    Args:
        export: what ``plan`` returned.
        objects: has its wheels; None when there are none.
        output: the file, or the folder when there are several.
        into: it is the folder even for one file, which gets its usual name.
        force: write over what a hand has changed, or what is no export at all.

    Returns:
        The files that are written now; what is there already, byte for byte, is left alone.

    Raises:
        UsageError: one of the files was edited, or is not an export.
    """
    texts = {place: text.encode() for place, text in _places(export, output, into).items()}
    wheels = {output / name: digest for name, digest in export.wheels.items()}
    changed = [place for place, content in texts.items() if not _is(place, content)]
    for place in changed:
        _require_own(place, force)
    for place in changed:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(texts[place])
    missing = [place for place, digest in wheels.items() if not place.is_file() or of_file(place) != digest]
    for place in missing:
        place.parent.mkdir(parents=True, exist_ok=True)
        cast("Objects", objects).restore(wheels[place], place)
    return [*changed, *missing]


def _places(export: Export, output: Path, into: bool) -> dict[Path, str]:
    """Return where each text goes."""
    if not (into or export.is_folder):
        return {output: export.texts[export.main]}
    if output.exists() and not output.is_dir():
        count = len(export.texts) + len(export.wheels)
        raise UsageError(f"this export is {count} files, and {output} is one", remedy="name a folder with -o DIR")
    return {output / name: text for name, text in export.texts.items()}


def _is(place: Path, content: bytes) -> bool:
    return place.is_file() and place.read_bytes() == content


def _require_own(place: Path, force: bool) -> None:
    """Pass when a file is not there, or is an export as it was written."""
    if force or not place.exists():
        return
    edited = is_edited(place.read_text("utf-8", "surrogateescape"))
    if edited is None:
        raise UsageError(f"{place} is there and was not exported", remedy="name another file with -o, or add --force")
    if edited:
        problem = f"{place} was edited by hand since it was exported"
        raise UsageError(problem, remedy="name another file with -o, or add --force to write over it")

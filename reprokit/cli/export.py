"""``reprokit export``: a pipeline as the files of an orchestrator."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DONE, emit_json, json_option
from reprokit.errors import UsageError

if TYPE_CHECKING:
    from reprokit.pipeline.export.work import Work
    from reprokit.pipeline.stages import Pipeline
    from reprokit.records import Run
    from reprokit.replay.exports import Export, Recorded
    from reprokit.store.store import Store

__all__ = ["export"]


@click.command()
@click.argument("words", metavar="[RUN|NOTEBOOK|dvc.yaml]...", nargs=-1)
@click.option("--to", "target", metavar="TARGET", help="What to export to; --list shows what there is.")
@click.option("-o", "--output", "place", metavar="FILE|DIR/", help="Write it here: a file, or into a folder.")
@click.option("--name", help="What the whole is called.")
@click.option("--install", metavar="COMMAND", help="What puts a job's Python in order, where a target needs that.")
@click.option("--image", help="The container image of the project, for Argo and Kubeflow.")
@click.option(
    "--base", metavar="IMAGE", help="What the image is made from, for Docker: IMAGE@sha256:… to be sure of it."
)
@click.option("--environment", "of", metavar="RUN", help="Whose environment is used, in place of the runs' own.")
@click.option("--reuse", is_flag=True, help="Let a step take over the results of an unchanged run.")
@click.option("--force", is_flag=True, help="Write over files that were edited by hand.")
@click.option("--list", "listed", is_flag=True, help="List the targets.")
@json_option
def export(
    words: tuple[str, ...],
    target: str | None,
    place: str | None,
    name: str | None,
    install: str | None,
    image: str | None,
    base: str | None,
    of: str | None,
    reuse: bool,
    force: bool,
    listed: bool,
    as_json: bool,
) -> int:
    """Write the pipeline that runs make for an orchestrator. Every job calls the same command, a step.

    What is exported is the runs named, each a stage, or the stages of a dvc.yaml that `reprokit step` wrote.
    Without -o a target of one file is printed. A file that was edited by hand is not written over.
    """
    if listed:
        return _list(as_json)
    if target is None:
        raise UsageError("it is not said what to export to", remedy="add --to TARGET; --list shows what there is")
    from reprokit.pipeline import export as exporting
    from reprokit.pipeline.export.source import found
    from reprokit.pipeline.stages import stage_name
    from reprokit.store.store import Store

    wanted = exporting.target_of(target)
    output = None if place is None else Path(place)
    locks = wanted.locks or (wanted.installs and install is None)
    into = place is not None and (locks or place.endswith("/") or Path(place).is_dir())
    store = Store.open()
    pipeline, usual = found(store, words or ("latest",))
    given = {"name": stage_name(name or usual), "install": install, "image": image, "base": base}
    work = _work(store, pipeline, of, reuse=reuse, locks=locks, given=given, folder=_folder(place, into))
    made = exporting.plan(work, target)
    if made.is_folder and output is None:
        count = len(made.texts) + len(made.wheels)
        raise UsageError(f"this export is {count} files", remedy="name a folder for them with -o DIR")
    written = [] if output is None else exporting.write(made, store.objects, output, into=into, force=force)
    _tell(made, work, target, output, written, [*pipeline.notes, *made.notes], as_json)
    return DONE


def _list(as_json: bool) -> int:
    from reprokit.pipeline.export import TARGETS

    if as_json:
        emit_json([{"target": name, "about": one.about, "file": one.file} for name, one in TARGETS.items()])
    else:
        from reprokit.views.plain import table

        click.echo("\n".join(table([("TARGET", "FILE", "WHAT"), *((n, t.file, t.about) for n, t in TARGETS.items())])))
    return DONE


def _work(
    store: Store,
    pipeline: Pipeline,
    of: str | None,
    *,
    reuse: bool,
    locks: bool,
    given: dict[str, str | None],
    folder: Path | None,
) -> Work:
    """Return what is exported, with the environment that it has."""
    from reprokit.pipeline.export.source import environments
    from reprokit.pipeline.export.work import Work

    runs = [store.load(store.resolve(of))] if of is not None else environments(store, pipeline, same=locks)
    python = next((run.environment.python for run in runs if run.environment is not None), "")
    up, down = _ways(store.layout.project.resolve(), folder)
    more: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if pinned := tuple(store.pins()):
        more["checked"] = pinned
    recorded = _recorded(store, runs[0], str(given["name"])) if locks and runs else None
    return Work.of(pipeline, reuse=reuse, python=python, up=up, down=down, recorded=recorded, **more)


def _folder(place: str | None, into: bool) -> Path | None:
    """Return the folder that the exported file lies in; None when it is printed."""
    if place is None:
        return None
    return (Path(place) if into else Path(place).parent).resolve()


def _ways(root: Path, folder: Path | None) -> tuple[str, str | None]:
    """Return the ways from the folder of the exported file to the project root, and back."""
    if folder is None:
        return ".", "."
    if folder != root and root not in folder.parents:
        return ".", None
    return Path(os.path.relpath(root, folder)).as_posix(), Path(os.path.relpath(folder, root)).as_posix()


def _recorded(store: Store, run: Run, name: str) -> Recorded:
    """Return the lock of a run's environment and reprokit itself, with all that goes beside it."""
    from reprokit.cli.env import environment_of, system_packages
    from reprokit.replay import lock
    from reprokit.replay.exports import Recorded

    environment = environment_of(run)
    made = lock.of_run(store.layout, run, environment, store.objects)
    return Recorded(
        lock=replace(made, extras=(*made.extras, lock.of_itself(store.objects))),
        environment=environment,
        objects=store.objects,
        name=name,
        machine=run.machine,
        system=system_packages(run),
    )


def _tell(
    made: Export,
    work: Work,
    target: str,
    output: Path | None,
    written: Sequence[Path],
    notes: Sequence[str],
    as_json: bool,
) -> None:
    if as_json:
        document = {
            "target": target,
            "spec": work.digest,
            "stages": [{"name": job.name, "after": list(job.after), "spec": job.spec.to_dict()} for job in work.jobs],
            "output": None if output is None else str(output),
            "files": [*made.texts, *made.wheels],
            "written": [str(path) for path in written],
            "notes": list(notes),
        }
        emit_json(document | ({"text": made.texts[made.main]} if output is None else {}))
        return
    if output is None:
        click.echo(made.texts[made.main], nl=False)
    for path in written:
        click.echo(f"{path} is written")
    if output is not None and not written:
        click.echo(f"{output} is as it was")
    for note in notes:
        click.echo(f"note: {note}", err=True)

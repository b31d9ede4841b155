"""``reprokit env``: what a run was installed with, how it differs, and the lock in the forms of other tools."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DIFFERENT, DONE, emit_json, json_option
from reprokit.errors import Unreplayable, UsageError

if TYPE_CHECKING:
    from reprokit.records import Environment, Run
    from reprokit.replay.lock import Lock
    from reprokit.store.store import Store

__all__ = ["env", "environment_of", "system_packages"]

_FORMS = ("pylock", "requirements", "uv", "conda", "Dockerfile")


@click.command()
@click.argument("run", default="latest")
@click.option("--diff", "other", metavar="RUN|current", help="How the environment of RUN differs from this one.")
@click.option(
    "--export",
    "form",
    type=click.Choice(_FORMS, case_sensitive=False),
    help="Write the lock in a form that pip, uv, conda or docker takes as it is.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the export here: a file, or a folder.")
@click.option(
    "--wheelhouse", type=click.Path(path_type=Path), help="Put every package into this folder, for use without network."
)
@json_option
def env(
    run: str, other: str | None, form: str | None, output: Path | None, wheelhouse: Path | None, as_json: bool
) -> int:
    """Show what RUN was installed with, and whether that can be installed again.

    With --diff the exit code is 1 when something differs.
    """
    from reprokit.store.store import Store

    if sum(value is not None for value in (other, form, wheelhouse)) > 1:
        raise UsageError("--diff, --export and --wheelhouse are three things", remedy="use one at a time")
    if output is not None and form is None:
        raise UsageError("-o says where an export goes", remedy="add --export pylock, say")
    store = Store.open()
    record = store.load(store.resolve(run))
    recorded = environment_of(record)
    if other is not None:
        return _diff(store, record, recorded, other, as_json)
    from reprokit.replay import lock

    made = lock.of_run(store.layout, record, recorded, store.objects)
    if form is not None:
        return _export(store, record, made, form, output, as_json)
    if wheelhouse is not None:
        return _wheelhouse(store, made, wheelhouse, as_json)
    return _show(record, recorded, made, as_json)


def environment_of(run: Run) -> Environment:
    if run.environment is None:
        raise Unreplayable(run.id, [("its environment was not recorded", "capture the run again")])
    return run.environment


def _show(run: Run, recorded: Environment, made: Lock, as_json: bool) -> int:
    document = _document(run, recorded, made)
    if as_json:
        emit_json(document)
    else:
        from reprokit.views.env import environment_text

        click.echo(environment_text(document))
    return DONE


def _document(run: Run, recorded: Environment, made: Lock) -> dict[str, Any]:
    """Return the documented form of ``env --json``."""
    from reprokit.replay import environment

    pins, extras = made.pins, {extra.name: extra.kind for extra in made.extras}
    built = environment.is_built(made)
    return {
        "run": run.id,
        "fingerprint": recorded.fingerprint,
        "python": recorded.python,
        "implementation": recorded.implementation,
        "packages": [
            {
                "name": d.name,
                "version": d.version,
                "origin": d.origin,
                "url": d.url,
                "commit": d.commit,
                "locked": "hashes" if d.name in pins else extras.get(d.name),
            }
            for d in recorded.distributions
        ],
        "gaps": [gap.to_dict() for gap in made.gaps],
        "lock": made.digest,
        "built": None if built is None else str(built),
    }


def _diff(store: Store, run: Run, recorded: Environment, other: str, as_json: bool) -> int:
    from reprokit.replay import environment

    if other == "current":
        name, after = "current", environment.current(recorded)
    else:
        second = store.load(store.resolve(other))
        name, after = second.id, environment_of(second)
    found = environment.differences(recorded, after)
    if as_json:
        emit_json({"run": run.id, "other": name, "differences": list(found)})
    else:
        from reprokit.views.env import differences_text

        click.echo(differences_text(run.id, name, found))
    return DIFFERENT if found else DONE


def _export(store: Store, run: Run, made: Lock, form: str, output: Path | None, as_json: bool) -> int:
    from reprokit.replay import exports

    recorded = exports.Recorded(
        lock=made,
        environment=environment_of(run),
        objects=store.objects,
        name=f"replay-of-{run.name or run.id}",
        machine=run.machine,
        system=system_packages(run) if form == "Dockerfile" else (),
    )
    export = exports.plan(recorded, form)
    if export.is_folder and output is None:
        count = len(export.texts) + len(export.wheels)
        raise UsageError(f"this export is {count} files", remedy="name a folder for them with -o DIR")
    if output is not None:
        exports.write(export, store.objects, output)
    if as_json:
        where = None if output is None else str(output)
        files = [*export.texts, *export.wheels]
        emit_json({"run": run.id, "form": form, "output": where, "files": files, "notes": list(export.notes)}
                  | ({"text": export.texts[export.main]} if output is None else {}))  # fmt: skip
        return DONE
    if output is None:
        click.echo(export.texts[export.main], nl=False)
    else:
        click.echo(f"{output}{'/' + export.main if export.is_folder else ''} is written")
    for note in export.notes:
        click.echo(f"note: {note}", err=True)
    return DONE


def system_packages(run: Run) -> list[str]:
    """Return the system's packages that own the libraries which the run loaded, where dpkg knows them."""
    paths = [library.path for library in run.libraries if library.kind in ("blas", "openmp", "other")]
    if not paths or shutil.which("dpkg-query") is None:
        return []
    done = subprocess.run(["dpkg-query", "--search", *paths], capture_output=True, text=True, check=False)
    owners = (line.partition(": ")[0].partition(":")[0] for line in done.stdout.splitlines() if ": /" in line)
    return sorted({owner for owner in owners if " " not in owner})


def _wheelhouse(store: Store, made: Lock, folder: Path, as_json: bool) -> int:
    from reprokit.cli.progress import reporter
    from reprokit.replay import wheelhouse

    with reporter(False) as progress:
        packed = wheelhouse.make(made, store.objects, folder, progress=lambda what: progress(what, 0, 0))
    size = sum((folder / one.filename).stat().st_size for one in packed)
    if as_json:
        emit_json({"wheelhouse": str(folder), "size": size, "files": [asdict(one) for one in packed]})
        return DONE
    from reprokit.views.env import wheelhouse_text

    click.echo(wheelhouse_text(str(folder), size, [(one.name, one.version, one.source) for one in packed]))
    return DONE

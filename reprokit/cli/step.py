"""``reprokit step``: captured runs become stages of DVC, inferred from what the runs read and wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DONE, emit_json, json_option
from reprokit.errors import UsageError

if TYPE_CHECKING:
    from reprokit.pipeline.dvc import Plan
    from reprokit.pipeline.propose import Proposal
    from reprokit.pipeline.stages import Stage

__all__ = ["step"]


@click.command()
@click.argument("words", metavar="RUN|NOTEBOOK...", nargs=-1)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed every generator of these stages with this.")
@click.option("--write", is_flag=True, help="Also write the proposed parameters cells into the notebooks.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--clean", metavar="DIR", hidden=True, help="Write into DIR what DVC watches of NOTEBOOKs.")
@json_option
def step(words: tuple[str, ...], seed: int | None, write: bool, dry_run: bool, clean: str | None, as_json: bool) -> int:
    """Write the stages that runs are into dvc.yaml, and their parameters into params.yaml.

    Each RUN, or the newest finished run of each NOTEBOOK, becomes a stage; what one wrote and another read joins
    them. `dvc repro` then runs what is out of date, each stage captured as a run. What was changed by hand in
    these files stays.
    """
    if clean is not None:
        from reprokit.pipeline.clean import refresh

        refresh(clean, words)
        return DONE
    if not words:
        raise UsageError("it is not said what becomes a stage", remedy="name runs or notebooks; `reprokit runs` lists")
    from reprokit.pipeline import dvc, propose
    from reprokit.pipeline.infer import infer
    from reprokit.store.store import Store

    if write and dry_run:
        raise UsageError("--write and --dry-run exclude each other", remedy="leave one of them out")
    store = Store.open()
    pipeline = infer(store, words)
    proposals = propose.proposals(store, pipeline)
    if write:
        pipeline = propose.write(proposals, pipeline, store.layout.project)
    planned = dvc.plan(store, pipeline, seed=seed)
    if not dry_run:
        dvc.carry_out(planned)
    if as_json:
        emit_json(_document(planned, proposals, dry_run=dry_run, written=write))
    else:
        click.echo("\n".join(_lines(planned, proposals, dry_run=dry_run, written=write)))
    return DONE


def _document(planned: Plan, proposals: tuple[Proposal, ...], *, dry_run: bool, written: bool) -> dict[str, Any]:
    return {
        "folder": str(planned.folder),
        "stages": [stage.to_dict() for stage in planned.pipeline.stages],
        "files": [
            {"path": _here(change.path), "new": change.before is None, "diff": change.diff()}
            for change in planned.changes
        ],
        "proposals": [
            {"notebook": one.notebook, "params": dict(one.params), "diff": one.diff, "written": written}
            for one in proposals
        ],
        "notes": list(planned.notes),
        "dry_run": dry_run,
    }


def _lines(planned: Plan, proposals: tuple[Proposal, ...], *, dry_run: bool, written: bool) -> list[str]:
    """Return the stages, what was written, what to know, and what to do next."""
    from reprokit.views.plain import block, indent, plain, table

    stages = planned.pipeline.stages
    lines = table([_row(stage) for stage in stages])
    for stage in stages:
        before = planned.pipeline.upstream(stage.name)
        lines += [f"{stage.name} needs {', '.join(before)}"] if before else []
    if dry_run:
        lines += [line for change in planned.changes for line in block(change.diff().rstrip("\n"))]
    elif planned.changes:
        lines.append(f"wrote {', '.join(_here(change.path) for change in planned.changes)}")
    else:
        lines.append("nothing changed: dvc.yaml has these stages")
    lines += [f"note: {plain(note)}" for note in planned.notes]
    for one in proposals:
        names = ", ".join(one.params)
        done = f"{one.notebook} has a parameters cell now" if written else f"{one.notebook} has no parameters cell"
        lines.append(plain(f"{done}: {names}" if written else f"{done}; `--write` would put these there: {names}"))
        lines += [] if written else indent(block(one.diff.rstrip("\n")))
    return lines if dry_run else [*lines, f"next: {_next(planned)}"]


def _row(stage: Stage) -> list[str]:
    from reprokit.views.plain import count, plain

    reads, writes = count(len(stage.deps), "file"), count(len(stage.products), "file")
    return [plain(stage.name), plain(stage.notebook), f"reads {reads}", f"writes {writes}"]


def _next(planned: Plan) -> str:
    away = os.path.relpath(planned.folder)
    return "dvc repro" if away == "." else f"cd {away} && dvc repro"


def _here(path: Path) -> str:
    return Path(os.path.relpath(path)).as_posix()

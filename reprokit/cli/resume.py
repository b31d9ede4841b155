"""``reprokit resume``: let a run of a notebook that was cut off go on after its last checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import emit_json, json_option
from reprokit.cli.engine import chosen, engine_options
from reprokit.cli.run import exit_code, params, print_run

if TYPE_CHECKING:
    from reprokit.pipeline.spec import Spec
    from reprokit.store.store import Store

__all__ = ["resume"]


@click.command()
@click.argument("name", metavar="RUN")
@click.option("-p", "--param", "given", nargs=2, multiple=True, metavar="NAME VALUE", help="Set a parameter anew.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the executed notebook here.")
@engine_options
@click.option("--dry-run", is_flag=True, help="Tell from where it would go on, and run nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Tell each step.")
@json_option
def resume(
    name: str,
    given: tuple[tuple[str, str], ...],
    output: Path | None,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Let a run that failed, was stopped or died go on after its last good checkpoint.

    The run must have been started with --checkpoint. The cells after the checkpoint are executed as the notebook has
    them now; when a cell before it, a parameter, an input or the environment changed, an earlier checkpoint is used,
    or the run begins anew, and it is said why. `reprokit replay` of the new run repeats all cells, and so proves that
    it gave what a run in one piece gives. The exit code is that of `reprokit run`.
    """
    from reprokit.cli.progress import reporter
    from reprokit.pipeline import resume as resuming
    from reprokit.pipeline.step import perform, resumption
    from reprokit.store.store import Store

    store = Store.open()
    record = store.load(store.resolve(name))
    resuming.require(store, record)
    spec, isolated = resuming.spec_of(store, record)
    spec = _changed(dataclasses.replace(spec, resume=record.id, reuse=False), given, output)
    if dry_run:
        lines, cell = resumption(spec, store=store, isolated=isolated)
        if as_json:
            emit_json({"run": record.id, "after_cell": cell, "told": list(lines)})
        else:
            click.echo("\n".join(lines))
        return 0
    options = chosen(options)
    engine = options.pop("engine")
    if engine is not None or options:
        return _placed(store, spec, isolated, as_json, engine or "local", options)
    with reporter(verbose) as progress:
        result = perform(spec, store=store, isolated=isolated, progress=progress, told=_tell)
    if result.run is None:
        return result.exit_code
    print_run(store, store.load(result.run), as_json)
    return exit_code(result)


def _placed(store: Store, spec: Spec, isolated: bool, as_json: bool, engine: str, options: dict[str, Any]) -> int:
    """Have an engine place the step, and tell what became of it."""
    from reprokit.pipeline.stopping import Stopped, stoppable
    from reprokit.pipeline.sweep import single

    if not isolated:
        spec = dataclasses.replace(spec, inherit=("*",))
    try:
        with stoppable():
            ended = single.perform(store, spec, engine, _tell, **options)
    except Stopped as stopped:
        _tell(f"reprokit: {stopped.reason}: `reprokit runs` shows what there is of it")
        return 128 + stopped.signal
    if ended.run is None:
        _tell(f"reprokit: {ended.reason}")
        return ended.exit_code
    print_run(store, store.load(ended.run), as_json)
    return ended.exit_code if ended.exit_code > 128 else int(ended.exit_code != 0)


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _changed(spec: Spec, given: tuple[tuple[str, str], ...], output: Path | None) -> Spec:
    changes: dict[str, object] = {}
    if given and spec.notebook is not None:
        changes["params"] = {**spec.params, **params(spec.path(spec.notebook), given, None)}
    if output is not None:
        changes["output_notebook"] = str(output.absolute())
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]

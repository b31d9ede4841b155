"""``reprokit validate``: gates between the steps of a pipeline."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprokit.cli import DIFFERENT, DONE, emit_json, json_option
from reprokit.errors import RunNotFound, UsageError

if TYPE_CHECKING:
    from reprokit.pipeline.gates import Gate, Gates
    from reprokit.records import Run
    from reprokit.store.store import Store

__all__ = ["validate"]


@click.command()
@click.argument("run", default="latest")
@click.option("--against", metavar="PIN", help="The pinned run to compare with: tables, and `not worse than pinned`.")
@click.option("--metric", "metrics", multiple=True, metavar="TEXT", help="Such as 'accuracy >= 0.9'.")
@click.option("--outputs", is_flag=True, help="Compare also the tables that RUN wrote.")
@click.option(
    "--gates", "file", type=click.Path(dir_okay=False, path_type=Path), help="A YAML file of gates; see the README."
)
@click.option("-o", "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the report here, as JSON.")
@json_option
def validate(
    run: str,
    against: str | None,
    metrics: tuple[str, ...],
    outputs: bool,
    file: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Check RUN, the latest by default: its assumptions, its metrics, and its tables against those of a pinned run.

    A stage's name stands for the run whose results lie in the project. The exit code is 1 when a gate does not hold,
    so that a pipeline stops there. A metric is one that the run told, or a number in a JSON file that it wrote:
    'accuracy >= 0.9', 'accuracy not worse than pinned - 0.01', 'loss not worse than pinned + 5 %'.
    """
    from reprokit.pipeline.gates import Gates, judge, parse_threshold, read_gates
    from reprokit.store.store import Store

    gates = read_gates(file) if file is not None else Gates()
    gates = dataclasses.replace(
        gates,
        metrics=(*gates.metrics, *map(parse_threshold, metrics)),
        against=against or gates.against,
        outputs=outputs or gates.outputs,
    )
    store = Store.open()
    checked, pinned = _run(store, run), _pinned(store, gates)
    found = judge(store.objects, checked, pinned, gates)
    if not found:
        remedy = "give --metric, --against PIN or --gates FILE"
        raise UsageError(f"there is nothing to check of run {checked.id}", remedy=remedy)
    document = _document(checked, pinned, found)
    if report is not None:
        _write(report, document)
    if as_json:
        emit_json(document)
    else:
        click.echo("\n".join(_lines(checked, found)))
    return DONE if all(gate.holds for gate in found) else DIFFERENT


def _run(store: Store, word: str) -> Run:
    from reprokit.pipeline.newest import original, standing

    standing_run = standing(store, word, status="")
    run = standing_run if standing_run is not None else original(store, store.resolve(word))
    if run is None:
        raise RunNotFound(word)
    return run


def _pinned(store: Store, gates: Gates) -> Run | None:
    from reprokit.replay.check import find

    return None if gates.against is None else store.load(find(store, gates.against))


def _document(run: Run, pinned: Run | None, found: tuple[Gate, ...]) -> dict[str, Any]:
    return {
        "run": run.id,
        "against": None if pinned is None else pinned.id,
        "holds": all(gate.holds for gate in found),
        "gates": [gate.to_dict() for gate in found],
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror})", remedy="name another file with -o") from error


def _lines(run: Run, found: tuple[Gate, ...]) -> list[str]:
    from reprokit.views.plain import count, plain

    failed = [gate for gate in found if not gate.holds]
    lines = [plain(f"{'ok  ' if gate.holds else 'FAIL'} {gate.kind} {gate.name}: {gate.text}") for gate in found]
    ended = f"{count(len(failed), 'gate')} of {len(found)} failed" if failed else f"{count(len(found), 'gate')} passed"
    return [*lines, f"{run.id}: {ended}"]

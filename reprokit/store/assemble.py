"""The patches of a run's journals become one ``Run``. Pure: the same patches always give the same run.

Knows what a patch means; it does not know files. Whether a writer lives is asked of the function it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reprokit.records import Cell, Process, Run
from reprokit.store.layout import started_at

__all__ = ["assemble"]

Patch = dict[str, Any]
_MERGED = ("params", "tags")
_DEFAULTS: dict[str, Any] = {**Run(id="").to_dict(), **Cell(seq=0, source="").to_dict()}
_USES = ("reads", "writes", "artifacts")


def assemble(
    run_id: str,
    journal: Sequence[Patch],
    batch: Sequence[Patch] = (),
    alive: Callable[[Process], bool | None] | None = None,
) -> Run:
    """Build the run that its journals tell of.

    Args:
        run_id: the run's id, whatever the patches say.
        journal: the patches of the kernel, in the order in which they were written.
        batch: those of the parent process; their status, reason and end win over the kernel's.
        alive: tells whether a writer lives (None: cannot be known); without it an open run stays "running".

    Raises:
        TypeError: a patch or a value has the wrong type.
        SchemaError: the run was written by a newer reprokit.
    """
    patches = [*journal, *batch]
    run: dict[str, Any] = {}
    cells: dict[int, dict[str, Any]] = {}
    for patch in patches:
        _apply(_target(patch, run, cells), patch)
    for patch in patches:
        _fill(_target(patch, run, cells), patch)
    run["id"] = run_id
    run.setdefault("started", _first_time(patches, run_id))
    _settle(run, cells, _last_time(patches), alive)
    run["cells"] = [_without_repeats(cells[seq]) for seq in sorted(cells)]
    return Run.from_dict(_without_repeats(run))


def _target(patch: Patch, run: dict[str, Any], cells: dict[int, dict[str, Any]]) -> dict[str, Any]:
    if "cell" not in patch:
        return run
    seq = patch["cell"]
    if not isinstance(seq, int):
        raise TypeError(f"a patch is for cell {seq!r}, which is not a number")
    return cells.setdefault(seq, {"seq": seq, "source": ""})


def _apply(target: dict[str, Any], patch: Patch) -> None:
    for key, value in _table(patch, "set").items():
        if key in _MERGED and isinstance(value, dict):
            target[key] = {**target.get(key, {}), **value}
        elif key != "seq" and not (key == "status" and value == "running"):  # what has ended never runs again
            target[key] = list(value) if isinstance(value, list) else value
    for key, items in _table(patch, "add").items():
        if not isinstance(items, list):
            raise TypeError(f"a patch adds {items!r} to {key}, which is not a list")
        target.setdefault(key, []).extend(items)


def _fill(target: dict[str, Any], patch: Patch) -> None:
    """Set what no patch has told: a field that is absent, or still as it is by default."""
    for key, value in _table(patch, "fill").items():
        if target.get(key, _DEFAULTS.get(key)) == _DEFAULTS.get(key):
            target[key] = value


def _table(patch: Patch, verb: str) -> dict[str, Any]:
    table = patch.get(verb, {})
    if not isinstance(table, dict):
        raise TypeError(f"a patch has {verb} {table!r}, which is not a table")
    return table


def _times(patches: Iterable[Patch]) -> list[float]:
    return [float(patch["t"]) for patch in patches if isinstance(patch.get("t"), (int, float))]


def _first_time(patches: Sequence[Patch], run_id: str) -> float:
    return next(iter(_times(patches)), started_at(run_id))


def _last_time(patches: Sequence[Patch]) -> float | None:
    return max(_times(patches), default=None)


def _settle(
    run: dict[str, Any],
    cells: dict[int, dict[str, Any]],
    last: float | None,
    alive: Callable[[Process], bool | None] | None,
) -> None:
    """Decide what an open run is, and close the open cells of one that was cut off."""
    open_cells = [seq for seq in sorted(cells) if cells[seq].get("status", "running") == "running"]
    if run.get("status", "running") == "running" and alive is not None:
        writers = [Process.from_dict(writer) for writer in run.get("writers", [])]
        if not any(alive(writer) is not False for writer in writers):
            run.update(_interruption(open_cells, last, run))
    if run.get("status") == "done":
        run["reason"] = None
    if run.get("status") in ("failed", "interrupted"):
        for seq in open_cells:
            cells[seq]["status"] = "interrupted"


def _interruption(open_cells: list[int], last: float | None, run: dict[str, Any]) -> dict[str, Any]:
    where = f"in the middle of cell {open_cells[-1]}" if open_cells else "before the run was stopped"
    reason = run.get("reason") or f"the kernel ended {where}"
    return {"status": "interrupted", "reason": reason, "ended": run.get("ended") or last}


def _without_repeats(table: dict[str, Any]) -> dict[str, Any]:
    """Keep the last word on each file (pending, then hashed) and each writer once, at its first place."""
    for key in _USES:
        if key in table:
            table[key] = list({(use["path"], use["access"]): use for use in table[key]}.values())
    if "writers" in table:
        table["writers"] = list({tuple(sorted(writer.items())): writer for writer in table["writers"]}.values())
    return table

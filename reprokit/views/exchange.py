"""Runs that went to a remote or came from one, as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reprokit.records import Run
from reprokit.views.plain import count, plain, size, table

__all__ = ["pulled_text", "pushed_text", "trusted_text"]

_SHOWN = 5


def pushed_text(moved: Sequence[Mapping[str, Any]], remote: str) -> str:
    """Return what was pushed, with what each run had to go without."""
    if not moved:
        return "no run is over: nothing to push"
    lines = _lines(moved)
    for one in moved:
        if one["lacking"]:
            more = f" and {len(one['lacking']) - _SHOWN} more" if len(one["lacking"]) > _SHOWN else ""
            names = ", ".join(map(plain, one["lacking"][:_SHOWN]))
            lines.append(f"{one['run']} went without {names}{more}: `reprokit fsck` says why")
    return "\n".join([*lines, f"pushed {count(len(moved), 'run')} to {plain(remote)}"])


def pulled_text(moved: Sequence[Mapping[str, Any]], remote: str) -> str:
    """Return what was pulled, and what has to be said before it is run."""
    if not moved:
        return f"{plain(remote)} has no runs"
    return "\n".join([*_lines(moved), f"pulled {count(len(moved), 'run')} from {plain(remote)}"])


def _lines(moved: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        [one["run"], count(one["files"], "file") if one["files"] else "was there", size(one["bytes"])] for one in moved
    ]
    return table(rows, right=[2])


def trusted_text(run: Run, digest: str, trusted: bool) -> str:
    """Return what is trusted: what a replay of it would execute."""
    if not trusted:
        return f"run {run.id} is not trusted any more"
    hosts = sorted({host for cell in run.cells for host in cell.network})
    where = f", which contacted {', '.join(map(plain, hosts))}" if hosts else ""
    whence = f" from {plain(run.origin)}" if run.origin else ""
    packages = count(len(run.environment.distributions), "package") if run.environment else "no packages"
    what = f"{count(len(run.cells), 'cell')}{where}, and {packages}"
    return f"run {run.id}{whence} may be run here: {what}\nas it is now: {digest}"

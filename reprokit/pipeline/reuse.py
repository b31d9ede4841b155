"""Whether an earlier run already did what a step is to do, and how its results come back instead of a new run.

A run stands for a step when its key is the same, all that it read is as it was, nothing in it could come out
otherwise, and what it wrote can be had bit for bit. Each reason against it is told in one line.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from reprokit.digest import is_file_named
from reprokit.errors import StoreError
from reprokit.pipeline import key as keys
from reprokit.pipeline.imports import listed_folders, spelt
from reprokit.pipeline.result import made
from reprokit.records import Environment, FileUse, Run
from reprokit.records.replayable import blocking
from reprokit.replay import environment, folders, modules
from reprokit.replay.plan import wanted
from reprokit.store import origin
from reprokit.store.store import Store

__all__ = ["Candidate", "Choice", "choose", "lines", "made", "put_back", "restore"]

_LISTED = 5_000  # summaries of earlier runs that are looked through
_LOADED = 8  # runs that are compared in full
_NAMED = 3
_WILD = re.compile(r"[*?\[]")
_LONGEST = 1_000  # characters of a text that may name a folder
_LOOKED_AT = 20_000  # files of folders that code lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a step is to be, in the form in which earlier runs are compared with it.

    Attributes:
        what: the notebook or script, as the record names it.
        is_script: which of the two.
        key: see ``key.make``.
        sources: its code, with that of the project's modules that it imports.
        environment: what it would run in, where that is known here.
        cwd: its working directory.
        outputs: what it declares to make.
        results: files that are made for it, not by it: its executed notebook, its result.
    """

    what: str
    is_script: bool
    key: Mapping[str, Any]
    sources: Sequence[str]
    environment: Environment | None
    cwd: Path
    outputs: Sequence[str] = ()
    results: Sequence[Path] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The run to take over, or None; ``reasons`` then say why not, about ``nearest`` if there is one."""

    run: Run | None
    nearest: str | None = None
    reasons: tuple[str, ...] = ()


def choose(store: Store, candidate: Candidate, *, anyway: bool = False) -> Choice:
    """Return the newest run that stands for a step, or why the nearest one does not.

    Args:
        store: holds the runs.
        candidate: what the step is to be.
        anyway: also take a run over that could come out otherwise.
    """
    nearest: tuple[list[str], str] | None = None
    for run in _earlier(store, candidate):
        reasons = _reasons(store, run, candidate, anyway=anyway)
        if not reasons:
            return Choice(run=run)
        if nearest is None or len(reasons) < len(nearest[0]):
            nearest = (reasons, run.id)
    if nearest is None:
        return Choice(run=None, reasons=("there is no finished run of it",))
    return Choice(run=None, nearest=nearest[1], reasons=tuple(nearest[0]))


def lines(choice: Choice) -> list[str]:
    """Return the reasons against every run, each with the run that it is about."""
    if choice.nearest is None:
        return list(choice.reasons)
    return [f"{reason} {_since(reason)} run {choice.nearest}" for reason in choice.reasons]


def _since(reason: str) -> str:
    changed = reason.endswith((" changed", " is new", " is gone")) or " → " in reason or reason.startswith("added ")
    return "since" if changed else "in"


def restore(store: Store, run: Run) -> list[FileUse]:
    """Put a run's results in their places, each whole and checked, and return them.

    What lies there with the same bytes stays as it is.

    Raises:
        StoreError: an object is gone or damaged, or a place cannot be written.
    """
    return put_back(store, made(folders.expanded(run, store.objects.get_bytes)).values())


def put_back(store: Store, files: Iterable[FileUse]) -> list[FileUse]:
    """Put files in their places as they were recorded, each whole and checked, and return them.

    Raises:
        StoreError: an object is gone or damaged, or a place cannot be written.
    """
    uses = list(files)
    for use in uses:
        target = store.layout.project / use.path
        if use.digest is None or is_file_named(target, use.digest):
            continue
        try:
            store.objects.restore(use.digest, target)
        except OSError as error:
            raise StoreError(f"{use.path} cannot be put back ({error})", path=target) from error
    return uses


def _earlier(store: Store, candidate: Candidate) -> Iterator[Run]:
    """Yield finished runs of the same notebook or script, those with the same parameters first."""
    listed = store.runs(limit=_LISTED, query="kind=batch status=done")
    fitting = [
        entry
        for entry in listed
        if entry.reuse_of is None and (entry.notebook == candidate.what or (candidate.is_script and not entry.notebook))
    ]
    fitting.sort(key=lambda entry: entry.params != candidate.key["params"])  # stable: the newest first in each group
    found = 0
    for entry in fitting:
        run = store.load(entry.id)
        if run.step and (run.script if candidate.is_script else run.notebook) == candidate.what:
            yield run
            found += 1
            if found == _LOADED:
                return


# --- reasons against a run


def _reasons(store: Store, run: Run, candidate: Candidate, *, anyway: bool) -> list[str]:
    here = folders.expanded(modules.located(run, store.layout.project), store.objects.get_bytes)
    reasons = keys.differences(run.step, candidate.key)
    reasons += _environment(run, candidate)
    told = set(reasons)
    reasons += [line for line in _inputs(store, here) if line not in told]
    reasons += _new_files(store, here, candidate)
    reasons += _lost(store, here, candidate.outputs)
    if run.resumed_from is not None and not _is_certified(store, run):
        reasons.append("it was resumed from a checkpoint, and no replay of it was identical")
    if run.origin is not None and not origin.is_trusted(store.layout, run):
        reasons.append(f"it came from {run.origin}, and `reprokit trust` was not said")
    return reasons if anyway else reasons + list(_unsure(here))


def _is_certified(store: Store, run: Run) -> bool:
    """Return whether a replay, which runs all cells, gave what a resumed run gave."""
    for entry in store.runs(query=f"kind=replay replay_of={run.id}"):
        if ((store.load(entry.id).verdict or {}).get("verdict")) in ("identical", "equivalent"):
            return True
    return False


def _environment(run: Run, candidate: Candidate) -> list[str]:
    if run.environment is None:
        return ["its environment was not recorded"]
    now = candidate.environment
    if now is None or run.environment.fingerprint == now.fingerprint:
        return []
    if now.prefix == sys.prefix:  # what had been changed by hand then may be so still: look at that as well
        now = environment.current(run.environment)
        if run.environment.fingerprint == now.fingerprint:
            return []
    found = environment.differences(run.environment, now)
    more = [f"… and {len(found) - _NAMED} more packages"] if len(found) > _NAMED else []
    return [*found[:_NAMED], *more] or ["the environment changed"]


def _inputs(store: Store, run: Run) -> Iterator[str]:
    """Tell what the run read, or imported from elsewhere, and is not as it was."""
    first: dict[str, FileUse] = {}
    for _, use in wanted(run):
        first.setdefault(use.path, use)
    for path, use in first.items():
        if use.files:
            yield f"what is in {path} is not known file by file"
        elif use.digest is not None:
            yield from _changed(store.layout.project / path, path, use.digest)
    for module in run.modules:
        top = Path(module.place).parent if Path(module.place).is_file() else Path(module.place)
        for use in module.files:
            if use.digest is not None:
                yield from _changed(top / use.path, str(top / use.path), use.digest)


def _changed(file: Path, shown: str, digest: str) -> Iterator[str]:
    if not file.exists():
        yield f"{shown} is gone"
    elif not is_file_named(file, digest):
        yield f"{shown} changed"


def _new_files(store: Store, run: Run, candidate: Candidate) -> Iterator[str]:
    """Tell of files that were not there, in folders that the code lists."""
    project, ended = store.layout.project.resolve(), run.ended or 0.0
    used = (use.path for cell in run.cells for use in (*cell.reads, *cell.writes))
    known = {str(project / path) for path in (*used, *candidate.key.get("inputs", ()))}
    known |= {str(path) for path in candidate.results}
    new = set()
    for folder, pattern in _listed(run, candidate, project):
        for file in _files_in(folder):
            is_meant = str(file) not in known and (pattern is None or fnmatch(str(file), pattern))
            if is_meant and file.stat().st_ctime > ended:
                new.add(file.relative_to(project).as_posix())
    yield from (f"{name} is new" for name in sorted(new)[:_NAMED])
    if len(new) > _NAMED:
        yield f"{len(new) - _NAMED} more files are new"


def _listed(run: Run, candidate: Candidate, project: Path) -> set[tuple[Path, str | None]]:
    """Return the folders that the code lists, with the patterns; where it does not spell them out, all it may mean."""
    named, unclear = listed_folders(candidate.sources)
    found: set[tuple[Path, str | None]] = set()
    if unclear:
        named |= spelt(candidate.sources)
        reads = (use.path for cell in run.cells for use in cell.reads)
        found = {((project / path).parent, None) for path in reads if not path.startswith("/")}
    for text in named:
        if 0 < len(text) < _LONGEST and "\n" not in text and "\0" not in text:
            at = candidate.cwd.resolve() / text
            pattern = str(at) if _WILD.search(text) else None
            while _WILD.search(str(at)):
                at = at.parent
            if at.is_dir() and at.resolve().is_relative_to(project):
                found.add((at, pattern))
    return {(folder, pattern) for folder, pattern in found if folder != project and folder.is_relative_to(project)}


def _files_in(folder: Path) -> Iterator[Path]:
    seen = 0
    for top, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        for file in (Path(top, name) for name in files):
            if file.exists() and (seen := seen + 1) <= _LOOKED_AT:
                yield file


def _lost(store: Store, run: Run, outputs: Sequence[str]) -> Iterator[str]:
    """Tell which results cannot be had again, and which it never had."""
    project = store.layout.project
    known = made(run)
    yield from (f"it did not make {path}" for path in outputs if not _has(known, path))
    for path, use in known.items():
        at = project / path
        if use.digest is None:
            yield f"its result {path} was not hashed"
        elif is_file_named(at, use.digest):
            continue
        elif path.startswith("/"):
            yield f"its result {path}, outside the project, is not as it was"
        elif not at.parent.resolve().is_relative_to(project.resolve()):
            yield f"its result {path} lies behind a link that leads out of the project"
        elif not store.objects.has(use.digest):
            yield f"the bytes of its result {path} were not kept"


def _has(known: Mapping[str, FileUse], path: str) -> bool:
    return path in known or any(one.startswith(f"{path.rstrip('/')}/") for one in known)


def _unsure(run: Run) -> Iterator[str]:
    """Tell why a new run could come out otherwise, though nothing that is known of changed."""
    if run.capture is None or not run.capture.complete:
        tier = "unknown" if run.capture is None else run.capture.tier
        yield f"its files were not all observed (tier {tier})"
    for gap in blocking(run):
        yield _at(gap.message, gap.cell)
    for gap in run.gaps:
        if gap.aspect == "randomness" and not gap.blocks and not gap.settled:
            yield _at(gap.message, gap.cell)
    for cell in run.cells:
        if cell.network:
            yield _at(f"it used the network ({', '.join(cell.network[:_NAMED])}), which may answer otherwise", cell.seq)
        for use in cell.reads:
            if use.digest is None and not use.own:
                yield _at(f"{use.path} was not hashed when it was read", cell.seq)


def _at(message: str, cell: int | None) -> str:
    return message if cell is None else f"{message} (cell {cell})"

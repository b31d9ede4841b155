"""Which pinned runs and stages are out of date, and why: the data, code, configuration or environment, or their age.

A pinned run, or a stage of ``dvc.yaml``, is judged by its newest finished run: what that one read, ran and was run
in is compared with what is there now. Nothing is run here.
"""

from __future__ import annotations

import posixpath
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reprokit.capture.code import listing
from reprokit.digest import git_blob, of_file
from reprokit.errors import GitError, RunNotFound, StoreError, UsageError
from reprokit.notebook.parameters import read_notebook
from reprokit.pipeline import dvc, local
from reprokit.pipeline.infer import code_cells, located
from reprokit.pipeline.newest import original, standing
from reprokit.pipeline.stages import Pipeline, Stage
from reprokit.records import Environment, FileUse, Record, Run
from reprokit.replay import environment, folders
from reprokit.replay.modules import moved
from reprokit.replay.plan import wanted
from reprokit.store.store import Store

__all__ = ["Digests", "Item", "Reason", "look", "parse_age"]

_SETTINGS = frozenset((".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".env"))
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NAMED = 5  # packages that are told of one environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason(Record):
    """Why it is: ``cause`` is "data", "code", "config", "environment", "age", "run" (there is none) or "upstream"."""

    cause: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(Record):
    """A pinned run or a stage, and whether it is out of date.

    Attributes:
        name: the pin's name, or the stage's.
        kind: "pin" or "stage".
        run: the newest finished run of it; None when there is none.
        pinned: the pinned run; None for a stage.
        reasons: why it is out of date; empty when it is not.
    """

    name: str
    kind: str
    run: str | None = None
    pinned: str | None = None
    reasons: tuple[Reason, ...] = ()


class Digests:
    """The digests of files as they are now; each is read again only when its size or time changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], str]] = {}

    def of(self, path: Path) -> str | None:
        """Return the digest of a file; None when there is none."""
        try:
            status = path.stat()
            mark = (status.st_ino, status.st_size, status.st_mtime_ns)
            known = self._known.get(str(path))
            if known is None or known[0] != mark:
                known = self._known[str(path)] = (mark, of_file(path))
        except OSError:
            return None
        return known[1]


def look(
    store: Store, words: Sequence[str] = (), *, older_than: float | None = None, digests: Digests | None = None
) -> tuple[Item, ...]:
    """Return the pinned runs and the stages, or those of these names, each with why it is out of date.

    Args:
        store: holds the runs.
        words: names of pins and stages; all by default.
        older_than: seconds after which a run is out of date in any case.
        digests: what is known of files.

    Raises:
        UsageError: there are none, or a name is none of theirs.
    """
    judge = _Judge(store, older_than, digests or Digests())
    pipeline = _pipeline(store.layout.project)
    pins = store.pins()
    known = {*pins.values(), *pins, *(stage.name for stage in pipeline.stages)}
    if unknown := [word for word in words if word not in known]:
        remedy = f"there are {', '.join(sorted(known))}" if known else "`reprokit pin RUN` pins a run"
        raise UsageError(f"{unknown[0]!r} is no pinned run and no stage", remedy=remedy)
    if not known:
        remedy = "`reprokit pin RUN` pins a run, `reprokit step NOTEBOOK…` makes stages"
        raise UsageError("no run is pinned, and there are no stages", remedy=remedy)
    chosen = [(run_id, name) for run_id, name in pins.items() if not words or {run_id, name} & set(words)]
    items = [judge.pin(run_id, name) for run_id, name in chosen]
    stages = {stage.name: judge.stage(stage) for stage in pipeline.stages}
    for stage in pipeline.stages:  # in an order in which each comes after those that it reads from
        late = [name for name in pipeline.upstream(stage.name) if stages[name].reasons]
        stages[stage.name] = _waiting(stages[stage.name], late)
    return (*items, *(item for name, item in stages.items() if not words or name in words))


def parse_age(text: str) -> float:
    """Return the seconds that a text such as ``7d``, ``12h`` or ``90 m`` says.

    Raises:
        UsageError: it says none.

    >>> parse_age("1.5 h")
    5400.0
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text)
    if match is None:
        raise UsageError(f"{text!r} is no age", remedy="write it like 12h, 7d or 2w")
    return float(match[1]) * _UNITS[match[2]]


def _pipeline(project: Path) -> Pipeline:
    path = dvc.nearest(project)
    return dvc.read(path, project) if path is not None else Pipeline()


def _waiting(item: Item, late: Sequence[str]) -> Item:
    reasons = (*item.reasons, *(Reason(cause="upstream", text=f"{name} is out of date") for name in late))
    return Item(name=item.name, kind=item.kind, run=item.run, pinned=item.pinned, reasons=reasons)


class _Judge:
    """Compares runs with what is there now."""

    def __init__(self, store: Store, older_than: float | None, digests: Digests) -> None:
        self._store = store
        self._older_than = older_than
        self._digests = digests
        self._today: Callable[[], Environment] = cache(environment.current)

    def pin(self, run_id: str, name: str) -> Item:
        """Judge a pinned run by the newest finished run of the same notebook with the same parameters."""
        try:
            pinned = located(self._store, moved(self._store.load(run_id), self._store.layout.project))
        except (RunNotFound, StoreError) as error:
            gone = Reason(cause="run", text=f"it cannot be read: {error.message}")
            return Item(name=name, kind="pin", pinned=run_id, reasons=(gone,))
        newest = next(self._later(pinned), pinned)
        return Item(name=name, kind="pin", run=newest.id, pinned=run_id, reasons=self._reasons(newest))

    def stage(self, stage: Stage) -> Item:
        """Judge a stage by the finished run whose results lie there."""
        run = standing(self._store, stage.name, lambda run: (run.notebook or run.script) == stage.notebook)
        if run is None:
            never = Reason(cause="run", text="it was never run to its end")
            return Item(name=stage.name, kind="stage", reasons=(never,))
        reasons = (*self._reasons(run), *_params(run, stage))
        return Item(name=stage.name, kind="stage", run=run.id, reasons=reasons)

    def _later(self, pinned: Run) -> Iterator[Run]:
        if pinned.notebook is None and pinned.script is None:
            return
        for summary in self._store.runs(query="status=done kind=batch"):
            if summary.started <= pinned.started:
                return
            run = original(self._store, summary.id)
            if run is not None and (run.notebook, run.script, run.params) == (
                pinned.notebook,
                pinned.script,
                pinned.params,
            ):
                yield run

    def _reasons(self, run: Run) -> tuple[Reason, ...]:
        found = (*self._data(run), *self._code(run), *self._environment(run), *self._age(run))
        return tuple(dict.fromkeys(found))

    def _data(self, run: Run) -> Iterator[Reason]:
        try:
            full = folders.expanded(run, self._store.objects.get_bytes)
        except StoreError:  # what is in a folder of very many files is not known any more
            full = run
        settings = " ".join((run.config.sources if run.config else {}).values())
        for _, use in wanted(full):
            text = self._changed(Path(run.root), use)
            if text is not None:
                is_config = use.path in settings or posixpath.splitext(use.path)[1].lower() in _SETTINGS
                yield Reason(cause="config" if is_config else "data", text=text)

    def _changed(self, root: Path, use: FileUse) -> str | None:
        path = root / use.path
        if use.digest is None or use.files:
            return None
        if not path.exists():
            return f"{use.path} is gone"
        changed = path.stat().st_size != use.size or self._digests.of(path) != use.digest
        return f"{use.path} changed" if changed else None

    def _code(self, run: Run) -> Iterator[Reason]:
        yield from (Reason(cause="code", text=text) for text in (*_cells(run), *_modules(run)))
        for module in run.modules:
            for use in module.files:
                path = Path(module.place) / use.path
                if use.digest is not None and path.is_file() and self._digests.of(path) != use.digest:
                    yield Reason(cause="code", text=f"{path} of module {module.name} changed")

    def _environment(self, run: Run) -> Iterator[Reason]:
        recorded = run.environment
        if recorded is None:
            return
        today = self._today()
        if recorded.prefix != today.prefix and Path(recorded.executable).exists():
            return  # it runs in another environment of this machine, which nobody asked about
        changes = environment.differences(recorded, today)
        if changes:  # what had been changed by hand then may be so still: that is not looked at for nothing
            changes = environment.differences(recorded, environment.current(recorded))
        yield from (Reason(cause="environment", text=change) for change in changes[:_NAMED])
        if len(changes) > _NAMED:
            yield Reason(cause="environment", text=f"and {len(changes) - _NAMED} more changes of packages")

    def _age(self, run: Run) -> Iterator[Reason]:
        age = time.time() - (run.ended or run.started)
        if self._older_than is not None and age > self._older_than:
            yield Reason(cause="age", text=f"it ran {_told(age)} ago")


def _params(run: Run, stage: Stage) -> Iterator[Reason]:
    for name in sorted(stage.params.keys() | run.params.keys()):
        before, now = run.params.get(name), stage.params.get(name)
        if (name in run.params, before) != (name in stage.params, now):
            then = repr(before) if name in run.params else "not given"
            today = repr(now) if name in stage.params else "not given"
            yield Reason(cause="config", text=f"parameter {name} {then} → {today}")


def _cells(run: Run) -> Iterator[str]:
    """Yield what is other in the notebook, or script, than what the run executed."""
    path = Path(run.root) / (run.notebook or run.script or "")
    if run.notebook is None or path.suffix != ".ipynb":
        yield from _snapshot_changes(run, [run.script] if run.script else [])
        return
    try:
        now = Counter(code_cells(read_notebook(path)))
    except UsageError:
        yield f"{run.notebook} is gone"
        return
    ran = Counter(code_cells({"cells": [{"cell_type": "code", "source": cell.source} for cell in run.cells]}))
    new = (now - ran).total()
    if run.kind == "batch" and not new:
        new = max((ran - now).total() - bool(run.params), 0)  # the cell that sets the parameters is not the notebook's
    if new:
        yield f"{new} code cell{'s' if new > 1 else ''} of {run.notebook} changed"


def _modules(run: Run) -> Iterator[str]:
    return _snapshot_changes(run, local.modules(run))


def _snapshot_changes(run: Run, paths: Sequence[str]) -> Iterator[str]:
    """Yield which files are not as they are in the run's snapshot of the code."""
    if run.code is None or not paths:
        return
    try:
        then = listing.of(run.code)
    except GitError:
        return
    for name in paths:
        path, blob = Path(run.root) / name, then.get(str(Path(run.root) / name))
        if blob is None:
            continue  # git ignores it, or it was made by the run
        if not path.is_file():
            yield f"{name} is gone"
        elif git_blob(path.read_bytes(), "sha1" if len(blob) == 40 else "sha256") != blob:
            yield f"{name} changed"


def _told(age: float) -> str:
    unit, size = next((item for item in reversed(_UNITS.items()) if age >= item[1]), ("s", 1))
    return f"{age / size:.1f} {unit}"

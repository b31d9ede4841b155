"""Captured runs as the stages of one pipeline, joined by the files that they exchanged. Pure.

It knows what a run read and wrote; it does not know DVC, orchestrators, or what lies on disk today:
``infer`` looks there.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from reprokit.errors import UsageError
from reprokit.records import FileUse, Record, Run

__all__ = ["Pipeline", "Stage", "covers", "kind_by_name", "no_modules", "stage_name"]

Kind = Callable[[FileUse], str]  # of a file that was written: "metrics", "plots" or "outs"
Modules = Callable[[Run], Iterable[str]]

_PICTURES = frozenset((".png", ".svg", ".jpg", ".jpeg", ".gif"))
_METRICS = re.compile(r"metric|score|result|eval|summary|report", re.IGNORECASE)
_MANY = 20  # files in one folder that the run made: then the folder is one output


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Record):
    """One notebook, or script, as a step of a pipeline.

    Paths use ``/`` and are relative to the project root (absolute when outside of it); that of a folder ends
    with "/".

    Attributes:
        name: tells it apart from the other stages; letters, digits, ``-`` and ``_``.
        notebook: the notebook or script.
        cwd: the folder that it runs in ("." is the project root).
        params: its parameters with their values.
        deps: the files that it reads, and the project's modules that it imports, in the order of their names;
            the notebook itself is not among them.
        outs: the files that it writes, but for
        metrics: files of numbers that tell how good it is, and
        plots: pictures.
        run: the id of the run that it was inferred from.
        seed: what its generators are seeded with; None when that is left to the code.
        arguments: what a script is called with.
    """

    name: str
    notebook: str
    cwd: str = "."
    params: dict[str, Any] = field(default_factory=dict)
    deps: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()
    run: str | None = None
    seed: int | None = None
    arguments: tuple[str, ...] = ()

    @property
    def products(self) -> tuple[str, ...]:
        """All that it writes: outputs, metrics and plots."""
        return (*self.outs, *self.metrics, *self.plots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(Record):
    """Stages in an order in which they can run, each after those whose products it reads.

    ``notes`` say what a user should know, such as that one run read other bytes than the last ones that
    another run wrote there.
    """

    stages: tuple[Stage, ...] = ()
    notes: tuple[str, ...] = ()

    def upstream(self, name: str) -> tuple[str, ...]:
        """Return the stages whose products a stage reads."""
        stage = next(stage for stage in self.stages if stage.name == name)
        return tuple(other.name for other in self.stages if other is not stage and _feeds(other, stage))

    @property
    def inputs(self) -> tuple[str, ...]:
        """What stages read and none of them writes: data and modules."""
        products = [path for stage in self.stages for path in stage.products]
        read = {dep for stage in self.stages for dep in stage.deps}
        return tuple(sorted(dep for dep in read if not any(_meet(path, dep) for path in products)))

    @classmethod
    def of_runs(cls, runs: Sequence[Run], *, kind: Kind | None = None, modules: Modules | None = None) -> Pipeline:
        """Return the pipeline that some captured runs, one of each stage, are.

        Args:
            runs: they are done, and each knows its notebook or script.
            kind: says what a written file is; by its name by default.
            modules: returns the project's modules that a run imported; none by default.

        Raises:
            UsageError: they are no pipeline: two write the same file, they read from each other in a circle,
                one overwrites what it has read, or one is not done or of no notebook.

        >>> a = Run(id="1", status="done", notebook="prepare.ipynb")
        >>> [stage.name for stage in Pipeline.of_runs([a]).stages]
        ['prepare']
        """
        for run in runs:
            _require(run)
        names = _names(runs)
        stages = [_stage(run, names[run.id], kind or kind_by_name, modules or no_modules) for run in runs]
        by_name = {names[run.id]: run for run in runs}
        made = cls.of_stages(stages)
        return cls(stages=made.stages, notes=tuple(_notes(made.stages, by_name)))

    @classmethod
    def of_stages(cls, stages: Sequence[Stage]) -> Pipeline:
        """Return the pipeline that stages are, in an order in which they can run.

        Raises:
            UsageError: two write the same file, or they read from each other in a circle.
        """
        _refuse_shared(stages)
        return cls(stages=_ordered(stages))


def kind_by_name(use: FileUse) -> str:
    """Return what a written file is, judged by its name.

    >>> [kind_by_name(FileUse(path=name, access="write")) for name in ("roc.png", "metrics.json", "model.joblib")]
    ['plots', 'metrics', 'outs']
    """
    stem, suffix = posixpath.splitext(posixpath.basename(use.path))
    if suffix.lower() in _PICTURES:
        return "plots"
    return "metrics" if suffix == ".json" and _METRICS.search(stem) else "outs"


def no_modules(run: Run) -> tuple[str, ...]:
    """Return no modules."""
    return ()


def stage_name(text: str) -> str:
    """Return a text as the name of a stage.

    >>> stage_name("01 Train (final).v2")
    '01-Train-final-v2'
    """
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII).strip("-") or "stage"


def covers(path: str, other: str) -> bool:
    """Return whether a path is another one, or a folder that it lies in."""
    return path == other or (path.endswith("/") and other.startswith(path)) or path == other.removesuffix("/")


def _require(run: Run) -> None:
    if run.status != "done":
        remedy = f"`reprokit show {run.id}` says why; capture it again"
        raise UsageError(f"run {run.id} is {run.status}: no stage can be inferred from it", remedy=remedy)
    if not (run.notebook or run.script):
        remedy = f"`reprokit extract {run.id} -o clean.ipynb` makes a notebook of it: run that"
        raise UsageError(f"run {run.id} is of no notebook that is known", remedy=remedy)


def _names(runs: Sequence[Run]) -> dict[str, str]:
    """Return a name for each run: its own where it has one, else its notebook's, made different."""
    wanted = {run.id: stage_name(run.name or _stem(run)) for run in runs}
    used = Counter(wanted.values())
    for run in runs:
        if used[wanted[run.id]] > 1 and run.name is None:
            wanted[run.id] = stage_name(posixpath.splitext(run.notebook or run.script or "")[0])
    found: dict[str, str] = {}
    for run in runs:
        name, number = wanted[run.id], 2
        while name in found.values():
            name, number = f"{wanted[run.id]}-{number}", number + 1
        found[run.id] = name
    return found


def _stem(run: Run) -> str:
    return posixpath.splitext(posixpath.basename(run.notebook or run.script or ""))[0]


def _stage(run: Run, name: str, kind: Kind, modules: Modules) -> Stage:
    read = {use.path for cell in run.cells for use in cell.reads if not use.own}
    written = _written(run)
    kinds: dict[str, list[str]] = {"outs": [], "metrics": [], "plots": []}
    for path, use in written.items():
        kinds[kind(use)].append(path)
    _refuse_overwriting(run, read, written)
    notebook = run.notebook or run.script or ""
    return Stage(
        name=name,
        notebook=notebook,
        cwd=_relative(run.cwd, run.root) if run.cwd else posixpath.dirname(notebook) or ".",
        params=dict(run.params),
        deps=tuple(sorted({*read, *modules(run)} - {notebook})),
        outs=_gathered(run, kinds["outs"], written),
        metrics=tuple(sorted(kinds["metrics"])),
        plots=tuple(sorted(kinds["plots"])),
        run=run.id,
        seed=run.seed,
        arguments=run.argv[1:] if run.notebook is None else (),
    )


def _written(run: Run) -> dict[str, FileUse]:
    """Return the last write of each file, but for files that were gone before anyone could look at them."""
    last = {use.path: use for cell in run.cells for use in cell.writes}
    return {path: use for path, use in last.items() if use.state != "missing"}


def _gathered(run: Run, paths: Iterable[str], written: Mapping[str, FileUse]) -> tuple[str, ...]:
    """Return outputs, those of a folder with very many of them, which the run made itself, as that folder."""
    chosen, there_before = set(paths), {name.rstrip("/") for name in run.folders}
    folders = {posixpath.dirname(path) for path in chosen} - {""} - there_before
    for folder in sorted(folders, key=lambda folder: -folder.count("/")):  # the innermost first
        inside = {path for path in chosen if path.startswith(f"{folder}/")}
        all_are_outs = all(
            any(covers(out, path) for out in chosen) for path in written if path.startswith(f"{folder}/")
        )
        if len(inside) > _MANY and all_are_outs:
            chosen = (chosen - inside) | {f"{folder}/"}
    return tuple(sorted(chosen))


def _relative(path: str, root: str) -> str:
    if not root or not (path == root or path.startswith(f"{root.rstrip('/')}/")):
        return path
    return posixpath.relpath(path, root)


def _refuse_overwriting(run: Run, read: Iterable[str], written: Iterable[str]) -> None:
    both = sorted(path for path in read if any(_meet(out, path) for out in written))
    if both:
        problem = f"{run.notebook or run.script} reads {both[0]} and overwrites it: each time it finds other data"
        raise UsageError(problem, remedy="let it write to a file of another name")


def _refuse_shared(stages: Sequence[Stage]) -> None:
    writers: dict[str, Stage] = {}
    for stage in stages:
        for path in stage.products:
            other = next((writers[out] for out in writers if _meet(out, path)), None)
            if other is not None:
                same = other.notebook == stage.notebook
                both = f"two runs of {stage.notebook}" if same else f"{other.notebook} and {stage.notebook}"
                remedy = "name one of the runs" if same else "let one of them write to a file of another name"
                raise UsageError(f"{both} write {path}", remedy=remedy)
        writers.update(dict.fromkeys(stage.products, stage))


def _feeds(stage: Stage, other: Stage) -> bool:
    return any(_meet(path, dep) for path in stage.products for dep in other.deps)


def _meet(path: str, other: str) -> bool:
    """Return whether two paths are the same, or one lies in the other."""
    return covers(path, other) or covers(other, path)


def _ordered(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages, each after those that it reads from, else as they were given."""
    by_name = {stage.name: stage for stage in stages}
    before = {s.name: [o.name for o in stages if o is not s and _feeds(o, s)] for s in stages}
    sorter = TopologicalSorter(before)
    try:
        sorter.prepare()
    except CycleError as error:
        raise _circle([by_name[name] for name in error.args[1]]) from error
    places, found = list(by_name), []
    while sorter.is_active():
        for name in sorted(sorter.get_ready(), key=places.index):
            found.append(by_name[name])
            sorter.done(name)
    return tuple(found)


def _circle(stages: Sequence[Stage]) -> UsageError:
    """Say who reads what of whom: each stage feeds the next, and the last is the first."""
    links = []
    for one, other in pairwise(stages):
        path = next(dep for dep in other.deps if any(_meet(out, dep) for out in one.products))
        links.append(f"{other.notebook} reads {path} of {one.notebook}")
    remedy = "write what is exchanged in one direction only, or leave one of these runs out"
    return UsageError(f"these runs read from each other in a circle: {', '.join(links)}", remedy=remedy)


def _notes(stages: Sequence[Stage], runs: Mapping[str, Run]) -> Iterable[str]:
    """Yield where a run read other bytes than those that the pipeline's own run of the stage wrote."""
    written = {stage.name: _written(runs[stage.name]) for stage in stages}
    for stage in stages:
        read = [use for cell in runs[stage.name].cells for use in cell.reads if not use.own]
        other: dict[str, str] = {}
        for use in read:
            for one in stages:
                made = written[one.name].get(use.path) if one is not stage else None
                if made is not None and made.digest != use.digest:
                    other[use.path] = one.name
        for path, name in other.items():
            yield (
                f"{stage.name} read another {path} than run {runs[name].id} of {name} wrote: "
                f"its results may differ from those of run {runs[stage.name].id}"
            )

"""Whether a run that was cut off can go on after one of its checkpoints, from which, and what must be put back first.

A checkpoint stands for the cells before it as long as those cells, their parameters and inputs, the environment and
the project's modules are what they were. Everything is looked at here, before a kernel starts; nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprokit.capture import redact
from reprokit.capture.code import listing
from reprokit.digest import is_file_named
from reprokit.errors import StoreError, UsageError
from reprokit.notebook.injected import codify
from reprokit.notebook.parent import Restored
from reprokit.pipeline import key as keys
from reprokit.pipeline.interpreter import Interpreter
from reprokit.pipeline.reused import with_injected
from reprokit.pipeline.spec import Spec
from reprokit.pipeline.surroundings import DEVICES
from reprokit.pipeline.work import Work
from reprokit.records import FileUse, Run
from reprokit.replay import environment, folders
from reprokit.store import checkpoints, journal, origin
from reprokit.store.assemble import assemble
from reprokit.store.checkpoints import Note
from reprokit.store.store import Store

__all__ = ["Resumption", "forget", "lines", "plan", "remember", "require", "spec_of"]

_SPEC = "spec.json"
_ANYTHING = ("code", "modules")  # parts of a key that are looked at cell by cell, and module by module
_HASH_SEED = "PYTHONHASHSEED"
_SKIPPED = "skip-execution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """How a run goes on.

    Attributes:
        restored: the checkpoint; None: it begins at its first cell.
        reasons: why from there, and from no later place.
        back: files that the cells before it had made, and that are not as they were.
        variables: environment variables that must be what they were.
    """

    restored: Restored | None
    reasons: tuple[str, ...] = ()
    back: tuple[FileUse, ...] = ()
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)


# -- what was to be run -----------------------------------------------------------------------------------


def remember(store: Store, run_id: str, spec: Spec, isolated: bool) -> None:
    """Note what a step is beside its run, so that it can be resumed; values that hold a secret are not written."""
    secret = [name for name, value in spec.variables.items() if value and redact.value(name, value) != value]
    kept = {name: value for name, value in spec.variables.items() if name not in secret}
    inherit = tuple(dict.fromkeys((*spec.inherit, *secret)))
    plain = dataclasses.replace(spec, project=str(spec.folder), variables=kept, inherit=inherit)
    path = store.layout.run_folder(run_id) / _SPEC
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        json.dump({"spec": plain.to_dict(), "isolated": isolated}, file)


def spec_of(store: Store, run: Run) -> tuple[Spec, bool]:
    """Return what a run was asked to be, and whether its process inherited only what is named.

    Raises:
        UsageError: the run is none of a notebook.
    """
    try:
        told = json.loads((store.layout.run_folder(run.id) / _SPEC).read_bytes())
        return Spec.from_dict(told["spec"]), bool(told["isolated"])
    except (OSError, ValueError, KeyError):
        pass
    if run.notebook is None:
        raise UsageError(f"run {run.id} is none of a notebook", remedy="a script is run again: `reprokit run`")
    spec = Spec(
        notebook=run.notebook,
        project=str(store.layout.project),
        params=dict(run.params),
        cwd=run.cwd or None,
        seed=run.seed,
        kernel=run.step.get("kernel"),
        name=run.name,
        tags=dict(run.tags),
    )
    return spec, False


def require(store: Store, run: Run) -> None:
    """Pass when a run can be resumed at all.

    Raises:
        ConsentNeeded: it came from elsewhere.
        UsageError: it is open still, is done, or is not of a notebook that was run in batch.
    """
    origin.require(store.layout, run)
    if run.kind != "batch" or run.front == "script":
        what = "a script" if run.front == "script" else f"a {run.kind}"
        remedy = "only `reprokit run NOTEBOOK` and steps of notebooks can be resumed"
        raise UsageError(f"run {run.id} is {what}, which cannot be resumed", remedy=remedy)
    if run.status == "running":
        raise UsageError(f"run {run.id} is still running", remedy="wait for its end, or stop it")
    if run.status == "done":
        raise UsageError(f"run {run.id} is done: nothing is left to resume", remedy=f"`reprokit show {run.id}`")


# -- from where -------------------------------------------------------------------------------------------


def plan(store: Store, run: Run, work: Work, used: Interpreter, parts: Mapping[str, Any]) -> Resumption:
    """Return from where a run goes on.

    Args:
        store: holds the run.
        run: the run that was cut off.
        work: what is to be executed now.
        used: what it is executed in.
        parts: its key now.
    """
    sources = _executed(work)
    reasons: list[str] = []
    for source in _line(store, run):
        against = [*_differences(source, parts), *_hash_seed(source)]
        found = [] if against else checkpoints.notes(store.layout, source.id)
        if not found and not against:
            against = ["it kept no checkpoint" if source.origin is None else f"it came from {source.origin}"]
        reasons += [f"{line} (run {source.id})" for line in against]
        for note in found:
            known = _until(store, source, note)
            why = next(_against(store, note, known, sources, used), None)
            if why is None:
                restored = _restored(store, note, known)
                seed = {} if source.machine is None else {_HASH_SEED: source.machine.hash_seed}
                back = tuple(use for use in _changed(store, known) if use.digest)
                return Resumption(restored=restored, reasons=tuple(reasons), back=back, variables=seed)
            reasons.append(f"{why} (checkpoint after cell {note.cell} of run {source.id})")
    return Resumption(restored=None, reasons=tuple(reasons))


def lines(found: Resumption) -> tuple[str, ...]:
    """Return in words from where a run goes on, and why from there."""
    if found.restored is None:
        return (*(f"resume: no: {line}" for line in found.reasons), "resume: from the first cell")
    at = f"resume: after cell {found.restored.cell} of run {found.restored.run}"
    back = (f"resume: {use.path} is put back as it was then" for use in found.back)
    return (*(f"resume: not later: {line}" for line in found.reasons), at, *back)


def _line(store: Store, run: Run | None) -> Iterator[Run]:
    """Yield a run, and those that it was resumed from, as far as they are here."""
    seen: set[str] = set()
    while run is not None and run.id not in seen:
        seen.add(run.id)
        yield run
        try:
            run = None if run.resumed_from is None else store.load(run.resumed_from)
        except StoreError:
            run = None


def _executed(work: Work) -> list[str]:
    """Return the sources of the cells that would be executed, as a kernel gets them."""
    content = work.content
    cells = [] if content is None else content.cells
    if work.params:
        cells = with_injected(cells, codify(work.params))
    return [
        cell.source.strip()
        for cell in cells
        if cell.cell_type == "code" and cell.source.strip() and _SKIPPED not in cell.metadata.get("tags", ())
    ]


def _differences(run: Run, parts: Mapping[str, Any]) -> list[str]:
    return keys.differences(_compared(run.step), _compared(parts))


def _compared(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same; which device an engine gives is no matter: none of its data is in a checkpoint."""
    found = {part: value for part, value in parts.items() if part not in _ANYTHING}
    variables = {name: value for name, value in found.get("variables", {}).items() if name not in DEVICES}
    return {**found, "variables": variables}


def _hash_seed(run: Run) -> Iterator[str]:
    then = "random" if run.machine is None else run.machine.hash_seed
    fixed = os.environ.get(_HASH_SEED)
    if not then.isdigit():
        yield f"its {_HASH_SEED} was not fixed"
    elif fixed is not None and fixed != then:
        yield f"{_HASH_SEED} {then} → {fixed}"


def _until(store: Store, run: Run, note: Note) -> Run:
    """Return a run as it was known when a checkpoint was kept."""
    patches = journal.read(store.layout.journal(run.id))[: note.lines]
    known = folders.expanded(assemble(run.id, patches), store.objects.get_bytes)
    return dataclasses.replace(known, cells=tuple(cell for cell in known.cells if cell.seq <= note.cell))


def _against(store: Store, note: Note, known: Run, sources: Sequence[str], used: Interpreter) -> Iterator[str]:
    """Tell why a checkpoint does not stand for the cells before it."""
    yield from _changed_cells(note, known, sources)
    if not store.objects.has(note.digest):
        yield "it is not there any more"
    yield from _environment(known, used)
    for file, digest in note.modules.items():
        if not is_file_named(Path(file), digest):
            yield f"{keys.shown(Path(file), store.layout.project)} changed, which was imported"
    yield from _inputs(store, known)
    yield from (f"{use.path} is not as it was, and its bytes were not kept" for use in _lost(store, known))


def _changed_cells(note: Note, known: Run, sources: Sequence[str]) -> Iterator[str]:
    if [cell.seq for cell in known.cells] != list(range(1, note.cell + 1)):
        yield "the record of the cells before it has a gap"
    for cell in known.cells:
        if cell.seq > len(sources) or cell.source.strip() != sources[cell.seq - 1]:
            yield f"cell {cell.seq} changed"
        if (cell.edits and not cell.restored) or cell.head or cell.code:
            yield f"code of the project was changed before cell {cell.seq}"


def _environment(known: Run, used: Interpreter) -> Iterator[str]:
    now = used.observe()
    if now is None:  # a locked one, which the key names
        return
    if known.environment is None:
        yield "its environment was not recorded"
        return
    if now.fingerprint != known.environment.fingerprint and now.prefix == sys.prefix:
        now = environment.current(known.environment)
    if now.fingerprint != known.environment.fingerprint:
        yield next(iter(environment.differences(known.environment, now)), "the environment changed")


def _inputs(store: Store, known: Run) -> Iterator[str]:
    """Tell what the cells read, without having written it, and is not as it was."""
    made = {use.path for cell in known.cells for use in cell.writes}
    read = {use.path: use for cell in known.cells for use in cell.reads if not use.own and use.path not in made}
    for path, use in read.items():
        if use.files or use.digest is None:
            yield f"what was read of {path} is not known"
        elif not is_file_named(store.layout.project / path, use.digest):
            yield f"{path} changed" if (store.layout.project / path).exists() else f"{path} is gone"


def _changed(store: Store, known: Run) -> Iterator[FileUse]:
    """Yield what the cells had written, and is not as they left it."""
    made = {use.path: use for cell in known.cells for use in cell.writes}
    for path, use in made.items():
        if use.state != "missing" and not (use.digest and is_file_named(store.layout.project / path, use.digest)):
            yield use


def _lost(store: Store, known: Run) -> Iterator[FileUse]:
    for use in _changed(store, known):
        outside = use.path.startswith("/")
        if outside or use.files or use.digest is None or not store.objects.has(use.digest):
            yield use


# -- what is taken over -----------------------------------------------------------------------------------


def _restored(store: Store, note: Note, known: Run) -> Restored:
    outputs = tuple(
        ([] if cell.outputs is None else json.loads(store.objects.get_bytes(cell.outputs)), cell.execution_count)
        for cell in known.cells
    )
    return Restored(
        run=known.id,
        cell=note.cell,
        lines=tuple(_lines(known, _before(store, known))),
        outputs=outputs,
        path=store.objects.path(note.digest),
        digest=note.digest,
        python=note.python,
        dill=note.dill,
    )


def _before(store: Store, known: Run) -> list[FileUse]:
    """Return what the files that the cells wrote were before the run: the tree has them by now as they were left.

    A replay of the resumed run begins with the tree as it is when that run begins, and puts these back.
    """
    code, told = known.code, {use.path for cell in known.cells for use in cell.edits}
    written = {use.path for cell in known.cells if not cell.restored for use in cell.writes}
    paths = sorted(path for path in written - told if not path.startswith("/") and not path.endswith("/"))
    if code is None or not paths:
        return []
    held, found = listing.of(code), []
    for path in paths:
        blob = held.get(os.path.normpath(f"{code.top}/{code.prefix}/{path}"))
        data = None if blob is None else listing.blob(code, blob)
        if data is None:
            found.append(FileUse(path=path, access="read", state="missing"))
        else:
            digest = store.objects.put_bytes(data)
            found.append(FileUse(path=path, access="read", size=len(data), digest=digest, stored="object"))
    return found


def _lines(known: Run, before: Sequence[FileUse]) -> Iterator[dict[str, Any]]:
    """Yield the record of the restored cells, and what they said of the run."""
    for cell in known.cells:
        edits = [*cell.edits, *(before if cell.seq == 1 else ())]
        told = {**dataclasses.replace(cell, edits=tuple(edits)).to_dict(), "restored": True, "checkpoint": None}
        del told["seq"]
        yield {"cell": cell.seq, "set": told}
    named = {"metrics": known.metrics, "assumptions": known.assumptions, "artifacts": known.artifacts}
    added: dict[str, list[Any]] = {name: [item.to_dict() for item in items] for name, items in named.items()}
    added["gaps"] = [gap.to_dict() for gap in known.gaps if gap.cell is not None and gap.aspect != "checkpoint"]
    added["notes"] = list(known.notes)
    added["folders"] = list(known.folders)
    used = {cell.environment for cell in known.cells}
    earlier = [one for one in known.environments[:-1] if one.fingerprint in used]
    added["environments"] = [one.to_dict() for one in earlier]
    yield {"set": {"params": dict(known.params), "tags": dict(known.tags)}, "add": added}


def forget(store: Store, run: Run) -> None:
    """Remove the checkpoints of a run that is done, and of those that it was resumed from."""
    for one in _line(store, run):
        checkpoints.drop(store.layout, store.objects, one.id)
        (store.layout.run_folder(one.id) / _SPEC).unlink(missing_ok=True)

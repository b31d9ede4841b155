"""Decides how a run is to be repeated, and whether it can be repeated exactly. Pure: nothing is done here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reprokit.capture import installs
from reprokit.capture.redact import HIDDEN
from reprokit.errors import Unreplayable
from reprokit.notebook.compose import executable
from reprokit.records import Cell, FileUse, Record, Run
from reprokit.records.replayable import blocking
from reprokit.replay import modules
from reprokit.replay.conditions import Conditions

__all__ = ["Facts", "Plan", "Reason", "Restore", "plan"]


_SHOWN = 300  # files that a plan names when it is read
_AS_RECORDED = Conditions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason(Record):
    """Why a replay could not be exact, and what would make it so."""

    why: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore(Record):
    """A file to put back: ``path`` (relative to the project root) gets the bytes of ``digest``.

    ``before`` is the cell before which to do so; 0 is before the first. ``source`` is "object", "project"
    (the file there still has these bytes), "git" (the snapshot), "lfs" (what git-lfs keeps in the repository),
    "dvc" (its cache or a remote), "mount" (an object;
    ``path`` is absolute and outside the project), "edit" (code that was changed then; an object) or "removed" (code
    that was removed then; ``digest`` is empty). "today" is the file as it is in the project, "gone" one that is
    not there any more.
    """

    path: str
    digest: str
    before: int = 0
    source: str = "object"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Record):
    """How a run is to be repeated.

    ``environment`` is "current" or "locked"; ``changes`` is what differs between the environment of the run
    and the current one. ``in_place`` are files outside the project that still have their recorded bytes.
    ``reasons`` is empty when the replay can be exact. ``modules`` says whether those from outside the project are
    put back, and ``conditions`` which are not those of the record.
    """

    run: str
    environment: str
    reasons: tuple[Reason, ...] = ()
    cells: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    restores: tuple[Restore, ...] = ()
    in_place: tuple[str, ...] = ()
    snapshot: str | None = None
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    modules: bool = True
    conditions: dict[str, Any] = field(default_factory=dict)

    def require(self) -> None:
        """Pass when the replay can be exact.

        Raises:
            Unreplayable: it cannot.
        """
        if self.reasons:
            raise Unreplayable(self.run, [(reason.why, reason.fix) for reason in self.reasons])

    def text(self) -> str:
        """Return the plan as lines to read."""
        return "\n".join(_lines(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is true today.

    Attributes:
        objects: digests of the wanted objects that the store holds.
        outside: absolute path → digest of a file outside the project, today; None when it is gone.
        inside: path relative to the project root → its digest today, for files the store does not hold.
        dvc: path relative to the project root → digest of what DVC can give, for files that neither the store
            nor the project holds and that DVC tracked; None when neither its cache nor a remote has them.
        lfs: digests of files, not in the store, that git-lfs has in the repository of the run.
        changes: differences between the run's environment and the current one.
        environment: "current" or "locked": what was chosen.
        lock_gaps: why the locked environment could not be built exactly.
        snapshot_missing: what is wrong with the code snapshot; empty when it is there.
        no_mounts: why a file outside the project cannot be put back in its place; empty when it can.
    """

    objects: frozenset[str] = frozenset()
    outside: Mapping[str, str | None] = field(default_factory=dict)
    inside: Mapping[str, str | None] = field(default_factory=dict)
    dvc: Mapping[str, str | None] = field(default_factory=dict)
    lfs: frozenset[str] = frozenset()
    changes: tuple[str, ...] = ()
    environment: str = "current"
    lock_gaps: tuple[Reason, ...] = ()
    snapshot_missing: str = ""
    no_mounts: str = "this replay has no mounts"


def wanted(run: Run) -> Iterator[tuple[Cell, FileUse]]:
    """Yield every use of a file that a replay must find as it was: what the run did not write itself."""
    have: dict[str, str | None] = {}
    for cell in executable(run):
        for use in cell.reads:
            known = use.path in have
            if use.own and (not known or have[use.path] == use.digest):
                continue
            if not known or have[use.path] != use.digest:
                yield cell, use
            have[use.path] = use.digest
        have.update((use.path, use.digest) for use in cell.writes)


def plan(run: Run, facts: Facts, conditions: Conditions = _AS_RECORDED) -> Plan:
    """Return how ``run`` is to be repeated under some conditions, given the facts."""
    recorded = conditions.code == "recorded"
    restores, in_place, reasons = _files(run, facts, conditions)
    edited, not_kept = _code(run, facts) if recorded else ([], [])
    cells = executable(run)
    return Plan(
        run=run.id,
        environment=facts.environment,
        reasons=tuple(dict.fromkeys((*_blocking(run, facts), *reasons, *not_kept))),
        cells=tuple(cell.seq for cell in cells),
        skipped=tuple(cell.seq for cell in run.cells if cell.status in ("interrupted", "running")),
        restores=(*restores, *edited),
        in_place=tuple(in_place),
        snapshot=None if run.code is None else run.code.snapshot,
        changes=facts.changes,
        notes=tuple(_notes(run, conditions)),
        modules=recorded,
        conditions=conditions.changed(),
    )


def _files(run: Run, facts: Facts, conditions: Conditions) -> tuple[list[Restore], list[str], list[Reason]]:
    if conditions.data == "current":
        return *_files_of_today(run, facts), []
    restores: list[Restore] = []
    in_place: list[str] = []
    reasons: list[Reason] = []
    seen: set[str] = set()
    for cell, use in wanted(run):
        first = use.path not in seen
        seen.add(use.path)
        if use.digest is None:
            reasons.append(Reason(why=f"{use.path} {_STATES[use.state]} in cell {cell.seq}", fix=_AGAIN))
        elif use.path.startswith("/") and facts.outside.get(use.path) == use.digest and first:
            in_place.append(use.path)
        elif use.path.startswith("/"):
            if facts.no_mounts or use.digest not in facts.objects:
                reasons.append(_outside(use, facts))
            else:
                restores.append(
                    Restore(path=use.path, digest=use.digest, before=0 if first else cell.seq, source="mount")
                )
        elif not (use.stored == "git" and first and conditions.code == "recorded"):
            where = "git" if use.stored == "git" and first else _source(use.digest, use.path, facts)
            if where is None:
                reasons.append(_not_kept(use, facts))
            else:
                restores.append(
                    Restore(path=use.path, digest=use.digest, before=0 if first else cell.seq, source=where)
                )
    return restores, in_place, reasons


def _files_of_today(run: Run, facts: Facts) -> tuple[list[Restore], list[str]]:
    """Return what to take from the project as it is, and what lies outside it."""
    restores: dict[str, Restore] = {}
    in_place: dict[str, None] = {}
    for _, use in wanted(run):
        if use.path.startswith("/"):
            in_place[use.path] = None
        else:
            digest = facts.inside.get(use.path)
            restores[use.path] = Restore(path=use.path, digest=digest or "", source="today" if digest else "gone")
    return list(restores.values()), list(in_place)


def _code(run: Run, facts: Facts) -> tuple[list[Restore], list[Reason]]:
    """Return the edits to repeat, and what of them, or of the modules from outside the project, was not kept."""
    restores: list[Restore] = []
    lost: dict[str, None] = {}
    for seq, use in modules.edits(run):
        if use.state == "missing":
            restores.append(Restore(path=use.path, digest="", before=seq, source="removed"))
        elif use.digest in facts.objects:
            restores.append(Restore(path=use.path, digest=use.digest or "", before=seq, source="edit"))
        else:
            lost[f"{use.path} was edited before cell {seq}, and the edit was not kept"] = None
    for module in run.modules:
        if any(use.digest not in facts.objects for use in module.files):
            lost[f"{module.name} was imported from {module.place}, and its source was not kept"] = None
    return restores, [Reason(why=why, fix=_AGAIN) for why in lost]


_STATES = {
    "unstable": "changed while it was in use",
    "missing": "was gone before it could be hashed",
    "pending": "was not hashed before the kernel ended",
    "stable": "was not hashed",
}
_AGAIN = "capture the run again"


def _outside(use: FileUse, facts: Facts) -> Reason:
    today = facts.outside.get(use.path)
    what = "is gone" if today is None else "has changed"
    kept = f", and cannot be put there for a replay alone ({facts.no_mounts})" if use.digest in facts.objects else ""
    return Reason(why=f"{use.path}, outside the project, {what}{kept}", fix=_put_back(use))


def _put_back(use: FileUse) -> str:
    return f"put the file with {use.digest} back at {use.path}"


def _not_kept(use: FileUse, facts: Facts) -> Reason:
    if use.stored == "lfs":
        why = f"the bytes of {use.path} are not in the store, and git-lfs does not have them here any more"
        return Reason(why=why, fix=f"`git lfs fetch --all` in the project, or {_put_back(use)}")
    if facts.dvc.get(use.path, "") is None:
        why = f"the bytes of {use.path} were not kept, and DVC's cache does not have them"
        return Reason(why=why, fix=f"`dvc pull {use.path}`, or {_put_back(use)}")
    return Reason(why=f"the bytes of {use.path} were not kept", fix=_put_back(use))


def _source(digest: str, path: str, facts: Facts) -> str | None:
    if digest in facts.objects:
        return "object"
    if facts.inside.get(path) == digest:
        return "project"
    if digest in facts.lfs:
        return "lfs"
    return "dvc" if facts.dvc.get(path) == digest else None


def _blocking(run: Run, facts: Facts) -> Iterator[Reason]:
    if run.reuse_of is not None:
        yield Reason(why=f"it took over the results of run {run.reuse_of}", fix=f"`reprokit replay {run.reuse_of}`")
    elif not executable(run):
        yield Reason(why="it has no cell that ran to its end", fix=_AGAIN)
    if HIDDEN in " ".join(run.argv) and run.front == "script":
        yield Reason(
            why="its command line held a secret, which was not recorded",
            fix="pass it by environment variable",
        )
    if facts.snapshot_missing:
        yield Reason(why=facts.snapshot_missing, fix="restore the repository that held it")
    for gap in blocking(run):
        if gap.aspect != "environment" or facts.environment == "locked":
            at = "" if gap.cell is None else f" (cell {gap.cell})"
            yield Reason(why=gap.message + at, fix=gap.remedy)
    yield from facts.lock_gaps


def _notes(run: Run, conditions: Conditions) -> Iterator[str]:
    for cell in executable(run):
        for line in installs.lines(cell.source):
            yield f"cell {cell.seq} does not repeat `{line}`: the environment has what it installed"
    if conditions.network == "closed":
        yield from (f"cell {cell.seq} wants {', '.join(cell.network)}" for cell in executable(run) if cell.network)
    if run.machine is not None and run.machine.hash_seed == "random":
        yield "the order of sets of strings was random and is not restored (PYTHONHASHSEED was not fixed)"
    if run.code is None:
        yield "no code snapshot: modules of the project are not restored"


def _lines(plan: Plan) -> Iterator[str]:
    yield f"replay of {plan.run}"
    if plan.snapshot is not None:
        yield f"  code         {plan.snapshot[:12]}, in a workspace of its own"
    for restore in plan.restores[:_SHOWN]:
        when = "" if restore.before == 0 else f" before cell {restore.before}"
        if restore.source in ("edit", "removed"):
            yield f"  code         {restore.path} {'edited' if restore.digest else 'removed'}{when}"
            continue
        if restore.source in ("today", "gone"):
            yield f"  data         {restore.path} as it is today" + (" (gone)" if restore.source == "gone" else "")
            continue
        where = _FROM.get(restore.source, "")
        yield f"  data         {restore.path} ← {restore.digest[:19]}{where}{when}"
    if len(plan.restores) > _SHOWN:
        yield f"  data         … and {len(plan.restores) - _SHOWN:,} more files"
    for path in plan.in_place[:_SHOWN]:
        yield f"  data         {path} as it is"
    if len(plan.in_place) > _SHOWN:
        yield f"  data         … and {len(plan.in_place) - _SHOWN:,} more files as they are"
    for name, value in plan.conditions.items():
        if name != "environment":  # told below
            yield f"  condition    {name} {_shown(value)}"
    kind = "the current one" if plan.environment == "current" else "built from the lock"
    yield f"  environment  {kind}"
    for change in plan.changes:
        yield f"               {change}" + ("" if plan.environment == "current" else " today")
    yield f"  cells        {len(plan.cells)}" + (f", without {_numbers(plan.skipped)}" if plan.skipped else "")
    for note in plan.notes:
        yield f"  note         {note}"
    for reason in plan.reasons:
        yield f"  unreplayable {reason.why}" + (f": {reason.fix}" if reason.fix else "")


_FROM = {"dvc": " from DVC", "lfs": " from git-lfs", "git": " from the snapshot", "mount": " for the replay alone"}


def _shown(value: object) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)


def _numbers(cells: tuple[int, ...]) -> str:
    return ", ".join(map(str, cells)) + (" (interrupted)" if cells else "")

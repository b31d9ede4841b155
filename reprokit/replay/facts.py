"""Looks at what is true today, for the plan of a replay."""

from __future__ import annotations

from pathlib import Path

from reprokit.capture.git import git
from reprokit.digest import of_file
from reprokit.errors import GitError, UsageError
from reprokit.records import FileUse, Run
from reprokit.replay import environment, lock
from reprokit.replay.plan import Facts, Plan, Reason, plan, wanted
from reprokit.store.store import Store

__all__ = ["gather", "plan_replay"]


def plan_replay(store: Store, run: Run, *, env: str = "auto") -> Plan:
    """Return how a run of this store is to be repeated today.

    Raises:
        UsageError: the run is still open.
    """
    if run.status == "running":
        raise UsageError(f"run {run.id} is still open", remedy="`%repro stop` ends it")
    return plan(run, gather(store, run, env))


def gather(store: Store, run: Run, env: str) -> Facts:
    """Return the facts that a plan for ``run`` rests on."""
    uses = [use for _, use in wanted(run) if use.digest is not None]
    inside = {use.path for use in uses if not use.path.startswith("/")}
    root = Path(run.root)
    held = frozenset(use.digest for use in uses if use.digest and store.objects.has(use.digest))
    recorded = run.environment
    decision = None if recorded is None else environment.choose(recorded, environment.current(), env)
    chosen = "current" if decision is None else decision.use
    return Facts(
        objects=held,
        outside={use.path: _digest(Path(use.path)) for use in uses if use.path.startswith("/")},
        inside={path: _digest(root / path) for path in inside if _misses(uses, path, held)},
        changes=() if recorded is None else environment.differences(recorded, environment.current()),
        environment=chosen,
        lock_gaps=_lock_gaps(store, run) if chosen == "locked" else (),
        snapshot_missing=_snapshot_missing(run),
    )


def _misses(uses: list[FileUse], path: str, held: frozenset[str]) -> bool:
    return any(use.path == path and use.stored != "git" and use.digest not in held for use in uses)


def _digest(path: Path) -> str | None:
    try:
        return of_file(path)
    except OSError:
        return None


def _lock_gaps(store: Store, run: Run) -> tuple[Reason, ...]:
    if run.environment is None:
        return ()
    made = lock.ensure(store.layout, run.environment, store.objects)
    return tuple(Reason(why=gap.message, fix=gap.remedy) for gap in made.gaps if gap.blocks)


def _snapshot_missing(run: Run) -> str:
    if run.code is None:
        return ""
    try:
        kind = git("cat-file", "-t", run.code.snapshot, cwd=Path("/"), env={"GIT_DIR": run.code.repository})
    except GitError:
        return f"its code snapshot {run.code.snapshot[:12]} is not in {run.code.repository}"
    return "" if kind.strip() == b"commit" else f"{run.code.snapshot[:12]} is no code snapshot"

"""Looks at what is true today, for the plan of a replay."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path

from reprokit.capture import preload
from reprokit.capture.code import listing
from reprokit.capture.code.git import git
from reprokit.capture.files import lfs
from reprokit.digest import of_file
from reprokit.errors import ConsentNeeded, GitError, UsageError
from reprokit.records import CodeState, FileUse, Run
from reprokit.replay import environment, folders, lock, modules
from reprokit.replay.conditions import Conditions
from reprokit.replay.mounts import unavailable
from reprokit.replay.plan import Facts, Plan, Reason, plan, wanted
from reprokit.replay.prefix import prefix
from reprokit.replay.snapshots import states
from reprokit.store import remote
from reprokit.store.store import Store

__all__ = ["gather", "plan_replay"]

_AS_RECORDED = Conditions()


def plan_replay(store: Store, run: Run, conditions: Conditions = _AS_RECORDED) -> Plan:
    """Return how a run of this store is to be repeated today.

    Raises:
        UsageError: the run is still open.
    """
    if run.status == "running":
        raise UsageError(f"run {run.id} is still open", remedy="`%repro stop` ends it")
    here = modules.without_reads(modules.located(run, store.layout.project))
    here = prefix(folders.expanded(here, store.objects.get_bytes), conditions.until)
    _require_recorder(conditions)
    return plan(here, gather(store, here, conditions), conditions)


def _require_recorder(conditions: Conditions) -> None:
    if (conditions.clock, conditions.network) != ("real", "open") and not preload.is_available():
        what = "a recorded clock" if conditions.clock == "recorded" else "a closed network"
        raise UsageError(f"{what} needs the native recorder, which is not here", remedy="`reprokit doctor` says why")


def gather(store: Store, run: Run, conditions: Conditions) -> Facts:
    """Return the facts that a plan for ``run`` rests on."""
    uses = [use for _, use in wanted(run) if use.digest is not None]
    named = [*(use.digest for use in uses if use.digest), *modules.digests(run)]
    held = frozenset(digest for digest in named if store.objects.has(digest))
    lost = [use for use in uses if _misses(use, held)]
    looked_at = uses if conditions.data == "current" else lost
    inside = {path: _digest(Path(run.root) / path) for path in {use.path for use in looked_at}}
    missing = _snapshot_missing(run)
    recorded = run.environment
    today = environment.current(recorded)
    wanted_environment = "locked" if conditions.packages else conditions.environment
    decision = None if recorded is None else environment.choose(recorded, today, wanted_environment)
    chosen = "current" if decision is None else decision.use
    return Facts(
        objects=held,
        outside={use.path: _digest(Path(use.path)) for use in uses if use.path.startswith("/")},
        inside=inside,
        lfs=frozenset(use.digest for use in lost if use.digest and _in_lfs(run, use.digest)),
        dvc={} if missing or conditions.data == "current" else _dvc(run, lost, inside),
        changes=() if recorded is None else environment.differences(recorded, today),
        environment=chosen,
        lock_gaps=_lock_gaps(store, run) if chosen == "locked" else (),
        snapshot_missing=missing,
        no_mounts=unavailable(),
    )


def _misses(use: FileUse, held: frozenset[str]) -> bool:
    return not use.path.startswith("/") and use.stored != "git" and use.digest not in held


def _in_lfs(run: Run, digest: str) -> bool:
    """Return whether git-lfs has a content here; its bytes are checked when they are put back."""
    return any(Path(lfs.place(code.repository, digest)).is_file() for code in states(run))


def _dvc(run: Run, uses: Iterable[FileUse], inside: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return what DVC can give of the files whose bytes are not in the project any more."""
    lost = {use.path: use for use in uses if inside[use.path] != use.digest}
    if run.code is None or not lost:
        return {}
    names = {path: posixpath.normpath(posixpath.join(run.code.prefix, path)) for path in lost}
    known = remote.tracked_by_dvc(_dvc_files(run.code), names.values())
    tracked = {path: known[names[path]] for path, use in lost.items() if names[path] in known}
    fitting = {path: output for path, output in tracked.items() if output.size in (None, lost[path].size)}
    return remote.at_hand(Path(run.root), fitting, {path: use.digest or "" for path, use in lost.items()})


def _dvc_files(code: CodeState) -> dict[str, bytes]:
    """Return the files of DVC's in a snapshot: path from its top → content."""
    found = {posixpath.relpath(path, code.top): blob for path, blob in listing.of(code).items()}
    chosen = {path: blob for path, blob in found.items() if remote.is_dvc_file(path)}
    asked = "".join(f"{blob}\n" for blob in chosen.values()).encode()
    told = git("cat-file", "--batch", cwd=Path("/"), env={"GIT_DIR": code.repository}, stdin=asked)
    files, at = {}, 0
    for path in chosen:
        begin = told.index(b"\n", at) + 1  # after a line "<blob> blob <size>"
        size = int(told[at:begin].split()[2])
        files[path] = told[begin : begin + size]
        at = begin + size + 1
    return files


def _digest(path: Path) -> str | None:
    try:
        return of_file(path) if path.is_file() else None  # a record may name a device, or a pipe
    except (OSError, ValueError):
        return None


def _lock_gaps(store: Store, run: Run) -> tuple[Reason, ...]:
    if run.environment is None:
        return ()
    try:
        made = lock.of_run(store.layout, run, run.environment, store.objects)
    except ConsentNeeded as error:
        return (Reason(why="the lock of its environment did not come with it", fix=error.remedy),)
    return tuple(Reason(why=gap.message, fix=gap.remedy) for gap in made.gaps if gap.blocks)


def _snapshot_missing(run: Run) -> str:
    if run.code is None:
        return ""
    try:
        kind = git("cat-file", "-t", run.code.snapshot, cwd=Path("/"), env={"GIT_DIR": run.code.repository})
    except GitError:
        return f"its code snapshot {run.code.snapshot[:12]} is not in {run.code.repository}"
    return "" if kind.strip() == b"commit" else f"{run.code.snapshot[:12]} is no code snapshot"

"""Runs that came from elsewhere: from which remote, and whether the user said that they may be run here.

Both are notes of this store, ``origins/RUN.json`` and ``trust/HEX.json``; nothing of them is ever pulled. Trust is in
a digest of all that a replay executes: the run's journals, which name cells, snapshot and objects, and its locks,
which name packages. Whatever changes in them, it is asked again.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

from reprokit.digest import canonical_json, hex_of, of_bytes, of_json
from reprokit.errors import ConsentNeeded
from reprokit.records import CodeState, Run
from reprokit.store import whole
from reprokit.store.layout import Layout

__all__ = ["JOURNALS", "applied", "digest_of", "is_trusted", "note", "of", "require", "source", "trust"]

JOURNALS = ("journal", "batch", "verdict", "environment")

_GIT_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def note(layout: Layout, run_id: str, remote: str) -> None:
    """Write down, before it can be seen, where a run comes from."""
    _write(layout.origins / f"{run_id}.json", {"run": run_id, "remote": remote, "pulled": time.time()})


def of(layout: Layout, run_id: str) -> str | None:
    """Return the remote that a run came from; None for one that was made here."""
    try:
        told = json.loads((layout.origins / f"{run_id}.json").read_bytes())
        return str(told["remote"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):  # whatever it says, it was not made here
        return "somewhere else"


def applied(run: Run, layout: Layout) -> Run:
    """Return a run as it is here: one that came from elsewhere has its project, and its snapshots, in this store.

    Raises:
        ValueError: it names as commits or as an environment what is none: these names are given to git, and to paths.
    """
    remote = of(layout, run.id)
    if remote is None:
        return run
    for environment in run.environments:
        hex_of(environment.fingerprint)

    def here(path: str) -> str:
        inside = run.root and Path(path).is_relative_to(run.root)
        return str(layout.project / Path(path).relative_to(run.root)) if inside else path

    def at(code: CodeState) -> CodeState:
        for name in (code.snapshot, code.tree, code.commit):
            if name is not None and not _GIT_NAME.fullmatch(name):
                raise ValueError(f"{name!r} names nothing in git")
        return dataclasses.replace(
            code,
            repository=str(layout.pulled_git(len(code.snapshot))),
            ref=f"refs/reprokit/{run.id}-{code.snapshot[:16]}",
            top=here(code.top),
            submodules=tuple(at(module) for module in code.submodules),
        )

    if run.status == "running":  # nobody here could wait for its end, and what waits for open runs would wait for ever
        run = dataclasses.replace(
            run, status="interrupted", reason=run.reason or "it was still open when it was pulled"
        )
    return dataclasses.replace(
        run,
        origin=remote,
        root=here(run.root),
        cwd=here(run.cwd),
        code=None if run.code is None else at(run.code),
        codes=tuple(at(code) for code in run.codes),
    )


def digest_of(layout: Layout, run: Run) -> str:
    """Return the digest of all that a replay of a run would execute."""
    journals = [layout.journal(run.id, name) for name in JOURNALS]
    files = [path for path in (*journals, *_locks(layout, run)) if path.is_file()]
    return of_json([[path.name, of_bytes(path.read_bytes())] for path in files])


def is_trusted(layout: Layout, run: Run) -> bool:
    """Return whether the user said that a run, as it is, may be run here."""
    return _trusted(layout, run).is_file()


def trust(layout: Layout, run: Run, trusted: bool = True) -> str:
    """Note that a run, as it is, may be run here, or may not any more; return its digest."""
    path = _trusted(layout, run)
    if trusted:
        _write(path, {"run": run.id, "trusted": time.time()})
    else:
        path.unlink(missing_ok=True)
    return digest_of(layout, run)


def source(layout: Layout, run: Run) -> str | None:
    """Return the remote that a run, or a lock of its environments, came from; None when all of it was made here."""
    return run.origin or next(filter(None, map(_lock_origin, _locks(layout, run))), None)


def require(layout: Layout, run: Run) -> None:
    """Pass when all that a replay of a run executes was made here, or the user trusts it.

    Raises:
        ConsentNeeded: it came from elsewhere, and nobody said yet that it may be run here.
    """
    remote = source(layout, run)
    if remote is not None and not is_trusted(layout, run):
        raise ConsentNeeded(run.id, remote, digest_of(layout, run))


def _locks(layout: Layout, run: Run) -> list[Path]:
    return [layout.locks / f"{hex_of(environment.fingerprint)}.json" for environment in run.environments]


def _lock_origin(path: Path) -> str | None:
    """Return the remote that a lock came from: it can be that of an environment in which runs were made here, too."""
    try:
        remote = json.loads(path.read_bytes()).get("pulled")
    except (OSError, ValueError, AttributeError, RecursionError):  # nothing can be installed from it either
        return None
    return None if remote is None else str(remote)


def _trusted(layout: Layout, run: Run) -> Path:
    return layout.root / "trust" / f"{hex_of(digest_of(layout, run))}.json"


def _write(path: Path, told: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.write(path, canonical_json(told))

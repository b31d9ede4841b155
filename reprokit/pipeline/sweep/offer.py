"""What the points of a sweep start from, brought to a remote for workers that do not see the project.

It is a run like any other: a snapshot of the code, and the files that points are known to read. Whoever is told its id
and the digest of all that it makes one execute can have the project anywhere. Knows stores and remotes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprokit.capture.code import code as code_module
from reprokit.capture.code import listing
from reprokit.errors import StoreError, UsageError
from reprokit.records import CodeState, FileUse, Record, Run
from reprokit.replay import exchange
from reprokit.store import origin
from reprokit.store.remote import configured
from reprokit.store.store import Store
from reprokit.store.transport import connect

__all__ = ["Offer", "known_inputs", "offer"]

_LOOKED_AT = 200  # newest runs, for one of the same notebook


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer(Record):
    """What a worker needs to have the project: where it is, the run that it is, and the digest of that.

    ``remote`` is an address, or a name that DVC knows in the project; ``project`` is where it lies for the driver.
    """

    remote: str
    run: str
    digest: str
    project: str


def offer(store: Store, remote: str, sweep: str, inputs: Iterable[str] = ()) -> dict[str, Any]:
    """Bring what the points of a sweep start from to a remote.

    Args:
        store: the project's.
        remote: an address, a folder, or the name of a remote of DVC's.
        sweep: the sweep's id.
        inputs: files and folders that points read, relative to the project; what is in the snapshot need not be named.

    Returns:
        ``Offer.to_dict()``, for every task of the sweep.

    Raises:
        UsageError: a file is outside the project, or not there.
        StoreError: it did not come whole.
    """
    there = connect(remote, store.layout.project)
    run = _recorded(store, sweep, inputs)
    exchange.push(store, there, [run.id])
    made = Offer(
        remote=_address(remote, store.layout.project),
        run=run.id,
        digest=origin.digest_of(store.layout, run),
        project=str(store.layout.project),
    )
    return made.to_dict()


def known_inputs(store: Store, notebook: str) -> list[str]:
    """Return the files in the project that the newest done run of a notebook, or script, had read, if there is one."""
    for summary in store.runs(query="status=done", limit=_LOOKED_AT):
        run = store.load(summary.id)
        if notebook in (run.notebook, run.script) and run.kind != "replay" and run.reuse_of is None:
            used = {use.path for cell in run.cells for use in cell.reads if not use.own and use.state == "stable"}
            return sorted(path for path in used if not path.startswith("/") and (store.layout.project / path).exists())
    return []


def _address(remote: str, project: Path) -> str:
    if remote in configured(project) or "://" in remote:
        return remote
    return str(Path(project, Path(remote).expanduser()).absolute())


def _recorded(store: Store, sweep: str, inputs: Iterable[str]) -> Run:
    """Record what a sweep starts from as a run."""
    run_id, journal = store.new_run("batch")
    began = time.time()
    code, gaps = code_module.snapshot(
        store.layout.project,
        run_id,
        private=store.layout.code_git,
        store_large=lambda path: _kept(store, Path(path)),
        limit=store.settings.snapshot_limit,
    )
    if code is None:
        why = "; ".join(gap.message for gap in gaps)
        raise StoreError(f"the code cannot be taken along ({why})", remedy="see `reprokit doctor`")
    reads = [use.to_dict() for use in _uses(store, code, inputs)]
    header = {
        "kind": "batch", "name": "what the sweep starts from", "sweep": sweep, "started": began,
        "root": str(store.layout.project), "cwd": str(store.layout.project), "code": code.to_dict(),
        "folders": sorted(path.name for path in store.layout.project.iterdir() if _is_plain_folder(path)),
    }  # fmt: skip
    journal.append({"set": header})
    journal.append({"cell": 1, "fill": {"source": "", "status": "done", "started": began, "reads": reads}})
    journal.append({"set": {"status": "done", "ended": time.time()}})
    journal.sync()
    journal.close()
    return store.load(run_id)


def _is_plain_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not path.name.startswith(".")


def _uses(store: Store, code: CodeState, inputs: Iterable[str]) -> Iterator[FileUse]:
    project, in_snapshot = store.layout.project, listing.of(code)
    for file in sorted({file for name in inputs for file in _files(project, name)}):
        if str(file) not in in_snapshot:
            yield replace(_kept(store, file), path=file.relative_to(project).as_posix())


def _files(project: Path, name: str) -> Iterable[Path]:
    path = project / name
    if not path.exists():
        raise UsageError(f"the input {name} is not there", remedy="make it first, or name another one")
    if not path.resolve().is_relative_to(project.resolve()):
        remedy = "put it into the project, or let workers that see it do the points (without --remote)"
        raise UsageError(f"the input {name} lies outside the project", remedy=remedy)
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def _kept(store: Store, path: Path) -> FileUse:
    stored = store.objects.put_file(path)
    return FileUse(path=str(path), access="read", size=stored.size, digest=stored.digest, stored="object")

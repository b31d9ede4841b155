"""Points on workers that do not see the project: code and data go to them through the store's remote, runs come back.

The driver offers what a sweep starts from as a run like any other: a snapshot of the code, and the files that points
are known to read. It pushes that run and tells each task its id and the digest of all that it makes a worker execute.
A worker pulls it, lays it out in a folder of its own and does points there; it has the driver's consent for what has
this digest, and for nothing else. What became of a point goes to the remote under the digest of what it says, so that
it is found when the driver that asked for it is gone. The driver takes the first that it sees. Knows stores and
remotes; it does not know engines.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprokit.capture.code import code as code_module
from reprokit.capture.code import listing
from reprokit.digest import canonical_json, hex_of, is_file_named, of_bytes
from reprokit.errors import ConsentNeeded, StoreError, UsageError
from reprokit.pipeline.sweep import place as placing
from reprokit.pipeline.sweep.claim import Point
from reprokit.pipeline.sweep.task import Ended, Task
from reprokit.records import CodeState, FileUse, Record, Run
from reprokit.replay import environment, exchange, workspace
from reprokit.store import origin
from reprokit.store.lock import opened
from reprokit.store.remote import configured
from reprokit.store.store import Store
from reprokit.store.transport import Remote, connect

__all__ = ["Offer", "accept", "collect", "known_inputs", "offer", "place"]

_LOOKED_AT = 200  # newest runs, for one of the same notebook
_KEPT_S = 3 * 86_400.0  # how long a worker keeps the project of a sweep that nobody asks for
_RUN_AGAIN = "start the sweep anew"
_TOLD_SIZE = 10**6  # bytes; what became of a point is a few values


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer(Record):
    """What a worker needs to have the project: where it is, the run that it is, and the digest of that.

    ``remote`` is an address, or a name that DVC knows in the project; ``project`` is where it lies for the driver.
    """

    remote: str
    run: str
    digest: str
    project: str


# -- the driver, before --------------------------------------------------------------------------


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


# -- the worker ----------------------------------------------------------------------------------


def place(task: Task) -> Ended:
    """Do a task in a project of this worker's own, unless the remote says already what became of it.

    Raises:
        ConsentNeeded: what the remote has is not what the driver offered.
        StoreError: it could not be had, or what was made could not be brought back.
    """
    given = Offer.from_dict(task.remote or {})
    with _laid_out(given) as project:
        return _placed(task, given, project)


def _placed(task: Task, given: Offer, project: Path) -> Ended:
    store = Store.open(project)
    there = connect(given.remote, project)
    for told in _told(there, task.sweep, task.point):
        if told.exit_code == 0 or told.attempt >= task.attempt:
            return told
    mine = _as_here(task, given, store)
    point = Point(mine.folder)
    earlier = point.result()
    if earlier is not None and earlier["attempt"] < task.attempt:
        point.retry()
    ended = placing.perform(mine)
    if ended.run is not None:
        exchange.push(store, there, [ended.run])
    if ended.counts:
        _tell(there, task.sweep, ended)
    return ended


@contextmanager
def _laid_out(given: Offer) -> Iterator[Path]:
    """Yield the project as it was offered; the first task of a sweep on this machine lays it out.

    Whoever uses it holds a share of its lock. What nobody has used for days is removed.
    """
    homes = environment.cache_folder().parent / "sweeps"
    home = homes / hex_of(given.digest)[:24]
    home.mkdir(parents=True, exist_ok=True)
    with opened(home / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ready").exists():
            _lay_out(given, home, home / "project")
            _forget(homes, home)
        (home / "ready").touch()
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield home / "project"


def _forget(homes: Path, but: Path) -> None:
    """Remove what earlier sweeps had left here, and nobody uses."""
    for home in homes.iterdir():
        with suppress(OSError):  # in use, or another one removes it
            old = time.time() - (home / "ready").stat().st_mtime > _KEPT_S
            if old and home != but:
                with opened(home / "lock") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(home)


def _lay_out(given: Offer, home: Path, project: Path) -> None:
    """Fetch the offer and put its code and data where points find them."""
    store = Store.open(_empty(home / "fetched"))
    exchange.pull(store, connect(given.remote, home), [given.run])
    run = store.load(given.run)
    if (found := origin.digest_of(store.layout, run)) != given.digest:
        raise ConsentNeeded(run.id, given.remote, found)
    origin.trust(store.layout, run)  # for what has this digest the task that brought it is the consent
    origin.require(store.layout, run)
    if run.code is None:
        raise StoreError(f"run {run.id} has no code", remedy=_RUN_AGAIN)
    root = workspace.create(run.code, _empty(project), objects=store.objects).root
    if root != project:
        raise StoreError(f"the project is a part of its repository ({root})", remedy="sweep from the repository's top")
    for name in run.folders:
        (project / name).mkdir(parents=True, exist_ok=True)
    for use in run.cells[0].reads:
        target = project / use.path
        inside = target.parent.resolve().is_relative_to(project.resolve())
        if use.digest is not None and inside and not is_file_named(target, use.digest):
            store.objects.restore(use.digest, target)
    Store.open(project).layout.create()


def _empty(folder: Path) -> Path:
    """Return an empty folder; what a worker that died had left there is put aside."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.left-{secrets.token_hex(4)}"))
    folder.mkdir()
    return folder


def _as_here(task: Task, given: Offer, store: Store) -> Task:
    """Return a task with the paths that the project has here."""
    book = store.layout.root / "sweeps" / task.sweep
    (book / "points").mkdir(parents=True, exist_ok=True)
    here, old = str(store.layout.project), given.project

    def moved(value: Any) -> Any:
        if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
            return here + value.removeprefix(old)
        return [moved(item) for item in value] if isinstance(value, list) else value

    names = ("project", "notebook", "script", "cwd", "inputs", "outputs", "output_notebook")
    spec = {key: moved(value) if key in names else value for key, value in task.spec.items()}
    return replace(
        task, book=str(book), store=str(store.layout.root), project=here, spec={**spec, "project": here}, remote=None
    )


def _folder(sweep: str, point: int) -> str:
    return f"sweeps/{sweep}/{point}"


def _tell(there: Remote, sweep: str, ended: Ended) -> None:
    data = canonical_json(ended.to_dict())
    with tempfile.NamedTemporaryFile(prefix="reprokit-told-") as file:
        file.write(data)
        file.flush()
        there.put(Path(file.name), f"{_folder(sweep, ended.point)}/{hex_of(of_bytes(data))}.json")


def _told(there: Remote, sweep: str, point: int) -> list[Ended]:
    """Return what a remote says became of a point, by the time at which it ended."""
    found = []
    for name in there.names(_folder(sweep, point)):
        data = there.read(f"{_folder(sweep, point)}/{name}", most=_TOLD_SIZE)
        try:
            ended = Ended.from_dict(json.loads(data))
        except (ValueError, TypeError, AttributeError):
            continue
        if hex_of(of_bytes(data)) == name.removesuffix(".json") and ended.point == point:
            found.append(ended)
    return sorted(found, key=lambda ended: ended.ended or 0.0)


# -- the driver, after ---------------------------------------------------------------------------


def accept(store: Store, document: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Take over what became of a task: fetch its run, and let it count if nothing does yet.

    Args:
        store: the project's.
        document: the task.
        told: what its future gave; a task without a remote needs nothing more.

    Returns:
        What counts.

    Raises:
        StoreError: the run did not come, or is another point's.
    """
    task, ended = Task.from_dict(dict(document)), Ended.from_dict(dict(told))
    if task.remote is None:
        return ended.to_dict()
    return _accepted(store, task, ended).to_dict()


def collect(store: Store, document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Take over what became of a point for an earlier driver, if a worker has told it to the remote; None: it has not.

    Args:
        store: the project's.
        document: a task of the point, with the remote, and the attempt that would be made next.
    """
    task = Task.from_dict(dict(document))
    if task.remote is None:
        return None
    there = connect(Offer.from_dict(task.remote).remote, store.layout.project)
    for ended in _told(there, task.sweep, task.point):
        if ended.exit_code == 0 or ended.attempt >= task.attempt:
            return _accepted(store, task, ended).to_dict()
    return None


def _accepted(store: Store, task: Task, ended: Ended) -> Ended:
    if ended.run is not None:
        there = connect(Offer.from_dict(task.remote or {}).remote, store.layout.project)
        exchange.pull(store, there, [ended.run])
        run = store.load(ended.run)
        if (run.sweep, run.point) != (task.sweep, task.point):
            raise StoreError(f"run {run.id} is not of point {task.point}", remedy=_RUN_AGAIN)
    if not ended.counts:
        return ended
    point = Point(task.folder)
    with point.alone(lambda: time.sleep(_PAUSE_S)):
        known = point.result()
        return Ended.from_dict(known) if known else point.commit(replace(ended, execution=point.claim(ended.attempt)))


_PAUSE_S = 0.1

"""Points on workers that do not see the project: code and data go to them through the store's remote, runs come back.

A worker pulls what the driver offered (see ``offer``), lays it out in a folder of its own and does points there; it has
the driver's consent for what has the digest that the task names, and for nothing else. What became of a point goes to
the remote under the digest of what it says, so that it is found when the driver that asked for it is gone. The driver
takes the first that it sees. Knows stores and remotes; it does not know engines.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprokit.digest import canonical_json, hex_of, is_file_named, of_bytes
from reprokit.errors import ConsentNeeded, StoreError
from reprokit.pipeline.sweep import place as placing
from reprokit.pipeline.sweep.claim import Point
from reprokit.pipeline.sweep.offer import Offer
from reprokit.pipeline.sweep.task import Ended, Task
from reprokit.replay import environment, exchange, workspace
from reprokit.store import origin
from reprokit.store.lock import opened
from reprokit.store.store import Store
from reprokit.store.transport import Remote, connect

__all__ = ["accept", "collect", "place"]

_KEPT_S = 3 * 86_400.0  # how long a worker keeps the project of a sweep that nobody asks for
_RUN_AGAIN = "start the sweep anew"
_TOLD_SIZE = 10**6  # bytes; what became of a point is a few values


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

"""Carries out the plan of a replay: restore, build, run, compare. The replay is a run of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import nbformat

from reprokit.capture import drive, launch, preload
from reprokit.capture.drive import Drive
from reprokit.capture.environment import hash_secret
from reprokit.capture.environment.machine import THREADS
from reprokit.capture.redact import HIDDEN
from reprokit.digest import is_file_named
from reprokit.errors import StoreError, Unreplayable, UsageError
from reprokit.notebook import engine
from reprokit.notebook.compose import compose
from reprokit.notebook.parent import Order, ParentRecord, Progress, append_verdict, silent
from reprokit.records import CodeState, Run, Verdict
from reprokit.replay import environment, lock, modules, workspace
from reprokit.replay.compare import compare
from reprokit.replay.editable import python_path
from reprokit.replay.facts import plan_replay
from reprokit.replay.lock import Lock
from reprokit.replay.plan import Plan, Restore, wanted
from reprokit.store import remote
from reprokit.store.store import Store

__all__ = ["Result", "replay"]

_SHOWN = 6  # packages named that differ today
_HASHED = 10**8  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a replay gave: the verdict, the replay's own run id, and one line for each thing restored."""

    verdict: Verdict
    replay: str
    restored: tuple[str, ...]


def replay(
    store: Store,
    run: Run,
    *,
    env: str = "auto",
    to: Path | None = None,
    exact: bool = False,
    timeout: int | None = None,
    progress: Progress = silent,
) -> Result:
    """Repeat a run in a workspace of its own and compare.

    Args:
        store: holds the run, and will hold the replay.
        run: the run to repeat.
        env: "auto", "locked" or "current".
        to: where the workspace is made and left; elsewhere, and removed afterwards, when None.
        exact: without the typed rules of comparison.
        timeout: seconds that one cell may take.
        progress: told of each step.

    Raises:
        Unreplayable: the replay could not be exact; nothing was run.
        EnvironmentBuildError: the locked environment could not be built.
        UsageError: the run is still open, or ``to`` is a folder with something in it.
    """
    progress("planning", 0, 0)
    recorded, run = run, modules.located(run, store.layout.project)
    planned = plan_replay(store, run, env=env)
    if planned.reasons:
        raise Unreplayable(run.id, [(reason.why, reason.fix) for reason in planned.reasons])
    used = _Environment.make(store, run, planned, progress)
    with _workspace_folder(to) as folder, _workspace_folder(None) as elsewhere:
        progress("restoring files", 0, 0)
        place = _Place.make(store, run, planned, folder, elsewhere)
        replayed = _execute(store, run, planned, place, used, timeout, progress)
    progress("comparing", 0, 0)
    recorded = modules.without_reads(recorded)
    repeated = replace(recorded, cells=tuple(cell for cell in recorded.cells if cell.seq in planned.cells))
    verdict = compare(repeated, replayed, store.objects.get_bytes, exact=exact)
    append_verdict(store, replayed.id, verdict.to_dict())
    left_out = [f"not repeated cell {seq}, which was interrupted" for seq in planned.skipped]
    return Result(verdict=verdict, replay=replayed.id, restored=(*place.restored, *used.restored, *left_out))


@contextmanager
def _workspace_folder(to: Path | None) -> Iterator[Path]:
    if to is not None:
        if to.exists() and any(to.iterdir()):
            raise UsageError(f"{to} is not empty", remedy="name a new folder with --to")
        yield to.resolve()
        return
    folder = environment.cache_folder().parent / "workspaces" / secrets.token_hex(6)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The workspace at ``top``: ``root`` is the project root in it, ``cwd`` where the run was started.

    ``elsewhere`` is where modules from outside the project are.
    """

    top: Path
    elsewhere: Path
    root: Path
    cwd: Path
    restored: tuple[str, ...]

    @classmethod
    def make(cls, store: Store, run: Run, planned: Plan, folder: Path, elsewhere: Path) -> _Place:
        """Restore code and data below ``folder``, and what was imported from outside the project ``elsewhere``."""
        restored = []
        root = folder
        if run.code is not None:
            root = workspace.create(run.code, folder, objects=store.objects).root
            restored.append(f"code         {_code_name(run.code)}")
        for name in (*run.folders, "."):
            (root / name).mkdir(parents=True, exist_ok=True)
        try:
            _put_back(store, run, planned, 0, root)
        except StoreError as error:  # the plan takes it on trust that a remote of DVC's has the bytes
            raise Unreplayable(run.id, [(error.message, error.remedy)]) from error
        restored += [f"data         {path}{_today(run, path, digest)}" for path, digest in _inputs(run)]
        modules.put(run, 0, elsewhere, store.objects)
        names = sorted({module.name for module in run.modules})
        restored += [f"code         {name}, from outside the project" for name in names]
        cwd = _moved(run.cwd, run.root, root)
        return cls(top=folder, elsewhere=elsewhere, root=root, cwd=cwd, restored=tuple(restored))


def _code_name(code: CodeState) -> str:
    if code.commit is None:
        return f"{code.snapshot[:12]}, which was never committed"
    return code.commit[:12] + (" with its uncommitted changes" if code.dirty else "")


def _inputs(run: Run) -> list[tuple[str, str | None]]:
    """Return path and digest of what the run read, as it was when it was first read."""
    first: dict[str, str | None] = {}
    for _, use in wanted(run):
        first.setdefault(use.path, use.digest)
    return list(first.items())


def _today(run: Run, path: str, digest: str | None) -> str:
    """Say what became of a file since; a large one is not hashed just to say so."""
    file = Path(run.root) / path
    if not file.exists():
        return "  (gone today)"
    if file.is_dir():  # a dataset: its files are too many to be looked at just to say so
        return ""
    return "" if file.stat().st_size > _HASHED or is_file_named(file, digest or "") else "  (changed since)"


def _put_back(store: Store, run: Run, planned: Plan, before: int, root: Path) -> None:
    """Put back the files that a cell needs as they were, 0 standing for the first."""
    items = [item for item in planned.restores if item.before == before]
    for item in items:
        target = root / item.path
        if item.source in ("edit", "removed"):
            _edit(store, item, target, root)
        elif not target.parent.resolve().is_relative_to(root.resolve()):
            _require_in_place(run, item, target)
        elif item.source == "object":
            store.objects.restore(item.digest, target)
        elif item.source == "project":
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(run.root) / item.path, target)
    remote.restore(Path(run.root), root, {item.path: item.digest for item in items if item.source == "dvc"})


def _edit(store: Store, item: Restore, target: Path, root: Path) -> None:
    """Change code as somebody changed it between two cells; never through a link out of the workspace."""
    if not target.parent.resolve().is_relative_to(root.resolve()):
        return
    if item.source == "removed":
        target.unlink(missing_ok=True)
    elif not is_file_named(target, item.digest):
        modules.put_file(item.digest, target, store.objects)


def _require_in_place(run: Run, item: Restore, target: Path) -> None:
    """A link in the project leads outside it: what lies there is used as it is, and never written."""
    if not is_file_named(target, item.digest):
        why = f"{item.path} lies behind a link outside the project, and has changed"
        raise Unreplayable(run.id, [(why, f"put the file with {item.digest} back")])


def _moved(path: str, old_root: str, new_root: Path) -> Path:
    """Return where ``path`` lies in the workspace; a path outside the project stays where it is."""
    old = Path(path)
    return new_root / old.relative_to(old_root) if old.is_relative_to(old_root) else old


@dataclass(frozen=True, slots=True, kw_only=True)
class _Environment:
    """What the replay runs in: the current interpreter when there is no ``lock``."""

    python: Path
    lock: Lock | None
    restored: tuple[str, ...]

    @classmethod
    def make(cls, store: Store, run: Run, planned: Plan, progress: Progress) -> _Environment:
        """Build the environment, or find it built."""
        if planned.environment == "current" or run.environment is None:
            same = "" if planned.changes else ", which is the recorded one"
            return cls(python=Path(sys.executable), lock=None, restored=(f"environment  the current one{same}",))
        progress("building the environment", 0, 0)
        made = lock.ensure(store.layout, run.environment, store.objects)
        built = environment.build(made, store.objects, progress=lambda what: progress(what, 0, 0))
        count = len(run.environment.distributions)
        lines = [f"environment  {count} packages from the lock ({built.how})"]
        lines += [f"             {change} today" for change in planned.changes[:_SHOWN]]
        more = len(planned.changes) - _SHOWN
        lines += [f"             … and {more} more"] if more > 0 else []
        lines += [f"             {note}" for note in built.notes]
        return cls(python=built.python, lock=made, restored=tuple(lines))


def _execute(
    store: Store,
    run: Run,
    planned: Plan,
    place: _Place,
    used: _Environment,
    timeout: int | None,
    progress: Progress,
) -> Run:
    cells = tuple(cell for cell in run.cells if cell.seq in planned.cells)
    run_ids: list[str] = []
    order = Order(
        store=store,
        kind="replay",
        header=_header(run, place),
        drive=lambda run_id: Drive(
            run_id=run_id,
            store=store.layout.root,
            project=place.root,
            kind="replay",
            front=run.front,
            code=run.code,
            order=planned.cells,
            cells=cells,
            places=modules.places(run, place.elsewhere),
            hash_secret=None if run.machine is None else run.machine.hash_secret,
        ),
        python=used.python,
        cwd=place.cwd,
        variables={**variables(store, run), **_import_path(run, place, used)},
        before_cell=lambda seq: _prepare(store, run, planned, seq, place),
        numbers=planned.cells,
        keep_going=True,
        progress=progress,
        opened=run_ids.append,
    )
    if run.front == "script":
        return _execute_script(run, order, timeout)
    with _notebook_file(store, run, planned) as notebook:
        engine.execute(notebook, None, order, timeout=timeout, kernel="python3")
    return store.load(run_ids[0])


def _prepare(store: Store, run: Run, planned: Plan, seq: int, place: _Place) -> None:
    """Make files, code and checked out commit what they were before a cell."""
    _put_back(store, run, planned, seq, place.root)
    modules.put(run, seq, place.elsewhere, store.objects)
    code = modules.commits(run).get(seq)
    if code is not None:
        workspace.move(code, place.top)


@contextmanager
def _notebook_file(store: Store, run: Run, planned: Plan) -> Iterator[Path]:
    path = store.layout.run_folder(run.id) / f"replay-{secrets.token_hex(4)}.ipynb"
    nbformat.write(compose([cell for cell in run.cells if cell.seq in planned.cells]), path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _header(run: Run, place: _Place) -> dict[str, Any]:
    return {
        "name": run.name,
        "replay_of": run.id,
        "front": run.front,
        "notebook": run.notebook,
        "script": run.script,
        "params": dict(run.params),
        "tags": dict(run.tags),
        "root": str(place.root),
        "code": None if run.code is None else run.code.to_dict(),
    }


def _import_path(run: Run, place: _Place, used: _Environment) -> dict[str, str | None]:
    path = python_path(run.code, place.top, used.lock)
    found = [*dict.fromkeys(modules.places(run, place.elsewhere).values()), *([path] if path else [])]
    return {"PYTHONPATH": os.pathsep.join(found)} if found else {}


def variables(store: Store, run: Run) -> dict[str, str | None]:
    """Return the environment variables that make a process compute as the recorded one did."""
    patterns = store.settings.variables
    changed: dict[str, str | None] = {
        name: None for name in os.environ if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    changed |= dict.fromkeys(THREADS)
    if run.config is not None:
        for key, value in run.config.values.items():
            if run.config.sources.get(key) == "environment" and value != HIDDEN:
                changed[key.removeprefix("env.")] = str(value)
    if run.machine is not None:
        changed |= run.machine.threads
        fixed = run.machine.hash_seed
        changed["PYTHONHASHSEED"] = str(secrets.randbelow(2**32)) if fixed == "random" else fixed
        changed |= hash_secret.for_child(run.machine.hash_secret)
    return changed


def _execute_script(run: Run, order: Order, timeout: int | None) -> Run:
    """Run a script again as a script: its ``with reprokit.run()`` block records the replay."""
    record = ParentRecord(order)
    environ = {**os.environ, **{key: value for key, value in order.variables.items() if value is not None}}
    for name in (key for key, value in order.variables.items() if value is None):
        environ.pop(name, None)
    environ[drive.VARIABLE] = str(record.drive_path)
    environ.update(preload.carried(environ))
    command = [
        str(order.python),
        str(Path(launch.__file__).resolve()),
        "script",
        run.script or "",
        *run.argv[1:],
    ]
    began = time.time()
    status, reason = "done", None
    try:
        done = subprocess.run(
            command,
            cwd=order.cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            status, reason = (
                "failed",
                f"the script ended with status {done.returncode} after {time.time() - began:.1f} s",
            )
    except subprocess.TimeoutExpired:
        status, reason = "interrupted", f"the script took longer than {timeout} s"
    return record.close(status, reason)

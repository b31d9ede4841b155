"""The place of a replay: code and data as they were, or as they are today, in a workspace of its own.

It knows what a plan says is to lie where, and before which cell. It writes below the workspace and the folders
beside it alone; nothing of the user's is changed.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from reprokit.capture import namespace
from reprokit.capture.code import code as code_module
from reprokit.capture.code import listing
from reprokit.capture.code.git import git
from reprokit.capture.files import lfs
from reprokit.digest import is_file_named
from reprokit.errors import GitError, ObjectCorrupt, ObjectMissing, StoreError, Unreplayable, UsageError
from reprokit.records import CodeState, FileUse, Run
from reprokit.replay import modules, workspace
from reprokit.replay.conditions import Conditions
from reprokit.replay.mounts import Mounts, unavailable
from reprokit.replay.plan import Plan, Restore, wanted
from reprokit.replay.snapshots import states
from reprokit.store import remote
from reprokit.store.store import Store

__all__ = ["Place", "code_of_today"]

_HASHED = 10**8  # bytes
_TODAY = "refs/reprokit/today-"


def code_of_today(store: Store, run: Run) -> CodeState:
    """Return a snapshot of the project as it is now.

    Raises:
        StoreError: it could not be taken.
    """
    state, gaps = code_module.snapshot(
        Path(run.root),
        f"{_TODAY.rpartition('/')[2]}{os.getpid()}-{secrets.token_hex(6)}",
        private=store.layout.code_git,
        store_large=lambda path: _kept(store, Path(path)),
        limit=store.settings.snapshot_limit,
    )
    if state is None:
        why = "; ".join(gap.message for gap in gaps)
        raise StoreError(f"today's code could not be taken ({why})", remedy="replay with the recorded code")
    return state


def _kept(store: Store, path: Path) -> FileUse:
    stored = store.objects.put_file(path)
    return FileUse(path=str(path), access="read", size=stored.size, digest=stored.digest, stored="object")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The workspace at ``top``: ``root`` is the project root in it. ``elsewhere`` is what came from outside.

    ``code`` is what the workspace was made from. With ``mounts`` the replay sees all of it where it was recorded.
    """

    top: Path
    elsewhere: Path
    root: Path
    code: CodeState | None
    mounts: Mounts | None
    restored: tuple[str, ...]

    @classmethod
    def make(
        cls, store: Store, run: Run, planned: Plan, conditions: Conditions, folder: Path, elsewhere: Path
    ) -> Place:
        """Restore code and data below ``folder``, and what was imported from outside the project ``elsewhere``.

        Raises:
            Unreplayable: something that the plan counted on is not to be had.
            StoreError: the disk is full, or a part of the snapshot is gone.
        """
        with _told(folder), _emptied_unless_done(folder):
            state = code_of_today(store, run) if conditions.code == "current" and run.code is not None else run.code
            root = folder if state is None else workspace.create(state, folder, objects=store.objects).root
            for name in (*run.folders, "."):
                (root / name).mkdir(parents=True, exist_ok=True)
            elsewhere.mkdir(parents=True, exist_ok=True)
            made = store.load(run.id, here=False)
            mounts = _mounts(store, run, state, folder, elsewhere, made)
            place = cls(top=folder, elsewhere=elsewhere, root=root, code=state, mounts=mounts, restored=())
            place.put_back(store, run, planned, 0)
            return replace(place, restored=(*_lines(run, planned, place), *_not_here(run, place, made.root)))

    def seen(self, path: Path) -> Path:
        """Return the path at which the replay finds what lies at ``path`` in the workspace."""
        return path if self.mounts is None else self.mounts.seen(path)

    def code_seen(self) -> CodeState | None:
        """Return the code that the workspace was made from, as the replay sees it."""
        if self.code is None or self.mounts is None:
            return self.code
        old, new = self.code.top, str(self.seen(self.top))

        def at(code: CodeState) -> CodeState:
            inside = Path(code.top).is_relative_to(old)
            top = str(Path(new, Path(code.top).relative_to(old))) if inside else code.top
            return replace(code, top=top, submodules=tuple(at(module) for module in code.submodules))

        return at(self.code)

    def cwd(self, run: Run) -> Path:
        """Return the working directory in the workspace; one outside the project stays where it is."""
        old = Path(run.cwd)
        return self.root / old.relative_to(run.root) if old.is_relative_to(run.root) else old

    def keep_code(self, run_id: str) -> None:
        """Keep today's code under the name of the replay, if that was what it ran with."""
        code = self.code
        if code is not None and code.ref.startswith(_TODAY):
            kept = f"refs/reprokit/{run_id}"
            git("update-ref", kept, code.snapshot, cwd=Path("/"), env={"GIT_DIR": code.repository})
            git("update-ref", "-d", code.ref, cwd=Path("/"), env={"GIT_DIR": code.repository})

    def clear(self) -> None:
        """Take out of a workspace that stays what was there for the replay's processes alone."""
        if self.mounts is not None:
            self.mounts.clear()

    def put_back(self, store: Store, run: Run, planned: Plan, before: int) -> None:
        """Put back the files, and the modules from outside, that a cell needs as they were; 0: before the first."""
        try:
            self._put_back(store, run, [item for item in planned.restores if item.before == before])
        except StoreError as error:  # a damaged object; or a remote of DVC's, which the plan takes on trust
            raise Unreplayable(run.id, [(_naming(error, planned.restores), error.remedy)]) from error
        if planned.modules:
            modules.put(run, before, self.elsewhere, store.objects)

    def _put_back(self, store: Store, run: Run, items: list[Restore]) -> None:
        for item in items:
            target = self.root / item.path
            if item.source == "mount":
                self._put_outside(store, item.path, item.digest)
            elif item.source in ("edit", "removed"):
                _edit(store, item, target, self.root)
            elif not target.parent.resolve().is_relative_to(self.root.resolve()):
                self._behind_link(store, run, item, target)
            else:
                _put(store, run, item, target)
        found = {item.path: item.digest for item in items if item.source == "dvc"}
        remote.restore(Path(run.root), self.root, found)

    def _put_outside(self, store: Store, path: str, digest: str) -> None:
        """Write into the file that stands for one outside: it may be mounted already, and must stay the same one."""
        assert self.mounts is not None  # the plan says so only where it can be done
        target = self.mounts.outside(path)
        draft = target.with_name(f"{target.name}.reprokit-draft")
        store.objects.restore(digest, draft)
        if target.exists():
            shutil.copyfile(draft, target)
            draft.unlink()
        else:
            draft.rename(target)

    def _behind_link(self, store: Store, run: Run, item: Restore, target: Path) -> None:
        """A link in the project leads outside it: what lies there is used as it is, and never written."""
        if is_file_named(target, item.digest) or item.source in ("today", "gone"):
            return
        if self.mounts is not None and item.source == "object":
            self._put_outside(store, str(target.resolve()), item.digest)
            return
        why = f"{item.path} lies behind a link outside the project, and has changed"
        raise Unreplayable(run.id, [(why, f"put the file with {item.digest} back")])


def _mounts(store: Store, run: Run, state: CodeState | None, folder: Path, elsewhere: Path, made: Run) -> Mounts | None:
    if unavailable():
        return None
    here = Path(run.root if state is None else state.top)
    place = (_made_at(made, here) if state is run.code else None) or here
    if not namespace.can_be(str(place)):
        return None
    beside = elsewhere / "mounts"
    beside.mkdir()
    return Mounts.plan(store, state, folder, place, beside, [path.parent for path in _written_outside(run, place)])


def _made_at(made: Run, here: Path) -> Path | None:
    """Return where the project of a run was that came from elsewhere, or was moved: its code may name that place."""
    old = Path(made.root if made.code is None else made.code.top)
    apart = old.is_absolute() and not here.is_relative_to(old) and not old.is_relative_to(here)
    return old if apart and namespace.can_be(str(old)) else None


def _written_outside(run: Run, place: Path) -> list[Path]:
    """Return the files outside the project that the run wrote."""
    absolute = {Path(use.path) for cell in run.cells for use in cell.writes if use.path.startswith("/")}
    return sorted(path for path in absolute if not path.is_relative_to(place))


def _put(store: Store, run: Run, item: Restore, target: Path) -> None:
    if item.source == "object":
        store.objects.restore(item.digest, target)
    elif item.source in ("project", "today"):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(run.root) / item.path, target)
    elif item.source == "git" and run.code is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        name = listing.of(run.code)[str(Path(run.root) / item.path)]
        target.write_bytes(listing.blob(run.code, name))
    elif item.source == "lfs":
        _put_from_lfs(run, item, target)
    elif item.source == "gone":
        target.unlink(missing_ok=True)


def _put_from_lfs(run: Run, item: Restore, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    places = (Path(lfs.place(code.repository, item.digest)) for code in states(run))
    found = next((place for place in places if is_file_named(place, item.digest)), None)
    if found is None:
        remedy = "`git lfs fsck` in the project, then `git lfs fetch --all`"
        raise StoreError(f"what git-lfs has for {item.path} is damaged", path=target, remedy=remedy)
    shutil.copyfile(found, target)


def _edit(store: Store, item: Restore, target: Path, root: Path) -> None:
    """Change code as somebody changed it between two cells; never through a link out of the workspace."""
    if not target.parent.resolve().is_relative_to(root.resolve()):
        return
    if item.source == "removed":
        target.unlink(missing_ok=True)
    elif not is_file_named(target, item.digest):
        modules.put_file(item.digest, target, store.objects)


def _naming(error: StoreError, restores: Iterable[Restore]) -> str:
    """Return what failed with the names of the files that it was for."""
    digest = error.digest if isinstance(error, (ObjectCorrupt, ObjectMissing)) else None
    paths = sorted({item.path for item in restores if item.digest == digest}) if digest else []
    return f"{', '.join(paths)}: {error.message}" if paths else error.message


@contextmanager
def _emptied_unless_done(folder: Path) -> Iterator[None]:
    """Leave nothing half restored in a folder that the user named."""
    try:
        yield
    except BaseException:
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        raise


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Say what failed while a workspace was made as one clear message."""
    try:
        yield
    except GitError as error:
        if "No space left" in error.stderr:
            raise _no_room(folder) from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _no_room(folder) from error
        what = f"the workspace at {folder} could not be made ({error})"
        remedy = "see whether the folder can be written to, or name one with --to"
        raise StoreError(what, path=folder, remedy=remedy) from error
    except StoreError as error:
        if isinstance(error.__cause__, GitError) and "No space left" in error.__cause__.stderr:
            raise _no_room(folder) from error
        raise


def _no_room(folder: Path) -> UsageError:
    remedy = "make room, or name a folder on another disk with --to; nothing was run and nothing is left of it"
    return UsageError(f"there is no room to restore the run at {folder}", remedy=remedy)


# -- what was done, in lines -------------------------------------------------------------------------


def _lines(run: Run, planned: Plan, place: Place) -> Iterator[str]:
    if place.code is not None:
        today = "  (as it is today)" if place.code is not run.code else ""
        yield f"code         {_code_name(place.code)}{today}"
    sources = {item.path: item.source for item in planned.restores if item.before == 0}
    for path, digest in _inputs(run):
        used_as_it_is = sources.get(path, "") in ("today", "gone")
        yield f"data         {path}" + ("  (as it is today)" if used_as_it_is else _today(run, path, digest))
    if planned.modules:
        yield from (f"code         {name}, from outside the project" for name in sorted({m.name for m in run.modules}))
    if place.mounts is not None:
        yield f"place        {place.mounts.place}, for the replay alone"
    for file in _written_outside(run, Path(run.root if place.code is None else place.code.top)):
        covered = place.mounts is not None and place.mounts.covers(file)
        yield f"outside      {file}, " + ("for the replay alone" if covered else "written in its real place")


def _not_here(run: Run, place: Place, old: str) -> Iterator[str]:
    """Say which cells name the folder that the project was in, when that is not here and nothing stands for it."""
    naming = [str(cell.seq) for cell in run.cells if old and old in cell.source]
    if naming and old not in (run.root, str(place.seen(place.root))):
        cells = "cell " + naming[0] if len(naming) == 1 else f"cells {', '.join(naming)}"
        why = f" ({unavailable()})" if unavailable() else ""
        yield f"missing      {old}, where the project was made, which {cells} name: nothing can stand for it here{why}"
        yield "             name files from the working directory instead, or move the project there"


def _code_name(code: CodeState) -> str:
    if code.commit is None:
        return f"{code.snapshot[:12]}, which was never committed"
    return code.commit[:12] + (" with its uncommitted changes" if code.dirty else "")


def _inputs(run: Run) -> Iterable[tuple[str, str | None]]:
    """Return path and digest of what the run read, as it was when it was first read."""
    first: dict[str, str | None] = {}
    for _, use in wanted(run):
        first.setdefault(use.path, use.digest)
    return first.items()


def _today(run: Run, path: str, digest: str | None) -> str:
    """Say what became of a file since; a large one is not hashed just to say so."""
    file = Path(run.root) / path
    if not file.exists():
        return "  (gone today)"
    if file.is_dir():  # a dataset: its files are too many to be looked at just to say so
        return ""
    return "" if file.stat().st_size > _HASHED or is_file_named(file, digest or "") else "  (changed since)"

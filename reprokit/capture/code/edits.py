"""The edits probe: code of the project that somebody else than the run changes while the run goes on.

An editor saves a module, ``git checkout`` brings another branch, a colleague's tool rewrites a script: the cell
that comes next runs with that code, and a replay must give it that code. What the cells write themselves (with
``%%writefile``, say) a replay writes again. Data is not looked at here: it counts when it is read.

When code changed, or another commit was checked out, the tree is snapshot anew in the background.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from time import time_ns
from typing import Any

from reprokit.capture.files.audit import Audit
from reprokit.capture.files.folders import Changes, Folders
from reprokit.capture.files.paths import Paths
from reprokit.capture.probe import Context, Patch
from reprokit.records import CodeState, FileUse, Gap

__all__ = ["CODE", "Edits", "checked_out", "git_directory"]

CODE = (".py", ".pyi", ".so", ".pyd")  # what Python imports: the files probe leaves these alone
_SKIPPED = frozenset((".git", "__pycache__", ".ipynb_checkpoints", "node_modules", "site-packages", "dist-packages"))
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_FOLDERS = 5_000
_MOST_STATS = 64  # files looked at before each cell where there is no inotify: about 1 µs each
_NONE: set[str] = set()
_AT_ONCE = 4 * 10**6  # bytes that are read before the cell may go on (about 2 ms)

Snapshot = Callable[[str], CodeState | None]
Marks = tuple[tuple[int, int, int] | None, ...]


class Edits:
    """Ties each cell to the code that it ran with."""

    aspect = "code"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._paths = Paths(context.project, context.ignored, ())
        prefix = os.path.realpath(sys.prefix) + os.sep
        inside = prefix.startswith(self._paths.project + os.sep)
        self._environment = (prefix,) if inside else ()
        self._audit = Audit(self._on_file, lambda address: None)
        self._folders: Folders | None = None
        self._stats: dict[str, tuple[int, int, int] | None] = {}
        self._own: set[str] = set()  # written by this process itself
        self._elsewhere: set[str] = set()  # changed outside the project since the last cell began
        self._seq: int | None = None
        self._first: CodeState | None = None  # as the run began
        self._state: CodeState | None = None  # as it was last seen
        self._snapshot: Snapshot = lambda name: None
        self._head_files: tuple[str, ...] = ()
        self._head: Marks = ()
        self._head_folders: frozenset[str] = frozenset()  # of those files, when another commit is heard of
        self._count = 1
        self._pid = os.getpid()

    def start(self) -> Patch | None:
        """Begin to listen to what this process writes; a replay is told what was edited."""
        if self._context.replayed is None:
            self._audit.start()
        return None

    def knows(self, state: CodeState, files: Iterable[str], snapshot: Snapshot) -> None:
        """Tell what the code is at the start, and begin to watch it.

        Args:
            state: the snapshot.
            files: absolute paths of the files in it.
            snapshot: takes another one; given the name under which it is kept.
        """
        if self._context.replayed is not None:
            return
        self._first = self._state = state
        self._snapshot = snapshot
        self._head_files = _head_files(state.top, state.repository, state.branch)
        self._head = _marks(self._head_files)
        code = sorted(path for path in files if path.endswith(CODE))
        try:
            self._folders = _watched(self._paths.project, code)
        except OSError as error:
            self._stats = {path: _mark(path) for path in code[:_MOST_STATS]}
            self._context.gap(_not_watched(error, len(code)))
        self._watch_head()

    @property
    def has_snapshot(self) -> bool:
        """Whether the project's own code is kept."""
        return self._state is not None

    def also(self, folders: Iterable[str]) -> None:
        """Watch folders outside the project."""
        try:
            for folder in folders:
                if self._folders is not None:
                    self._folders.add(folder)
        except OSError as error:
            self._context.gap(_not_watched(error, 0))

    def take_elsewhere(self) -> set[str]:
        """Return the files outside the project that were changed between the last cell's beginning and this one's."""
        if not self._elsewhere:
            return _NONE
        taken, self._elsewhere = self._elsewhere, set()
        return taken

    def before_cell(self, seq: int) -> Patch | None:
        """Find out what was changed since the last cell began, and by whom."""
        self._seq = seq
        changes = self._changes()
        if not changes and (self._head_folders or _marks(self._head_files) == self._head):
            self._own.clear()
            return None
        head = _marks(self._head_files)
        moved, self._head = head != self._head, head
        files = self._named(changes)
        inside = self._paths.project + os.sep
        self._elsewhere |= {
            path for path in files if not path.startswith(inside) and os.path.dirname(path) not in self._head_folders
        }
        edited = sorted(path for path in files if self._is_code(path) and path not in self._own)
        self._own.clear()
        if changes.lost:
            self._context.gap(_lost(seq))
            self._unhear()
        if edited:
            self._keep(seq, edited)
        if edited or moved:
            self._context.later(lambda: self._again(seq))
        return Patch(set={"head": list(self._checked_out())}) if moved else None

    def after_cell(self, seq: int) -> Patch | None:
        """Nothing: a change during a cell counts from the next one on."""
        self._seq = None
        return None

    def stop(self) -> Patch | None:
        """Stop listening; a repository that was deleted meanwhile took the snapshot with it."""
        self._audit.stop()
        if self._folders is not None:
            self._folders.close()
            self._folders = None
        state = self._first
        if state is None or os.path.isdir(os.path.join(state.repository, "objects")):
            return None
        return self._rescued(state)

    # -- what changed ---------------------------------------------------------------------------

    def _on_file(self, given: Any, access: str) -> None:
        if self._seq is None or access in ("read", "source") or os.getpid() != self._pid:
            return
        path = os.fsdecode(given)
        if path.endswith(CODE):
            self._own.add(self._paths.absolute(path))

    def _checked_out(self) -> tuple[str, ...]:
        """Return the commit that is checked out, and the branch if any; nothing when that is not known."""
        if self._first is None or not self._head_files:
            return ()
        found = checked_out(os.path.dirname(self._head_files[0]), self._first.repository)
        branch = found[1] if len(found) > 1 else None
        self._head_files = _head_files(self._first.top, self._first.repository, branch)
        self._head = _marks(self._head_files)
        self._watch_head()
        return found

    def _watch_head(self) -> None:
        """Be told when another commit is checked out or made, where that can be; else it is looked for each time."""
        wanted = frozenset(os.path.dirname(path) for path in self._head_files)
        folders = self._folders
        try:
            heard = folders is not None and all(folders.add(folder) for folder in wanted)
        except OSError:  # too many are watched
            heard = False
        self._head_folders = wanted if heard else frozenset()

    def _unhear(self) -> None:
        """Go without the folders, when it is they that are lost."""
        if self._folders is not None and self._folders.is_lost:
            self._folders, self._head_folders = None, frozenset()

    def _changes(self) -> Changes:
        if self._folders is not None:
            return self._folders.changes()
        found = Changes()
        for path, before in self._stats.items():
            now = _mark(path)
            if now != before:
                found.files.add(path)
                self._stats[path] = now
        return found

    def _named(self, changes: Changes) -> set[str]:
        """Return the files of a change; a folder that is new is watched from now on, and its files are new."""
        files = set(changes.files)
        for folder in changes.folders:
            for name in _below(folder):
                files.add(name)
                if self._folders is not None:
                    self._folders.add(os.path.dirname(name))
            if self._folders is not None:
                self._folders.add(folder)
        return files

    def _is_code(self, path: str) -> bool:
        if not path.endswith(CODE) or not path.startswith(self._paths.project + os.sep):
            return False
        below = path[len(self._paths.project) + 1 :].split(os.sep)
        return _SKIPPED.isdisjoint(below) and not path.startswith(self._environment)

    def _keep(self, seq: int, edited: list[str]) -> None:
        """Read the files as they are now, since the cell may be about to change them; keep them later."""
        room, held = _AT_ONCE, {}
        for path in edited:
            data = _read(path, room)
            if data is not None:
                room -= len(data)
            held[path] = data
        now = time_ns()
        self._context.later(lambda: self._store(seq, held, now))

    def _store(self, seq: int, held: dict[str, bytes | None], when: int) -> None:
        uses = [self._use(path, data, when).to_dict() for path, data in held.items()]
        self._context.emit(seq, Patch(add={"edits": uses}))

    def _use(self, path: str, data: bytes | None, when: int) -> FileUse:
        """Keep a file that was read, or that is too large to have been, as it was at a moment (nanoseconds)."""
        use = FileUse(path=self._paths.name(path), access="read", source="edit")
        if data is not None:
            kept = self._context.objects.put_bytes(data, durable=False)
            return replace(use, size=len(data), digest=kept, stored="object")
        try:
            status = os.stat(path)
            if max(status.st_mtime_ns, status.st_ctime_ns) > when:
                return replace(use, state="unstable")
            stored = self._context.objects.put_file(path, limit=self._context.settings.store_limit, durable=False)
        except OSError:
            return replace(use, state="missing")
        where = "object" if stored.kept else "none"
        return replace(use, size=stored.size, digest=stored.digest, stored=where, state=stored.state)

    # -- the tree as it is then -----------------------------------------------------------------

    def _again(self, seq: int) -> None:
        self._count += 1
        state = self._snapshot(f"{self._context.run_id}-{self._count}")
        if state is None or self._state is None:
            return
        before, self._state = self._state, state
        if state.snapshot == before.snapshot:
            return
        self._context.emit(None, Patch(add={"codes": [state.to_dict()]}))
        self._context.emit(seq, Patch(set={"code": state.snapshot}))

    def _rescued(self, first: CodeState) -> Patch:
        """Keep the tree once more, in the store: if it is the same, nothing is lost."""
        state = self._snapshot(f"{self._context.run_id}-{self._count + 1}")
        if state is not None and state.tree == first.tree:
            return Patch(set={"code": state.to_dict()})
        gap = Gap(
            aspect="code",
            message=f"the repository {first.repository} was deleted during the run, and the code as it was with it",
            remedy="put the repository back where it was, or capture the run again",
            blocks=True,
        )
        return Patch(add={"gaps": [gap.to_dict()]})


def git_directory(top: str) -> str | None:
    """Return the git directory of a work tree; a linked one and a submodule have a file that names it."""
    path = os.path.join(top, ".git")
    if os.path.isdir(path):
        return path
    text = _text(path)
    named = text.removeprefix("gitdir:").strip()
    return os.path.normpath(os.path.join(top, named)) if text.startswith("gitdir:") else None


def checked_out(directory: str, common: str) -> tuple[str, ...]:
    """Return the commit that is checked out, and the branch if any, as git's files say; () when they do not.

    Args:
        directory: the git directory of the work tree.
        common: the git directory that all work trees share.
    """
    head = _text(os.path.join(directory, "HEAD")).strip()
    if not head.startswith("ref: "):
        return (head,) if _COMMIT.fullmatch(head) else ()
    ref = head.removeprefix("ref: ")
    commit = _text(os.path.join(common, ref)).strip()
    if not commit:
        packed = _text(os.path.join(common, "packed-refs")).splitlines()
        commit = next((line.partition(" ")[0] for line in packed if line.endswith(f" {ref}")), "")
    return (commit, ref.removeprefix("refs/heads/")) if _COMMIT.fullmatch(commit) else ()


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def _head_files(top: str, repository: str, branch: str | None) -> tuple[str, ...]:
    """Return the files that change when another commit is checked out or made."""
    folder = git_directory(top)
    if folder is None:
        return ()
    ref = (os.path.join(repository, "refs", "heads", branch),) if branch else ()
    return (os.path.join(folder, "HEAD"), *ref)


def _marks(paths: tuple[str, ...]) -> Marks:
    return tuple([_mark(path) for path in paths])


def _mark(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: str, room: int) -> bytes | None:
    """Return a file's bytes; None when it is gone, or larger than there is room for."""
    try:
        if os.stat(path).st_size > room:
            return None
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def _watched(project: str, code: Iterable[str]) -> Folders:
    """Watch the folders with code, and those above them: a new package appears there."""
    wanted = {project}
    for path in code:
        folder = os.path.dirname(path)
        while folder.startswith(project + os.sep) and folder not in wanted:
            wanted.add(folder)
            folder = os.path.dirname(folder)
    if len(wanted) > _MOST_FOLDERS:
        raise OSError(f"code lies in more than {_MOST_FOLDERS} folders")
    folders = Folders()
    try:
        for folder in sorted(wanted):
            folders.add(folder)
    except OSError:
        folders.close()
        raise
    return folders


def _below(folder: str) -> list[str]:
    found: list[str] = []
    for above, names, files in os.walk(folder):
        names[:] = [name for name in names if name not in _SKIPPED]
        found.extend(os.path.join(above, name) for name in files if name.endswith(CODE))
        if len(found) > _MOST_FOLDERS:
            break
    return found


def _not_watched(error: OSError, count: int) -> Gap:
    message = f"edits of code during the run are looked for in {min(count, _MOST_STATS)} files only ({error})"
    return Gap(aspect="code", message=message, remedy="start a new run after editing code")


def _lost(seq: int) -> Gap:
    message = "so many files changed at once that an edit of code may have been missed"
    return Gap(aspect="code", message=message, remedy="write data to folders without code", cell=seq)

"""The code of a run: the whole tree as it is on disk, as git objects under ``refs/reprokit/<run-id>``.

It knows git's states and what of a tree is kept where; it does not know runs, journals or how to restore.
The tree is the raw bytes of the working files: no filter, no line-end conversion. Everything is looked at
through a scratch git directory, so the user's index, HEAD, branches, stash, configuration and reflogs stay
untouched, and nothing that a repository could run is run. Where the user's repository cannot be used
(there is none, or it may not be written to), the same objects go into a private one.

While HEAD and the tree are as they were at the last snapshot, its commit serves again. Such a commit's
message and time are those of the earlier run: the ref is what names a run.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from reprokit import digest
from reprokit.capture.code import git as door
from reprokit.capture.code.blobs import Blobs
from reprokit.capture.code.git import Scratch, git, quoted
from reprokit.capture.code.repository import Repository, locate
from reprokit.capture.code.tree import Listing, folder_files, index_checksum, inside, lstat, never_code, untracked
from reprokit.errors import GitError
from reprokit.records import CodeState, FileUse, Gap

__all__ = ["snapshot"]

StoreLarge = Callable[[Path], FileUse]
R = TypeVar("R", bound=Repository | None)


def snapshot(
    project: Path, run_id: str, *, private: Path, store_large: StoreLarge, limit: int
) -> tuple[CodeState | None, tuple[Gap, ...]]:
    """Store the tree that ``project`` belongs to, as it is now.

    Args:
        project: the project root.
        run_id: names the ref that keeps the snapshot: ``refs/reprokit/<run_id>``.
        private: the bare repository to use where there is no other; its parent, the store, is left out.
        store_large: keeps one file (absolute path) as an object and says how that went.
        limit: files above this many bytes go to ``store_large``, not into git, unless git has them unchanged.

    Returns:
        What was stored (None when nothing could be), and what could not be.
    """
    if not door.available():
        return None, (_gap("there is no git, so the code was not kept", "install git"),)
    gaps: list[Gap] = []
    repository = locate(project, gaps)
    if repository is None and os.environ.get("GIT_DIR"):
        message = f"GIT_DIR names {os.environ['GIT_DIR']}: the files are kept, and not their commit and branch"
        gaps.append(_gap(message, "work in a clone of it"))
    fixed_modes = repository is not None and not repository.modes
    job = _Job(run_id, private, store_large, limit, fixed_modes)
    if repository is not None and not repository.refusal:
        try:
            return _twice(_in_users_repository, repository, job, gaps)
        except (GitError, OSError) as error:
            why = error.message if isinstance(error, GitError) else str(error)
            gaps.append(_gap(f"the snapshot is in the store: {why}", "see whether .git can be written to"))
    try:
        return _twice(lambda found, job: _in_private_repository(project, found, job), repository, job, gaps)
    except (GitError, OSError) as error:
        return None, (
            *gaps,
            _gap(f"the code could not be kept ({error})", "run `reprokit doctor`", blocks=True),
        )


def _twice(
    take: Callable[[R, _Job], CodeState], repository: R, job: _Job, gaps: list[Gap]
) -> tuple[CodeState, tuple[Gap, ...]]:
    """Take the snapshot; if git objects, once more without what was remembered (it may be collected)."""
    try:
        fresh = job.again()
        return take(repository, fresh), (*gaps, *fresh.gaps)
    except GitError:
        memories = list(job.private.glob("blobs-*.json"))
        if not memories:
            raise
    for memory in memories:
        memory.unlink(missing_ok=True)
    fresh = job.again()
    return take(repository, fresh), (*gaps, *fresh.gaps)


def _gap(message: str, remedy: str, *, blocks: bool = False) -> Gap:
    return Gap(aspect="code", message=message, remedy=remedy, blocks=blocks)


@dataclass(slots=True)
class _Job:
    """What is asked for, and what has come together so far."""

    run_id: str
    private: Path
    store_large: StoreLarge
    limit: int
    fixed_modes: bool = False
    gaps: list[Gap] = field(default_factory=list)
    large: list[FileUse] = field(default_factory=list)
    submodules: list[CodeState] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"refs/reprokit/{self.run_id}"

    def again(self) -> _Job:
        """The same job, not yet begun."""
        return _Job(self.run_id, self.private, self.store_large, self.limit, self.fixed_modes)

    def add(self, message: str, remedy: str = "") -> None:
        self.gaps.append(_gap(message, remedy))


def _in_users_repository(repository: Repository, job: _Job) -> CodeState:
    """Snapshot into the user's own repository."""
    exclude = repository.exclude() + never_code(repository.top, job.private)
    config, room = repository.config, repository.room
    with door.scratch(repository.top, repository.objects, config=config, exclude=exclude, room=room) as scratch:
        repository.copy_index(scratch.folder)
        kind = repository.config.get("extensions.objectformat", "sha1")
        blobs = Blobs(scratch, _memory(job, repository.objects), trust=not repository.partial, kind=kind)
        listing, base = _look(scratch, repository, blobs)
        as_git_sees = _Change(base)
        _submodules(repository.top, listing, job)
        as_git_sees.take(scratch, job, blobs, listing.changed, listing)
        as_git_sees.take(scratch, job, blobs, untracked(scratch, listing, job.limit, job.add), listing)
        raw = _Change(removed=list(listing.absent))
        raw.take(scratch, job, blobs, blobs.converted(listing, repository), listing)
        commit, tree, seen = _commit(scratch, job, blobs, repository.commit, as_git_sees, raw)
        blobs.note_index(listing, base)
        blobs.remember()
        git("update-ref", job.ref, commit, cwd=repository.top, env={"GIT_DIR": str(repository.directory)})
    return dataclasses.replace(
        _state("git", repository.common, repository.top, tree, commit, job),
        prefix=repository.prefix,
        commit=repository.commit,
        branch=repository.branch,
        remote=repository.remote,
        dirty=seen != repository.tree,
    )


def _in_private_repository(project: Path, repository: Repository | None, job: _Job) -> CodeState:
    """Snapshot into a bare repository of ours; what the user's repository says is still recorded."""
    if not (job.private / "HEAD").exists():
        job.private.mkdir(parents=True, exist_ok=True)
        git("init", "--quiet", "--bare", "--template=", str(job.private), cwd=job.private)
    top = repository.top if repository else project.resolve()
    objects = job.private / "objects"
    exclude = never_code(top, job.private)
    config = repository.plain_config if repository else {}
    with door.scratch(top, objects, config=config, exclude=exclude) as scratch:
        if repository is None:
            paths, dirty = folder_files(scratch, job.limit, job.add), False
        else:
            paths, dirty = _listed(scratch, repository, exclude, job)
        blobs = Blobs(scratch, _memory(job, objects))
        change = _Change()
        change.take(scratch, job, blobs, paths, Listing(scratch))
        commit, tree, _ = _commit(scratch, job, blobs, None, change)
        blobs.remember()
        git("update-ref", job.ref, commit, cwd=job.private, env={"GIT_DIR": str(job.private)})
    state = _state("private", job.private, top, tree, commit, job)
    if repository is None:
        return state
    return dataclasses.replace(
        state,
        prefix=repository.prefix,
        commit=repository.commit,
        branch=repository.branch,
        remote=repository.remote,
        dirty=dirty,
    )


def _state(kind: str, repository: Path, top: Path, tree: str, commit: str, job: _Job) -> CodeState:
    return CodeState(
        kind=kind,
        repository=str(repository),
        ref=job.ref,
        snapshot=commit,
        tree=tree,
        top=str(top),
        large=tuple(job.large),
        submodules=tuple(job.submodules),
    )


def _look(scratch: Scratch, repository: Repository, blobs: Blobs) -> tuple[Listing, str]:
    """Return what there is, and the tree of the index."""
    checksum = index_checksum(scratch.index)
    if known := blobs.index(checksum):
        tree, attributes = known
        return Listing.read(scratch, checksum, attributes), tree
    base = scratch.start("write-tree", *(["--missing-ok"] if repository.partial else []))
    listing = Listing.read(scratch, checksum)
    return listing, _base(scratch, base, listing, repository.zero)


def _base(scratch: Scratch, tree: Callable[[], bytes], listing: Listing, zero: str) -> str:
    """Wait for the index's tree; entries in conflict have no place in one, so they are removed first."""
    try:
        return tree().decode().strip()
    except GitError:
        if not listing.unmerged:
            raise
    lines = b"".join(b"0 %s\t%s\0" % (zero.encode(), path) for path in listing.unmerged)
    scratch.git("update-index", "-z", "--index-info", stdin=lines)
    return scratch.git("write-tree", "--missing-ok").decode().strip()


def _commit(
    scratch: Scratch, job: _Job, blobs: Blobs, parent: str | None, first: _Change, second: _Change | None = None
) -> tuple[str, str, str]:
    """Return the snapshot's commit; its parent keeps the recorded commit from being collected.

    One ``fast-import`` writes blobs, trees and commit, which takes several commands that each start, and
    read and write a whole index. Nothing is written when the last snapshot asked for the same: ``update-ref``
    refuses a commit that is gone, and a commit keeps all that it names.

    Returns:
        The commit, its tree, and the tree after the first of the changes.
    """
    asked = [
        *([b"from " + parent.encode()] if parent else []),
        *first.lines(),
        b'ls ""',
        *(second.lines() if second else []),
    ]
    key = digest.of_bytes(b"\n".join(asked))
    if known := blobs.commit(key):
        blobs.note_commit(key, known)
        return known
    message = os.fsencode(job.run_id)
    lines = [
        *blobs.stream(),
        b"commit refs/heads/snapshot",
        b"mark :1",
        b"committer reprokit <reprokit@localhost> now",
        b"data %d\n%s" % (len(message), message),
        *asked,
        b"",
        b"get-mark :1",
        b'ls :1 ""',
        b"done\n",
    ]
    command = ("fast-import", "--quiet", "--done", "--date-format=now")
    out = scratch.git(*command, stdin=b"\n".join(lines)).decode().splitlines()
    before, commit, after = (line.split("\t")[0].rpartition(" ")[2] for line in out)
    blobs.note_commit(key, (commit, after, before))
    return commit, after, before


def _memory(job: _Job, objects: Path) -> Path:
    return job.private / f"blobs-{digest.checksum(os.fsencode(objects))}.json"


def _listed(scratch: Scratch, repository: Repository, exclude: bytes, job: _Job) -> tuple[list[bytes], bool]:
    """Return every file that the user's repository tracks or would, and whether it has changes."""
    exclude += repository.exclude()
    with door.scratch(repository.top, repository.objects, config=repository.config, exclude=exclude) as look:
        repository.copy_index(look.folder)
        listing = Listing.read(look)
        tracked = listing.tracked()
    modules = [path for link in listing.links for path in inside(scratch, link + b"/")]
    dirty = bool(listing.changed or listing.untracked)
    return [*tracked, *modules, *untracked(scratch, listing, job.limit, job.add)], dirty


@dataclass(slots=True)
class _Change:
    """What is to be different from a tree: paths to remove, and entries (mode, object id) to put."""

    base: str | None = None
    removed: list[bytes] = field(default_factory=list)
    entries: dict[bytes, tuple[str, str]] = field(default_factory=dict)

    def take(self, scratch: Scratch, job: _Job, blobs: Blobs, paths: Iterable[bytes], listing: Listing) -> None:
        """Look at files, and store their bytes in git or, when large, as objects."""
        small: dict[bytes, os.stat_result] = {}
        for path in paths:
            status = lstat(scratch.full(path))
            if path in listing.links and status is not None and stat.S_ISDIR(status.st_mode):
                self.entries[path] = ("160000", listing.links[path])
            elif status is None or not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
                self.removed.append(path)
            elif stat.S_ISREG(status.st_mode) and status.st_size > job.limit:
                self.removed.append(path)
                _keep_large(scratch, path, status, job)
            else:
                small[path] = status
        self._put(small, blobs, job, listing)

    def _put(self, files: dict[bytes, os.stat_result], blobs: Blobs, job: _Job, listing: Listing) -> None:
        files = {path: status for path, status in files.items() if _representable(path, status, job)}
        ids, failed = blobs.store(files)
        for path, why in failed.items():
            self.removed.append(path)
            job.add(f"{os.fsdecode(path)} could not be read ({why})", "make it readable and start again")
        recorded = listing.entries() if job.fixed_modes else None
        for path, oid in ids.items():
            self.entries[path] = (_mode(files[path], path, recorded), oid)

    def lines(self) -> list[bytes]:
        """The change in the language of ``git fast-import``; a symlink put last replaces a folder."""
        links = {path for path, (mode, _) in self.entries.items() if mode == "120000"}
        ordered = sorted(self.entries, key=lambda path: path in links)
        return [
            *([b'M 040000 %s ""' % self.base.encode()] if self.base else []),
            *(b"D " + quoted(path) for path in self.removed),
            *(b"M %s %s %s" % (*map(str.encode, self.entries[path]), quoted(path)) for path in ordered),
        ]


def _mode(status: os.stat_result, path: bytes, recorded: dict[bytes, tuple[str, str]] | None) -> str:
    """Return a file's mode; the recorded one where the file system has no executable bit."""
    if stat.S_ISLNK(status.st_mode):
        return "120000"
    if recorded is not None:
        return "100755" if recorded.get(path, ("", ""))[0] == "100755" else "100644"
    return "100755" if status.st_mode & stat.S_IXUSR else "100644"


def _representable(path: bytes, status: os.stat_result, job: _Job) -> bool:
    """Return whether a git tree may hold the path; git refuses these names for safety."""
    dotgit = any(part.lower() == b".git" for part in path.split(b"/"))
    if not dotgit and not (stat.S_ISLNK(status.st_mode) and path.lower().endswith(b".gitmodules")):
        return True
    job.add(f"git cannot hold a file called {os.fsdecode(path)}", "rename it")
    return False


def _keep_large(scratch: Scratch, path: bytes, status: os.stat_result, job: _Job) -> None:
    name = os.fsdecode(path)
    try:
        use = job.store_large(Path(os.fsdecode(scratch.full(path))))
    except OSError as error:
        job.add(f"{name} could not be read ({error.strerror})", "make it readable and start again")
        return
    if use.stored == "none":
        size = f"{status.st_size / 1e6:.1f} MB"
        remedy = f"`%repro data {use.path} --store`, or track it with DVC"
        gap = _gap(f"{use.path} ({size}) is too large to be kept", remedy)
        job.gaps.append(dataclasses.replace(gap, path=use.path, digest=use.digest))
    job.large.append(dataclasses.replace(use, path=name, access="read"))


def _submodules(top: Path, listing: Listing, job: _Job) -> None:
    """Snapshot each submodule that is checked out, in its own repository; link its commit in our tree."""
    for path in sorted(listing.links):
        folder = top / os.fsdecode(path)
        if not (folder / ".git").exists():
            if folder.is_dir() and any(folder.iterdir()):
                job.add(f"the files in the submodule {os.fsdecode(path)} are not kept", "run `git submodule init`")
            continue
        private = job.private / "modules" / digest.checksum(path)
        state, gaps = snapshot(folder, job.run_id, private=private, store_large=job.store_large, limit=job.limit)
        job.gaps.extend(gaps)
        if state is not None:
            job.submodules.append(state)
            listing.links[path] = state.commit or listing.links[path]
            listing.changed.add(path)

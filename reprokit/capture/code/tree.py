"""Which files belong to a working tree, and which of them differ from git's index.

It knows ignoring, sparse checkouts, repositories inside repositories, and when a folder is too full to be a
project. It does not read files, and does not know snapshots.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reprokit.capture.code import git as door
from reprokit.capture.code.git import Scratch
from reprokit.capture.code.repository import locate
from reprokit.capture.redact import SECRET_FILES
from reprokit.errors import GitError

__all__ = [
    "MAX_BYTES",
    "MAX_FILES",
    "Listing",
    "folder_files",
    "has_changes",
    "index_checksum",
    "inside",
    "lstat",
    "never_code",
    "untracked",
]

MAX_FILES = 20_000  # untracked files beyond this many, or this many bytes, are not the project's code
MAX_BYTES = 10**9

Tell = Callable[[str, str], None]  # takes what could not be kept, and what to do about it

_LINK_MODE = (0o160000).to_bytes(4, "big")  # how an index says "submodule"
_JUNK = (".venv/", "venv/", "node_modules/", "__pycache__/", ".ipynb_checkpoints/", "*.pyc")
_SOURCE = re.compile(
    r".*\.(c|cfg|cpp|cu|h|hpp|ini|ipynb|jl|json|md|pyi?|pyx|r|rmd|rst|scala|sh|sql|stan|toml|ya?ml)"
    r"|makefile|dockerfile|dvc\.lock|pipfile|requirements.*\.txt|snakefile"
)


@dataclass(slots=True)
class Listing:
    """What git says of a working tree; paths are relative to its top.

    ``changed`` are tracked paths whose files must be looked at. ``absent`` are entries that a sparse checkout
    keeps off the disk. ``folders`` are repositories inside this one that it does not track. ``links`` are
    submodules and their commits, ``attributes`` the index's attributes files. ``index`` is the checksum of the
    index, b"" when it has none.
    """

    scratch: Scratch
    changed: set[bytes] = field(default_factory=set)
    unmerged: set[bytes] = field(default_factory=set)
    absent: set[bytes] = field(default_factory=set)
    untracked: list[bytes] = field(default_factory=list)
    folders: list[bytes] = field(default_factory=list)
    links: dict[bytes, str] = field(default_factory=dict)
    attributes: list[bytes] = field(default_factory=list)
    index: bytes = b""
    _plain: bool = True
    _entries: dict[bytes, tuple[str, str]] | None = None

    @classmethod
    def read(cls, scratch: Scratch, checksum: bytes = b"", attributes: list[bytes] | None = None) -> Listing:
        """List the index and look at the work tree: questions that git answers at once.

        Args:
            scratch: with a copy of the index.
            checksum: of the index.
            attributes: of an index known to hold nothing but plain entries, the attributes files in it.
        """
        found = cls(scratch, index=checksum)
        others = scratch.start("ls-files", "-z", "-o", "--exclude-standard")
        changes = scratch.start("diff-files", "-z", "--name-only", "--ignore-submodules=all")
        if attributes is None:
            found._read_index(scratch.git("ls-files", "-z", "-v"))
        else:
            found.attributes = attributes
        found.changed.update(changes().split(b"\0")[:-1])
        for path in others().split(b"\0")[:-1]:
            (found.folders if path.endswith(b"/") else found.untracked).append(path)
        return found

    @property
    def plain(self) -> bool:
        """Whether the index holds nothing but plain entries."""
        return self._plain and not self.links

    def _read_index(self, tags: bytes) -> None:
        if b".gitattributes\0" in tags:
            self.attributes = [r[2:] for r in tags.split(b"\0") if r.endswith(b".gitattributes")]
        if tags.count(b"\0H ") + tags.startswith(b"H ") != tags.count(b"\0"):
            self._plain = False
            for record in tags.split(b"\0"):
                if record and not record.startswith(b"H "):
                    self._note(record[:1], record[2:])
        if _LINK_MODE in _bytes(self.scratch.index):
            self.links = {path: oid for path, (mode, oid) in self.entries().items() if mode == "160000"}
            self.changed.update(path for path in self.links if not self._is_folder(path))

    def _note(self, tag: bytes, path: bytes) -> None:
        """Take in an entry that is in conflict ("M"), or that git does not look at ("h", "S"), so we do."""
        if tag == b"S" and lstat(self.scratch.full(path)) is None:
            self.absent.add(path)
        else:
            self.changed.add(path)
        if tag == b"M":
            self.unmerged.add(path)

    def _is_folder(self, path: bytes) -> bool:
        status = lstat(self.scratch.full(path))
        return status is not None and stat.S_ISDIR(status.st_mode)

    def entries(self) -> dict[bytes, tuple[str, str]]:
        """The index's entries: path → mode and object id. Asked for when needed: a long answer."""
        if self._entries is None:
            records = (r.split(b"\t", 1) for r in self.scratch.git("ls-files", "-z", "-s").split(b"\0")[:-1])
            heads = ((head.decode().split(" "), path) for head, path in records)
            self._entries = {path: (mode, oid) for (mode, oid, _), path in heads}
        return self._entries

    def present(self) -> dict[bytes, tuple[str, str]]:
        """The entries that are files, or were."""
        gone = self.absent | self.links.keys()
        return {path: entry for path, entry in self.entries().items() if path not in gone}

    def tracked(self) -> list[bytes]:
        """The paths of all entries that are files."""
        return [path for path in self.entries() if path not in self.links]


def never_code(top: Path, private: Path) -> bytes:
    """Return what is never code: environments, caches, files of secrets, and the store itself."""
    patterns = [os.fsencode(line) for line in (*_JUNK, *SECRET_FILES)]
    store = private.resolve().parent
    if top in store.parents:
        name = os.fsencode(store.relative_to(top))
        patterns.append(b"/" + re.sub(rb"([\\*?\[\]! ])", rb"\\\1", name) + b"/")
    return b"\n".join(patterns) + b"\n"


def lstat(path: bytes) -> os.stat_result | None:
    """Return a file's status; None when there is no file."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def index_checksum(index: Path) -> bytes:
    """Return the checksum that ends an index; nothing when git was told not to write one."""
    try:
        with open(index, "rb") as stream:
            stream.seek(-20, os.SEEK_END)
            return stream.read().strip(b"\0")
    except OSError:
        return b""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def untracked(scratch: Scratch, listing: Listing, limit: int, tell: Tell) -> list[bytes]:
    """Return the untracked files to keep, those of repositories inside this one among them."""
    paths = list(listing.untracked)
    for folder in listing.folders:
        paths += inside(scratch, folder)
        tell(
            f"{os.fsdecode(folder)} is a repository of its own: its files are kept, its history is not",
            "make it a submodule, or commit and push it",
        )
    return _bounded(scratch, paths, limit, tell)


def inside(scratch: Scratch, folder: bytes) -> list[bytes]:
    """Return the files of an untracked repository, as paths from the top."""
    inner = Path(os.fsdecode(scratch.full(folder)))
    repository = locate(inner, [])
    if repository is None or repository.top != inner.resolve():
        return []
    exclude = repository.exclude()
    with door.scratch(inner, repository.objects, config=repository.config, exclude=exclude) as look:
        repository.copy_index(look.folder)
        listing = Listing.read(look)
        nested = [path for below in listing.folders for path in inside(look, below)]
        return [folder + path for path in (*listing.tracked(), *listing.untracked, *nested)]


def has_changes(folder: Path) -> bool:
    """Return whether the repository that holds a folder has changes that were not committed; without one, no.

    Raises:
        GitError: git cannot say.
    """
    repository = locate(folder, [])
    if repository is None:
        return False
    with door.scratch(
        repository.top, repository.objects, config=repository.config, exclude=repository.exclude()
    ) as look:
        repository.copy_index(look.folder)
        listing = Listing.read(look)
        if listing.changed or listing.untracked:
            return True
        return look.git("write-tree").decode().strip() != repository.tree


def _bounded(scratch: Scratch, paths: list[bytes], limit: int, tell: Tell) -> list[bytes]:
    """Return the paths, or only the sources among them when they are too many or too large together."""
    statuses = (lstat(scratch.full(path)) for path in paths[: MAX_FILES + 1])
    total = sum(s.st_size for s in statuses if s is not None and s.st_size <= limit)
    if len(paths) <= MAX_FILES and total <= MAX_BYTES:
        return paths
    tell(
        f"{scratch.worktree} holds too many untracked files: only notebooks, scripts and settings were kept",
        "work in a folder of the project's own, or name data folders in .gitignore",
    )
    return [path for path in paths if _is_source(path)][:MAX_FILES]


def _is_source(path: bytes) -> bool:
    return _SOURCE.fullmatch(os.fsdecode(path.rpartition(b"/")[2]).lower()) is not None


def folder_files(scratch: Scratch, limit: int, tell: Tell) -> list[bytes]:
    """Return the files of a folder that is no repository."""
    return _bounded(scratch, _walk(scratch), limit, tell)


def _walk(scratch: Scratch) -> list[bytes]:
    """List a folder that is no repository, nearest files first, until there are too many.

    Ignored folders are not entered: ``git ls-files`` would list a whole home folder before it answers.
    """
    files: list[bytes] = []
    level = [b""]
    while level and len(files) <= MAX_FILES:
        folders: list[bytes] = []
        for folder in level:
            _look_into(scratch, folder, files, folders)
            if len(files) + len(folders) > MAX_FILES:
                break
        level = _not_ignored(scratch, folders)
    return _not_ignored(scratch, files)


def _look_into(scratch: Scratch, folder: bytes, files: list[bytes], folders: list[bytes]) -> None:
    try:
        with os.scandir(scratch.full(folder)) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in found}
    if folder and b"pyvenv.cfg" in names:  # an environment, whatever it is called
        return
    for entry in found:
        path = folder + entry.name
        if entry.is_dir(follow_symlinks=False):
            if entry.name != b".git":
                folders.append(path + b"/")
        else:
            files.append(path)


def _not_ignored(scratch: Scratch, paths: list[bytes]) -> list[bytes]:
    if not paths:
        return []
    try:
        out = scratch.git("check-ignore", "-z", "--stdin", stdin=b"\0".join(paths) + b"\0")
    except GitError as error:
        if error.returncode == 1:  # none of them is ignored
            return paths
        raise
    ignored = set(out.split(b"\0"))
    return [path for path in paths if path not in ignored]

"""The user's git repository, as far as a snapshot must know it. Only looks; never writes.

It knows where the repository's parts are and what it says of itself (commit, branch, remote, the settings
that change what a working file is). It does not know what a snapshot is.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from reprokit.capture.code.git import git, start
from reprokit.errors import GitError
from reprokit.records import Gap

__all__ = ["Repository", "locate", "without_secrets"]

# Settings that say what a working file or an index entry is; no other of the repository's is taken over.
_TAKEN = (
    "core.checkstat",
    "core.excludesfile",
    "core.filemode",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.sharedrepository",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.symlinks",
    "core.trustctime",
    "extensions.objectformat",
)

_TRUST = ("-c", "safe.directory=*")  # only to look: nothing of the repository is run, nor written


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository with a work tree.

    Attributes:
        top: the top of the work tree.
        directory: the git directory of this work tree.
        common: the git directory that all its work trees share.
        prefix: where we are below the top, with ``/``; "" at the top.
        commit: the commit that is checked out; None before the first.
        tree: the tree of that commit.
        branch: the branch that is checked out; None when HEAD is detached.
        remote: the address of the branch's remote, without secrets.
        settings: git's configuration here, by lower-case key.
        refusal: why git may not write here; "" when it may.
    """

    top: Path
    directory: Path
    common: Path
    prefix: str
    commit: str | None
    tree: str | None
    branch: str | None
    remote: str | None
    settings: Mapping[str, str]
    refusal: str = ""

    @property
    def objects(self) -> Path:
        """Where the repository's objects are."""
        return self.common / "objects"

    @property
    def config(self) -> dict[str, str]:
        """The settings that a look at the work tree depends on."""
        return {key: self.settings[key] for key in _TAKEN if key in self.settings}

    @property
    def plain_config(self) -> dict[str, str]:
        """The same, for a repository of git's default object format."""
        return {key: value for key, value in self.config.items() if key != "extensions.objectformat"}

    @property
    def zero(self) -> str:
        """The id of no object."""
        return "0" * (64 if self.settings.get("extensions.objectformat") == "sha256" else 40)

    @property
    def modes(self) -> bool:
        """Whether the file system's executable bit means anything."""
        return self.settings.get("core.filemode", "true").lower() not in ("false", "no", "off", "0")

    @property
    def partial(self) -> bool:
        """Whether objects may be missing, because they were not fetched."""
        return "extensions.partialclone" in self.settings or any(key.endswith(".promisor") for key in self.settings)

    def exclude(self) -> bytes:
        """The patterns of ``.git/info/exclude``."""
        return _read(self.common / "info" / "exclude") + b"\n"

    @property
    def room(self) -> int:
        """How many bytes ``copy_index`` copies, more or less."""
        index = self.directory / "index"
        return index.stat().st_size if index.exists() else 0

    def copy_index(self, folder: Path) -> None:
        """Copy the index (and the shared one that a split index rests on) into another git directory.

        With its time: git compares the contents of files that changed at the moment the index was written.
        """
        for name in ("index", *(path.name for path in self.directory.glob("sharedindex.*"))):
            if (self.directory / name).exists():
                shutil.copy2(self.directory / name, folder / name)
        sparse = self.directory / "info" / "sparse-checkout"
        if sparse.exists():
            shutil.copyfile(sparse, folder / "info" / "sparse-checkout")


def locate(project: Path, gaps: list[Gap]) -> Repository | None:
    """Return the repository whose work tree holds ``project``; None when there is none.

    A repository that git distrusts (it belongs to someone else) or that cannot be written to is returned
    with a ``refusal``, and a gap says so.
    """
    refusal = ""
    settings = start(*_TRUST, "config", "--list", "-z", cwd=project)
    try:
        answer = _ask(project)
    except GitError as error:
        if "dubious ownership" not in error.stderr:
            _tell_broken(project, error, gaps)
            return None
        refusal = "it belongs to another user"
        answer = _ask(project, *_TRUST)
    finally:
        listing = settings()
    if len(answer) < 4:
        return None
    repository = _describe(project, answer, _settings(listing), refusal)
    if repository.refusal:
        gaps.append(
            Gap(
                aspect="code",
                message=f"{repository.common} is left alone because {repository.refusal}: the snapshot is in the store",
                remedy="work as the owner of the repository",
            )
        )
    return repository


def _ask(project: Path, *options: str) -> list[str]:
    """Return top, git directory, common directory, prefix and, after the first commit, commit and tree."""
    what = ("--show-toplevel", "--absolute-git-dir", "--git-common-dir", "--show-prefix")
    heads = ("--revs-only", "HEAD^{commit}", "HEAD^{tree}")  # left out of the answer before the first commit
    return os.fsdecode(git(*options, "rev-parse", *what, *heads, cwd=project)).split("\n")[:-1]


def _tell_broken(project: Path, error: GitError, gaps: list[Gap]) -> None:
    if any((folder / ".git").exists() for folder in (project, *project.parents)):
        lines = error.stderr.strip().splitlines() or [str(error)]
        gaps.append(
            Gap(
                aspect="code",
                message=f"git does not accept the repository ({lines[0]})",
                remedy="see `git status`",
            )
        )


def _describe(project: Path, answer: list[str], settings: Mapping[str, str], refusal: str) -> Repository:
    top, directory, common, prefix, *heads = answer
    branch = _branch(Path(directory))
    shared = Path(os.path.normpath(project.resolve() / common))
    if not refusal and not os.access(shared / "objects", os.W_OK):
        refusal = "it cannot be written to"
    return Repository(
        top=Path(top),
        directory=Path(directory),
        common=shared,
        prefix=prefix.rstrip("/"),
        commit=heads[0] if heads else None,
        tree=heads[1] if len(heads) > 1 else None,
        branch=branch,
        remote=_remote(settings, branch),
        settings=settings,
        refusal=refusal,
    )


def _settings(listing: bytes) -> dict[str, str]:
    """Return git's settings; a later one wins, and one without a value means "true"."""
    settings = {}
    for record in os.fsdecode(listing).split("\0"):
        key, found, value = record.partition("\n")
        settings[key] = value if found else "true"
    return settings


def _branch(directory: Path) -> str | None:
    head = os.fsdecode(_read(directory / "HEAD")).strip()
    if head == "ref: refs/heads/.invalid":  # the refs are in a reftable
        try:
            head = "ref: " + os.fsdecode(git("symbolic-ref", "-q", "HEAD", cwd=directory)).strip()
        except GitError:
            return None
    prefix = "ref: refs/heads/"
    return head[len(prefix) :] if head.startswith(prefix) else None


def _remote(settings: Mapping[str, str], branch: str | None) -> str | None:
    named = [settings.get(f"branch.{branch}.remote", ""), "origin"]
    urls = [settings.get(f"remote.{name}.url") for name in named]
    others = [value for key, value in settings.items() if re.fullmatch(r"remote\..+\.url", key)]
    return next((without_secrets(url) or None for url in (*urls, *others) if url), None)


def without_secrets(url: str) -> str:
    """Return a remote's address without user names, passwords and tokens.

    The name in an ssh address says which account to use and is no secret, so it stays.

    >>> without_secrets("https://me:token@example.org/a.git?private_token=x")
    'https://example.org/a.git'
    >>> without_secrets("git@example.org:a.git"), without_secrets("ssh://git:pw@example.org/a")
    ('git@example.org:a.git', 'ssh://git@example.org/a')
    """
    if "://" not in url:
        return re.sub(r"^([^/@:]+):[^/@]*@", r"\1@", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    user, _, host = parts.netloc.rpartition("@")
    if user and parts.scheme.endswith("ssh"):
        host = f"{user.partition(':')[0]}@{host}"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""

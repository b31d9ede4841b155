"""Code snapshots on their way between repositories, as packs of git's that need nothing else than each other.

A pack holds what a snapshot has and an earlier one, which is there already, has not. A repository of the store's own
takes what comes: the user's is read, and never written. Knows git; it does not know remotes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from reprokit.capture.code.git import git
from reprokit.errors import GitError, StoreError
from reprokit.records import CodeState

__all__ = ["bases", "has", "pack", "take"]

_FAR = 5_000  # commits that are looked at for one that is there already
_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def bases(code: CodeState, known: Collection[str], earlier: Sequence[str] = ()) -> list[str]:
    """Return commits that are there already and together have much of a snapshot.

    Args:
        code: the snapshot.
        known: the commits that are there.
        earlier: snapshots of the same project, newest first: they have what is committed nowhere.
    """
    listed = git("rev-list", f"--max-count={_FAR}", code.snapshot, cwd=Path("/"), env=_of(code)).decode().split()
    found = (next((name for name in names if name in known and has(code, name)), None) for names in (listed, earlier))
    return [name for name in dict.fromkeys(found) if name is not None]


def has(code: CodeState, commit: str) -> bool:
    """Return whether the repository of a snapshot has a commit."""
    try:
        git("cat-file", "-e", f"{commit}^{{commit}}", cwd=Path("/"), env=_of(code))
    except GitError:
        return False
    return True


def pack(code: CodeState, commit: str, without: Sequence[str], folder: Path) -> Path:
    """Write what a commit needs into a pack, less what others have; return the file.

    Raises:
        StoreError: the repository lacks a part of it.
    """
    # The trees, too: of commits that are not in its history git would leave out the commits alone.
    asked = f"{commit}\n" + "".join(f"^{name}\n^{name}^{{tree}}\n" for name in without)
    command = ("pack-objects", "--revs", "--quiet", "--delta-base-offset", str(folder / "pack"))
    try:
        name = git(*command, cwd=folder, env=_of(code), stdin=asked.encode()).decode().strip()
    except GitError as error:
        remedy = "see `reprokit fsck`; a partial clone has to fetch everything first"
        raise StoreError(f"the code snapshot cannot be packed ({error.message})", remedy=remedy) from error
    return folder / f"pack-{name}.pack"


def take(repository: Path, packs: Sequence[Path], wanted: Collection[str], ref: str, shallow: Sequence[str]) -> None:
    """Take packs into a repository of ours, and keep the snapshots in them by refs.

    Args:
        repository: a bare one, which is made when it is not there.
        packs: in the order in which each needs those before it.
        wanted: the snapshots.
        ref: what their refs are called, less ``-`` and the first 16 digits of each.
        shallow: commits whose parents are not there, as in a shallow clone.

    Raises:
        StoreError: something of a snapshot did not come.
    """
    if not all(_NAME.fullmatch(name) for name in (*wanted, *shallow)):
        raise StoreError("what came names no git objects", remedy="do not trust this run")
    env = {"GIT_DIR": str(repository)}
    if not (repository / "HEAD").is_file():
        kind = "sha256" if any(len(name) == 64 for name in wanted) else "sha1"
        repository.mkdir(parents=True, exist_ok=True)
        options = ("--quiet", "--bare", "--template=", f"--object-format={kind}")
        git("init", *options, str(repository), cwd=repository)
    _cut(repository / "shallow", shallow)
    try:
        for file in packs:
            target = repository / "objects" / "pack" / f"pack-{file.name}.pack"
            if not target.with_suffix(".idx").exists():  # written last: git reads no pack without one
                shutil.copyfile(file, target)
                git("index-pack", str(target), cwd=repository, env=env)  # names each object by its bytes
        git("rev-list", "--objects", "--quiet", *wanted, "--not", "--all", cwd=repository, env=env)
    except GitError as error:
        remedy = "push the run again from where it was made"
        raise StoreError(f"the code snapshot did not come whole ({error.message})", remedy=remedy) from error
    lines = "".join(f"update {ref}-{name[:16]} {name}\n" for name in wanted)
    git("update-ref", "--stdin", cwd=repository, env=env, stdin=lines.encode())


def _cut(file: Path, commits: Sequence[str]) -> None:
    """Note where histories end, beside what is noted already."""
    known = set(file.read_text("ascii").split()) if file.exists() else set()
    if not known.issuperset(commits):
        draft = file.with_name("shallow.new")
        draft.write_text("".join(f"{name}\n" for name in sorted(known.union(commits))), "ascii")
        draft.replace(file)


def _of(code: CodeState) -> dict[str, str]:
    return {"GIT_DIR": code.repository}

"""The code snapshots of runs that are in git: letting go of them, and looking whether they are whole.

Knows refs and git's objects; it does not know why a run goes. The user's repository is only told which refs of ours
are not needed any more: what becomes of its objects is git's own business, as always.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from reprokit.capture.code.git import git
from reprokit.digest import git_blob
from reprokit.errors import GitError
from reprokit.records import CodeState, Run
from reprokit.records.upkeep import Damage
from reprokit.replay.modules import located
from reprokit.store.layout import Layout
from reprokit.store.store import Store

__all__ = ["damages", "forget", "refs", "states", "tidy"]

_GRACE = "1.hour.ago"
_BATCH = 2**25  # bytes of files read at a time


def states(run: Run) -> Iterator[CodeState]:
    """Yield every snapshot of a run: of the start, of later cells, and of the submodules in each."""
    left = [code for code in (run.code, *run.codes) if code is not None]
    while left:
        code = left.pop(0)
        yield code
        left += code.submodules


def forget(run: Run, project: Path) -> list[str]:
    """Remove the refs that a run keeps its snapshots by; return them. Other runs' refs stay, whatever they hold.

    Args:
        run: the run, which is on its way out.
        project: where the project is now. When it is a copy, the original keeps its refs: its store has the run, too.
    """
    removed = []
    repositories = (_here(code.repository, run, project) for code in states(run))
    for repository in dict.fromkeys(name for name in repositories if name is not None):
        found = refs(repository, f"refs/reprokit/{run.id}", f"refs/reprokit/{run.id}-*")
        if found:
            lines = "".join(f"delete {ref}\n" for ref in found).encode()
            git("update-ref", "--stdin", cwd=Path("/"), env={"GIT_DIR": repository}, stdin=lines)
        removed += found
    return removed


def _here(repository: str, run: Run, project: Path) -> str | None:
    """Return where a repository of a run's is now; None when it is not this project's to change."""
    found = Path(repository)
    if found.is_relative_to(run.root or "/nowhere"):
        found = project / found.relative_to(run.root)
    mine = found.is_relative_to(project) or run.root == str(project)  # that of a work tree can lie anywhere
    return str(found) if mine else None


def refs(repository: str, *patterns: str) -> list[str]:
    """Return the refs that match; none when there is no such repository."""
    try:
        listed = git("for-each-ref", "--format=%(refname)", *patterns, cwd=Path("/"), env={"GIT_DIR": repository})
    except GitError:
        return []
    return listed.decode().split()


def tidy(store: Store) -> None:
    """Let git collect in the store's private repository; not while a run is open, which may count on old objects.

    Raises:
        GitError: git cannot.
    """
    if store.runs(query="status=running", limit=1):
        return
    for repository in _repositories(store.layout):
        git("gc", "--quiet", f"--prune={_GRACE}", cwd=repository, env={"GIT_DIR": str(repository)})


def _repositories(layout: Layout) -> Iterable[Path]:
    """Return the repositories in a store: the private one, those of submodules, and that of what was pulled."""
    modules = sorted({head.parent for head in (layout.code_git / "modules").rglob("HEAD")})
    found = (layout.code_git, layout.pulled_git(), layout.pulled_git(64), *modules)
    return [path for path in found if (path / "HEAD").is_file()]


def damages(runs: Iterable[Run], project: Path, *, quick: bool = False, repair: bool = False) -> Iterator[Damage]:
    """Yield the snapshots that are not whole, and those that nothing keeps git from collecting.

    Args:
        runs: the runs to look at.
        project: where the project is now.
        quick: look only whether the snapshots are there, not all that they hold.
        repair: name again what lost its ref.
    """
    kept: dict[str, dict[str, list[tuple[Run, CodeState]]]] = {}  # repository → snapshot → whose
    for run in runs:
        for code in states(located(run, project)):
            kept.setdefault(code.repository, {}).setdefault(code.snapshot, []).append((run, code))
    for repository, found in kept.items():
        gone = _gone(repository, list(found), quick)
        for snapshot, users in found.items():
            if snapshot in gone:
                yield _lost(repository, snapshot, gone[snapshot], users)
            else:
                yield from _unnamed(repository, users, repair)


def _lost(repository: str, snapshot: str, what: str, users: list[tuple[Run, CodeState]]) -> Damage:
    return Damage(
        kind="snapshot",
        where=snapshot,
        message=f"{what} in {repository}",
        remedy="restore the repository from a copy, or `reprokit pull` the run from a remote that has it",
        runs=tuple(dict.fromkeys(run.id for run, _ in users)),
    )


def _gone(repository: str, snapshots: list[str], quick: bool) -> dict[str, str]:
    """Return the snapshots that are not there or not whole, and what is wrong."""
    env = {"GIT_DIR": repository}
    asked = "".join(f"{name}\n" for name in snapshots).encode()
    try:
        told = git("cat-file", "--batch-check=%(objecttype)", cwd=Path("/"), env=env, stdin=asked).decode().splitlines()
    except GitError as error:
        return dict.fromkeys(snapshots, f"git cannot say what it has ({error.message})")
    lines = zip(snapshots, told, strict=True)
    gone = {name: f"the code snapshot {name[:12]} is gone" for name, kind in lines if kind != "commit"}
    if not quick:
        gone |= _not_whole([name for name in snapshots if name not in gone], env)
    return gone


def _not_whole(snapshots: list[str], env: dict[str, str]) -> dict[str, str]:
    """Read all files of the snapshots, each content once; return the snapshots that lack one."""
    whose: dict[str, list[str]] = {}
    lost: dict[str, str] = {}
    for snapshot in snapshots:
        try:
            listed = git("ls-tree", "-r", "-z", f"{snapshot}^{{tree}}", cwd=Path("/"), env=env)
        except GitError as error:
            lost[snapshot] = f"the code snapshot {snapshot[:12]} is not whole ({error.message})"
            continue
        for entry in listed.split(b"\0")[:-1]:
            _, kind, name = entry.partition(b"\t")[0].decode().split()
            if kind == "blob":
                whose.setdefault(name, []).append(snapshot)
    wrong = [name for batch in _batches(whose, env) for name in _unreadable(batch, env)]
    for name in wrong:
        lost |= {snapshot: f"a file of the code snapshot {snapshot[:12]} is gone ({name})" for snapshot in whose[name]}
    return lost


def _batches(blobs: Iterable[str], env: dict[str, str]) -> Iterator[list[str]]:
    """Yield blobs in lists that fit into memory; one that is not there counts as empty."""
    asked = "".join(f"{name}\n" for name in blobs).encode()
    told = git("cat-file", "--batch-check=%(objectsize)", cwd=Path("/"), env=env, stdin=asked).decode().splitlines()
    batch: list[str] = []
    room = _BATCH
    for name, size in zip(blobs, told, strict=True):
        batch.append(name)
        room -= int(size) if size.isdecimal() else 0
        if room < 0:
            yield batch
            batch, room = [], _BATCH
    yield batch


def _unreadable(blobs: list[str], env: dict[str, str]) -> list[str]:
    """Return the blobs whose bytes are gone, or others; git stops at the first that it cannot read."""
    asked = "".join(f"{name}\n" for name in blobs).encode()
    try:
        told = git("cat-file", "--batch", cwd=Path("/"), env=env, stdin=asked)
    except GitError:
        half = len(blobs) // 2
        return blobs if len(blobs) < 2 else [*_unreadable(blobs[:half], env), *_unreadable(blobs[half:], env)]
    wrong, at = [], 0
    for name in blobs:
        begin = told.index(b"\n", at) + 1  # after a line "<blob> blob <size>", or "<blob> missing"
        *_, size = told[at:begin].split()
        content = told[begin : begin + int(size)] if size.isdigit() else None
        if content is None or git_blob(content, "sha256" if len(name) == 64 else "sha1") != name:
            wrong.append(name)
        at = begin if content is None else begin + len(content) + 1
    return wrong


def _unnamed(repository: str, users: list[tuple[Run, CodeState]], repair: bool) -> Iterator[Damage]:
    """Yield the refs of ours that are gone: git may collect what they kept."""
    for run, code in users:
        own = code.ref.startswith(f"refs/reprokit/{run.id}")  # a replay uses the snapshot of what it repeats
        if not own or code.ref in refs(repository, code.ref):
            continue
        if repair:
            git("update-ref", code.ref, code.snapshot, cwd=Path("/"), env={"GIT_DIR": repository})
        yield Damage(
            kind="ref",
            where=code.ref,
            message=f"it is gone from {repository}, so git may remove the snapshot it kept",
            remedy="`reprokit fsck --repair` makes it again",
            runs=(run.id,),
            repaired="made again" if repair else "",
        )

"""Runs on their way to a remote and from there: everything a replay needs, and the run itself last.

On a remote every name is the digest of what it holds (``objects/``, ``packs/``), or belongs to a run or a commit and
holds nothing that could be told in two ways (``runs/RUN/DIGEST.json``, ``marks/RUN/…``, ``tips/COMMIT.json``). So
nothing is ever overwritten, a transfer that was cut off goes on where it was, and several may push at the same time.
A run is there once its list is, which goes last; here it is there once its journals are, which come last. What came
from a remote is marked as such before it can be seen, and is not run without the user's consent.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from reprokit.capture.files import lfs
from reprokit.digest import PREFIX, canonical_json, hex_of, of_bytes, of_file
from reprokit.errors import StoreError, UsageError
from reprokit.notebook.parent import Progress, silent
from reprokit.records import CodeState, Record, Run
from reprokit.replay import packs
from reprokit.replay.modules import located
from reprokit.replay.snapshots import states
from reprokit.store import origin, whole
from reprokit.store.layout import is_run_id
from reprokit.store.lock import exclusive
from reprokit.store.reachable import named_in, needed
from reprokit.store.store import Store
from reprokit.store.transport import Remote

__all__ = ["Listing", "Moved", "listed", "pull", "push"]

_VERSION = 1
_CHAIN = 20  # packs that one snapshot is spread over; then it is packed anew
_PUSH = "push the run again from where it was made"
_EARLIER = 5  # runs whose code is likely to be much the same
_MARK = re.compile(r"[A-Za-z0-9-]{1,100}\.jsonl")
_MARK_SIZE = 10**6  # bytes; what is said of a run after it ended is short
_LIST_SIZE = 10**8  # bytes, of a million objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Record):
    """All that belongs to a run on a remote, by digest.

    ``journals`` are by name, ``locks`` by the digest of the environment, ``code`` has the packs of each snapshot in the
    order in which they are taken, and ``shallow`` the commits at which a history ends.
    """

    run: str
    version: int = _VERSION
    name: str | None = None
    started: float = 0.0
    journals: dict[str, str] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    objects: tuple[str, ...] = ()
    code: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shallow: tuple[str, ...] = ()

    @classmethod
    def read(cls, data: bytes, run_id: str) -> Listing:
        """Return what a remote says of a run.

        Raises:
            StoreError: it cannot be understood, or is of a newer version.
        """
        try:
            found = cls.from_dict(json.loads(data))
            digests = [*found.journals.values(), *found.locks.values(), *found.objects, *found.locks]
            for digest in (*digests, *(name for chain in found.code.values() for name in chain)):
                hex_of(digest)
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(f"the remote's list of run {run_id} cannot be read ({error})", remedy=_PUSH) from error
        if found.version > _VERSION:
            raise StoreError(f"run {run_id} was pushed by a newer reprokit", remedy="upgrade reprokit to pull it")
        names = set(found.journals)
        if found.run != run_id or not names <= set(origin.JOURNALS) or not names & {"journal", "batch"}:
            raise StoreError(f"the remote's list of run {run_id} is another run's", remedy=_PUSH)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved(Record):
    """What came of one run: ``files`` and ``bytes`` were transferred; none when all was there already.

    ``lacking`` are the things that it needs and that were not to be had, by name.
    """

    run: str
    files: int = 0
    bytes: int = 0
    lacking: tuple[str, ...] = ()


# -- there ----------------------------------------------------------------------------------------


def push(store: Store, remote: Remote, run_ids: Iterable[str], progress: Progress = silent) -> list[Moved]:
    """Bring runs, with all that a replay of them needs, to a remote.

    Raises:
        UsageError: a run is still open.
        StoreError: something cannot be read, or did not come; the run is not seen there.
    """
    ids = list(run_ids)
    moved = []
    for number, run_id in enumerate(ids):
        progress(f"pushing {run_id}", number, len(ids))
        run = store.load(run_id)
        if run.status == "running":
            raise UsageError(f"run {run_id} is still open", remedy="`%repro stop` ends it; push it then")
        with tempfile.TemporaryDirectory(prefix="reprokit-push-") as folder:
            moved.append(_Push(store, remote, run, Path(folder)).all())
    return moved


class _Push:
    """One run on its way to a remote."""

    def __init__(self, store: Store, remote: Remote, run: Run, folder: Path) -> None:
        self.store = store
        self.remote = remote
        self.run = run
        self.folder = folder
        self.files = 0
        self.bytes = 0

    def all(self) -> Moved:
        """Put what belongs to the run there, and its list last."""
        layout, run = self.store.layout, self.run
        paths = {name: layout.journal(run.id, name) for name in origin.JOURNALS}
        journals = self._put_files({name: path for name, path in paths.items() if path.is_file()})
        names = {environment.fingerprint for environment in run.environments}
        lock_paths = {name: layout.locks / f"{hex_of(name)}.json" for name in sorted(names)}
        locks = self._put_files({name: path for name, path in lock_paths.items() if path.is_file()})
        objects, lacking = self._objects([*paths.values(), *lock_paths.values()])
        if len(locks) < len(names) and self.store.settings.lock != "never":
            lacking.append("the lock of its environment")
        code, shallow = self._code()
        listing = Listing(
            run=run.id, name=run.name, started=run.started, journals=journals, locks=locks,
            objects=tuple(objects), code=code, shallow=tuple(shallow),
        )  # fmt: skip
        self._marks()
        data = canonical_json(listing.to_dict())
        self._put(self._written(data), f"runs/{run.id}/{hex_of(of_bytes(data))}.json")
        return Moved(run=run.id, files=self.files, bytes=self.bytes, lacking=tuple(lacking))

    def _put_files(self, files: dict[str, Path]) -> dict[str, str]:
        """Put files that may grow as what they hold now; return their digests."""
        found = {}
        for name, path in files.items():
            data = path.read_bytes()
            found[name] = of_bytes(data)
            self._put(self._written(data), _object(found[name]))
        return found

    def _objects(self, records: Iterable[Path]) -> tuple[list[str], list[str]]:
        """Put all objects that are named and are here; return them, and what the run needs and is not here."""
        objects = self.store.objects
        named: set[str] = set()
        for path in records:
            named |= named_in(path, objects)
        here = {digest: objects.path(digest) for digest in sorted(named) if objects.has(digest)}
        elsewhere = {digest: self._in_lfs(digest) for digest in named - here.keys()}
        here |= {digest: path for digest, path in elsewhere.items() if path is not None}
        lacking = [what for digest, what in needed(self.run, objects).items() if digest not in here]
        for digest, path in here.items():
            if self.remote.size(_object(digest)) is None and of_file(path) != digest:
                raise StoreError(f"object {digest} is damaged", path=path, remedy="see `reprokit fsck`")
        self._count(self.remote.each(lambda item: self._sent(item[1], _object(item[0])), here.items()))
        return sorted(here), lacking

    def _in_lfs(self, digest: str) -> Path | None:
        places = (Path(lfs.place(code.repository, digest)) for code in self._states())
        return next((place for place in places if place.is_file() and of_file(place) == digest), None)

    def _states(self) -> list[CodeState]:
        found = {code.snapshot: code for code in states(located(self.run, self.store.layout.project))}
        return list(found.values())

    def _code(self) -> tuple[dict[str, tuple[str, ...]], list[str]]:
        """Put the packs of all snapshots; return them by snapshot, and where histories end."""
        known = {name.removesuffix(".json") for name in self.remote.names("tips")}
        chains: dict[str, tuple[str, ...]] = {}
        shallow: set[str] = set()
        for code in self._states():
            cut = Path(code.repository) / "shallow"
            shallow |= set(cut.read_text("ascii").split()) if cut.is_file() else set()
            for commit in (code.commit, code.snapshot):  # the next run has most of the first one
                if commit is not None:
                    chains[commit] = self._chain(code, commit, known, chains)
                    known.add(commit)
        return {code.snapshot: chains[code.snapshot] for code in self._states()}, sorted(shallow)

    def _chain(
        self, code: CodeState, commit: str, known: set[str], chains: dict[str, tuple[str, ...]]
    ) -> tuple[str, ...]:
        """Return the packs that make up a commit, having put the last of them there."""
        if commit in known:
            return chains.get(commit) or self._tip(commit)
        before = packs.bases(replace(code, snapshot=commit), known, self._earlier)
        chain = tuple(dict.fromkeys(name for one in before for name in chains.get(one) or self._tip(one)))
        if len(chain) >= _CHAIN:
            before, chain = [], ()
        file = packs.pack(code, commit, before, self.folder)
        digest = of_file(file)
        self._put(file, f"packs/{hex_of(digest)}")
        chain = (*chain, digest)
        self._put(self._written(canonical_json({"packs": list(chain)})), f"tips/{commit}.json", once=True)
        return chain

    @cached_property
    def _earlier(self) -> list[str]:
        """The snapshots of the runs before this one, newest first."""
        found: list[str] = []
        before = sorted(name for name in self.store.layout.run_names() if is_run_id(name) and name < self.run.id)
        for run_id in reversed(before[-_EARLIER:]):
            with suppress(StoreError):
                found += [code.snapshot for code in states(self.store.load(run_id))]
        return found

    def _tip(self, commit: str) -> tuple[str, ...]:
        try:
            told = json.loads(self.remote.read(f"tips/{commit}.json", most=_MARK_SIZE))["packs"]
            return tuple(PREFIX + hex_of(str(name)) for name in told)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            remedy = f"remove tips/{commit}.json there and push again"
            raise StoreError(f"{self.remote.name} does not say what has {commit[:12]}", remedy=remedy) from error

    def _marks(self) -> None:
        folder = self.store.layout.marks / self.run.id
        for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
            self._put(path, f"marks/{self.run.id}/{path.name}")

    def _written(self, data: bytes) -> Path:
        path = self.folder / os.urandom(8).hex()
        path.write_bytes(data)
        return path

    def _put(self, source: Path, name: str, *, once: bool = False) -> None:
        if not (once and self.remote.size(name) is not None):
            self._count([self._sent(source, name)])

    def _sent(self, source: Path, name: str) -> int:
        return source.stat().st_size if self.remote.put(source, name) else -1

    def _count(self, sent: Iterable[int]) -> None:
        done = [size for size in sent if size >= 0]
        self.files += len(done)
        self.bytes += sum(done)


def _object(digest: str) -> str:
    name = hex_of(digest)
    return f"objects/{name[:2]}/{name[2:]}"


# -- and back -------------------------------------------------------------------------------------


def listed(remote: Remote) -> list[str]:
    """Return the ids of the runs on a remote, oldest first."""
    return sorted(filter(is_run_id, remote.names("runs")))


def pull(store: Store, remote: Remote, words: Sequence[str] = (), progress: Progress = silent) -> list[Moved]:
    """Bring runs from a remote.

    Args:
        store: gets them.
        remote: has them.
        words: ids, beginnings of ids, or names of runs; all runs when there are none.
        progress: is told of each.

    Raises:
        UsageError: the remote has no such run.
        StoreError: something did not come whole, or another run of this id is here; the run is not seen here.
    """
    there = listed(remote)
    ids = there if not words else [run_id for word in words for run_id in _meant(remote, there, word)]
    layout, _ = store.layout.create()
    if layout != store.layout:  # the project may not be written to
        store = Store(layout, store.settings)
    moved = []
    with exclusive(store.layout.root / "pull.lock"):
        for number, run_id in enumerate(dict.fromkeys(ids)):
            progress(f"pulling {run_id}", number, len(ids))
            moved.append(_Pull(store, remote, run_id).all())
    if moved:
        store.index.sync()
        for item in moved:  # marks may have come of runs that are known
            store.index.refresh(item.run)
    return moved


def _meant(remote: Remote, there: list[str], word: str) -> list[str]:
    if word in there:
        return [word]
    found = [run_id for run_id in there if run_id.startswith(word)]
    if len(found) == 1:
        return found
    named = [run_id for run_id in there if any(one.name == word for one in _listings(remote, run_id))]
    if not named:
        remedy = "name it by its id, or pull without a name to get all"
        raise UsageError(f"{remote.name} has no run called {word!r}", remedy=remedy)
    return named[-1:]


def _listings(remote: Remote, run_id: str) -> list[Listing]:
    """Return the lists of a run: several when it was pushed again after it had got a verdict, say."""
    found = []
    for name in remote.names(f"runs/{run_id}"):
        digest = name.removesuffix(".json")
        if len(digest) == 64 and name.endswith(".json"):
            data = remote.read(f"runs/{run_id}/{name}", most=_LIST_SIZE)
            if hex_of(of_bytes(data)) != digest:
                raise StoreError(f"{remote.name} has other bytes for the list of run {run_id}", remedy=_PUSH)
            found.append(Listing.read(data, run_id))
    return sorted(found, key=lambda one: len(one.journals))


class _Pull:
    """One run on its way here."""

    def __init__(self, store: Store, remote: Remote, run_id: str) -> None:
        self.store = store
        self.remote = remote
        self.run_id = run_id
        self.files = 0
        self.bytes = 0
        self.folder = store.layout.incoming / run_id

    def all(self) -> Moved:
        """Fetch what belongs to the run, and let it be seen last."""
        found = _listings(self.remote, self.run_id)
        if not found:
            raise StoreError(f"run {self.run_id} is not whole at {self.remote.name}", remedy=_PUSH)
        listing = found[-1]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "list.json").write_bytes(canonical_json(listing.to_dict()))  # `gc` keeps what it names
        if self._is_new(listing):
            self.remote.each(self._object, [d for d in listing.objects if not self.store.objects.has(d)])
            self._locks(listing)
            self._code(listing)
            self._journals(listing)
        self._marks()
        shutil.rmtree(self.folder)
        return Moved(run=self.run_id, files=self.files, bytes=self.bytes)

    def _is_new(self, listing: Listing) -> bool:
        """Return whether the run is not here.

        Raises:
            StoreError: another one with its id is.
        """
        folder = self.store.layout.run_folder(self.run_id)
        if not folder.is_dir():
            return True
        for name in ("journal", "batch"):
            path = folder / f"{name}.jsonl"
            if path.is_file() != (name in listing.journals) or (
                path.is_file() and of_file(path) != listing.journals[name]
            ):
                remedy = f"`reprokit show {self.run_id}` shows the one here; neither was changed"
                raise StoreError(f"run {self.run_id} at {self.remote.name} is not the one here", remedy=remedy)
        return False

    def _fetched(self, name: str, digest: str) -> Path:
        """Return a file with what the remote has under a name."""
        target = self.folder / hex_of(digest)
        if not target.is_file() or of_file(target) != digest:
            self.remote.get(name, target, digest)
            self.files += 1
            self.bytes += target.stat().st_size
        return target

    def _object(self, digest: str) -> None:
        path = self._fetched(_object(digest), digest)
        self.store.objects.put_file(path)
        path.unlink()

    def _locks(self, listing: Listing) -> None:
        """Take the locks of environments that have none here."""
        for fingerprint, digest in listing.locks.items():
            target = self.store.layout.locks / f"{hex_of(fingerprint)}.json"
            path = self._fetched(_object(digest), digest)
            if not target.exists():
                path.write_bytes(_marked(path, self.remote.name))
                _sync(path)
                path.rename(target)

    def _code(self, listing: Listing) -> None:
        for snapshot, chain in listing.code.items():
            repository = self.store.layout.pulled_git(len(snapshot))
            files = [self._fetched(f"packs/{hex_of(digest)}", digest) for digest in chain]
            packs.take(repository, files, [snapshot], f"refs/reprokit/{self.run_id}", listing.shallow)

    def _journals(self, listing: Listing) -> None:
        ready = self.folder / "run"
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir()
        for name, digest in listing.journals.items():
            path = self._fetched(_object(digest), digest)
            _sync(path)
            path.rename(ready / f"{name}.jsonl")
        origin.note(self.store.layout, self.run_id, self.remote.name)
        ready.rename(self.store.layout.run_folder(self.run_id))

    def _marks(self) -> None:
        """Take what was said of the run and is not known here."""
        folder = self.store.layout.marks / self.run_id
        for name in self.remote.names(f"marks/{self.run_id}"):
            target = folder / name
            if not _MARK.fullmatch(name) or target.exists():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            whole.write(target, self.remote.read(f"marks/{self.run_id}/{name}", most=_MARK_SIZE))
            self.files += 1


def _marked(lock: Path, remote: str) -> bytes:
    """Return a lock that says where it came from: runs that are made here can have the same environment."""
    try:
        return canonical_json({**json.loads(lock.read_bytes()), "pulled": remote})
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"{remote} has a lock that cannot be read ({error})", remedy=_PUSH) from error


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())

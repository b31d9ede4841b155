"""From a list of what is installed to a lock: everything that is needed to install the same again.

Index packages become exact pins with hashes, in the requirements format that uv and pip both take. What
no index has is kept as a wheel in the store, or by its commit. What cannot be kept is a gap that says so.
Locks are made by a background process (``python -m reprokit.replay.lock``), once per environment.
Knows uv and pip-tools; it does not install anything.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprokit import digest
from reprokit.capture.environment import conda
from reprokit.capture.environment.environment import OWN_NAME, Found, normalised, observe
from reprokit.capture.environment.installed import as_it_is
from reprokit.errors import EnvironmentBuildError, ReprokitError
from reprokit.records import Distribution, Environment, Gap, Record, Run
from reprokit.replay import lock_gaps, pins, wheels
from reprokit.replay.tools import find_uv, held, last_line, run_tool, unreachable
from reprokit.store import origin, whole
from reprokit.store.journal import Journal
from reprokit.store.layout import Layout
from reprokit.store.objects import Objects

__all__ = [
    "Extra",
    "Lock",
    "ensure",
    "main",
    "make",
    "of_itself",
    "of_run",
    "with_versions",
]

_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra(Record):
    """One distribution that is installed after the hashed requirements.

    ``kind`` is "wheel" (``digest`` names an object, ``filename`` the wheel) or "vcs" (``url`` and
    ``commit``, and a wheel of what was installed from it when one could be made). One of an index that is
    pinned, too, was built here from its source. ``origin`` and ``url`` are the recorded ones. ``roots`` are the
    folders that an editable project had on ``sys.path``: the wheel is as old as the lock, the code of a run is
    in its snapshot.
    """

    name: str
    version: str
    kind: str
    origin: str
    url: str | None = None
    commit: str | None = None
    digest: str | None = None
    filename: str | None = None
    roots: tuple[str, ...] = ()

    def direct_url(self) -> dict[str, Any] | None:
        """Return what an installation of it says of its origin (PEP 610); None for one of an index."""
        url, _, fragment = (self.url or "").partition("#")
        if not url or self.origin not in ("editable", "local", "vcs"):
            return None
        if self.origin != "vcs":
            kind = {"dir_info": {"editable": True}} if self.origin == "editable" else {"archive_info": {}}
            return {"url": self.url, **kind}
        vcs, _, address = url.partition("+")
        within = {"subdirectory": fragment.removeprefix("subdirectory=")} if fragment else {}
        return {"url": address, "vcs_info": {"vcs": vcs, "commit_id": self.commit or ""}, **within}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock(Record):
    """What it takes to make an environment again.

    ``requirements`` is the text of a requirements file with hashes. ``retry`` says that the lock was
    made without its index, so that the next ``ensure`` makes it anew. ``conda`` names the packages that conda
    installed, each with its address and checksum, as ``conda create --file`` takes them after ``@EXPLICIT``.
    ``pylock`` is the digest of an object: a ``pylock.toml`` with the addresses of the pinned files. ``pulled`` is the
    remote that it came from.
    """

    fingerprint: str
    python: str
    implementation: str = "cpython"
    requirements: str = ""
    extras: tuple[Extra, ...] = ()
    gaps: tuple[Gap, ...] = ()
    retry: bool = False
    conda: tuple[str, ...] = ()
    pylock: str | None = None
    pulled: str | None = None

    @property
    def key(self) -> str:
        """The digest of what is installed, wherever it comes from: locks with the same one share an environment."""
        extras = [extra.to_dict() for extra in self.extras]
        return digest.of_json([self.python, self.implementation, self.requirements, extras])

    @property
    def digest(self) -> str:
        """The digest of the lock's canonical JSON, wherever it comes from."""
        return digest.of_json({name: value for name, value in self.to_dict().items() if name != "pulled"})

    @property
    def pins(self) -> dict[str, str]:
        """The version of each distribution that comes from an index, by name."""
        lines = (line.removesuffix(" \\") for line in self.requirements.splitlines() if "==" in line.split(" ")[0])
        return {name: version for name, _, version in (line.partition("==") for line in lines)}

    def requirements_of(self, names: Collection[str]) -> str:
        """Return the requirements, with their hashes, of the named distributions alone."""
        return "".join(block for name, block in _by_name(self.requirements) if name in names)

    @property
    def hashes(self) -> dict[str, frozenset[str]]:
        """The SHA-256 (hexadecimal) of the files that each pin may be installed from, by name."""
        return {name: frozenset(_HASH.findall(block)) for name, block in _by_name(self.requirements)}


def _by_name(requirements: str) -> Iterator[tuple[str, str]]:
    """Yield each requirement of a file with its hashes."""
    for block in re.split(r"^(?=[^\s#])", requirements, flags=re.MULTILINE):
        if "==" in block.split(" ")[0]:
            yield block.partition("==")[0], block


def make(environment: Environment, objects: Objects) -> Lock:
    """Make the lock of an environment; what cannot be locked becomes a gap.

    Args:
        environment: as it was observed, on this machine.
        objects: where wheels are kept.
    """
    installed = [d for d in environment.distributions if d.name != OWN_NAME]
    wanted = [d for d in installed if not d.name.startswith(conda.NAMED)]
    try:
        pinned = pins.pin(environment.python, [d for d in wanted if _is_of_an_index(d)])
    except pins.UnreachableError as error:
        return _lock(environment, gaps=[lock_gaps.offline(error)], retry=True)
    present = wheels.installed(environment)
    gaps = lock_gaps.of_another_origin([d for d in wanted if d.name in pinned])
    gaps += lock_gaps.only_of_conda([d for d in installed if d.name.startswith(conda.NAMED)])
    extras: list[Extra] = []
    for distribution in (d for d in wanted if d.name not in pinned):
        found = present.get(distribution.name)
        if found is not None and found.distribution.version != distribution.version:
            found = None
        try:
            extra, gap = _extra(environment, distribution, found, objects)
        except (ReprokitError, OSError) as error:
            gaps.append(lock_gaps.not_kept(distribution, error))
            continue
        extras.append(extra)
        gaps.extend(gap)
    built = pinned.without_wheels(environment.python)
    extras += _built_here([d for d in wanted if d.name in built and d.origin == "index"], present, objects)
    retry = any(unreachable(gap.message) for gap in gaps)
    lock = _lock(environment, requirements=pinned.text, extras=extras, gaps=gaps, retry=retry)
    return replace(lock, pylock=pinned.stored(environment.python, objects))


def of_itself(objects: Objects) -> Extra:
    """Keep a wheel of the reprokit that runs now: no lock has it, because a replay puts it in by path.

    Raises:
        NotPackedError: it is not installed here, or cannot be built.
    """
    environment = observe()
    own = next((d for d in environment.distributions if d.name == OWN_NAME), None)
    if own is None:
        raise wheels.NotPackedError("reprokit is not installed here", remedy="install it, not only its folder")
    return _extra(environment, own, wheels.installed(environment).get(OWN_NAME), objects)[0]


def with_versions(lock: Lock, versions: Mapping[str, str]) -> Lock:
    """Return a lock that has other versions of some packages, with the hashes that the index has for them.

    What these versions ask for is not looked at: each pin stands alone.

    Args:
        lock: the lock to change.
        versions: name → version; "" leaves the package out.

    Raises:
        EnvironmentBuildError: the index does not have such a version, or does not answer.
    """
    named = {normalised(name): version for name, version in versions.items()}
    wanted = [Distribution(name=name, version=version) for name, version in named.items() if version]
    try:
        found = pins.pin(lock.python, wanted).blocks
    except pins.UnreachableError as error:
        remedy = "try again while the package index can be reached"
        raise EnvironmentBuildError(f"other versions cannot be locked: {error.message}", remedy=remedy) from error
    for d in wanted:
        if d.name not in found:
            raise EnvironmentBuildError(f"no index has {d.name} {d.version}", remedy="name the index (UV_INDEX=URL)")
    blocks = {name: block for name, block in _by_name(lock.requirements) if name not in named} | {**found}
    extras = tuple(extra for extra in lock.extras if extra.name not in named)
    text = "".join(blocks[name] for name in sorted(blocks))
    return replace(lock, requirements=text, extras=extras)


def of_run(layout: Layout, run: Run, environment: Environment, objects: Objects) -> Lock:
    """Return the lock of an environment of a run; of one that came from elsewhere none is made without consent.

    To make one is to build what it names, with the interpreter that it names.

    Raises:
        ConsentNeeded: the run came without its lock, and nobody said yet that it may be run here.
    """
    found = _load(_path(layout, environment))
    if run.origin is not None and not _stands(found, objects, own=False):
        origin.require(layout, run)
    return ensure(layout, environment, objects)


def ensure(layout: Layout, environment: Environment, objects: Objects, *, own: bool = False) -> Lock:
    """Return the lock of an environment, made now if there is none; processes that ask at once share one.

    A lock whose wheels are gone from the store is made anew where that can be done; else it says what is gone.

    Args:
        layout: the store.
        environment: as it was observed.
        objects: those of the store.
        own: whether a lock that came from a remote is made anew, where that can be done.

    Raises:
        OSError: the store cannot be written.
    """
    path = _path(layout, environment)
    found = _load(path)
    if found is not None and _stands(found, objects, own=own):
        return found
    with held(path.with_suffix(".lock")):
        known = _load(path)
        if known is not None and _stands(known, objects, own=own):
            return known
        made = make(environment, objects)
        if known is not None and not known.retry and any(gap.blocks for gap in made.gaps):
            gaps = [lock_gaps.wheel_gone(extra.name, extra.version, extra.digest) for extra in _lost(known, objects)]
            return replace(known, gaps=(*known.gaps, *gaps))
        whole.write(path, digest.canonical_json(made.to_dict()))
        return made


def main(argv: Sequence[str] | None = None) -> int:
    """Check one environment and make its lock; the background process.

    Args:
        argv: folder of the store, folder of the project, file with the environment as JSON. It is checked when
            the file lies in the folder of a run, which gets a journal of what was changed by hand.

    Returns:
        0 when a replay can be exact as far as the environment goes, else 1.
    """
    root, project, source = map(Path, sys.argv[1:] if argv is None else argv)
    observed = Environment.from_dict(json.loads(source.read_text("utf-8")))
    os.chdir(project)  # where the user's own settings for uv and pip hold
    layout = Layout(project, root)
    of_a_run = source.parent.parent == layout.runs
    environment, changes = as_it_is(observed, wheels.installed(observed).values() if of_a_run else ())
    if changes:  # once more: an installer may have been at work
        environment, changes = as_it_is(observed, wheels.installed(observed).values(), frozenset(changes))
    lock = ensure(layout, environment, Objects(layout.objects), own=True)
    if of_a_run and (changes or lock.gaps):
        for run_id in (source.parent.name, *_others(source, layout, observed)):
            _note(layout.journal(run_id, "environment"), environment, changes, lock)
    return int(any(gap.blocks for gap in lock.gaps))


def _others(source: Path, layout: Layout, observed: Environment) -> Iterator[str]:
    """Yield further runs that are to be told the same: those of a sweep that had the same environment."""
    listed = source.with_suffix(".runs")
    if not listed.exists():
        return
    from reprokit.settings import Settings
    from reprokit.store.store import Store

    store = Store(layout, Settings())
    for run_id in listed.read_text("ascii").split():
        with suppress(ReprokitError):
            known = store.load(run_id).environment
            if known is not None and known.fingerprint == observed.fingerprint:
                yield run_id


def _note(path: Path, environment: Environment, changes: Mapping[str, Sequence[str]], lock: Lock) -> None:
    """Write what was found into a journal of the run's, so that it is told at capture; once for a run."""
    versions = {d.name: d.version for d in environment.distributions}
    kept = {extra.name for extra in lock.extras}
    gaps = [lock_gaps.changed_by_hand(name, versions[name], files, name in kept) for name, files in changes.items()]
    gaps += [lock_gaps.for_now(gap) if lock.retry else gap for gap in lock.gaps]
    try:
        journal = Journal(path)
    except FileExistsError:
        return
    environments = {"environments": [environment.to_dict()]} if changes else {}
    journal.append({"add": {**environments, "gaps": [gap.to_dict() for gap in gaps]}})
    journal.sync()
    journal.close()


def _lock(
    environment: Environment,
    *,
    requirements: str = "",
    extras: Iterable[Extra] = (),
    gaps: Iterable[Gap] = (),
    retry: bool = False,
) -> Lock:
    return Lock(
        fingerprint=environment.fingerprint,
        python=environment.python,
        implementation=environment.implementation,
        requirements=requirements,
        extras=tuple(sorted(extras, key=lambda extra: extra.name)),
        gaps=tuple(gaps),
        retry=retry,
        conda=tuple(_explicit(d) for d in environment.distributions if d.origin == "conda"),
    )


def _explicit(d: Distribution) -> str:
    """Return a package of conda's as a line of an explicit list."""
    sign = (d.content or "").removeprefix("md5:")
    return f"{d.url}#{sign}" if sign else str(d.url)


def _is_of_an_index(d: Distribution) -> bool:
    """Return whether an index may have the very same; not of what was changed by hand."""
    return d.origin in ("unknown", "conda") or (d.origin == "index" and d.content is None)


def _extra(
    environment: Environment, distribution: Distribution, found: Found | None, objects: Objects
) -> tuple[Extra, list[Gap]]:
    """Keep a distribution that no index has.

    Raises:
        NotPackedError: it cannot be kept.
    """
    by_commit = distribution.origin == "vcs" and distribution.content is None
    roots = wheels.import_roots(found.path) if found and distribution.origin == "editable" else ()
    try:
        with tempfile.TemporaryDirectory(prefix="reprokit-wheel-") as name:
            wheel = _wheel(environment, distribution, found, Path(name))
            stored = objects.put_file(wheel)
    except (ReprokitError, OSError):
        if by_commit:  # it can be fetched, as long as its repository is there
            return _as_extra(distribution, kind="vcs"), []
        raise
    kind = "vcs" if by_commit else "wheel"
    extra = _as_extra(distribution, kind=kind, digest=stored.digest, filename=wheel.name, roots=roots)
    return extra, [] if by_commit else lock_gaps.of_another_version(distribution, wheel.name)


def _built_here(distributions: Iterable[Distribution], present: Mapping[str, Found], objects: Objects) -> list[Extra]:
    """Keep as wheels what was built here from a source of the index: building it again may fail, or differ."""
    extras = []
    for d in distributions:
        found = present.get(d.name)
        if found is None or found.distribution.version != d.version:
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="reprokit-wheel-") as name:
                wheel = wheels.repack(found.path, Path(name))
                extras.append(_as_extra(d, kind="wheel", digest=objects.put_file(wheel).digest, filename=wheel.name))
        except (ReprokitError, OSError):  # the source and its hash are locked all the same
            continue
    return extras


def _as_extra(
    d: Distribution,
    *,
    kind: str,
    digest: str | None = None,
    filename: str | None = None,
    roots: tuple[str, ...] = (),
) -> Extra:
    return Extra(
        name=d.name, version=d.version, kind=kind, origin=d.origin, url=d.url, commit=d.commit,
        digest=digest, filename=filename, roots=roots,
    )  # fmt: skip


def _wheel(environment: Environment, distribution: Distribution, found: Found | None, folder: Path) -> Path:
    """Return a wheel of a distribution: the file it came from, its installed files, or its source built."""
    source = wheels.local_path(distribution.url)
    if distribution.origin == "editable":
        return _build(environment, distribution, source, folder)
    if found is None:
        raise wheels.NotPackedError("it is no longer installed here in this version")
    if source is not None and source.suffix == ".whl" and wheels.matches(source, found.path):
        return source
    return wheels.repack(found.path, folder)


def _build(environment: Environment, distribution: Distribution, source: Path | None, folder: Path) -> Path:
    """Build a wheel from a copy of a source folder, as the version that was installed."""
    if source is None:
        raise wheels.NotPackedError("its source folder is not on this machine")
    copy, out = folder / "source", folder / "wheel"
    wheels.copy_source(source, copy)
    uv = find_uv()
    python = environment.executable if os.access(environment.executable, os.X_OK) else sys.executable
    if uv is not None:
        command = [uv, "build", "--wheel", "--quiet", "--python", python, "--out-dir", str(out), str(copy)]
    else:
        pip = [sys.executable, "-m", "pip", "--python", python]
        command = [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(copy)]
    version = distribution.version  # there is no history in the copy to take it from
    told = {"SETUPTOOLS_SCM_PRETEND_VERSION": version, "PDM_BUILD_SCM_VERSION": version}
    result = run_tool(command, cwd=folder, env=told)
    built = sorted(out.glob("*.whl")) if result.returncode == 0 else []
    if not built:
        raise wheels.NotPackedError(f"{source} could not be built ({last_line(result.stderr or result.stdout)})")
    return built[0]


def _path(layout: Layout, environment: Environment) -> Path:
    return layout.locks / f"{digest.hex_of(environment.fingerprint)}.json"


def _stands(lock: Lock | None, objects: Objects, *, own: bool) -> bool:
    """Return whether a lock need not be made anew."""
    return lock is not None and not lock.retry and not (own and lock.pulled) and not _lost(lock, objects)


def _load(path: Path) -> Lock | None:
    """Return the lock in a file; None when there is none."""
    try:
        return Lock.from_dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _lost(lock: Lock, objects: Objects) -> list[Extra]:
    """Return the extras whose wheels are not in the store any more, though nothing else stands for them."""
    needed = [e for e in lock.extras if e.digest and e.kind != "vcs" and e.name not in lock.pins]
    return [extra for extra in needed if not objects.has(extra.digest or "")]


if __name__ == "__main__":
    raise SystemExit(main())

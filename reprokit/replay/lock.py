"""From a list of what is installed to a lock: everything that is needed to install the same again.

Index packages become exact pins with hashes, in the requirements format that uv and pip both take. What
no index has is kept as a wheel in the store, or by its commit. What cannot be kept is a gap that says so.
Locks are made by a background process (``python -m reprokit.replay.lock``), once per environment.
Knows uv and pip-tools; it does not install anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from reprokit import digest
from reprokit.capture.environment import conda
from reprokit.capture.environment.environment import OWN_NAME, Found, normalised
from reprokit.capture.environment.installed import as_it_is
from reprokit.errors import ReprokitError
from reprokit.records import Distribution, Environment, Gap, Record
from reprokit.replay import lock_gaps, wheels
from reprokit.store.journal import Journal
from reprokit.store.layout import Layout
from reprokit.store.objects import Objects

__all__ = [
    "Extra",
    "Lock",
    "ensure",
    "find_uv",
    "held",
    "last_line",
    "main",
    "make",
    "run_tool",
    "unreachable",
]

# What would bend exact pins, or make a tool look at another environment than it is told to.
_DROPPED = {
    "CONDA_PREFIX", "DYLD_INSERT_LIBRARIES", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV",
    "UV_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_EXCLUDE_NEWER", "UV_NO_BINARY", "UV_OVERRIDE",
    "UV_PRERELEASE", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "UV_REQUIRE_HASHES", "UV_RESOLUTION",
}  # fmt: skip
_UNREACHABLE = re.compile(
    r"network was disabled|error sending request|tcp connect|dns error|failed to fetch|timed out"
    r"|Max retries exceeded|Connection (refused|reset)|Temporary failure in name resolution"
    r"|NewConnectionError|ConnectTimeout",
    re.IGNORECASE,
)

Compile = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra(Record):
    """One distribution that is installed after the hashed requirements.

    ``kind`` is "wheel" (``digest`` names an object, ``filename`` the wheel) or "vcs" (``url`` and
    ``commit``). ``origin`` and ``url`` are the recorded ones. ``roots`` are the folders that an editable
    project had on ``sys.path``: the wheel is as old as the lock, the code of a run is in its snapshot.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock(Record):
    """What it takes to make an environment again.

    ``requirements`` is the text of a requirements file with hashes. ``retry`` says that the lock was
    made without its index, so that the next ``ensure`` makes it anew. ``conda`` names the packages that conda
    installed, each with its address and checksum, as ``conda create --file`` takes them after ``@EXPLICIT``.
    """

    fingerprint: str
    python: str
    implementation: str = "cpython"
    requirements: str = ""
    extras: tuple[Extra, ...] = ()
    gaps: tuple[Gap, ...] = ()
    retry: bool = False
    conda: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The digest of the lock's canonical JSON."""
        return digest.of_json(self.to_dict())

    @property
    def pins(self) -> dict[str, str]:
        """The version of each distribution that comes from an index, by name."""
        lines = (line.removesuffix(" \\") for line in self.requirements.splitlines() if "==" in line.split(" ")[0])
        return {name: version for name, _, version in (line.partition("==") for line in lines)}


class _UnreachableError(ReprokitError):
    """The index did not answer."""


def make(environment: Environment, objects: Objects) -> Lock:
    """Make the lock of an environment; what cannot be locked becomes a gap.

    Args:
        environment: as it was observed, on this machine.
        objects: where wheels are kept.
    """
    installed = [d for d in environment.distributions if d.name != OWN_NAME]
    wanted = [d for d in installed if not d.name.startswith(conda.NAMED)]
    try:
        blocks, missing = _lock_pins(environment, [d for d in wanted if _is_of_an_index(d)])
    except _UnreachableError as error:
        return _lock(environment, gaps=[lock_gaps.offline(error)], retry=True)
    present = wheels.installed(environment)
    extras: list[Extra] = []
    gaps = [lock_gaps.of_another_origin(d) for d in wanted if d.origin in ("unknown", "conda") and d.name in blocks]
    gaps += lock_gaps.only_of_conda([d for d in installed if d.name.startswith(conda.NAMED)])
    for distribution in [*missing, *(d for d in wanted if not _is_of_an_index(d))]:
        found = present.get(distribution.name)
        if found is not None and found.distribution.version != distribution.version:
            found = None
        try:
            extra, gap = _extra(distribution, found, objects)
        except (ReprokitError, OSError) as error:
            gaps.append(lock_gaps.not_kept(distribution, error))
            continue
        extras.append(extra)
        gaps.extend(gap)
    text = "".join(blocks[name] for name in sorted(blocks))
    retry = any(_UNREACHABLE.search(gap.message) for gap in gaps)
    return _lock(environment, requirements=text, extras=extras, gaps=gaps, retry=retry)


def ensure(layout: Layout, environment: Environment, objects: Objects) -> Lock:
    """Return the lock of an environment, made now if there is none; processes that ask at once share one.

    Raises:
        OSError: the store cannot be written.
    """
    path = layout.locks / f"{digest.hex_of(environment.fingerprint)}.json"
    found = _load(path, objects)
    if found is not None and not found.retry:
        return found
    with held(path.with_suffix(".lock")):
        found = _load(path, objects)
        if found is None or found.retry:
            found = make(environment, objects)
            _write(path, found)
        return found


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
    lock = ensure(layout, environment, Objects(layout.objects))
    if changes:
        _note(source.with_name("environment.jsonl"), environment, changes, lock)
    return int(any(gap.blocks for gap in lock.gaps))


def _note(path: Path, environment: Environment, changes: Mapping[str, Sequence[str]], lock: Lock) -> None:
    """Write what was found into a journal of the run's; once for a run."""
    versions = {d.name: d.version for d in environment.distributions}
    kept = {extra.name for extra in lock.extras}
    gaps = [
        lock_gaps.changed_by_hand(name, versions[name], files, name in kept).to_dict()
        for name, files in changes.items()
    ]
    try:
        journal = Journal(path)
    except FileExistsError:
        return
    journal.append({"add": {"environments": [environment.to_dict()], "gaps": gaps}})
    journal.sync()
    journal.close()


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file: one process at a time; the system lets go of it when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def find_uv() -> str | None:
    """Return the path of uv: the one that came with reprokit, else the one on the PATH, else None."""
    if importlib.util.find_spec("uv") is not None:
        import uv

        with contextlib.suppress(FileNotFoundError):
            return os.fspath(uv.find_uv_bin())
    return shutil.which("uv")


def run_tool(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run an installer, away from the environment this process is in; its output is returned as text."""
    inherited = {key: value for key, value in os.environ.items() if key not in _DROPPED}
    return subprocess.run(
        command,
        capture_output=True,
        check=False,
        cwd=cwd,
        encoding="utf-8",
        env={**inherited, "NO_COLOR": "1", "UV_NO_PROGRESS": "1", **(env or {})},
        errors="replace",
        input="" if stdin is None else stdin,
    )


def unreachable(log: str) -> bool:
    """Return whether an installer's log says that it could not reach its index."""
    return bool(_UNREACHABLE.search(log))


def last_line(log: str) -> str:
    """Return the line of an installer's log that says most: the innermost cause, or the last error."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    causes = [line.partition("cause: ")[2] for line in lines if line.startswith("cause: ")]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (causes[:1] or errors[:1] or lines[-1:] or ["no output"])[0]


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


def _lock_pins(
    environment: Environment, distributions: Sequence[Distribution]
) -> tuple[dict[str, str], list[Distribution]]:
    """Return the hashed requirement of each distribution that the index has, and those that it has not."""
    usual = [d for d in distributions if lock_gaps.is_version(d.version)]
    local = [d for d in usual if "+" in d.version]
    with tempfile.TemporaryDirectory(prefix="reprokit-lock-") as folder:
        compile_pins = _compiler(environment.python, Path(folder))
        blocks: dict[str, str] = {}
        for group in ([d for d in usual if d not in local], local):  # those with "+" are seldom on an index
            blocks.update(_compile_each(group, compile_pins))
    return blocks, [d for d in distributions if d.name not in blocks]


def _compile_each(group: Sequence[Distribution], compile_pins: Compile) -> dict[str, str]:
    """Lock what can be locked: each pin stands alone, so a failure is narrowed down by halves."""
    if not group:
        return {}
    result = compile_pins([f"{d.name}=={d.version}" for d in group])
    if result.returncode == 0:
        return _blocks(result.stdout, {d.name: d.version for d in group})
    if unreachable(result.stderr):
        raise _UnreachableError(last_line(result.stderr))
    if len(group) == 1:
        return {}
    middle = len(group) // 2
    return {**_compile_each(group[:middle], compile_pins), **_compile_each(group[middle:], compile_pins)}


def _blocks(text: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the requirement of each wanted name, with its hashes; one without a hash is left out."""
    blocks: dict[str, str] = {}
    for block in re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE):
        pin, _, hashes = block.partition(" ")
        name, _, version = pin.partition("==")
        name = normalised(name)
        if "--hash=" in hashes and name in wanted and Version(version) == Version(wanted[name]):
            lines = [line for line in block.splitlines() if line.strip() and not line.lstrip().startswith("#")]
            blocks[name] = "\n".join(lines) + "\n"
    return blocks


def _compiler(python: str, folder: Path) -> Compile:
    """Return what locks pins: uv, or pip-tools where there is no uv."""
    uv = find_uv()
    source = folder / "pins.in"
    if uv is not None:
        command = [uv, "pip", "compile", "--generate-hashes", "--no-deps", "--no-header", "--no-annotate"]
        command += ["--quiet", "--python", sys.executable, "--python-version", python, str(source)]
    elif importlib.util.find_spec("piptools") is not None:
        command = [
            sys.executable,
            "-m",
            "piptools",
            "compile",
            "--generate-hashes",
            "--allow-unsafe",
            "--no-header",
        ]
        command += [
            "--strip-extras",
            "--no-annotate",
            "--no-emit-index-url",
            "--no-emit-trusted-host",
            "--quiet",
        ]
        command += ["--no-emit-find-links", "--no-emit-options", "--output-file", "-", str(source)]
    else:
        raise _UnreachableError("there is neither uv nor pip-tools")

    def compile_pins(pins: Sequence[str]) -> subprocess.CompletedProcess[str]:
        source.write_text("\n".join(pins) + "\n", "utf-8")
        return run_tool(command)

    return compile_pins


def _is_of_an_index(d: Distribution) -> bool:
    """Return whether an index may have the very same; not of what was changed by hand."""
    return d.origin in ("unknown", "conda") or (d.origin == "index" and d.content is None)


def _extra(distribution: Distribution, found: Found | None, objects: Objects) -> tuple[Extra, list[Gap]]:
    """Keep a distribution that no index has.

    Raises:
        NotPackedError: it cannot be kept.
    """
    if distribution.origin == "vcs" and distribution.content is None:
        return _as_extra(distribution, kind="vcs"), []
    roots = wheels.import_roots(found.path) if found and distribution.origin == "editable" else ()
    with tempfile.TemporaryDirectory(prefix="reprokit-wheel-") as name:
        wheel = _wheel(distribution, found, Path(name))
        stored = objects.put_file(wheel)
    extra = _as_extra(distribution, kind="wheel", digest=stored.digest, filename=wheel.name, roots=roots)
    return extra, lock_gaps.of_another_version(distribution, wheel.name)


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


def _wheel(distribution: Distribution, found: Found | None, folder: Path) -> Path:
    """Return a wheel of a distribution: the file it came from, its installed files, or its source built."""
    source = wheels.local_path(distribution.url)
    if distribution.origin == "editable":
        return _build(distribution, source, folder)
    if found is None:
        raise wheels.NotPackedError("it is no longer installed here in this version")
    if source is not None and source.suffix == ".whl" and wheels.matches(source, found.path):
        return source
    return wheels.repack(found.path, folder)


def _build(distribution: Distribution, source: Path | None, folder: Path) -> Path:
    """Build a wheel from a copy of a source folder, as the version that was installed."""
    if source is None:
        raise wheels.NotPackedError("its source folder is not on this machine")
    copy, out = folder / "source", folder / "wheel"
    wheels.copy_source(source, copy)
    uv = find_uv()
    if uv is not None:
        command = [
            uv,
            "build",
            "--wheel",
            "--quiet",
            "--python",
            sys.executable,
            "--out-dir",
            str(out),
            str(copy),
        ]
    else:
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            str(out),
            str(copy),
        ]
    version = distribution.version  # there is no history in the copy to take it from
    told = {"SETUPTOOLS_SCM_PRETEND_VERSION": version, "PDM_BUILD_SCM_VERSION": version}
    result = run_tool(command, cwd=folder, env=told)
    built = sorted(out.glob("*.whl")) if result.returncode == 0 else []
    if not built:
        raise wheels.NotPackedError(f"{source} could not be built ({last_line(result.stderr or result.stdout)})")
    return built[0]


def _load(path: Path, objects: Objects) -> Lock | None:
    """Return the lock in a file; None when there is none, or what it needs is not in the store any more."""
    try:
        lock = Lock.from_dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return lock if all(objects.has(extra.digest) for extra in lock.extras if extra.digest) else None


def _write(path: Path, lock: Lock) -> None:
    draft = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
    try:
        with draft.open("wb") as stream:
            stream.write(digest.canonical_json(lock.to_dict()))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


if __name__ == "__main__":
    raise SystemExit(main())

"""Makes the environment of a run again from its lock, once, and finds it the next time.

A built environment lies in the user's cache, named by its lock. It counts only when its marker, written
last, is there: whatever a killed build left is wiped. Knows virtual environments, uv and pip; it does not
know what will run in them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reprokit.capture.environment.environment import OWN_NAME, observe, quick_fingerprint, scan
from reprokit.capture.environment.installed import as_it_is
from reprokit.digest import hex_of
from reprokit.errors import EnvironmentBuildError, UsageError
from reprokit.records import Distribution, Environment
from reprokit.replay.lock import Extra, Lock, find_uv, held, last_line, run_tool, unreachable
from reprokit.replay.wheels import installed
from reprokit.store.objects import Objects

__all__ = ["Decision", "Interpreter", "build", "cache_folder", "choose", "current", "differences"]

_MARKER = "reprokit-complete.json"
_PROBE = "import platform, sys; print(sys.implementation.name, platform.python_version())"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python to run a kernel with.

    Attributes:
        python: path of its executable.
        how: "current" (the one that runs this), "cached" (built earlier) or "built" (just now).
        notes: in what it is not exactly what was recorded, one line each.
    """

    python: Path
    how: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Which environment a replay uses, why, and in what it is not the recorded one."""

    use: Literal["current", "locked"]
    why: str
    differences: tuple[str, ...] = ()


def current(like: Environment | None = None) -> Environment:
    """Return the environment of this process.

    Args:
        like: a recorded one; what had been changed by hand in it is looked at here, too.
    """
    observed = observe()
    names = frozenset(d.name for d in like.distributions if d.content and d.origin in ("index", "vcs")) if like else ()
    return as_it_is(observed, installed(observed).values(), frozenset(names))[0] if names else observed


def cache_folder() -> Path:
    """Return where built environments lie: ``$REPROKIT_CACHE/environments``, else in the user's cache."""
    own = os.environ.get("REPROKIT_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own or Path(shared) / "reprokit").absolute() / "environments"


def choose(run_env: Environment, current: Environment, mode: str) -> Decision:
    """Decide which environment a replay uses.

    Args:
        run_env: what was recorded.
        current: what this process has.
        mode: "auto" (the current one when it is the same), "locked" or "current".

    Raises:
        UsageError: there is no such mode.
    """
    if mode not in ("auto", "locked", "current"):
        raise UsageError(f"{mode!r} is not an environment mode", remedy="use auto, locked or current")
    if mode == "locked":
        return Decision("locked", "the recorded environment was asked for")
    found = differences(run_env, current)
    if mode == "current":
        return Decision("current", "this environment was asked for", found)
    if run_env.fingerprint == current.fingerprint:
        return Decision("current", "this environment is the recorded one")
    return Decision("locked", f"this environment differs: {_short(found)}")


def differences(a: Environment, b: Environment) -> tuple[str, ...]:
    """Return what is not the same in two environments, one line each: Python first, then by name.

    Args:
        a: the earlier one.
        b: the later one.
    """
    lines = [] if a.python == b.python else [f"python {a.python} → {b.python}"]
    if a.implementation != b.implementation:
        lines.append(f"python {a.implementation} → {b.implementation}")
    ours, theirs = _by_name(a), _by_name(b)
    for name in sorted(ours.keys() | theirs.keys()):
        before, after = ours.get(name), theirs.get(name)
        if before is None and after is not None:
            lines.append(f"added {name} {after.version}")
        elif after is None and before is not None:
            lines.append(f"removed {name} {before.version}")
        elif before is not None and after is not None and _facts(before) != _facts(after):
            lines.append(f"{name} {_changed(before, after)}")
    return tuple(lines)


def build(
    lock: Lock,
    objects: Objects,
    *,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Interpreter:
    """Return the interpreter of a locked environment, having built it unless that was done before.

    Processes that ask for the same environment at once share one build.

    Args:
        lock: what to install.
        objects: where its wheels are.
        cache: where environments lie; ``cache_folder()`` by default.
        progress: is told what goes on, a few words each time.

    Raises:
        EnvironmentBuildError: it cannot be built; nothing of it is left.
        ObjectMissing: a wheel of the lock is not in the store.
    """
    _refuse_gaps(lock)
    folder = cache_folder() if cache is None else cache
    key = f"{hex_of(lock.digest)[:32]}-{sys.platform}-{os.uname().machine}"
    found = _reusable(folder, key)
    if found is not None:
        return found
    with held(folder / f"{key}.lock"):
        found = _reusable(folder, key)
        if found is not None:
            return found
        target = _vacant(folder, key)
        with _wiped_unless_done(target):
            return _Build(lock, objects, target, progress).run()


def _refuse_gaps(lock: Lock) -> None:
    blocking = [gap for gap in lock.gaps if gap.blocks]
    if blocking:
        remedy = f"{blocking[0].remedy}; or replay with --env current"
        log = "\n".join(gap.message for gap in blocking)
        raise EnvironmentBuildError("; ".join(gap.message for gap in blocking[:3]), log=log, remedy=remedy)


def _generations(folder: Path, key: str) -> Iterator[Path]:
    """Yield the places of one environment: one that was changed stays as it is, since it may be in use."""
    yield folder / key
    yield from (folder / f"{key}-{number}" for number in itertools.count(2))


def _reusable(folder: Path, key: str) -> Interpreter | None:
    for target in _generations(folder, key):
        marker = _marker(target)
        if marker is None:
            return None
        if marker.get("state") == _state(target) and _starts(_python(target)):
            return Interpreter(_python(target), "cached", tuple(marker.get("notes", ())))
    return None


def _vacant(folder: Path, key: str) -> Path:
    """Return the first place without a finished environment; one whose Python is gone is no use to anyone."""
    for target in _generations(folder, key):
        if _marker(target) is None or not _starts(_python(target)):
            return target
    raise AssertionError("generations never end")


@contextlib.contextmanager
def _wiped_unless_done(target: Path) -> Iterator[None]:
    _wipe(target)
    try:
        yield
    except BaseException:
        _wipe(target)
        raise


def _wipe(target: Path) -> None:
    (target / _MARKER).unlink(missing_ok=True)  # first: from here on it is no environment
    shutil.rmtree(target, ignore_errors=True)


def _marker(target: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((target / _MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _python(target: Path) -> Path:
    return target / "bin" / "python"


def _starts(python: Path) -> bool:
    """Return whether an interpreter can be started: the one it was made from may have been removed."""
    try:
        command = [str(python), "-I", "-S", "-c", ""]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _site(target: Path) -> str:
    (site,) = target.glob("lib/python*/site-packages")
    return os.path.realpath(site)


def _state(target: Path) -> str | None:
    """Return what changes when something is installed there later (a notebook may run ``%pip install``)."""
    try:
        return quick_fingerprint([_site(target)])
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _Build:
    """One build of one environment, in an empty place."""

    lock: Lock
    objects: Objects
    target: Path
    progress: Callable[[str], None]

    def run(self) -> Interpreter:
        base, notes = _base(self.lock)
        self.progress(f"making an environment with Python {self.lock.python}")
        self._make(base)
        with tempfile.TemporaryDirectory(prefix="reprokit-environment-") as name:
            self._install_pins(Path(name))
            self._install_extras(Path(name))
            notes += self._install_kernel(Path(name))
        self._check()
        for extra in self.lock.extras:
            self._restore_origin(extra)
        self._finish(notes)
        return Interpreter(_python(self.target), "built", notes)

    def _make(self, base: Path) -> None:
        uv = find_uv()
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if uv is not None:
            _run([uv, "venv", "--quiet", "--no-project", "--python", str(base), str(self.target)])
        else:
            _run([str(base), "-m", "venv", "--without-pip", str(self.target)])

    def _install_pins(self, folder: Path) -> None:
        if not self.lock.requirements:
            return
        self.progress(f"installing {len(self.lock.pins)} locked packages")
        requirements = folder / "requirements.txt"
        requirements.write_text(self.lock.requirements, "utf-8")
        self._install("--require-hashes", "--no-deps", "-r", str(requirements))

    def _install_extras(self, folder: Path) -> None:
        if not self.lock.extras:
            return
        self.progress(f"installing {len(self.lock.extras)} more from the store and from git")
        self._install("--no-deps", *(self._requirement(extra, folder) for extra in self.lock.extras))

    def _requirement(self, extra: Extra, folder: Path) -> str:
        if extra.kind == "wheel" and extra.digest and extra.filename:
            wheel = folder / extra.digest[-12:] / Path(extra.filename).name
            self.objects.restore(extra.digest, wheel)
            return str(wheel)
        url, hash_sign, fragment = (extra.url or "").partition("#")
        return f"{extra.name} @ {url}@{extra.commit}{hash_sign}{fragment}"

    def _install_kernel(self, folder: Path) -> tuple[str, ...]:
        """Install ipykernel where the recorded environment had none, without moving anything else."""
        extras = {extra.name: extra.version for extra in self.lock.extras}
        versions = {**self.lock.pins, **extras}
        if "ipykernel" in versions:
            return ()
        self.progress("installing ipykernel, which the recorded environment did not have")
        constraints = folder / "constraints.txt"
        pins = (f"{name}=={version}\n" for name, version in {**versions, **self._installed(extras)}.items())
        constraints.write_text("".join(pins), "utf-8")
        self._install("ipykernel", "--constraint", str(constraints))
        return ("ipykernel and what it needs were added: the recorded environment had no kernel",)

    def _installed(self, names: Collection[str]) -> dict[str, str]:
        found = (one.distribution for one in scan([_site(self.target)]))
        return {one.name: one.version for one in found if one.name in names}

    def _install(self, *arguments: str) -> None:
        uv = find_uv()
        python = str(_python(self.target))
        if uv is not None:
            _run([uv, "pip", "install", "--quiet", "--python", python, *arguments])
        elif importlib.util.find_spec("pip") is not None:
            _run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *arguments])
        else:
            raise EnvironmentBuildError("there is neither uv nor pip here", remedy="pip install uv")

    def _check(self) -> None:
        """Refuse an environment that lacks something, whatever the installer said."""
        wanted = {*self.lock.pins, *(extra.name for extra in self.lock.extras)}
        missing = sorted(wanted - self._installed(wanted).keys())
        if missing:
            raise EnvironmentBuildError(
                f"the installer did not install {', '.join(missing[:5])}", remedy="run `reprokit doctor`"
            )

    def _restore_origin(self, extra: Extra) -> None:
        """Let a wheel from the store tell the origin that was recorded, not where it lay for a moment."""
        if extra.kind != "wheel":
            return
        (path,) = (one.path for one in scan([_site(self.target)]) if one.distribution.name == extra.name)
        told = path / "direct_url.json"
        told.unlink(missing_ok=True)  # it may be a hard link into the installer's cache: never write through it
        if extra.origin in ("local", "editable") and extra.url:
            kind = {"dir_info": {"editable": True}} if extra.origin == "editable" else {"archive_info": {}}
            told.write_text(json.dumps({"url": extra.url, **kind}), "utf-8")

    def _finish(self, notes: tuple[str, ...]) -> None:
        marker = {"lock": self.lock.digest, "notes": list(notes), "state": _state(self.target)}
        draft = self.target / f".{_MARKER}"
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(marker, stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.target / _MARKER)


def _base(lock: Lock) -> tuple[Path, tuple[str, ...]]:
    """Return the interpreter to start from: the recorded version, else the same X.Y with a note.

    Raises:
        EnvironmentBuildError: there is none.
    """
    if (sys.implementation.name, platform.python_version()) == (lock.implementation, lock.python):
        return Path(sys.executable), ()
    minor = ".".join(lock.python.split(".")[:2])
    for wanted in (lock.python, minor):
        for python in _candidates(lock.implementation, wanted):
            version = _version(python, lock.implementation)
            if version == lock.python:
                return python, ()
            if version.startswith(f"{minor}.") and wanted == minor:
                return python, (f"Python {lock.python} is not on this machine; {version} was used",)
    raise EnvironmentBuildError(
        f"Python {lock.python} is not on this machine", remedy=f"uv python install {lock.python}"
    )


def _candidates(implementation: str, version: str) -> Iterator[Path]:
    uv = find_uv()
    if uv is not None:
        request = f"{implementation}@{version}"
        options = ["--quiet", "--no-python-downloads", "--no-project", "--system"]
        found = run_tool([uv, "python", "find", *options, request]).stdout.strip()
        if found:
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}*/bin/python"), reverse=True)
    minor = ".".join(version.split(".")[:2])
    on_path = shutil.which(f"python{minor}")
    yield from [Path(on_path)] if on_path else []
    yield Path(sys.executable)


def _version(python: Path, implementation: str) -> str:
    """Return the version of an interpreter; "" when it does not start or is of another kind."""
    with contextlib.suppress(OSError):
        name, _, version = run_tool([str(python), "-I", "-S", "-c", _PROBE]).stdout.strip().partition(" ")
        return version if name == implementation else ""
    return ""


def _run(command: Sequence[str]) -> None:
    result = run_tool(command)
    if result.returncode == 0:
        return
    log = result.stdout + result.stderr
    if unreachable(log):
        remedy = "replay once while the package index can be reached, or with --env current"
    else:
        remedy = "see the log, or replay with --env current"
    raise EnvironmentBuildError(f"the environment could not be built ({last_line(log)})", log=log, remedy=remedy)


def _by_name(environment: Environment) -> dict[str, Distribution]:
    return {d.name: d for d in environment.distributions if d.name != OWN_NAME}


def _facts(d: Distribution) -> tuple[str | None, ...]:
    return (d.version, d.origin, d.commit, d.content, d.url if d.origin == "editable" else None)


def _changed(a: Distribution, b: Distribution) -> str:
    """Return "before → after" by version, or by what else tells two of the same version apart."""
    if a.version != b.version:
        return f"{a.version} → {b.version}"
    if a.origin != b.origin:
        return f"{a.version} ({a.origin}) → ({b.origin})"
    if a.commit != b.commit:
        return f"{a.version} at {(a.commit or '?')[:12]} → {(b.commit or '?')[:12]}"
    return f"{a.version} in {a.url} → {b.url}" if a.url != b.url else f"{a.version} with other contents"


def _short(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
    return (", ".join(lines[:3]) or "the platform") + more

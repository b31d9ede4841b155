"""Which environment a replay runs in, and how it differs from the recorded one; made again once, found the next time.

A built environment lies in the user's cache, named by what was locked. Knows which parts to ask, and in what
order; it does not know installers, nor what will run in the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reprokit.capture.environment.environment import OWN_NAME, observe
from reprokit.capture.environment.installed import as_it_is
from reprokit.digest import hex_of
from reprokit.errors import EnvironmentBuildError, UsageError
from reprokit.records import Distribution, Environment
from reprokit.replay import built
from reprokit.replay.built import Interpreter
from reprokit.replay.install import Installation
from reprokit.replay.lock import Lock
from reprokit.replay.tools import held
from reprokit.replay.wheelhouse import Wheelhouse
from reprokit.replay.wheels import installed
from reprokit.store.objects import Objects

__all__ = ["Decision", "Interpreter", "build", "cache_folder", "choose", "current", "differences", "is_built"]


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
    offline: bool = False,
    wheelhouse: Path | None = None,
) -> Interpreter:
    """Return the interpreter of a locked environment, having built it unless that was done before.

    Processes that ask for the same environment at once share one build.

    Args:
        lock: what to install.
        objects: where its wheels are.
        cache: where environments lie; ``cache_folder()`` by default.
        progress: is told what goes on, a few words each time.
        offline: without network: from the installer's cache, or the wheelhouse.
        wheelhouse: a folder that ``reprokit env --wheelhouse`` made; packages come from there alone.

    Raises:
        EnvironmentBuildError: it cannot be built; nothing of it is left.
        UsageError: there is no such wheelhouse.
    """
    _refuse_gaps(lock)
    folder = cache_folder() if cache is None else cache
    key = _key(lock)
    found = built.find(folder, key)
    if found is not None:
        return found
    packages = None if wheelhouse is None else Wheelhouse.open(wheelhouse, lock)
    with held(folder / f"{key}.lock"):
        found = built.find(folder, key)
        if found is not None:
            return found
        target = built.vacant(folder, key)
        with built.wiped_unless_done(target):
            made = Installation(lock, objects, target, progress, offline=offline, wheelhouse=packages)
            notes = made.run()
        built.hold(target)
        return Interpreter(built.python_of(target), "built", notes)


def is_built(lock: Lock) -> Path | None:
    """Return the folder of a lock's environment when it was built and is whole, None when it is to be built."""
    found = built.find(cache_folder(), _key(lock))
    return None if found is None else found.python.parents[1]


def _key(lock: Lock) -> str:
    return f"{hex_of(lock.key)[:32]}-{sys.platform}-{os.uname().machine}"


def _refuse_gaps(lock: Lock) -> None:
    blocking = [gap for gap in lock.gaps if gap.blocks]
    if blocking:
        remedy = f"{blocking[0].remedy}; or replay with --env current"
        log = "\n".join(gap.message for gap in blocking)
        raise EnvironmentBuildError("; ".join(gap.message for gap in blocking[:3]), log=log, remedy=remedy)


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

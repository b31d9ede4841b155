"""What an installer's log comes down to: one message and what to do next. Values only."""

from __future__ import annotations

import re

from reprokit.errors import EnvironmentBuildError, ObjectMissing, StoreError
from reprokit.replay.lock import Extra
from reprokit.replay.tools import last_line, unreachable

__all__ = ["explained", "lost_wheel", "offline_needs_wheels", "other_platform"]

_WHEELHOUSE = "`reprokit env RUN --wheelhouse DIR` on a machine that can build it, then `--wheelhouse DIR` here"
_MISMATCH = re.compile(r"hash mismatch|do not match the hashes", re.IGNORECASE)
_MISMATCHED = re.compile(r"hash mismatch for `?([\w.-]+==[^\s`]+|\S+?)`?\s*$", re.IGNORECASE | re.MULTILINE)
_PIP_MISMATCHED = re.compile(r"^\s+(\S+==\S+) from ", re.MULTILINE)
_ABSENT = re.compile(
    r"no version of `?(?P<a>[\w.-]+==[\w.!+-]+)|(?P<b>[\w.-]+) was not found in the"
    r"|No matching distribution found for (?P<c>[\w.-]+==[\w.!+-]+)|(?P<d>[\w.-]+) was not found in the provided",
    re.IGNORECASE,
)
_UNFIT = re.compile(r"(?P<a>[\w.-]+==[\w.!+-]+) has no (?:wheels|usable wheels|source)[^.\n]*", re.IGNORECASE)
_UNBUILT = re.compile(
    r"failed to (?:download and )?build:? [`'](?P<a>[\w.-]+==[\w.!+-]+|[\w.-]+)"
    r"|Failed building wheel for (?P<b>[\w.-]+)",
    re.IGNORECASE,
)
_GIT = re.compile(r"Git operation failed|× git [^\n]* did not run successfully")
_FATAL = re.compile(r"fatal: ([^\n]*)")
_CAUSED = re.compile(r"Caused by: ([^\n]*)")  # uv's, the innermost last
_UNCACHED = re.compile(r"([\w.-]+) was not found in the cache|download `?([\w.-]+)==")
_OUTPUT = re.compile(r"lines of output\]\n(.*?)\n\s*\[end of output\]", re.DOTALL)


def explained(log: str, *, offline: bool = False) -> EnvironmentBuildError:
    """Return what an installer's log says, as an error with its remedy.

    Args:
        log: what the installer printed.
        offline: whether it was told to do without network.
    """
    message, remedy = _cause(log, offline)
    return EnvironmentBuildError(message, log=log, remedy=remedy)


def _cause(log: str, offline: bool) -> tuple[str, str]:
    if _MISMATCH.search(log):
        named = _MISMATCHED.search(log) or _PIP_MISMATCHED.search(log)
        what = named[1] if named else "a package"
        message = f"{what} is not what was recorded: its bytes have another hash; it was not installed"
        return message, f"find out who changed the index or what is between; else {_WHEELHOUSE}"
    if _GIT.search(log):
        found = _UNBUILT.search(log)
        what = next((value for value in found.groups() if value), "a package") if found else "a package"
        said = [line for line in _FATAL.findall(log) if not line.startswith("Could not read from remote")]
        said += reversed(_CAUSED.findall(log))
        message = f"{what} could not be fetched from git ({said[0] if said else last_line(log)})"
        return message, f"see that its repository can be reached, and has the commit; else {_WHEELHOUSE}"
    if found := _UNBUILT.search(log):
        what = next(value for value in found.groups() if value)
        message = f"{what} could not be built from its source ({_of_the_build(log)})"
        return message, f"install what its build needs, such as a compiler; else {_WHEELHOUSE}"
    if unreachable(log) or (offline and _UNCACHED.search(log)):
        if offline:
            what = _uncached(log)
            return f"{what} is not in the installer's cache, and the network is not to be used", _WHEELHOUSE
        message = f"the package index could not be reached ({last_line(log)})"
        return message, f"replay once while the package index can be reached; else {_WHEELHOUSE}"
    if (found := _ABSENT.search(log)) or (found := _UNFIT.search(log)):
        what = next(value for value in found.groups() if value)
        message = f"the index here has no {what} that fits this machine"
        return message, f"name the index that has it (UV_INDEX=URL); else {_WHEELHOUSE}"
    return f"the environment could not be built ({last_line(log)})", "see the log, or replay with --env current"


def _uncached(log: str) -> str:
    """Return the first package that the installer missed in its cache, with the version that was asked for."""
    found = _UNCACHED.search(log)
    if found is None:
        return "a package"
    name = found[1] or found[2]
    pin = re.search(rf"\b{re.escape(name)}==[\w.!+-]*\w", log)
    return pin[0] if pin else name


def _of_the_build(log: str) -> str:
    """Return the last line that a package's own build printed."""
    output = _OUTPUT.search(log)
    lines = [line.strip() for line in (output[1] if output else log).splitlines() if line.strip()]
    return lines[-1] if lines else last_line(log)


def lost_wheel(extra: Extra, error: StoreError) -> EnvironmentBuildError:
    """Return that the store does not hold a wheel of the lock, or not as it was."""
    what = "is not in the store" if isinstance(error, ObjectMissing) else "is damaged in the store"
    message = f"the wheel of {extra.name} {extra.version} {what} ({extra.digest})"
    return EnvironmentBuildError(
        message, log=error.message, remedy=f"put {extra.filename} back from a copy of the store"
    )


def other_platform(extra: Extra) -> EnvironmentBuildError:
    """Return that a wheel of the store is for another kind of machine or another Python."""
    message = f"{extra.name} {extra.version} is on no index, and its wheel is for another machine ({extra.filename})"
    return EnvironmentBuildError(message, remedy="replay on a machine like the recorded one, or with --env current")


def offline_needs_wheels() -> EnvironmentBuildError:
    """Return that pip has no cache that it could install from alone."""
    message = "without uv, an environment is built without network from a wheelhouse only"
    return EnvironmentBuildError(message, remedy=f"pip install uv; or {_WHEELHOUSE}")

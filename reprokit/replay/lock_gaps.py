"""What a lock has to say of what it does not hold exactly; values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from packaging.version import InvalidVersion, Version

from reprokit.capture.environment import conda
from reprokit.errors import ReprokitError
from reprokit.records import Distribution, Gap

__all__ = [
    "changed_by_hand",
    "for_now",
    "is_version",
    "not_kept",
    "of_another_origin",
    "of_another_version",
    "offline",
    "only_of_conda",
    "wheel_gone",
]

_EACH = 3  # packages told one by one
_ANEW = "install them with pip or uv to have the very same files"
NOT_MADE = "the lock could not be made"


def offline(error: ReprokitError) -> Gap:
    """Return that no lock could be made, since the index did not answer."""
    remedy = "run `reprokit replay` once while the package index can be reached, on this machine"
    return Gap(aspect="environment", message=f"{NOT_MADE}: {error.message}", remedy=remedy, blocks=True)


def not_kept(d: Distribution, error: Exception) -> Gap:
    """Return that a distribution is not in the lock, and why."""
    return Gap(
        aspect="environment",
        message=f"{d.name} {d.version} ({d.origin}) cannot be installed again: no index has it, and {error}",
        remedy="install it from a wheel or from git, or name its index (UV_INDEX); then capture again",
        blocks=True,
    )


def of_another_origin(distributions: Sequence[Distribution]) -> list[Gap]:
    """Return that the index's builds stand for what something else installed; many of them in one line."""
    gaps = []
    for origin in ("conda", "unknown"):
        found = [d for d in distributions if d.origin == origin]
        gaps += [_another_origin(d) for d in found] if len(found) <= _EACH else [_other_origins(found)]
    return gaps


def _another_origin(d: Distribution) -> Gap:
    whose = f"is conda's {d.url}" if d.origin == "conda" else "was not installed by pip or uv"
    message = f"{d.name} {d.version} {whose}; the index's build of that version is locked"
    return Gap(aspect="environment", message=message, remedy=_ANEW)


def _other_origins(found: Sequence[Distribution]) -> Gap:
    named = ", ".join(f"{d.name} {d.version}" for d in found[:_EACH])
    whose = "are conda's" if found[0].origin == "conda" else "were not installed by pip or uv"
    message = f"{named} and {len(found) - _EACH} more {whose}; the index's builds of these versions are locked"
    return Gap(aspect="environment", message=message, remedy=_ANEW)


def only_of_conda(named: Sequence[Distribution]) -> list[Gap]:
    """Return what to say of conda's packages that are no distributions: a locked environment has none of them."""
    if not named:
        return []
    shown = ", ".join(f"{d.name.removeprefix(conda.NAMED)} {d.version}" for d in named[:4])
    more = f" and {len(named) - 4} more" if len(named) > 4 else ""
    message = f"conda installed {shown}{more}: an environment built from the lock does not have them"
    remedy = "replay in the conda environment (--env current); the lock lists its packages for `conda create --file`"
    return [Gap(aspect="environment", message=message, remedy=remedy)]


def of_another_version(d: Distribution, filename: str) -> list[Gap]:
    """Return that the source folder has another version by now, when it has."""
    built = filename.split("-")[1]
    if not is_version(d.version) or not is_version(built) or Version(built) == Version(d.version):
        return []
    message = f"{d.name} was installed as {d.version}, and its source folder is {built} now"
    return [Gap(aspect="environment", message=message, remedy="install the project anew")]


def changed_by_hand(name: str, version: str, files: Sequence[str], kept: bool) -> Gap:
    """Return which files were changed, and whether the package is kept as it is."""
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return Gap(
        aspect="environment",
        message=f"{name} {version} was changed by hand after it was installed: {', '.join(files[:3])}{more}",
        remedy="" if kept else "install it anew, or from a wheel of your own",
        blocks=not kept,
        settled="it is stored as a wheel, as it is" if kept else "",
    )


def wheel_gone(name: str, version: str, digest: str | None) -> Gap:
    """Return that the store lost a wheel, and nothing on this machine can stand for it."""
    message = f"the wheel of {name} {version} is not in the store any more ({digest})"
    return Gap(aspect="environment", message=message, remedy="put it back from a copy of the store", blocks=True)


def for_now(gap: Gap) -> Gap:
    """Return a gap of a lock that will be tried again: it prevents nothing for good."""
    return replace(gap, blocks=False)


def is_version(text: str) -> bool:
    """Return whether a text is a version that an index could know."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True

"""How a program is started with the native recorder in it: by LD_PRELOAD, which the recorder then takes away.

There are two builds of it: the plain one, and one that can also impose a clock and close the network, which only
replays that ask for this carry.

Also run by itself, before anything of reprokit is imported (see ``launch``): so it imports next to nothing.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONDITIONS", "LIBRARY", "carried", "has_conditions", "is_available", "is_carried", "loadable"]

LIBRARY = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "native", "recorder.so")
CONDITIONS = os.path.join(os.path.dirname(LIBRARY), "conditions.so")  # the build that can impose them

_VARIABLE = "LD_PRELOAD"
_open = open  # as it is now: a user may replace `builtins.open`


def is_available() -> bool:
    """Return whether programs started from here can carry the recorder."""
    return sys.platform.startswith("linux") and os.path.exists(LIBRARY)


def is_carried() -> bool:
    """Return whether this process has had the recorder in it from its start, or was given it since."""
    return _is_mapped(LIBRARY) or _is_mapped(CONDITIONS)


def has_conditions() -> bool:
    """Return whether this process carries the build that can impose conditions."""
    return _is_mapped(CONDITIONS)


def _is_mapped(library: str) -> bool:
    try:
        with _open("/proc/self/maps", "rb") as maps:
            return os.fsencode(library) in maps.read()
    except OSError:
        return False


def carried(environ: Mapping[str, str], *, conditions: bool = False) -> dict[str, str]:
    """Return the variables with which a program carries the recorder from its start, given the others it gets.

    The recorder takes them out again before the program can see them. Empty when there is no recorder here.

    Args:
        environ: the variables it gets otherwise.
        conditions: whether it is to be the build that can impose conditions.
    """
    try:
        ours = loadable(CONDITIONS if conditions else LIBRARY) if is_available() else ""
    except OSError:
        ours = ""
    theirs = environ.get(_VARIABLE)
    if not ours or (theirs is not None and ours in theirs):
        return {}
    return {_VARIABLE: ours if theirs is None else f"{ours}:{theirs}"}


def loadable(library: str | None = None) -> str:
    """Return a library's path as LD_PRELOAD takes it: without blanks and colons, by way of a link where needed.

    Args:
        library: which one; by default the one that this process carries, else the plain one.

    Raises:
        OSError: the link cannot be made, or is somebody else's.
    """
    if library is None:
        library = CONDITIONS if has_conditions() else LIBRARY
    if not any(character in library for character in " :\t\n"):
        return library
    import tempfile
    import zlib

    link = f"{tempfile.gettempdir()}/reprokit-{os.getuid()}-{zlib.crc32(os.fsencode(library)):08x}.so"
    try:
        os.symlink(library, link)
    except FileExistsError:
        if os.lstat(link).st_uid != os.getuid() or os.readlink(link) != library:
            raise OSError(f"{link} is in the way, and {library} cannot be preloaded because of its name") from None
    return link

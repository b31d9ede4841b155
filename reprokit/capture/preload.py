"""How a program is started with the native recorder in it: by LD_PRELOAD, which the recorder then takes away.

Also run by itself, before anything of reprokit is imported (see ``launch``): so it imports next to nothing.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LIBRARY", "carried", "is_available", "is_carried", "loadable"]

LIBRARY = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "native", "recorder.so")

_VARIABLE = "LD_PRELOAD"
_open = open  # as it is now: a user may replace `builtins.open`


def is_available() -> bool:
    """Return whether programs started from here can carry the recorder."""
    return sys.platform.startswith("linux") and os.path.exists(LIBRARY)


def is_carried() -> bool:
    """Return whether this process has had the recorder in it from its start, or was given it since."""
    try:
        with _open("/proc/self/maps", "rb") as maps:
            return os.fsencode(LIBRARY) in maps.read()
    except OSError:
        return False


def carried(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which a program carries the recorder from its start, given the others it gets.

    The recorder takes them out again before the program can see them. Empty when there is no recorder here.
    """
    try:
        ours = loadable() if is_available() else ""
    except OSError:
        ours = ""
    theirs = environ.get(_VARIABLE)
    if not ours or (theirs is not None and ours in theirs):
        return {}
    return {_VARIABLE: ours if theirs is None else f"{ours}:{theirs}"}


def loadable() -> str:
    """Return the library's path as LD_PRELOAD takes it: without blanks and colons, by way of a link where needed.

    Raises:
        OSError: the link cannot be made, or is somebody else's.
    """
    if not any(character in LIBRARY for character in " :\t\n"):
        return LIBRARY
    import tempfile
    import zlib

    link = f"{tempfile.gettempdir()}/reprokit-{os.getuid()}-{zlib.crc32(os.fsencode(LIBRARY)):08x}.so"
    try:
        os.symlink(LIBRARY, link)
    except FileExistsError:
        if os.lstat(link).st_uid != os.getuid() or os.readlink(link) != LIBRARY:
            raise OSError(f"{link} is in the way, and {LIBRARY} cannot be preloaded because of its name") from None
    return link

"""The audit hook: what Python code opens, renames, starts and connects to, as it happens.

An audit hook cannot be removed, so there is one per process, with a switch. It runs before the
operation it announces, which is what makes the bytes of a file about to be overwritten available.
It sees no file that a C library opens by itself; ``watch`` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from reprokit.capture import swallowed

__all__ = ["Audit"]

OnFile = Callable[[Any, str], None]


class Audit:
    """Passes file and network events on while it is switched on.

    Args:
        on_file: called with a path as it was given, before it happens, and "read", "write" (its old
            content is lost), "create" (it is made, or that fails), "update" (its old content matters),
            "source" (it is renamed), "target" (something is renamed onto it) or "remove".
        on_network: called with "host:port" or a host name.
    """

    def __init__(self, on_file: OnFile, on_network: Callable[[str], None]) -> None:
        self._on_file = on_file
        self._on_network = on_network

    def start(self) -> None:
        """Begin to pass events on."""
        _listeners.append(self)
        _install()

    def stop(self) -> None:
        """Stop passing events on."""
        if self in _listeners:
            _listeners.remove(self)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """Pass on one event."""
        if event == "open":
            path, mode, flags = args
            if not isinstance(path, int):
                self._on_file(path, _access(mode, flags))
        elif event in ("os.rename", "os.link"):
            self._on_file(_in_folder(args[0], args[2]), "source")
            self._on_file(_in_folder(args[1], args[3]), "target")
        elif event == "os.remove":
            self._on_file(_in_folder(args[0], args[1]), "remove")
        elif event == "os.truncate":
            self._on_file(args[0], "update")
        elif event == "sqlite3.connect":
            self._on_file(_database(args[0]), "update")
        elif event == "socket.connect":
            self._on_network(_address(args[1]))
        elif event == "socket.getaddrinfo":
            self._on_network(str(args[0]))


_EVENTS = frozenset(
    {
        "open",
        "os.rename",
        "os.link",
        "os.remove",
        "os.truncate",
        "sqlite3.connect",
        "socket.connect",
        "socket.getaddrinfo",
    }
)
_listeners: list[Audit] = []
_installed = False


def _install() -> None:
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _EVENTS and _listeners:
        for listener in tuple(_listeners):
            try:
                listener.hear(event, args)
            except RecursionError:  # of the user's making; there is no room for another call
                pass
            except Exception as error:  # it would stop the user's own call
                swallowed.keep("files", error)


def _access(mode: str | None, flags: int | None) -> str:
    flags = flags or 0
    if not flags & (os.O_WRONLY | os.O_RDWR):
        return "read"
    if flags & os.O_EXCL and flags & os.O_CREAT:
        return "create"
    return "write" if flags & os.O_TRUNC else "update"


def _in_folder(path: Any, folder: int) -> Any:
    """Return a path that was given relative to an open folder as an absolute one, where that is known."""
    if folder < 0:
        return path
    try:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))
    except OSError:
        return path


def _database(name: Any) -> Any:
    """Return the path in a name that sqlite takes: a path, or a URI."""
    if not isinstance(name, str) or not name.startswith("file:"):
        return name
    path = unquote(name[5:].partition("?")[0].partition("#")[0])
    return "/" + path[2:].partition("/")[2] if path.startswith("//") else path


def _address(address: Any) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return os.fsdecode(address) if isinstance(address, (str, bytes)) else str(address)

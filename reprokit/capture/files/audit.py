"""The audit hook: what Python code opens, renames, starts and connects to, as it happens.

An audit hook cannot be removed, so there is one per process, with a switch. It runs before the
operation it announces, which is what makes the bytes of a file about to be overwritten available.
It sees no file that a C library opens by itself; ``watch`` does.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from reprokit.capture import swallowed

__all__ = ["Audit"]

OnFile = Callable[[Any, str], None]
OnStart = Callable[[Sequence[Any], Any], None]


class Audit:
    """Passes file and network events on while it is switched on.

    Args:
        on_file: called with a path as it was given, before it happens, and "read", "write" (its old
            content is lost), "create" (it is made, or that fails), "update" (its old content matters), "append" (so it
            does, but cannot be read),
            "source" (it is renamed), "target" (something is renamed onto it) or "remove".
        on_network: called with "host:port" or a host name.
        on_start: called with the words of a command that is about to be started, and the folder, or None; a fork
            has no words. What it opens itself is not passed on.
    """

    def __init__(self, on_file: OnFile, on_network: Callable[[str], None], on_start: OnStart | None = None) -> None:
        self._on_file = on_file
        self._on_network = on_network
        self._on_start = on_start
        self._starting = 0  # the thread that looks at a command

    def start(self) -> None:
        """Begin to pass events on."""
        _listeners.append(self)
        _install()

    def stop(self) -> None:
        """Stop passing events on."""
        if self in _listeners:
            _listeners.remove(self)

    @staticmethod
    def unheard() -> int:
        """Return how many events passed since the last call that came too deep in a recursion to be looked at."""
        count = len(_unheard)
        _unheard.clear()
        return count

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """Pass on one event."""
        if event == "open":
            path, mode, flags = args
            if not isinstance(path, int) and not (self._starting and self._starting == threading.get_ident()):
                self._on_file(path, _access(mode, flags))
        elif event in ("os.rename", "os.link"):
            self._on_file(_in_folder(args[0], args[2]), "source")
            self._on_file(_in_folder(args[1], args[3]), "target")
        elif event == "os.remove":
            self._on_file(_in_folder(args[0], args[1]), "remove")
        elif event == "os.truncate":
            if (path := _of_descriptor(args[0]) if isinstance(args[0], int) else args[0]) is not None:
                self._on_file(path, "update")
        elif event == "sqlite3.connect":
            self._on_file(_database(args[0]), "update")
        elif event == "socket.connect":
            self._on_network(_address(args[1]))
        elif event == "socket.getaddrinfo":
            self._on_network(str(args[0]))
        elif self._on_start is not None and event in _STARTS:
            self._starting = threading.get_ident()
            try:
                self._on_start(*_command(event, args))
            finally:
                self._starting = 0


_STARTS = frozenset(
    (
        "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    )
)  # fmt: skip
_EVENTS = _STARTS | frozenset(
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
_unheard: list[str] = []
_installed = False


def _install() -> None:
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _EVENTS and _listeners:
        __tracebackhide__ = True  # what a signal handler of the user's raises here is theirs
        for listener in tuple(_listeners):
            try:
                listener.hear(event, args)
            except RecursionError:  # of the user's making; there is no room for another call of ours
                _unheard.append(event)
            except Exception as error:  # it would stop the user's own call
                swallowed.keep("files", error)


def _access(mode: str | None, flags: int | None) -> str:
    flags = flags or 0
    if not flags & (os.O_WRONLY | os.O_RDWR):
        return "read"
    if flags & os.O_EXCL and flags & os.O_CREAT:
        return "create"
    if flags & os.O_TRUNC:
        return "write"
    return "update" if flags & os.O_RDWR else "append"


def _command(event: str, args: tuple[Any, ...]) -> tuple[Sequence[Any], Any]:
    """Return the words of a command, and the folder that it is started in."""
    if event == "subprocess.Popen":
        words = args[1]
        return ([words] if isinstance(words, (str, bytes)) else list(words)), args[2]
    if event == "os.system":
        return ["sh", "-c", os.fsdecode(args[0])], None
    if event == "os.spawn":
        return list(args[2]), None
    return (list(args[1]) if event in ("os.exec", "os.posix_spawn") else []), None


def _of_descriptor(descriptor: int) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None


def _in_folder(path: Any, folder: int) -> Any:
    """Return a path that was given relative to an open folder as an absolute one, where that is known."""
    place = None if folder < 0 else _of_descriptor(folder)
    return path if place is None else os.path.join(place, os.fsdecode(path))


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

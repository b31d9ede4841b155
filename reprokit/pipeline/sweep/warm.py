"""Starts a step as a process of its own, from a server that has imported everything already.

Importing what a step needs takes longer than starting its kernel. So a worker has one server beside it, which forks a
process for each step: its own session, the environment that it is given, its own streams. Where that cannot be, a
step is started as ``python -m reprokit.step``. This is the worker's side; ``forking`` is the server's.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from reprokit.capture import namespace as mounts
from reprokit.pipeline.sweep import forking
from reprokit.pipeline.sweep.forking import watched, write

__all__ = ["Started", "start"]

_SOON_S = 5.0
_GONE = -int(signal.SIGKILL)  # how a process ended that nobody was left to ask about


class Started(Protocol):
    """A step's process."""

    pid: int

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""


def start(
    document: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    namespace: Path | None,
    lifeline: int,
    log: Path,
    keep: Sequence[int] = (),
) -> Started:
    """Start the process of a step, in a session of its own.

    Args:
        document: its spec.
        environ: its environment, all of it.
        namespace: the file that says where it finds things (see ``capture.namespace``); None: where they are.
        lifeline: the reading end of a pipe that this process holds for as long as it waits.
        log: a file for what it says.
        keep: further descriptors that stay open in it, and not in what it starts.
    """
    environ = {**environ} if namespace is None else {**environ, mounts.VARIABLE: str(namespace)}
    with log.open("ab") as said:
        for _ in range(2):  # a server that had nothing to do has ended
            server = _server()
            if server is None:
                break
            try:
                return server.start(document, environ, lifeline, said.fileno(), keep)
            except OSError:
                _server_of.cache_clear()
        return _plain(document, environ, lifeline, said.fileno(), keep)


def _plain(
    document: Mapping[str, Any], environ: Mapping[str, str], lifeline: int, log: int, keep: Sequence[int]
) -> Started:
    process = subprocess.Popen(
        [sys.executable, "-m", "reprokit.step", "-"],
        cwd=document.get("project") or None,
        env={**environ, **watched(lifeline, keep)},
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        pass_fds=(lifeline, *keep),
        start_new_session=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(json.dumps(document).encode("ascii"))
    return process


_starting = threading.Lock()


def _server() -> _Server | None:
    """Return the server of this process; None where there can be none, or ``REPROKIT_WARM`` is "never"."""
    if not sys.platform.startswith("linux") or os.environ.get("REPROKIT_WARM") == "never":
        return None
    with _starting:
        return _server_of(os.getpid())


@cache
def _server_of(pid: int) -> _Server:
    return _Server()


class _Server:
    """A server, and the way to it. It ends with this process, once its last step has."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", forking.__name__, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True
            )
        atexit.register(self._close)

    def start(
        self, document: Mapping[str, Any], environ: Mapping[str, str], lifeline: int, log: int, keep: Sequence[int]
    ) -> Started:
        """Have a step started.

        Raises:
            OSError: the server is gone.
        """
        ours, theirs = socket.socketpair()
        order = os.memfd_create("step")
        try:
            with theirs:
                told = json.dumps({"document": document, "environ": dict(environ)})
                write(order, told.encode("utf-8", "surrogateescape"))
                with self._lock:
                    socket.send_fds(self._control, [b"step"], [theirs.fileno(), order, lifeline, log, *keep])
            return _Forked(ours)
        except OSError:
            ours.close()
            raise
        finally:
            os.close(order)

    def _close(self) -> None:
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for its last step
            self._process.wait(_SOON_S)


class _Forked:
    """A step's process that the server forked."""

    def __init__(self, server: socket.socket) -> None:
        self._socket = server
        self._said = server.makefile("rb")
        line = self._said.readline()
        if not line:
            raise ConnectionResetError("the server ended")
        self.pid = int(line)
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status."""
        if self._code is None:
            if not select.select([self._socket], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("reprokit.step", timeout or 0.0)
            line = self._said.readline()
            self._code = int(line) if line else self._left_alone()
            self._said.close()
            self._socket.close()
        return self._code

    def send_signal(self, number: int) -> None:
        """Send it a signal: by its parent, which knows that the pid is still its own."""
        if self._code is None:
            with contextlib.suppress(OSError):
                self._socket.sendall(bytes([number]))

    def _left_alone(self) -> int:
        """Wait for a process whose server was killed: how it ended nobody knows."""
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(self.pid)
            try:
                os.kill(self.pid, signal.SIGTERM)
                select.select([fd], [], [])
            finally:
                os.close(fd)
        return _GONE

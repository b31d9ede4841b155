"""Starts a step as a process of its own, from a server that has imported everything already.

Importing what a step needs takes longer than starting its kernel. So a worker has one server beside it, which forks a
process for each step: its own session, the environment that it is given, its own streams. Where that cannot be, a
step is started as ``python -m reprokit.step``. It knows processes; what a step is, it does not know.

    python -m reprokit.pipeline.sweep.warm SOCKET       (the server)
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import select
import selectors
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

__all__ = ["LIFELINE", "Started", "start"]

LIFELINE = "REPROKIT_LIFELINE"  # a descriptor: when its other end is closed, nobody waits for the step any more
_SOON_S = 5.0
_IDLE_S = 300.0  # how long a server waits for something to do
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
        env={**environ, LIFELINE: str(lifeline)},
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


# --- the side of the worker


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
            command = [sys.executable, "-m", __name__, str(theirs.fileno())]
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
                _write(order, told.encode("utf-8", "surrogateescape"))
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


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)


# --- the server


class _Order:
    """What a forked process is to do, and its descriptors."""

    def __init__(self, fds: Sequence[int]) -> None:
        for fd in fds:
            os.set_inheritable(fd, False)
        self.status, self.order, self.lifeline, self.log, *self.keep = fds

    def perform(self) -> int:
        """Become the step that was ordered, in this process, and return its exit code."""
        os.setsid()
        with open(self.order, "rb", closefd=False) as order:
            told = json.loads(order.read().decode("utf-8", "surrogateescape"))
        self._wire(told["document"])
        os.environ.clear()
        os.environ.update(told["environ"], **{LIFELINE: str(self.lifeline)})
        os.chdir(told["document"].get("project") or "/")
        from reprokit.pipeline import process
        from reprokit.pipeline.result import LATER

        try:
            mounts.enter_if_asked()
        except OSError as error:
            sys.stderr.write(f"reprokit: the step cannot have a view of the project of its own ({error})\n")
            return LATER
        return process.main("-")

    def _wire(self, document: Mapping[str, Any]) -> None:
        said = os.memfd_create("document")
        _write(said, json.dumps(document).encode("ascii"))
        for source, target in ((said, 0), (self.log, 1), (self.log, 2)):
            os.dup2(source, target)
        for fd in (said, self.log, self.order, self.status):
            os.close(fd)


def _serve(control: socket.socket) -> _Order | None:
    """Fork a process for each order; return its order in each of them, and None here when all is over."""
    waiting = selectors.DefaultSelector()
    waiting.register(control, selectors.EVENT_READ)
    children: dict[int, tuple[int, socket.socket]] = {}  # pidfd → pid and the way to who ordered it
    is_open = True
    while is_open or children:
        ready = waiting.select(_IDLE_S)
        if not ready and not children:
            return None
        for key, _ in ready:
            if key.fileobj is control:
                _, fds, _, _ = socket.recv_fds(control, 16, 16)
                if not fds:
                    is_open = False
                    waiting.unregister(control)
                    continue
                order = _Order(fds)
                pid = os.fork()
                if pid == 0:
                    _let_go(waiting, control, children)
                    return order
                _watch(waiting, children, order, pid)
            elif key.data is None:
                pid, client = children.pop(key.fd)
                _tell_end(waiting, key.fd, pid, client)
            else:
                _pass_on(waiting, key)
    return None


def _watch(
    waiting: selectors.BaseSelector, children: dict[int, tuple[int, socket.socket]], order: _Order, pid: int
) -> None:
    client = socket.socket(fileno=order.status)
    for fd in (order.order, order.lifeline, order.log, *order.keep):
        os.close(fd)
    with contextlib.suppress(OSError):
        client.sendall(b"%d\n" % pid)
    pidfd = os.pidfd_open(pid)
    children[pidfd] = (pid, client)
    waiting.register(pidfd, selectors.EVENT_READ)
    waiting.register(client, selectors.EVENT_READ, pidfd)


def _tell_end(waiting: selectors.BaseSelector, pidfd: int, pid: int, client: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    waiting.unregister(pidfd)
    os.close(pidfd)
    with contextlib.suppress(KeyError):
        waiting.unregister(client)
    with contextlib.suppress(OSError), client:
        client.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _pass_on(waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Send a child the signals that were asked for; when nobody asks any more, the lifeline tells it."""
    client, pidfd = key.fileobj, key.data
    assert isinstance(client, socket.socket)
    try:
        numbers = client.recv(16)
    except OSError:
        numbers = b""
    if not numbers:
        waiting.unregister(client)
    for number in numbers:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(pidfd, number)


def _let_go(
    waiting: selectors.BaseSelector, control: socket.socket, children: Mapping[int, tuple[int, socket.socket]]
) -> None:
    """Close in a child what is the server's."""
    waiting.close()
    control.close()
    for pidfd, (_, client) in children.items():
        os.close(pidfd)
        client.close()


def _make_ready() -> None:
    """Import what a step needs, and do once what each would do again."""
    import nbformat

    from reprokit.pipeline import process  # noqa: F401  # this is what takes so long
    from reprokit.pipeline.spec import Spec

    Spec.from_dict({"notebook": "any.ipynb"})
    for minor in (4, 5):  # a validator is compiled for each form of notebook
        nbformat.validate(nbformat.v4.new_notebook(nbformat_minor=minor))


def _main(descriptor: int) -> int:
    """Serve, and in each forked process be the step."""
    _make_ready()
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    gc.collect()
    gc.freeze()  # so that memory stays shared with the children
    order = _serve(control)
    return 0 if order is None else order.perform()


if __name__ == "__main__":
    if Path(sys.path[0] or ".").resolve() != Path(__file__).resolve().parents[3]:
        del sys.path[0]  # the working directory: its modules must not hide others
    sys.exit(_main(int(sys.argv[1])))

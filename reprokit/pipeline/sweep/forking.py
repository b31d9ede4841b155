"""The server beside a worker: it imports what a step needs once, and forks a process for each step.

    python -m reprokit.pipeline.sweep.forking SOCKET

Over the socket come orders: descriptors of a way back, of a file with what is to be done, of the lifeline, of the
log, and of what else is to stay open. By the way back the server tells the process's id and how it ended, and is told
of signals to send. It ends when nobody can order any more, or does for a while, and its last step has ended.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit.capture import namespace as mounts
from reprokit.pipeline import lifeline

__all__ = ["watched", "write"]

_IDLE_S = 300.0  # how long a server waits for something to do


def write(fd: int, data: bytes) -> None:
    """Write all of it, and go back to the beginning."""
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)


def watched(pipe: int, keep: Sequence[int]) -> dict[str, str]:
    """Return the variable by which a step knows its lifeline, and what else is to stay open in it alone."""
    return {lifeline.VARIABLE: ",".join(map(str, (pipe, *keep)))}


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
        os.environ.update(told["environ"], **watched(self.lifeline, self.keep))
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
        write(said, json.dumps(document).encode("ascii"))
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

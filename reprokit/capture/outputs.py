"""The outputs of each cell, as nbformat would keep them, from the messages a kernel sends.

``OutputArea`` turns messages into outputs; ``KernelTap`` listens to a Jupyter kernel, ``StreamTap``
to the streams of a terminal or a script. Nothing here needs the notebook's file name. What reprokit
itself displays is marked, and is no output of the cell.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["OWN", "KernelTap", "OutputArea", "StreamTap"]

OWN = "reprokit"  # metadata key of displays that are reprokit's own
_LIMIT = 16 * 10**6  # characters of one stream kept for one cell
_KINDS = frozenset(
    {"stream", "display_data", "update_display_data", "execute_result", "error", "clear_output", "status"}
)


class OutputArea:
    """The outputs of one cell so far."""

    def __init__(self) -> None:
        self.cut = 0  # characters of streams that were too many to keep
        self._entries: list[dict[str, Any] | _Stream] = []
        self._clear = False

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The outputs, as nbformat would keep them."""
        return [entry.output() if isinstance(entry, _Stream) else entry for entry in tuple(self._entries)]

    def stream(self, name: str, text: str) -> None:
        """Add text to a stream, joining it with what is there."""
        self._before_output()
        last = self._entries[-1] if self._entries else None
        if not isinstance(last, _Stream) or last.name != name:
            last = _Stream(name)
            self._entries.append(last)
        self.cut += last.add(text)

    def add(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """Add a display, a result or an error and return it."""
        self._before_output()
        output: dict[str, Any] = {"output_type": kind}
        if kind == "error":
            output |= {key: content.get(key) for key in ("ename", "evalue", "traceback")}
        else:
            output |= {"data": content.get("data", {}), "metadata": content.get("metadata", {})}
        if kind == "execute_result":
            output["execution_count"] = content.get("execution_count")
        self._entries.append(output)
        return output

    def clear(self, wait: bool) -> None:
        """Clear the outputs, now or when the next one comes."""
        if wait:
            self._clear = True
        else:
            self._entries.clear()

    def _before_output(self) -> None:
        if self._clear:
            self._clear = False
            self._entries.clear()


class _Stream:
    """What came on one stream without another output in between; kept in pieces, as joining copies."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._pieces: list[str] = []
        self._size = 0

    def add(self, text: str) -> int:
        """Add text and return how many characters were too many."""
        kept = text[: _LIMIT - self._size]
        self._pieces.append(kept)
        self._size += len(kept)
        return len(text) - len(kept)

    def output(self) -> dict[str, Any]:
        """Return the stream as an output."""
        return {"output_type": "stream", "name": self.name, "text": "".join(self._pieces)}


class KernelTap:
    """Listens to what a Jupyter kernel sends to its front ends.

    Args:
        session: the kernel's ``jupyter_client.session.Session``.
        finished: called with a cell's number and its outputs when the kernel is done with it, and
            again when more came later.
    """

    def __init__(self, session: Any, finished: Callable[[int, OutputArea], None]) -> None:
        self._session = session
        self._finished = finished
        self._areas: dict[str, tuple[int, OutputArea]] = {}  # message id of the request → its cell
        self._displays: dict[str, list[tuple[int, OutputArea, dict[str, Any]]]] = {}
        self._idle: set[str] = set()
        self._lock = threading.Lock()
        self._send = session.send
        self._pid = os.getpid()

    def start(self) -> None:
        """Begin to listen."""
        self._session.send = self._listening_send

    def stop(self) -> None:
        """Stop listening."""
        if self._session.__dict__.get("send") == self._listening_send:
            del self._session.send

    def begin(self, seq: int, request: str) -> None:
        """Expect the outputs of cell ``seq`` as answers to the message ``request``."""
        with self._lock:
            self._areas.setdefault(request, (seq, OutputArea()))

    def restart(self, request: str) -> None:
        """Forget what came so far as answers to ``request``."""
        with self._lock:
            if (cell := self._areas.get(request)) is not None:
                self._areas[request] = (cell[0], OutputArea())

    def forget(self, request: str) -> None:
        """Hear no more answers to ``request``."""
        with self._lock:
            self._areas.pop(request, None)

    def flush(self) -> None:
        """Report what came for every cell that has not been reported."""
        with self._lock:
            waiting = [cell for request, cell in self._areas.items() if request not in self._idle]
        for seq, area in waiting:
            self._finished(seq, area)

    def _listening_send(self, stream: Any, message: Any, *args: Any, **kwargs: Any) -> Any:
        sent = self._send(stream, message, *args, **kwargs)
        try:
            self._hear(sent if isinstance(sent, dict) else message)
        except Exception:  # the user's output was sent; that it could not be recorded must not stop it
            pass
        return sent

    def _hear(self, message: dict[str, Any]) -> None:
        kind = message["header"]["msg_type"]
        if kind not in _KINDS or os.getpid() != self._pid:
            return
        request, content = message["parent_header"].get("msg_id", ""), message["content"]
        with self._lock:
            cell = self._areas.get(request)
            done = [] if cell is None else self._put(cell, request, kind, content)
        for seq, area in done:
            self._finished(seq, area)

    def _put(
        self, cell: tuple[int, OutputArea], request: str, kind: str, content: dict[str, Any]
    ) -> list[tuple[int, OutputArea]]:
        """Keep one message; return the cells whose outputs are to be reported now."""
        seq, area = cell
        if kind == "status":
            if content["execution_state"] != "idle":
                return []
            self._idle.add(request)
            return [cell]
        if OWN in content.get("metadata", {}):
            return []
        touched = [cell]
        if kind == "stream":
            area.stream(content["name"], content["text"])
        elif kind == "clear_output":
            area.clear(bool(content.get("wait")))
        elif kind == "update_display_data":
            touched = self._update(content)
        else:
            output = area.add(kind, content)
            if display := content.get("transient", {}).get("display_id"):
                self._displays.setdefault(display, []).append((seq, area, output))
        return touched if request in self._idle or kind == "update_display_data" else []

    def _update(self, content: dict[str, Any]) -> list[tuple[int, OutputArea]]:
        touched = []
        for seq, area, output in self._displays.get(content.get("transient", {}).get("display_id", ""), []):
            output["data"], output["metadata"] = content["data"], content["metadata"]
            touched.append((seq, area))
        return touched


class StreamTap:
    """Listens to ``sys.stdout`` and ``sys.stderr`` while a cell runs; the stream objects stay the same."""

    def __init__(self) -> None:
        self.area = OutputArea()
        self._quiet = 0
        self._undo: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin to listen, with a new output area."""
        self.area = OutputArea()
        for name in ("stdout", "stderr"):
            self._listen(name, getattr(sys, name))

    def stop(self) -> OutputArea:
        """Stop listening and return what came."""
        while self._undo:
            self._undo.pop()()
        return self.area

    def quietly(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with what it prints left out: it is recorded in another form."""

        def quiet(*args: Any, **kwargs: Any) -> Any:
            self._quiet += 1
            try:
                return function(*args, **kwargs)
            finally:
                self._quiet -= 1

        return quiet

    def _listen(self, name: str, stream: Any) -> None:
        write = stream.write

        def listening_write(text: str) -> Any:
            result = write(text)
            if not self._quiet:
                self.area.stream(name, text)
            return result

        def undo() -> None:
            if stream.__dict__.get("write") is listening_write:
                del stream.write

        try:
            stream.write = listening_write
        except AttributeError:  # a stream that cannot be listened to, such as one made by another tool
            return
        self._undo.append(undo)

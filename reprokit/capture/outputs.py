"""The outputs of each cell, as nbformat would keep them, from the messages a kernel sends.

``OutputArea`` turns messages into outputs; ``KernelTap`` listens to a Jupyter kernel, ``StreamTap``
to the streams of a terminal or a script. Nothing here needs the notebook's file name. What reprokit
itself displays is marked, and is no output of the cell.
"""

from __future__ import annotations

import binascii
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from reprokit.capture import swallowed

__all__ = ["OWN", "KernelTap", "OutputArea", "StreamTap"]

OWN = "reprokit"  # metadata key of displays that are reprokit's own
_LIMIT = 64 * 10**6  # characters of text and displays kept for one cell
_HELD = 50  # cells whose outputs are held in memory
_HELD_SIZE = 8 * 10**6  # characters of them, besides those of the latest cell
_KINDS = frozenset(
    {"stream", "display_data", "update_display_data", "execute_result", "error", "clear_output", "status"}
)


class OutputArea:
    """The outputs of one cell so far.

    Args:
        outputs: what was recorded of them before.
    """

    def __init__(self, outputs: Sequence[dict[str, Any]] = ()) -> None:
        self.cut = 0  # characters that were too many to keep
        self.touched = bool(outputs)  # whether anything came, even if it was cleared again
        self._entries: list[dict[str, Any] | _Stream] = []
        self._clear = False
        self._left = _LIMIT
        for output in outputs:
            if output["output_type"] == "stream":
                self.stream(output["name"], output["text"])
            else:
                self._entries.append(output)

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The outputs, as nbformat would keep them."""
        return [entry.output() if isinstance(entry, _Stream) else entry for entry in tuple(self._entries)]

    def stream(self, name: str, text: str) -> None:
        """Add text to a stream, joining it with what is there."""
        self._before_output()
        last = self._entries[-1] if self._entries else None
        kept = text[: max(0, self._left)]
        self._spend(len(text))
        if isinstance(last, _Stream) and last.name == name:
            last.pieces.append(kept)
        elif kept or not text:
            self._entries.append(_Stream(name, [kept]))

    def add(self, kind: str, content: dict[str, Any]) -> dict[str, Any] | None:
        """Add a display, a result or an error and return it; None when there is too much already."""
        self._before_output()
        output: dict[str, Any] = {"output_type": kind}
        if kind == "error":
            output |= {key: content.get(key) for key in ("ename", "evalue", "traceback")}
        else:
            output |= {"data": _as_sent(content.get("data", {})), "metadata": _as_sent(content.get("metadata", {}))}
            if self._left < 0 or self._spend(_size(output["data"])):
                return None
        if kind == "execute_result":
            output["execution_count"] = content.get("execution_count")
        self._entries.append(output)
        return output

    def position(self, output: dict[str, Any]) -> int | None:
        """Return where among the outputs this very one is; None when it was cleared."""
        return next((at for at, entry in enumerate(self._entries) if entry is output), None)

    def clear(self, wait: bool) -> None:
        """Clear the outputs, now or when the next one comes."""
        self.touched = True
        if wait:
            self._clear = True
        else:
            self._remove_all()

    def _before_output(self) -> None:
        self.touched = True
        if self._clear:
            self._clear = False
            self._remove_all()

    def _remove_all(self) -> None:
        self._entries.clear()
        self._left = _LIMIT

    @property
    def size(self) -> int:
        """How many characters came."""
        return _LIMIT - self._left

    def _spend(self, size: int) -> int:
        """Take ``size`` characters from what may still be kept; return how many are too many."""
        self._left -= size
        beyond = min(size, max(0, -self._left))
        self.cut += beyond
        return beyond


@dataclass(slots=True)
class _Stream:
    """What came on one stream without another output in between; kept in pieces, as joining copies."""

    name: str
    pieces: list[str]

    def output(self) -> dict[str, Any]:
        """Return the stream as an output."""
        return {"output_type": "stream", "name": self.name, "text": "".join(self.pieces)}


def _as_sent(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a display as a front end gets it: images as Base64, and what JSON does not know as Jupyter writes it."""
    return {str(key): item if type(item) is str else _plain(item) for key, item in data.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return binascii.b2a_base64(value, newline=False).decode("ascii")
    if isinstance(value, Mapping):
        return _as_sent(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, Integral) else float(value)


def _size(data: dict[str, Any]) -> int:
    return sum(len(item) if isinstance(item, str) else 100 for item in data.values())


@dataclass(slots=True)
class _Heard:
    """One cell as the tap knows it; ``area`` is None once its outputs are in the record alone."""

    seq: int
    area: OutputArea | None = field(default_factory=OutputArea)
    idle: bool = False
    displays: dict[str, list[Any]] = field(default_factory=dict)  # display id → its outputs, or where they are


class KernelTap:
    """Listens to what a Jupyter kernel sends to its front ends.

    Outputs may come long after their cell, from a thread, and displays may be changed at any time. So a
    cell is never forgotten; but only the latest ones are held in memory, the others come from the record.

    Args:
        session: the kernel's ``jupyter_client.session.Session``.
        finished: called with a cell's number and its outputs when the kernel is done with it, and
            again when more came later; not called for a cell to which nothing came.
        recall: returns the outputs that were recorded for a cell.
        asked: called with the content of a question to the user.
    """

    def __init__(
        self,
        session: Any,
        finished: Callable[[int, OutputArea], None],
        recall: Callable[[int], Sequence[dict[str, Any]]],
        asked: Callable[[dict[str, Any]], None] = lambda content: None,
    ) -> None:
        self._session = session
        self._asked = asked
        self._finished = finished
        self._recall = recall
        self._cells: dict[str, _Heard] = {}  # message id of the request → its cell
        self._in_memory: deque[_Heard] = deque()
        self._size = 0  # characters of their outputs
        self._shown: dict[str, list[_Heard]] = {}  # display id → the cells that show it
        # Nobody who sends waits for the lock: garbage of the user's may be collected while it is held, and display
        # something, and wait until another thread has sent what was printed before.
        self._heard: deque[tuple[str, str, dict[str, Any]]] = deque()  # request, kind and content of what was sent
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
            if request not in self._cells:
                self._cells[request] = cell = _Heard(seq)
                self._in_memory.append(cell)
                self._let_go()
        self._catch_up()

    def restart(self, request: str) -> None:
        """Forget what came so far as answers to ``request``."""
        self._catch_up()
        with self._lock:
            if (cell := self._cells.get(request)) is not None:
                self._size -= 0 if cell.area is None else cell.area.size
                cell.area = OutputArea()

    def forget(self, request: str) -> None:
        """Hear no more answers to ``request``."""
        self._catch_up()
        with self._lock:
            self._cells.pop(request, None)

    def is_silent(self, request: str) -> bool:
        """Return whether nothing came so far as an answer to ``request``."""
        cell = self._cells.get(request)
        return cell is not None and cell.area is not None and not cell.area.touched

    def flush(self) -> None:
        """Report what came for every cell that has not been reported."""
        self._catch_up()
        with self._lock:
            waiting = [(cell.seq, cell.area) for cell in self._in_memory if not cell.idle]
        for seq, area in waiting:
            if area is not None:
                self._finished(seq, area)

    def _let_go(self) -> None:
        """Hold no more cells in memory than the latest that are done."""
        while self._holds_too_much() and self._in_memory[0].idle:
            cell = self._in_memory.popleft()
            if (area := cell.area) is not None:
                cell.displays = {key: [area.position(one) for one in shown] for key, shown in cell.displays.items()}
                cell.area = None
                self._size -= area.size

    def _holds_too_much(self) -> bool:
        return len(self._in_memory) > _HELD or (len(self._in_memory) > 1 and self._size > _HELD_SIZE)

    def _area(self, cell: _Heard) -> OutputArea:
        if cell.area is None:
            outputs = self._recall(cell.seq)
            cell.area = OutputArea(outputs)
            self._size += cell.area.size
            cell.displays = {
                key: [outputs[at] for at in places if at is not None] for key, places in cell.displays.items()
            }
            self._in_memory.append(cell)
            self._let_go()
        return cell.area

    def _listening_send(self, stream: Any, message: Any, *args: Any, **kwargs: Any) -> Any:
        sent = self._send(stream, message, *args, **kwargs)
        try:
            self._hear(sent if isinstance(sent, dict) else message)
        except Exception as error:  # the user's output was sent; that it could not be recorded must not stop it
            swallowed.keep("outputs", error)
        return sent

    def _hear(self, message: dict[str, Any]) -> None:
        kind = message["header"]["msg_type"]
        if os.getpid() != self._pid:
            return
        if kind == "input_request":
            self._asked(message["content"])
        if kind not in _KINDS:
            return
        self._heard.append((message["parent_header"].get("msg_id", ""), kind, message["content"]))
        self._catch_up()

    def _catch_up(self) -> None:
        """Put what was heard where it belongs, unless somebody is about it already: it is put in turn then."""
        while self._heard and self._lock.acquire(blocking=False):
            try:
                areas = [(cell.seq, self._area(cell)) for cell in self._put_next()]
            finally:
                self._lock.release()
            for seq, area in areas:
                self._finished(seq, area)

    def _put_next(self) -> list[_Heard]:
        if not self._heard:
            return []
        request, kind, content = self._heard.popleft()
        cell = self._cells.get(request)
        return [] if cell is None else self._put(cell, kind, content)

    def _put(self, cell: _Heard, kind: str, content: dict[str, Any]) -> list[_Heard]:
        """Keep one message; return the cells whose outputs are to be reported now."""
        if kind == "status":
            if content["execution_state"] != "idle":
                return []
            cell.idle = True
            return [cell] if self._area(cell).touched else []
        if OWN in content.get("metadata", {}):
            return []
        if kind == "update_display_data":
            return self._update(content)
        area = self._area(cell)
        before = area.size
        if kind == "stream":
            area.stream(content["name"], content["text"])
        elif kind == "clear_output":
            area.clear(bool(content.get("wait")))
        else:
            self._display(cell, area, kind, content)
        self._size += area.size - before
        return [cell] if cell.idle else []

    def _display(self, cell: _Heard, area: OutputArea, kind: str, content: dict[str, Any]) -> None:
        output = area.add(kind, content)
        if output is not None and (display := content.get("transient", {}).get("display_id")):
            cell.displays.setdefault(display, []).append(output)
            shown = self._shown.setdefault(display, [])
            if cell not in shown:
                shown.append(cell)

    def _update(self, content: dict[str, Any]) -> list[_Heard]:
        display = content.get("transient", {}).get("display_id", "")
        for cell in self._shown.get(display, []):
            self._area(cell)
            for output in cell.displays[display]:
                output["data"], output["metadata"] = _as_sent(content["data"]), _as_sent(content["metadata"])
        return list(self._shown.get(display, []))


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
            try:
                if not self._quiet:
                    self.area.stream(name, text)
            except Exception as error:  # it was written; that it could not be recorded must not stop the user's code
                swallowed.keep("outputs", error)
            return result

        def undo() -> None:
            if stream.__dict__.get("write") is listening_write:
                del stream.write

        try:
            stream.write = listening_write
        except AttributeError:  # a stream that cannot be listened to, such as one made by another tool
            return
        self._undo.append(undo)

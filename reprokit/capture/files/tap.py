"""Takes the recorder's events, whichever thread asks first, and keeps them for the end of the cell.

Knows which events are about data, and where bytes are now that are not at their path any more. It does not
know what the events mean for a record: ``traces`` and ``merge`` do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from reprokit.capture.files.paths import Paths
from reprokit.capture.files.recorder import Event, Recorder
from reprokit.capture.files.traces import Traces

__all__ = ["Tap"]


class Tap:
    """The recorder's events since the last call of ``take``.

    Args:
        recorder: where they come from.
        paths: tells data from noise.
        connected: told of each address that a process connected to.
    """

    def __init__(self, recorder: Recorder, paths: Paths, connected: Callable[[str], None]) -> None:
        self.recorder = recorder
        self._paths = paths
        self._connected = connected
        self._lock = threading.RLock()  # taken again by garbage of the user's that is collected meanwhile
        self._traces = Traces(_inside)
        self._pid = os.getpid()

    def take(self) -> Traces:
        """Return what happened since the last call."""
        with self._lock:
            self._pull()
            traces = self._traces
            if traces:
                self._traces = Traces(_inside)
            return traces

    def so_far(self) -> Traces:
        """Return what happened up to now, which ``take`` returns again."""
        with self._lock:
            self._pull()
            return self._traces

    def claim(self, path: str) -> tuple[str | None, str | None]:
        """Return where a copy of the bytes that a path had is, or where they were moved to, as far as known.

        The copy is the caller's from then on.
        """
        with self._lock:
            self._pull()
            trace = self._traces.paths.get(path)
            if trace is None:
                return None, None
            copy, trace.copy = trace.copy, None
            return copy, trace.moved_to

    def protect(self, path: str, on: bool) -> None:
        """Say whether the bytes of a file are still owed."""
        self.recorder.protect(path, on)

    def _pull(self) -> None:
        if os.getpid() != self._pid:
            return
        for event in self.recorder.drain():
            if event.what == "connect":
                self._connected(event.path)
            elif event.what not in ("list", "exec"):
                self._add(event)

    def _add(self, event: Event) -> None:
        if self._paths.is_data(event.path) or (event.target and self._paths.is_data(event.target)):
            self._traces.add([self._named(event)])
        elif event.before is not None:
            self._traces.spare.append(event.before)

    def _named(self, event: Event) -> Event:
        """Return the event with the project's own name for its paths, whichever link led there."""
        path = self._paths.absolute(event.path)
        target = self._paths.absolute(event.target) if event.target else ""
        if path == event.path and target == event.target:
            return event
        return Event(event.pid, event.what, path, target, event.existed, event.before)


def copies_folder(store: Path, run_id: str) -> Path:
    """Return where the recorder keeps old bytes until they are hashed."""
    return store / "runs" / run_id / "before"


def _inside(path: str) -> list[str] | None:
    if not os.path.isdir(path) or os.path.islink(path):
        return None
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]

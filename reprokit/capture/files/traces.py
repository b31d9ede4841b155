"""What one cell did with each path, from the events of all its processes in the order in which they happened.

Pure: events in, traces out; no file is looked at. The one question it answers is which bytes were used: those
a path had before the cell, which are an input, or those that the cell itself had made by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Happened", "Trace", "Traces"]


class Happened(Protocol):
    """One thing that a process did with a file; see ``recorder.Event``."""

    @property
    def pid(self) -> int: ...
    @property
    def what(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def existed(self) -> bool: ...
    @property
    def before(self) -> str | None: ...


@dataclass(slots=True, eq=False)
class Trace:
    """What happened to one path.

    Attributes:
        read: the bytes that it had before the cell were used.
        blind: they were only if it was changed: it was opened for changing in place, and could not be read.
        reread: bytes that the cell had made were used.
        changed: it certainly has other bytes than before, or none.
        opened: it was opened for changing in place; whether that was done, its times must tell.
        gone: the last thing that happened took the name away.
        copy: a kept copy of the bytes that it had before the cell.
        moved_to: where the bytes that it had before the cell are now, by another name.
        holds: the path whose bytes from before the cell are now here.
        pids: who changed it.
    """

    read: bool = False
    blind: bool = False
    reread: bool = False
    changed: bool = False
    opened: bool = False
    gone: bool = False
    copy: str | None = None
    moved_to: str | None = None
    holds: str | None = None
    pids: set[int] = field(default_factory=set)

    @property
    def original(self) -> bool:
        """Whether it may still have the bytes from before the cell, under its own name."""
        return not self.changed


class Traces:
    """Follows the events of one cell.

    Args:
        inside: returns the files below a folder; None for what is no folder.
    """

    def __init__(self, inside: Callable[[str], Iterable[str] | None] = lambda path: None) -> None:
        self._inside = inside
        self.paths: dict[str, Trace] = {}
        self.spare: list[str] = []  # kept copies that nobody needs

    def __bool__(self) -> bool:
        """Whether anything happened."""
        return bool(self.paths or self.spare)

    def add(self, events: Iterable[Happened]) -> None:
        """Follow further events."""
        for event in events:
            self._follow(event)

    def _follow(self, event: Happened) -> None:
        what = event.what
        if what == "read":
            self._read(self._at(event.path))
        elif what in ("write", "update", "append"):
            self._open(event, event.path, in_place=what != "write")
        elif what == "rename":
            self._rename(event)
        elif what == "link":
            self._read(self._at(event.path))
            self._replace(event.target, event)
        elif what == "remove":
            self._replace(event.path, event)
            self._at(event.path).gone = True

    def _at(self, path: str) -> Trace:
        trace = self.paths.get(path)
        if trace is None:
            trace = self.paths[path] = Trace()
        return trace

    def _read(self, trace: Trace) -> None:
        if trace.changed:
            trace.reread = True
            self._use_held(trace)
        else:
            _use(trace)
            trace.reread = trace.reread or trace.opened  # it may have been changed in place by then

    def _use_held(self, trace: Trace) -> None:
        """What came here by another name is used: those bytes were there before the cell too."""
        if trace.holds is not None and trace.holds in self.paths:
            _use(self.paths[trace.holds])

    def _open(self, event: Happened, path: str, *, in_place: bool) -> None:
        trace = self._at(path)
        if not in_place or not event.existed:
            self._replace(path, event)
            return
        if trace.original:
            _use(trace, blind=event.what == "append")
            self._keep(trace, event)
        else:
            trace.reread = True
            self._release(trace, event)
        trace.opened = True
        trace.pids.add(event.pid)

    def _rename(self, event: Happened) -> None:
        if event.path == event.target:
            return
        source = self._at(event.path)
        files = self._inside(event.target)
        if files is not None:
            self._rename_folder(event, files)
            return
        before = source.original
        if before:
            _use(source)
        held = event.path if before and not source.opened else source.holds
        self._replace(event.target, event)
        target = self._at(event.target)
        if held is not None:
            target.holds = held
            self.paths[held].moved_to = event.target
        target.opened = source.opened
        source.changed, source.gone, source.holds = True, True, None
        source.pids.add(event.pid)

    def _rename_folder(self, event: Happened, files: Iterable[str]) -> None:
        """All that is known to be in the folder moves with it, and what is found there now."""
        del self.paths[event.path]
        below, above = event.path + "/", event.target + "/"
        known = [path[len(below) :] for path in self.paths if path.startswith(below) and not self.paths[path].gone]
        found = [path[len(above) :] for path in files if path.startswith(above)]
        for name in dict.fromkeys((*known, *found)):
            self._rename(_Moved(event.pid, below + name, above + name))

    def _replace(self, path: str, event: Happened) -> None:
        """The path loses the bytes that it has, or is made."""
        trace = self._at(path)
        if trace.holds is not None and not event.existed and event.what == "write":
            self.paths.pop(trace.holds, None)  # it was not moved here with its folder, as was thought
            trace.holds = None
        if trace.original:
            self._keep(trace, event)
        else:
            self._release(trace, event)
        trace.changed, trace.gone = True, False
        trace.pids.add(event.pid)

    def _keep(self, trace: Trace, event: Happened) -> None:
        if event.before is None:
            return
        if trace.copy is None and not trace.opened:
            trace.copy = event.before
        else:
            self.spare.append(event.before)

    def _release(self, trace: Trace, event: Happened) -> None:
        """Bytes that came here by another name are about to go: the copy of them is that other's."""
        holder = None if trace.holds is None else self.paths.get(trace.holds)
        trace.holds = None
        if holder is not None:
            holder.moved_to = None
            if event.before is not None and holder.copy is None:
                holder.copy = event.before
                return
        if event.before is not None:
            self.spare.append(event.before)


def _use(trace: Trace, *, blind: bool = False) -> None:
    trace.blind = blind and (trace.blind or not trace.read)
    trace.read = True


@dataclass(frozen=True, slots=True)
class _Moved:
    """A file that was moved with the folder it lies in."""

    pid: int
    path: str
    target: str
    what: str = "rename"
    existed: bool = False
    before: str | None = None

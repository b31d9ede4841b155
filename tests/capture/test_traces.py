"""What the events of a cell say about its files: checked against a model of the files themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprokit.capture.files.recorder import Event
from reprokit.capture.files.traces import Traces

NAMES = ("a", "b", "c", "d")


@dataclass
class Disk:
    """Files as one cell finds and changes them: a file's bytes are the name it had before the cell, or None."""

    files: dict[str, str | None]
    events: list[Event] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # names whose bytes from before the cell were used
    copies: dict[str, str | None] = field(default_factory=dict)

    def do(self, what: str, path: str, target: str) -> None:
        """Do one thing, if it can be done."""
        if (what in ("read", "rename", "remove") and path not in self.files) or (what == "rename" and path == target):
            return
        if what in ("read", "update", "rename"):
            self._use(path)
        if what == "rename":
            self._note(what, path, target, loses=target)
            self.files[target] = self.files.pop(path)
        elif what in ("write", "update"):
            self._note(what if path in self.files else "write", path, "", loses=path)
            self.files[path] = None
        elif what == "remove":
            self._note(what, path, "", loses=path)
            del self.files[path]
        elif what == "read":
            self.events.append(Event(1, what, path))

    def _use(self, path: str) -> None:
        if self.files.get(path) is not None:
            self.used.add(self.files[path] or "")

    def _note(self, what: str, path: str, target: str, loses: str) -> None:
        copy = None
        if loses in self.files:
            copy = f"copy {len(self.copies)}"
            self.copies[copy] = self.files[loses]
        self.events.append(Event(1, what, path, target, loses in self.files, copy))


steps = st.lists(
    st.tuples(
        st.sampled_from(("read", "write", "update", "rename", "remove")), st.sampled_from(NAMES), st.sampled_from(NAMES)
    ),
    max_size=12,
)


@given(st.sets(st.sampled_from(NAMES)), steps)
def test_inputs_are_what_was_there_before_and_was_used(there: set[str], done: list[tuple[str, str, str]]) -> None:
    disk = Disk({name: name for name in there})
    for step in done:
        disk.do(*step)
    traces = Traces()
    traces.add(disk.events)
    assert {path for path, trace in traces.paths.items() if trace.read} == disk.used
    given_out = [trace.copy for trace in traces.paths.values() if trace.copy is not None] + traces.spare
    assert sorted(given_out) == sorted(disk.copies)  # each once: nothing is left behind in the store
    for path in disk.used:
        trace = traces.paths[path]
        unchanged = not trace.changed and not trace.opened and disk.files.get(path) == path
        moved = trace.moved_to is not None and disk.files.get(trace.moved_to) == path
        assert unchanged or moved or (trace.copy is not None and disk.copies[trace.copy] == path)


def trace_of(*events: Event) -> Traces:
    traces = Traces()
    traces.add(events)
    return traces


def test_what_was_made_and_then_read_is_no_input() -> None:
    traces = trace_of(Event(1, "write", "/a", existed=False), Event(2, "read", "/a"))
    assert (traces.paths["/a"].read, traces.paths["/a"].reread) == (False, True)


def test_a_link_uses_what_it_links_to() -> None:
    traces = trace_of(Event(1, "link", "/a", "/b", existed=False))
    assert traces.paths["/a"].read
    assert (traces.paths["/b"].changed, traces.paths["/b"].read) == (True, False)
    assert not traces.paths["/a"].changed


def test_a_folder_takes_its_files_along() -> None:
    traces = Traces(lambda path: ["/new/x", "/new/y"] if path == "/new" else None)
    traces.add([Event(1, "read", "/old/x"), Event(1, "rename", "/old", "/new", existed=False)])
    assert {path for path, trace in traces.paths.items() if trace.read} == {"/old/x", "/old/y"}
    assert {path for path, trace in traces.paths.items() if trace.changed and not trace.gone} == {"/new/x", "/new/y"}
    assert traces.paths["/old/y"].moved_to == "/new/y"


def test_a_file_made_in_a_moved_folder_did_not_come_along() -> None:
    traces = Traces(lambda path: ["/new/x"] if path == "/new" else None)
    traces.add([Event(1, "rename", "/old", "/new", existed=False), Event(1, "write", "/new/x", existed=False)])
    assert "/old/x" not in traces.paths
    assert traces.paths["/new/x"].changed


@pytest.mark.parametrize("first", ["write", "update"])
def test_the_first_copy_is_that_of_the_input(first: str) -> None:
    traces = trace_of(
        Event(1, "read", "/a"),
        Event(2, first, "/a", before="one"),
        Event(2, "update", "/a", before="two"),
    )
    assert traces.paths["/a"].copy == "one"
    assert traces.spare == ["two"]

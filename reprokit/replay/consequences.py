"""Which cells diverged only because an earlier one did: they used what had already diverged.

Followed are files, by what was read and written; generators, by their recorded states; and variables, by the names
in the cells' sources, statement by statement. Only evidence counts: a cell that used nothing of the kind, or that
shows a difference of its own, is an origin. Pure: knows cells and findings; reads no contents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reprokit.records import Cell
from reprokit.replay.finding import Finding, Pair, states_of
from reprokit.replay.lineage import Entry
from reprokit.replay.statements import Statement, statements
from reprokit.replay.suspects import CLOCKS, TOKENS_FROM
from reprokit.replay.typed.likeness import looks_like_clock, looks_like_token

__all__ = ["origins"]


def origins(
    pairs: Sequence[Pair],
    findings: Mapping[int, Sequence[Finding]],
    came_in: Callable[[int], Entry | None] = lambda index: None,
) -> dict[int, int]:
    """Return for each pair that follows from an earlier one which that is, both as positions in ``pairs``.

    Args:
        pairs: the cells of two runs, side by side.
        findings: what differs by position; the position after the last is the run as a whole.
        came_in: tells of an origin where its difference came in, perhaps in an earlier cell that showed nothing of it.
    """
    found: dict[int, int] = {}
    traces = _Traces()
    ended = _end(pairs)
    for index, pair in enumerate(pairs):
        step = _Step(index=index, pair=pair, findings=findings.get(index, ()))
        origin = _stopped_by(step, ended, findings, found) if index >= ended else traces.origin(step)
        if step.diverged and origin is not None and origin != index:
            found[index] = origin
        begins = step.diverged and origin is None
        entry = came_in(index) if begins else None
        if entry is not None:
            traces.spread(pairs, entry, index)
        traces.follow(step, index if begins else origin, entry)
    whole = _Step(index=len(pairs), pair=(None, None), findings=findings.get(len(pairs), ()))
    if whole.diverged and (origin := traces.of_results(whole)) is not None:
        found[len(pairs)] = origin
    return found


def _end(pairs: Sequence[Pair]) -> int:
    """Return the position from which on the second run has no cells any more."""
    end = len(pairs)
    while end and pairs[end - 1][1] is None:
        end -= 1
    return end


def _stopped_by(
    step: _Step, ended: int, findings: Mapping[int, Sequence[Finding]], found: Mapping[int, int]
) -> int | None:
    """Return why a run had ended before this cell: the one before failed, or it ended at an earlier one."""
    before = findings.get(ended - 1, ()) if ended else ()
    if any(one.diverges and one.difference and one.difference.what == "status" for one in before):
        return found.get(ended - 1, ended - 1)
    return ended if step.index > ended else None


def _source_of(pair: Pair) -> tuple[Statement, ...]:
    return next((statements(cell.source) for cell in pair if cell), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One pair with what differs in it."""

    index: int
    pair: Pair
    findings: Sequence[Finding]

    @property
    def diverged(self) -> bool:
        return any(finding.diverges for finding in self.findings)

    def cells(self) -> list[Cell]:
        return [cell for cell in self.pair if cell]

    def changed(self, *whats: str) -> set[str]:
        """Return where differences of these kinds are that diverge."""
        told = [finding.difference for finding in self.findings if finding.diverges and finding.difference]
        return {difference.where for difference in told if difference.what in whats}

    def own_clock_or_token(self) -> bool:
        """Return whether all that differs looks like what the cell itself took from a clock or as a random token."""
        texts = [finding.texts for finding in self.findings if finding.diverges and finding.texts]
        source = "\n".join(cell.source for cell in self.cells())
        likes = ((CLOCKS, looks_like_clock), (TOKENS_FROM, looks_like_token))
        return bool(texts) and any(
            re.search(pattern, source) and all(alike(*pair) for pair in texts) for pattern, alike in likes
        )

    def drawn_apart(self) -> set[str]:
        """Return the generators that began the cell in another state and were drawn from in it."""
        ours, theirs = (states_of(cell) for cell in self.pair)
        apart = {
            name for at, name in ours.keys() & theirs.keys() if at == "start" and ours[at, name] != theirs[at, name]
        }
        return {
            name for name in apart if any(side.get(("end", name)) != side["start", name] for side in (ours, theirs))
        }


@dataclass(slots=True)
class _Traces:
    """What has diverged so far, each with the position of the pair where that began."""

    names: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    generators: dict[str, int] = field(default_factory=dict)

    def origin(self, step: _Step) -> int | None:
        """Return the earliest origin of what a pair used; None when it used nothing that had diverged, or is one."""
        if step.diverged and self._is_own(step):
            return None
        reached = [*self._by_state(step), *(self.names[name] for name in self._names_used(step))]
        return min(reached, default=None)

    def of_results(self, whole: _Step) -> int | None:
        """Return the origin of what the run as a whole gave, if all that differs are files known to have diverged."""
        told = whole.changed("write")
        others = [one for one in whole.findings if one.diverges and one.difference and one.difference.what != "write"]
        return None if others or not told <= self.files.keys() else min(self.files[path] for path in told)

    def _is_own(self, step: _Step) -> bool:
        if step.changed("source", "extra", "missing") or step.own_clock_or_token():
            return True
        return not (step.changed("read") <= self.files.keys() and step.drawn_apart() <= self.generators.keys())

    def _by_state(self, step: _Step) -> Iterator[int]:
        read = {use.path for cell in step.cells() for use in cell.reads}
        yield from (self.files[path] for path in read | step.changed("read") if path in self.files)
        yield from (self.generators[name] for name in step.drawn_apart() if name in self.generators)

    def _names_used(self, step: _Step) -> set[str]:
        """Return the names a pair's cells use that had diverged before; one made anew before its use does not count."""
        used: set[str] = set()
        for cell in step.cells():
            live = set(self.names)
            for statement in statements(cell.source):
                used |= statement.used & live
                if not statement.used & live:
                    live -= statement.certain
        return used

    def spread(self, pairs: Sequence[Pair], entry: Entry, origin: int) -> None:
        """Note what had diverged before ``origin`` showed it: what a statement made, and what was made of that."""
        link = entry.link
        if link is None:
            return
        names: set[str] = set()
        for at in range(link.position, origin + link.statement.carrier):
            for statement in _source_of(pairs[at]):
                if statement == link.statement:
                    names |= entry.names
                elif statement.used & names:
                    names |= statement.made | statement.changed
                else:
                    names -= statement.certain - statement.changed
        for name in names:
            self.names.setdefault(name, origin)

    def follow(self, step: _Step, origin: int | None, entry: Entry | None = None) -> None:
        """Note what a pair leaves behind that has diverged, and what it made anew."""
        self._follow_files(step, origin)
        self._follow_generators(step, origin)
        if origin is None and not self.names:
            return
        hot = origin is not None and (origin == step.index or bool(list(self._by_state(step))))
        for cell in step.cells()[:1]:
            self._follow_names(cell, origin, hot, bool(step.changed("source", "extra", "status")))
        if entry is not None:
            self._came_in(step, entry)

    def _came_in(self, step: _Step, entry: Entry) -> None:
        """Note what follows in a cell from where its difference came in, plain as it may be."""
        if entry.link is not None and entry.link.position < step.index:
            return
        names = set(entry.names)
        for statement in _source_of(step.pair):
            if statement.used & names:
                names |= statement.made | statement.changed
        for name in names:
            self.names.setdefault(name, step.index)

    def _follow_files(self, step: _Step, origin: int | None) -> None:
        written = step.changed("write")
        for path in {use.path for cell in step.cells() for use in cell.writes} - written:
            self.files.pop(path, None)
        if origin is not None:
            for path in written | (step.changed("read") - self.files.keys()):
                self.files[path] = origin

    def _follow_generators(self, step: _Step, origin: int | None) -> None:
        ours, theirs = (states_of(cell) for cell in step.pair)
        for at, name in ours.keys() & theirs.keys():
            if at == "end" and ours[at, name] == theirs[at, name]:
                self.generators.pop(name, None)
            elif at == "end" and origin is not None and (name in step.drawn_apart() or self._parted(step, name)):
                self.generators.setdefault(name, origin)

    def _parted(self, step: _Step, name: str) -> bool:
        """Return whether a generator began a pair alike and ended it in two states."""
        ours, theirs = (states_of(cell) for cell in step.pair)
        return ours.get(("start", name)) == theirs.get(("start", name))

    def _follow_names(self, cell: Cell, origin: int | None, hot: bool, edited: bool) -> None:
        for statement in statements(cell.source):
            carried = [self.names[name] for name in statement.used if name in self.names]
            source = min(carried, default=origin if hot and (edited or not statement.plain) else None)
            if source is None:
                for name in statement.certain - statement.changed:
                    self.names.pop(name, None)
            else:
                self.names.update(dict.fromkeys(statement.made | statement.changed, source))

"""Which runs made a content, from which others; and who read it. Asked of the index: no journal is opened.

Contents are known by their digest: a file that was copied, or written again with the same bytes, has the same history.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from reprokit.records.lineage import Lineage, Maker, Origin, Output, Reader
from reprokit.store.tables import runs, uses

__all__ = ["History"]

_FAR = 50  # runs from one content to the next
_MANY = 500  # runs that are told in one tree
_READERS = 20  # of one content that are told, the newest
_ROWS = 20_000  # taken from one answer
_AT_ONCE = 400  # names in one question: SQLite takes a thousand

Use = sa.Row[Any]
Answer = Callable[[sa.Select[Any]], Sequence[Use]]


class History:
    """Where contents came from and where they went, as the index of a store has it.

    A tree is gathered level by level, with two questions for each, and built from what was told.

    Args:
        answer: answers questions to the index; see ``Index.asked``.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._used: dict[tuple[str, str], list[Use]] = {}  # run and access → its uses
        self._by: dict[tuple[str, str], list[Use]] = {}  # digest and access → its uses, of the newest run first
        self._told: set[str] = set()

    def of_file(self, path: str, digest: str | None) -> Lineage | None:
        """Return the lineage of a file; None when no run used it.

        Args:
            path: relative to the project root, or absolute outside it, as in a record.
            digest: of its bytes today; None when it is gone.
        """
        note = ""
        if digest is None or not self._ask(uses.c.digest == digest, limit=1):
            found = self._latest(path)
            if found is None:
                return None
            note = "it is not there today" if digest is None else "its bytes today are no run's: it was changed since"
            digest = found.digest
        self._gather([digest], "write", "read")
        self._gather([digest], "read", "write")
        origin = self._origin(path, digest, None, 0)
        self._told.clear()
        readers, more = self._readers(digest, 0)
        return Lineage(of=path, note=note, origins=(origin,), readers=readers, more=more)

    def of_run(self, run_id: str) -> Lineage:
        """Return where what a run read came from, and who read what it wrote."""
        self._look_at_runs([run_id])
        inputs, outputs = (self._used.get((run_id, access), []) for access in ("read", "write"))
        self._gather([use.digest for use in inputs], "write", "read")
        self._gather([use.digest for use in outputs], "read", "write")
        self._told.add(run_id)
        origins = tuple(self._origin(use.path, use.digest, use.started, 0) for use in inputs)
        self._told = {run_id}
        found = [self._readers(use.digest, 0) for use in outputs]
        readers = tuple(reader for some, _ in found for reader in some)
        return Lineage(of=run_id, origins=origins, readers=readers, more=sum(more for _, more in found))

    # -- building ---------------------------------------------------------------------------------

    def _origin(self, path: str, digest: str, before: float | None, depth: int) -> Origin:
        made = self._made(digest, before)
        if not made:
            return Origin(path=path, digest=digest)
        earlier = {use.id for use in made} - {made[0].id}
        return Origin(path=path, digest=digest, maker=self._maker(made[0], depth), others=len(earlier))

    def _made(self, digest: str, before: float | None) -> list[Use]:
        """Return who wrote a content before it was used, the newest first."""
        return [use for use in self._by.get((digest, "write"), ()) if before is None or use.started < before]

    def _maker(self, use: Use, depth: int) -> Maker:
        seen = self._ends(use, depth)
        inputs = [] if seen else self._used.get((use.id, "read"), [])
        origins = tuple(self._origin(one.path, one.digest, use.started, depth + 1) for one in inputs)
        return Maker(run=use.id, name=use.name, started=use.started, cell=use.cell, inputs=origins, seen=seen)

    def _readers(self, digest: str, depth: int) -> tuple[tuple[Reader, ...], int]:
        """Return the newest that read a content, oldest of them first, and how many more there are."""
        first = {use.id: use for use in reversed(self._by.get((digest, "read"), ()))}
        chosen = list(first.values())[-_READERS:]
        return tuple(self._reader(use, depth) for use in chosen), len(first) - len(chosen)

    def _reader(self, use: Use, depth: int) -> Reader:
        seen = self._ends(use, depth)
        written = [] if seen else self._used.get((use.id, "write"), [])
        outputs = tuple(self._output(one, depth) for one in written)
        return Reader(run=use.id, name=use.name, started=use.started, path=use.path, outputs=outputs, seen=seen)

    def _output(self, use: Use, depth: int) -> Output:
        readers, more = self._readers(use.digest, depth + 1)
        return Output(path=use.path, digest=use.digest, readers=readers, more=more)

    def _ends(self, use: Use, depth: int) -> bool:
        """Return whether a tree ends here: at a run that was told already, or that is too far away."""
        ends = use.id in self._told or depth >= _FAR or len(self._told) >= _MANY
        self._told.add(use.id)
        return ends

    # -- gathering --------------------------------------------------------------------------------

    def _gather(self, digests: Iterable[str], first: str, then: str) -> None:
        """Look up who used contents in one way, what they used in the other, and so on."""
        known: set[str] = set()
        wanted = list(dict.fromkeys(digests))
        for _ in range(_FAR):
            self._look_at_contents(wanted, first)
            users = {use.id for digest in wanted for use in self._by[(digest, first)][: _READERS * 2]}
            new = sorted(users - known, reverse=True)[: max(_MANY - len(known), 0)]
            known.update(new)
            self._look_at_runs(new)
            found = (use.digest for run_id in new for use in self._used.get((run_id, then), ()))
            wanted = [digest for digest in dict.fromkeys(found) if (digest, first) not in self._by]
            if not wanted:
                return

    def _look_at_contents(self, digests: Sequence[str], access: str) -> None:
        for start in range(0, len(digests), _AT_ONCE):
            some = digests[start : start + _AT_ONCE]
            self._by.update({(digest, access): [] for digest in some})
            for use in self._ask(uses.c.digest.in_(some), uses.c.access == access):
                self._by[(use.digest, access)].append(use)

    def _look_at_runs(self, run_ids: Sequence[str]) -> None:
        for start in range(0, len(run_ids), _AT_ONCE):
            some = run_ids[start : start + _AT_ONCE]
            for use in self._ask(runs.c.id.in_(some)):
                self._used.setdefault((use.id, use.access), []).append(use)

    def _latest(self, path: str) -> Use | None:
        """Return the last use of a path, or of a dataset that it lies in."""
        folders = []
        folder = path
        while folder not in ("", "/"):
            folder = posixpath.dirname(folder)
            folders.append(f"{folder.rstrip('/')}/" if folder else "./")
        found = self._ask(uses.c.path.in_([path, *folders]), limit=1)
        return found[0] if found else None

    def _ask(self, *conditions: sa.ColumnElement[bool], limit: int = _ROWS) -> Sequence[Use]:
        """Return uses, those of the newest runs first, and of each run in the order of its cells."""
        columns = (runs.c.id, runs.c.name, runs.c.started, uses.c.path, uses.c.digest, uses.c.access, uses.c.cell)
        joined = sa.select(*columns).select_from(uses.join(runs, uses.c.run == runs.c.row)).where(*conditions)
        order = (runs.c.started.desc(), runs.c.id, uses.c.cell, uses.c.path)
        return self._answer(joined.order_by(*order).limit(limit))

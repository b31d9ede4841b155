"""The store as the rest of reprokit sees it: journals, objects and index behind one door.

It puts the parts together and holds none of their knowledge. The index is loaded when it is first
asked for, so that reading one run needs no database.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprokit.errors import RunNotFound, SchemaError, StoreError
from reprokit.records import Gap, Run
from reprokit.settings import Settings, load
from reprokit.store import journal, liveness, marks, names, origin
from reprokit.store.assemble import assemble
from reprokit.store.layout import Layout, new_run_id, project_root, started_at
from reprokit.store.objects import Objects

if TYPE_CHECKING:
    from reprokit.store.index import Index
    from reprokit.store.summary import Summary

__all__ = ["Store"]


class Store:
    """The runs of one project.

    Args:
        layout: where they are, or will be.
        settings: the project's settings.

    Attributes:
        layout: where they are; ``new_run`` changes it when the project turns out to be read-only.
        objects: the objects of the runs.
        settings: the project's settings.
        gap: why the store is not in the project, when it is not.
    """

    def __init__(self, layout: Layout, settings: Settings) -> None:
        layout.check()
        self.layout = layout
        self.settings = settings
        self.objects = Objects(layout.objects)
        self.gap: Gap | None = None

    @classmethod
    def open(cls, start: Path | None = None, settings: Settings | None = None) -> Store:
        """Return the store of the project that ``start`` lies in; where there is none, an empty one.

        Nothing is written until it is needed.

        Args:
            start: a folder; the working directory by default.
            settings: the project's own by default.

        Raises:
            SchemaError: the store was made by a newer reprokit.
            UsageError: the project's settings are wrong.
        """
        start = Path.cwd() if start is None else Path(start)
        chosen = load(project_root(start)) if settings is None else settings
        return cls(Layout.find(start, chosen), chosen)

    def load(self, run_id: str, *, here: bool = True) -> Run:
        """Return a run as its journals tell it and as its writers are now.

        Args:
            run_id: the run.
            here: whether one that came from elsewhere has its paths in this project, else where it was made.

        Raises:
            RunNotFound: there is no run of this id.
            SchemaError: it was written by a newer reprokit.
            StoreError: its journals cannot be read.
        """
        folder = self.layout.run_folder(run_id)
        try:
            if not folder.is_dir():
                raise RunNotFound(run_id)
            agent, agent_damage = journal.scan(self.layout.journal(run_id))
            batch, batch_damage = journal.scan(self.layout.journal(run_id, "batch"))
            verdict = journal.read(self.layout.journal(run_id, "verdict"))  # written once a replay was compared
            checked = journal.read(self.layout.journal(run_id, "environment"))  # what was changed by hand in it
            later = marks.read(self.layout, run_id)
            run = assemble(run_id, agent, [*batch, *verdict, *checked, *later], liveness.is_alive)
            run = origin.applied(run, self.layout) if here else run
        except (OSError, TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise StoreError(f"run {run_id} cannot be read ({error})", path=folder) from error
        for name, line in (("journal", agent_damage), ("batch", batch_damage)):
            run = run if line is None else _with_damage(run, f"line {line} of {name}.jsonl is damaged")
        return run

    def resolve(self, name: str, now: datetime | None = None) -> str:
        """Return the id of the run that the user means by ``name``.

        Args:
            name: an id, a unique prefix, ``latest``, ``latest~2``, ``yesterday``, a run name (its newest
                run), ``NOTEBOOK@yesterday`` or ``NOTEBOOK@latest``. A replay is
                meant by id or prefix only: it has the name of what it repeats.
            now: the present, for ``yesterday`` (the previous local calendar day).

        Raises:
            RunNotFound: there is none.
            AmbiguousRun: ``name`` is the beginning of several ids.
        """
        if self._is_run(name):
            return name
        self.index.sync()
        return names.resolve(name, self.index, now)

    def runs(self, *, limit: int | None = None, query: str | None = None) -> list[Summary]:
        """Return the runs, newest first.

        Args:
            limit: at most so many.
            query: words that all must match: ``key=value`` (``!=``, ``<``, ``<=``, ``>``, ``>=``) on a
                field, parameter, metric or tag; any other word is looked for in ids, names, notebooks,
                parameters and tags.

        Raises:
            UsageError: the query cannot be understood.
            StoreError: the index stays locked by another process.
        """
        return self.index.runs(limit=limit, query=query)

    def pins(self) -> dict[str, str]:
        """Return the pinned runs, oldest first, with the names they are pinned under; some may be gone.

        Raises:
            StoreError: they cannot be read.
        """
        return marks.pins(self.layout)

    def pin(self, run_id: str, name: str | None) -> None:
        """Pin a run under a name, or release it (None); it may be gone.

        Raises:
            StoreError: it cannot be written.
        """
        self._mark(run_id, {"set": {"pin": name}})

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Give a run tags, also one that has long ended; a key that it has gets the new value.

        Raises:
            StoreError: they cannot be written.
        """
        self._mark(run_id, {"set": {"tags": dict(tags)}})

    def new_run(self, journal_name: str = "journal", run_id: str | None = None) -> tuple[str, journal.Journal]:
        """Make a run's folder, if need be the whole store, and open one of its journals for writing.

        Args:
            journal_name: ``journal`` for the kernel, ``batch`` for the parent process.
            run_id: a run whose folder may be there already; a new one by default.

        Returns:
            The run's id and its journal.

        Raises:
            StoreError: the store cannot be written, or the run has this journal already.
        """
        self._move(*self.layout.create())
        try:
            made = self._new_folder() if run_id is None else run_id
            self.layout.run_folder(made).mkdir(exist_ok=True)
            return made, journal.Journal(self.layout.journal(made, journal_name))
        except OSError as error:
            raise StoreError(f"no run can be written ({error})", path=self.layout.runs) from error

    def reindex(self) -> int:
        """Throw the index away, build it again from the journals, and return how many runs there are."""
        return self.index.rebuild()

    @cached_property
    def index(self) -> Index:
        """The index of this store."""
        from reprokit.store.index import Index

        return Index(self.layout, self._load_anyway)

    def _mark(self, run_id: str, patch: dict[str, Any]) -> None:
        marks.add(self.layout, run_id, patch)
        self.index.refresh(run_id)

    def _is_run(self, name: str) -> bool:
        try:
            return self.layout.run_folder(name).is_dir()
        except RunNotFound:
            return False

    def _move(self, layout: Layout, gap: Gap | None) -> None:
        self.gap = gap
        if layout != self.layout:
            self.layout, self.objects = layout, Objects(layout.objects)
        self.__dict__.pop("index", None)  # it may have looked at a store that was not there yet

    def _new_folder(self) -> str:
        while True:
            run_id = new_run_id()
            try:
                self.layout.run_folder(run_id).mkdir()
            except FileExistsError:
                continue
            return run_id

    def _load_anyway(self, run_id: str) -> Run:
        """Return a run even when it cannot be read: it is listed, with the reason, and hides no other."""
        try:
            return self.load(run_id)
        except (StoreError, SchemaError) as error:
            gap = Gap(aspect="journal", message=error.message, remedy=error.remedy, blocks=True)
            started = started_at(run_id)
            return Run(id=run_id, started=started, status="interrupted", reason=error.message, gaps=(gap,))


def _with_damage(run: Run, what: str) -> Run:
    gap = Gap(
        aspect="journal",
        message=f"{what}; nothing after it is believed",
        remedy="restore the journal from a copy",
        blocks=True,
    )
    cut_off = run.status == "interrupted"
    return dataclasses.replace(run, gaps=(*run.gaps, gap), reason=what if cut_off else run.reason)

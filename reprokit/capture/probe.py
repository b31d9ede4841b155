"""The interface of probes, and the small values that pass between them and the session.

A probe observes one aspect. It returns what it saw as a ``Patch``, None when that is nothing; it never raises
into the user's cell (the session guards every call) and never changes what the user's code does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reprokit.records import Cell, Gap
from reprokit.settings import Settings
from reprokit.store.objects import Objects

__all__ = ["Context", "Patch", "Probe", "Replayed"]


@dataclass(frozen=True, slots=True)
class Patch:
    """What a probe observed: fields to set and entries to add, on the run or on one cell."""

    set: Mapping[str, Any] = field(default_factory=dict)
    add: Mapping[str, list[Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.set or self.add)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay gives back to each cell: the recorded cells by their number.

    ``places`` says where modules from outside the project were put back: top-level name → folder or archive.
    ``clock`` is "recorded" when each cell begins at its recorded time; ``network`` is "closed" when there is none.
    """

    cells: Mapping[int, Cell]
    order: tuple[int, ...]
    places: Mapping[str, str] = field(default_factory=dict)
    clock: str = "real"
    network: str = "open"

    @property
    def folders(self) -> set[Path]:
        """The folders in which modules were put back."""
        return {Path(place) if Path(place).is_dir() else Path(place).parent for place in self.places.values()}


class Later(Protocol):
    """Takes work for the background."""

    def __call__(self, work: Callable[[], None], /, patient: bool = False) -> None:
        """Have it done: soon, or when the user has their answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a probe may use.

    Attributes:
        project: the project root.
        objects: where contents are kept.
        settings: the project's settings.
        namespace: returns the user's variables.
        emit: writes a patch for a cell (or for the run, with None) from any thread.
        later: hands a piece of work to the background thread (as ``Worker.submit``).
        gap: records that something could not be observed.
        ignored: folders whose files are never data (the store, the environment).
        replayed: the recorded cells when this run is a replay.
    """

    run_id: str
    project: Path
    objects: Objects
    settings: Settings
    namespace: Callable[[], Mapping[str, Any]]
    emit: Callable[[int | None, Patch], None]
    later: Later
    gap: Callable[[Gap], None]
    ignored: tuple[Path, ...] = ()
    replayed: Replayed | None = None


class Probe(Protocol):
    """Observes one aspect of a run."""

    @property
    def aspect(self) -> str:
        """The aspect's name, as in ``Gap.aspect``."""

    def start(self) -> Patch | None:
        """Begin to observe; called once, before the first cell."""

    def before_cell(self, seq: int) -> Patch | None:
        """Observe the moment before cell ``seq`` runs."""

    def after_cell(self, seq: int) -> Patch | None:
        """Observe the moment after cell ``seq`` ran."""

    def stop(self) -> Patch | None:
        """Stop observing and undo every change made to the process."""

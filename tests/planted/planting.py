"""A difference that is planted between a session and its repetition, and what the tool must say of it.

A case is a value: the cells as a user writes them, what is another thing the second time, and the right answer.
``plant`` does it for real: a project under git, a kernel, a replay (or a second session), and the search for the cause.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from answers import Answers
from session import by_hand

from reprokit.notebook.engine import run_notebook
from reprokit.records import Explanation, Run, Verdict
from reprokit.replay.changes import changed_files
from reprokit.replay.compare import compare
from reprokit.replay.comparison import Comparison
from reprokit.replay.conditions import Conditions
from reprokit.replay.contents import reader
from reprokit.replay.execute import replay
from reprokit.replay.experiments import Experiments, is_as_recorded, packages_today
from reprokit.replay.explain import explain
from reprokit.store.store import Store

__all__ = ["Case", "Outcome", "Place", "plant"]

BUDGET_S = 300
# The installer's cache of the user who runs the tests; below HOME is an empty folder.
UV_CACHE = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case is tried: its own folder with the project in it, and a server that answers its cells."""

    folder: Path
    answers: Answers | None = None

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def filled(self, text: str) -> str:
        """Return a text with this place's folder and the address of its server put in."""
        url = self.answers.url if self.answers is not None else ""
        return text.replace("<folder>", str(self.folder)).replace("<url>", url)


Around = Callable[[Place, bool], AbstractContextManager[None]]


def _nothing(_place: Place, _again: bool) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One planted difference, or a control without one.

    Attributes:
        name: what is planted, in words.
        cells: the sources; ``<folder>`` and ``<url>`` are put in.
        cause: the right cause; None for a control.
        cell: the first cell that differs.
        others: cell → cause of other differences, which do not follow from the first.
        folded: cell → the one that its difference follows from.
        explained: the cause that experiments must find, "" when they are not made.
        files: path → content in the project (outside it when it begins with ``<folder>``).
        changed: path → content, None to remove, the second time.
        around: what surrounds the session (False) and all that comes later (True).
        before: cells run before ``%repro start``, by hand.
        behind: cell → what reaches the kernel before that cell and is no cell.
        second: the cells of a second session, for ``diff``; those of the first with None in a ``diff``.
        how: "replay", or "diff" of two sessions.
        by_hand: whether the cells are sent to an ordinary kernel; else a notebook is run.
        params: parameters of both runs in a ``diff``.
        answers: path → what the server says, to one asked for the n-th time in the session or later.
    """

    name: str
    cells: tuple[str, ...]
    cause: str | None = None
    cell: int | None = None
    others: Mapping[int, str] = field(default_factory=dict)
    folded: Mapping[int, int] = field(default_factory=dict)
    explained: str | None = None
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    changed: Mapping[str, str | bytes | None] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    around: Around = _nothing
    before: tuple[str, ...] = ()
    behind: Mapping[int, Any] = field(default_factory=dict)
    second: tuple[str, ...] | None = None
    how: str = "replay"
    by_hand: bool = False
    params: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    answers: Callable[[str, int, bool], str] | None = None

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the tool said."""

    verdict: Verdict
    explanation: Explanation | None = None

    @property
    def causes(self) -> dict[int, str | None]:
        """Cell → cause, of each that the verdict calls an origin."""
        diverged = [cell for cell in self.verdict.cells if cell.verdict == "diverged" and cell.consequence_of is None]
        return {cell.cell: cell.cause for cell in diverged if cell.cell}

    @property
    def folded(self) -> dict[int, int]:
        """Cell → origin, of each that the verdict calls a consequence."""
        return {cell.cell: cell.consequence_of for cell in self.verdict.cells if cell.consequence_of and cell.cell}

    def misses(self, case: Case) -> list[str]:
        """Return what is not as it must be, in words."""
        first = self.verdict.first_divergence
        found = (first.cause, first.cell) if first else (None, None)
        wrong = [] if found == (case.cause, case.cell) else [f"verdict: {found[0]} at {found[1]}"]
        origins = {case.cell: case.cause, **case.others} if case.cell else {}
        if not wrong and self.causes != origins:
            wrong.append(f"origins: {self.causes}")
        if not wrong and self.folded != dict(case.folded):
            wrong.append(f"folded: {self.folded}")
        return wrong + self._explained(case)

    def _explained(self, case: Case) -> list[str]:
        told = self.explanation
        if told is None:
            return []
        right = (case.explained or case.cause, case.cell)
        return [] if (told.cause, told.cell) == right else [f"explain: {told.cause} at {told.cell} ({told.how})"]


def plant(case: Case, folder: Path, *, explained: bool = True) -> Outcome:
    """Capture the session, change what is changed, repeat it, and ask why it is not the same."""
    with _home(folder), _place(case, folder) as place:
        _write(place, case.files)
        _git(place.project, "init", "-q", "-b", "main")
        _git(place.project, "add", "--all")
        _git(place.project, "commit", "-q", "--allow-empty", "-m", "start")
        with case.around(place, False):
            run = _captured(case, place, again=False)
        _write(place, case.changed)
        if place.answers is not None:
            place.answers.later()
        with case.around(place, True):
            return _compared(case, place, run) if case.how == "diff" else _replayed(case, place, run, explained)


def _replayed(case: Case, place: Place, run: Run, explained: bool) -> Outcome:
    store = Store.open(place.project)
    conditions = Conditions(**{"environment": "current", **case.conditions})
    verdict = replay(store, run, conditions=conditions).verdict
    if not explained or case.cause is None or case.explained == "":
        return Outcome(verdict=verdict)
    laboratory = Experiments(store, run, comparison=Comparison(), budget_s=BUDGET_S)
    laboratory.know(conditions, verdict)
    today = packages_today(run.environment) if conditions.environment == "current" else {}
    same = is_as_recorded(run.environment)
    found = explain(run, conditions, laboratory, packages=today, same_environment=same)
    return Outcome(verdict=verdict, explanation=found)


def _compared(case: Case, place: Place, run: Run) -> Outcome:
    store = Store.open(place.project)
    other = _captured(case, place, again=True)
    code = changed_files(run.code, other.code)
    return Outcome(verdict=compare(run, other, reader(store.objects, run, other), code=code))


def _captured(case: Case, place: Place, *, again: bool) -> Run:
    sources = case.second if again and case.second is not None else case.cells
    cells = [place.filled(source) for source in sources]
    if case.by_hand:
        return by_hand(place.project, case.before, cells, case.behind)
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for source in cells:
        tags = ["parameters"] if source.startswith("#: parameters") else []
        notebook.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
    path = place.project / "work.ipynb"
    nbformat.write(notebook, path)
    return run_notebook(Store.open(place.project), path, params=case.params[again])


# -- the place ----------------------------------------------------------------------------------------


@contextmanager
def _place(case: Case, folder: Path) -> Iterator[Place]:
    (folder / "project").mkdir()
    with ExitStack() as stack:
        answers = stack.enter_context(Answers.serving(case.answers)) if case.answers else None
        yield Place(folder, answers)


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Give the case a HOME, a cache and a git identity of its own, and stand in its project."""
    (folder / "home").mkdir(parents=True)
    own = {
        "HOME": str(folder / "home"),
        "REPROKIT_CACHE": os.environ.get("REPROKIT_CACHE", str(folder / "cache")),
        "REPROKIT_LOCK": "never",
        "UV_CACHE_DIR": UV_CACHE,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    for role in ("AUTHOR", "COMMITTER"):
        own |= {f"GIT_{role}_NAME": "A Tester", f"GIT_{role}_EMAIL": "tester@example.org"}
    with environ(own):
        yield
    shutil.rmtree(folder / "cache", ignore_errors=True)


@contextmanager
def environ(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables, or take them away with None, for a while."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _write(place: Place, files: Mapping[str, str | bytes | None]) -> None:
    for name, content in files.items():
        path = place.project / place.filled(name)
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(place.filled(content).encode() if isinstance(content, str) else content)


def _git(project: Path, *command: str) -> None:
    subprocess.run(["git", *command], cwd=project, check=True, capture_output=True)

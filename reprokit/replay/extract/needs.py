"""Which executed cells each executed cell may need, how surely, and why: read in the order in which they ran.

It knows cells, as they are recorded, and what each does (``effects``). It runs nothing. What it says is a guess on
the safe side where it is ``HARD`` or ``SURE``, and otherwise something to try.
"""

from __future__ import annotations

import builtins
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from reprokit.records import Cell
from reprokit.replay.extract import known
from reprokit.replay.extract.acts import Act, Carried
from reprokit.replay.extract.effects import effects_of
from reprokit.replay.extract.known import Level

__all__ = ["Need", "Needs", "needs_of"]

_GIVEN = frozenset(dir(builtins)) | {"get_ipython", "display", "In", "Out", "exit", "quit", "__name__", "__file__"}
_DEEP = 30  # functions that call functions that …


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """Cell ``cell`` needs cell ``on``, as surely as ``level`` says, because that one does ``what``."""

    cell: int
    on: int
    level: Level
    what: str


@dataclass(slots=True)
class Needs:
    """All needs among the cells of a run.

    Attributes:
        cells: their numbers, in the order in which they ran; those that a replay does not run are not among them.
        of: number → what it needs.
        unseeded: number → the generators that it draws from without a seed.
        skipped: those that only install packages.
    """

    cells: tuple[int, ...] = ()
    of: dict[int, tuple[Need, ...]] = field(default_factory=dict)
    unseeded: dict[int, tuple[str, ...]] = field(default_factory=dict)
    skipped: tuple[int, ...] = ()


def needs_of(cells: Sequence[Cell]) -> Needs:
    """Return what executed cells need of one another.

    Args:
        cells: in the order in which they ran.

    >>> cells = [Cell(seq=1, source="a = 1"), Cell(seq=2, source="b = 2"), Cell(seq=3, source="a + 1")]
    >>> [(need.on, need.what) for need in needs_of(cells).of[3]]
    [(1, 'defines `a`')]
    """
    session = _Session([cell for cell in cells if not effects_of(cell.source).empty])
    skipped = tuple(cell.seq for cell in cells if effects_of(cell.source).empty)
    needs = Needs(cells=tuple(cell.seq for cell in session.cells), skipped=skipped)
    for cell in session.cells:
        needs.of[cell.seq] = tuple(sorted(session.step(cell), key=lambda need: (need.on, need.level, need.what)))
    needs.unseeded = {seq: tuple(sorted(names)) for seq, names in session.unseeded.items()}
    return needs


@dataclass(frozen=True, slots=True)
class _Writer:
    """A cell that had a part in what something is now."""

    cell: int
    level: Level
    what: str


@dataclass(slots=True)
class _Name:
    """A global name: who had a part in it, what it may share with others, what it does when it is called."""

    writers: list[_Writer] = field(default_factory=list)
    shares: dict[str, Level] = field(default_factory=dict)
    carries: list[tuple[Carried, Level]] = field(default_factory=list)
    imported: str = ""
    unseeded: bool = False
    fixed: bool = False


class _Session:
    """What is known after each cell."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        self.unseeded: dict[int, set[str]] = defaultdict(set)
        self._names: dict[str, _Name] = {}
        self._files: dict[str, list[_Writer]] = {}
        self._remote: dict[str, list[_Writer]] = {}
        self._streams: dict[str, list[_Writer]] = {}  # of generators that were seeded
        self._settings: list[_Writer] = []
        self._folders: list[_Writer] = []
        self._unseen: list[_Writer] = []
        self._offers: dict[str, list[_Writer]] = defaultdict(list)
        self._displayed: list[int] = []
        self._before: list[tuple[int, int | None]] = []
        self._used = {act.name for cell in cells for act in effects_of(cell.source).acts if act.kind != "bind"}
        self._used |= {name for cell in cells for act in effects_of(cell.source).acts for name in _reads(act.carried)}
        self._old: dict[str, dict[str, Level]] = {}  # what names shared before the statement that binds them anew
        self._open: Cell = Cell(seq=0, source="")
        self._found: dict[tuple[int, str], Level] = {}

    def step(self, cell: Cell) -> list[Need]:
        """Take one more cell, and return what it needs."""
        self._open, self._found = cell, {}
        effects = effects_of(cell.source)
        self._need_all(self._settings)
        seeded = any(act.kind == "seed" for act in effects.acts)
        for act in effects.acts:
            self._act(act)
        self._use_files(cell)
        self._draw(cell, seeded)
        if effects.displays and cell.status == "done":
            self._displayed.append(cell.seq)
        self._before.append((cell.seq, cell.execution_count))
        return [Need(cell.seq, on, level, what) for (on, what), level in self._found.items()]

    # -- noting needs ---------------------------------------------------------------------------

    def _need(self, writer: _Writer, level: Level = Level.HARD) -> None:
        if writer.cell == self._open.seq:
            return
        if self._open.status != "done":
            level = max(level, Level.SURE)  # it may have ended before it came to that
        key, level = (writer.cell, writer.what), max(level, writer.level)
        self._found[key] = min(level, self._found.get(key, level))

    def _need_all(self, writers: Iterable[_Writer], level: Level = Level.HARD) -> None:
        for writer in writers:
            self._need(writer, level)

    def _writer(self, level: Level, what: str) -> _Writer:
        return _Writer(self._open.seq, level, what)

    # -- acts -----------------------------------------------------------------------------------

    def _act(self, act: Act, level: Level = Level.HARD, depth: int = 0) -> None:
        worst = max(level, act.level)
        if act.kind == "read" or (act.kind == "text" and act.name in self._names):
            self._read(act.name, worst, depth)
        elif act.kind == "change":
            self._change(act, worst)
        elif act.kind == "share":
            self._share(act.name, act.parts)
        elif act.kind == "pass":
            self._pass(act, level, depth)
        elif act.kind == "bind":
            self._bind(act, level)
        elif act.kind == "delete":
            self._unshare(act.name)
            self._names[act.name] = _Name([self._writer(Level.LIKELY, f"deletes `{act.name}`")])
        elif act.kind == "set":
            self._settings.append(self._writer(worst, act.how))
        elif act.kind == "unseen":
            self._bind_unseen()
        elif act.kind == "unseeded":
            self._names[act.name].unseeded = True
        elif act.kind == "fixed":
            self._unshare(act.name)
            self._names[act.name].shares.clear()
            self._names[act.name].fixed = True
        elif act.kind == "folder":
            self._folders.append(self._writer(Level.LIKELY, "makes a folder"))
        elif act.kind == "use":
            self._need_all(self._offers[act.name])
        elif act.kind == "offer":
            hard = Level.HARD if act.name == "repro" else Level.SURE
            self._offers[act.name].append(self._writer(hard, act.how))
        elif act.kind in ("last", "counts"):
            self._history(act)

    def _history(self, act: Act) -> None:
        if act.kind == "last":
            for seq in self._displayed[-1:]:
                self._need(_Writer(seq, Level.HARD, f"displays what `{act.name or '_'}` is"))
            return
        wanted = int(act.name) if act.name.isdecimal() else None
        for seq, count in self._before:
            if wanted is None or (count or seq) <= wanted:
                self._need(_Writer(seq, Level.HARD, "counts, for `Out[…]`"))

    def _read(self, name: str, level: Level, depth: int = 0) -> None:
        known_name = self._names.get(name)
        if known_name is None:
            if name not in _GIVEN:
                self._need_all(self._unseen, max(level, Level.SURE))
            return
        soft = max(level, Level.SURE)
        self._need_all((one for one in known_name.writers if one.level == Level.HARD), level)
        self._need_all((one for one in known_name.writers if one.level != Level.HARD), soft)
        if known_name.imported.partition(".")[0] == "reprokit":
            self._need_all(self._offers["repro"])
        if depth < _DEEP:
            for carried, how_sure in known_name.carries:
                self._call(name, carried, max(soft, how_sure), depth)

    def _call(self, name: str, carried: Carried, level: Level, depth: int) -> None:
        """Do what a function does when it is called; whoever mentions it may call it."""
        for other in sorted(carried.reads):
            if other != name:
                self._read(other, level, depth + 1)
        for act in carried.acts:
            if act.name != name and act.kind != "seed":
                self._act(act, level, _DEEP)

    def _change(self, act: Act, level: Level) -> None:
        changed = self._names.get(act.name)
        if changed is None or act.name == "get_ipython" or (changed.fixed and act.how):
            return
        if changed.imported:
            self._change_library(act)
            return
        changed.fixed = False  # added to in place, it is another object
        what = f"changes `{act.name}`"
        for other, shared in self._sharing(act.name).items():
            told = what if other == act.name else f"{what}, which `{other}` may share"
            self._names[other].writers.append(self._writer(max(level, shared, Level.SURE), told))

    def _change_library(self, act: Act) -> None:
        if not act.how:
            self._settings.append(self._writer(Level.LIKELY, f"sets something of `{act.name}`"))
        elif act.how not in ("__argument__", "__iter__"):
            level = known.sets(act.how, discarded=act.discarded)
            if level is not None and not known.seeds(act.how):
                self._settings.append(self._writer(level, f"calls `{act.name}…{act.how}`"))

    def _pass(self, act: Act, level: Level, depth: int) -> None:
        """A function is called by its name, and given objects: it may change them."""
        function = self._names.get(act.name)
        changes = (
            None
            if function is None
            else min(
                (max(one.parameters, sure) for one, sure in function.carries if one.parameters is not None),
                default=None,
            )
        )
        foreign = function is not None and bool(function.imported)
        given = [name for name, _ in act.parts]
        held = [*given, *(name for one, _ in (function.carries if function else ()) for name in _reads(one))]
        for name, possible in act.parts:
            self._share(name, [(other, Level.POSSIBLE) for other in held])
            if name in self._names:
                guess = Level.LIKELY if foreign and act.discarded else possible
                if changes is not None:
                    guess = max(changes, Level.LIKELY)
                self._change(Act("change", name, guess, "__argument__"), max(level, guess))
        if foreign:
            self._change_library(Act("change", act.name, act.level, act.how, discarded=act.discarded))

    def _sharing(self, name: str) -> dict[str, Level]:
        """Return the names that may stand for the same object, or a part of it, with how surely; itself too."""
        found = {name: Level.HARD}
        waiting = [name]
        while waiting:
            current = waiting.pop()
            for other, level in self._names[current].shares.items():
                through = max(level, found[current])
                if other in self._names and not self._names[other].imported and through < found.get(other, 9):
                    found[other] = through
                    waiting.append(other)
        return found

    def _bind(self, act: Act, level: Level) -> None:
        full = act.how.removeprefix("import ") if act.how.startswith("import ") else ""
        before = self._names.get(act.name)
        if full and before is not None and before.imported == full:
            return  # the same again
        if full and act.name not in self._used and full.partition(".")[0] not in sys.stdlib_module_names:
            self._settings.append(self._writer(Level.LIKELY, f"imports {full}, which no cell names"))
        verb = f"imports `{act.name}`" if full else f"defines `{act.name}`"
        sure = act.how in ("", "branch", "loop") or bool(full)
        certain = sure and level == Level.HARD and self._open.status == "done" and act.how not in ("branch", "loop")
        made = self._made(act)
        self._old.setdefault(act.name, self._sharing(act.name) if before is not None else {})
        if before is not None and not certain:
            weaker = Level.POSSIBLE if act.how == "loop" else Level.LIKELY
            kept = [_Writer(one.cell, max(one.level, weaker), one.what) for one in before.writers]
            made.writers = [*kept, self._writer(Level.SURE if act.how == "loop" else Level.LIKELY, verb)]
            made.carries += before.carries
            made.shares = {**before.shares, **made.shares}
        else:
            made.writers = [self._writer(Level.HARD, verb)]
            self._unshare(act.name)
        made.imported = full
        self._names[act.name] = made
        self._share(act.name, tuple(made.shares.items()))

    def _made(self, act: Act) -> _Name:
        """Return a name as it is bound: with what it shares, and what it carries."""
        made = _Name(carries=[] if act.carried is None else [(act.carried, Level.SURE)])
        gone = {act.name, *act.others}  # what these stood for, others may still stand for
        if act.name in self._old or not gone >= self._old.keys():
            self._old.clear()  # a new statement
        for other, level in act.parts:
            source = self._names.get(other)
            if source is None or source.imported or source.fixed:
                continue
            made.carries += [(carried, max(level, sure)) for carried, sure in source.carries]
            for name in self._reached(other) - gone:  # a function may return what it reads
                made.shares.setdefault(name, Level.POSSIBLE)
            if other not in gone:
                made.shares[other] = min(level, made.shares.get(other, level))
                continue
            for name, through in self._old.get(other, self._sharing(other)).items():
                if name != act.name:
                    worse = max(level, through, Level.SURE)
                    made.shares[name] = min(worse, made.shares.get(name, worse))
        made.carries = list(dict.fromkeys(made.carries))
        return made

    def _reached(self, name: str) -> set[str]:
        """Return the data that a function, and those that it calls, read or change."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            source = self._names.get(waiting.pop())
            for one in {name for carried, _ in (source.carries if source else ()) for name in _reads(carried)} - found:
                found.add(one)
                waiting.append(one)
        return {one for one in found if one in self._names and not self._names[one].imported}

    def _share(self, name: str, parts: Iterable[tuple[str, Level]]) -> None:
        """From now on a change of one may be a change of the other."""
        one = self._names.get(name)
        if one is None or one.imported or one.fixed:
            return
        for other, level in parts:
            part = self._names.get(other)
            if part is not None and not (part.imported or part.fixed) and other != name:
                one.shares[other] = min(level, one.shares.get(other, level))
                part.shares[name] = min(level, part.shares.get(name, level))

    def _unshare(self, name: str) -> None:
        """A name is bound anew: those that shared something through it still do."""
        if name not in self._names:
            return
        shares = [(other, level) for other, level in self._names[name].shares.items() if other in self._names]
        for other, level in shares:
            self._names[other].shares.pop(name, None)
            self._share(other, [(third, max(level, far)) for third, far in shares if third != other])

    def _bind_unseen(self) -> None:
        writer = self._writer(Level.POSSIBLE, "binds names that cannot be seen")
        for name in self._names.values():
            self._need_all(name.writers, Level.POSSIBLE)
            name.writers.append(writer)
        self._unseen.append(self._writer(Level.SURE, "binds names that cannot be seen"))

    # -- the record -----------------------------------------------------------------------------

    def _use_files(self, cell: Cell) -> None:
        read = {use.path for use in cell.reads}
        for use in cell.reads:
            level = Level.HARD if use.own and len(self._files.get(use.path, ())) == 1 else Level.SURE
            self._need_all(self._files.get(use.path, ()), level)
        if any("/" in use.path for use in cell.writes):
            self._need_all(self._folders)
        for use in cell.writes:
            earlier = self._files.get(use.path, [])
            left = (
                earlier
                if use.path in read or use.files
                else [_Writer(one.cell, Level.POSSIBLE, one.what) for one in earlier]
            )
            self._need_all(left)
            self._files[use.path] = [*left, self._writer(Level.HARD, f"writes {use.path}")]
        for remote in cell.remote:
            if remote.access == "read":
                self._need_all(self._remote.get(remote.url, ()))
            else:
                sent = self._writer(Level.LIKELY, f"sends to {remote.url}")
                self._remote.setdefault(remote.url, []).append(sent)

    def _draw(self, cell: Cell, seeded: bool) -> None:
        """Follow the generators: after a seed, each draw needs those before it."""
        for name in _drawn(cell):
            owner = name.removeprefix("variable ") if name.startswith("variable ") else ""
            shown = f"`{owner}`" if owner else name
            writer = self._writer(Level.HARD, f"draws from {shown}")
            if owner:
                self._draw_from_variable(cell, owner, writer)
            elif seeded or name in _seeded_anew(cell):
                self._streams[name] = [self._writer(Level.HARD, f"seeds {name}")]
            elif name in self._streams:
                self._need_all(self._streams[name])
                self._streams[name].append(writer)
            else:
                self.unseeded[cell.seq].add(name)

    def _draw_from_variable(self, cell: Cell, owner: str, writer: _Writer) -> None:
        known_name = self._names.get(owner)
        if known_name is None or known_name.unseeded:
            self.unseeded[cell.seq].add(f"`{owner}`")
        else:
            known_name.writers.append(writer)


def _reads(carried: Carried | None) -> Iterator[str]:
    if carried is not None:
        yield from carried.reads
        yield from (act.name for act in carried.acts)


def _drawn(cell: Cell) -> list[str]:
    """Return the generators whose state a cell changed."""
    return sorted({name for state in cell.random if state.at == "end" for name in state.draws})


def _seeded_anew(cell: Cell) -> set[str]:
    """Return the generators whose draws cannot be counted for they were seeded: those of which it would be known."""
    counted = ("random", "numpy", "torch")
    return {name for state in cell.random for name, count in state.draws.items() if count == -1 and name in counted}

"""The randomness probe: the state of every generator before and after each cell.

It looks and does not touch: capturing never seeds and never changes what is drawn. In a replay it
puts the recorded states back. ``seed`` is the one verb that seeds, when the user asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, NamedTuple

from reprokit.capture import swallowed
from reprokit.capture.probe import Context, Patch
from reprokit.capture.randomness import generators, generators_torch
from reprokit.capture.randomness.entropy import AfterImport, Entropy
from reprokit.capture.randomness.flags import Flags
from reprokit.capture.randomness.generators import Census
from reprokit.capture.randomness.states import Generator
from reprokit.digest import derived
from reprokit.records import Gap, RandomState

__all__ = ["Randomness"]

_urandom = os.urandom  # whatever the user's code puts in its place, they see no call of ours
_KEPT = 100  # generators whose last state is remembered, beyond twice those that there are
Taken = list[tuple[Generator, Any]]  # generators that have a state, each with it as it was
_Drawn = list[tuple[Generator, Any, Any]]  # those that were drawn from, each with its state before and after


class _Kept(NamedTuple):
    """A state that is in the store: all of it, the digest of what stays of it, that itself, and what changes."""

    state: Any
    digest: str
    stays: Any
    position: dict[str, Any] | None


class Randomness:
    """Records and restores the state of random generators.

    Args:
        context: what the session offers.
        seed: seeds everything at the start, when given.
    """

    aspect = "randomness"

    def __init__(self, context: Context, seed: int | None = None) -> None:
        self._context = context
        self._seed = seed
        self._secret = _urandom(32).hex()  # never told: what follows from it is as good as asked for each time
        self._roots = 0
        self._seq = 0
        self._seeded = 0  # cells since the seed was set: its draws do not depend on what ran before that
        self._entropy = Entropy()
        self._census = Census(context.namespace)
        self._flags = Flags(self._entropy, context.gap)
        self._imports = AfterImport((*generators.LATE, *self._flags.modules), self._imported)
        self._began: dict[str, Any] = {}  # generator → its state when the cell, or its library's import, began
        self._last: dict[str, _Kept] = {}  # generator → its state as it was last
        self._refused: set[str] = set()  # generators that do not give their state
        self._undo: list[Callable[[], None]] = []
        self._cuda_watched = False
        self._pid = os.getpid()

    def start(self) -> Patch | None:
        """Patch the entry points of unseeded generators, and seed if it was asked for."""
        self._entropy.activate()
        self._flags.watch()
        self._imports.install()
        self._watch_libraries()
        if self._seed is not None:
            generators.seed_all(self._seed)
        self._census.all()
        return None

    def before_cell(self, seq: int) -> Patch | None:
        """Record all states and the root for this cell, or put the recorded ones back."""
        self._seq = seq
        self._seeded += 1
        recorded = self._recorded("start")
        self._entropy.restart(self._root(recorded), f"cell {seq}/")
        if recorded is not None:
            self._restore(recorded, self._census.again())
        taken = self._take(self._census.again())
        self._began = {generator.name: state for generator, state in taken}
        self._flags.begin()
        return self._told(seq, "start", taken, self._entropy.root, {})

    def after_cell(self, seq: int) -> Patch | None:
        """Record all states as the cell left them; those that changed are written in the background."""
        taken = self._take(self._census.all())
        self._flags.end(seq)
        return self._told(seq, "end", taken, None, self._began)

    def stop(self) -> Patch | None:
        """Put the entry points back."""
        with ExitStack() as undo:  # all of it, even when one part fails
            for call in (self._entropy.deactivate, self._flags.unwatch, *self._undo, self._imports.remove):
                undo.callback(call)
            self._undo = []
        return None

    def seed(self, seed: int) -> list[str]:
        """Seed everything that is loaded, and whatever is imported later; return what was seeded."""
        self._seed, self._seeded = seed, 0
        self._entropy.restart(self._root(None), f"cell {self._seq}/")
        return generators.seed_all(seed)

    # -- checkpoints ----------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """Return all that the randomness of the next cells follows from, as JSON-ready values."""
        found = {}
        for generator, state in self._take(self._census.all()):
            stays, position = generator.parts(state)
            found[generator.name] = [generator.encode(stays).decode("ascii"), position]
        plain = {"seed": self._seed, "seeded": self._seeded, "secret": self._secret, "roots": self._roots}
        return {**plain, "generators": found}

    def go_on(self, kept: dict[str, Any]) -> None:
        """Go on from what ``kept`` returned in another process."""
        self._seed, self._seeded = kept["seed"], kept["seeded"]
        self._secret, self._roots = kept["secret"], kept["roots"]
        self._watch_libraries()
        self.undisturbed(kept)

    def undisturbed(self, kept: dict[str, Any]) -> None:
        """Put every generator back that is not as ``kept`` has it."""
        now = self.kept()["generators"]
        for generator in self._census.all():
            told = kept["generators"].get(generator.name)
            if told is not None and told != now.get(generator.name):
                generator.restore(told[0].encode("ascii"), told[1])

    def _root(self, recorded: RandomState | None) -> str:
        if recorded is not None and recorded.entropy is not None:
            return recorded.entropy
        if self._seed is not None:
            return derived(str(self._seed), f"cell {self._seeded}", 16).hex()
        self._roots += 1
        return derived(self._secret, f"root {self._roots}", 16).hex()

    # -- recording ------------------------------------------------------------------------------

    def _told(self, seq: int | None, at: str, taken: Taken, root: str | None, began: dict[str, Any]) -> Patch | None:
        """Return the record of the states when all of them are stored already, else leave it to the background."""
        kept: dict[str, _Kept] = {}
        drawn: _Drawn = []
        is_owed = False
        for generator, state in taken:
            name = generator.name
            known = self._known(generator, state)
            start = began.get(name, state)
            if start is not state and start != state:
                drawn.append((generator, start, state))
                is_owed = is_owed or known is None or generator.parts(start)[0] != known.stays  # counting takes longer
            if known is not None:
                kept[name] = known
        if is_owed or len(kept) < len(taken):
            # In a replay the next cell asks for what is stored now: it is not put back where it is there already.
            self._context.later(lambda: self._write(seq, at, taken, root, drawn), self._context.replayed is None)
            return None
        return self._patch(at, kept, root, drawn)

    def _write(self, seq: int | None, at: str, taken: Taken, root: str | None, drawn: _Drawn) -> None:
        kept = {one.name: stored for one, state in taken if (stored := self._stored(one, state)) is not None}
        self._context.emit(seq, self._patch(at, kept, root, drawn))
        if len(self._last) > 2 * len(taken) + _KEPT:  # variables that are gone
            self._last = {name: self._last[name] for name in kept}

    @staticmethod
    def _patch(at: str, kept: dict[str, _Kept], root: str | None, drawn: _Drawn) -> Patch:
        found: dict[str, Any] = {
            "at": at,
            "states": {name: one.digest for name, one in kept.items()},
            "positions": {name: one.position for name, one in kept.items() if one.position is not None},
            "entropy": root,
            "draws": {one.name: one.count(before, after) for one, before, after in drawn if one.count is not None},
        }
        return Patch(add={"random": [found]})

    def _take(self, found: Iterable[Generator]) -> Taken:
        """Return the generators that have a state, each with its own: the same object as long as it is equal."""
        taken = []
        for generator in found:
            try:
                state = generator.get()
            except Exception as error:  # a class of the user's own may do anything when asked for its state
                self._refuse(generator, error)
                continue
            if state is not None:
                known = self._last.get(generator.name)
                taken.append((generator, known.state if known is not None and known.state == state else state))
        return taken

    def _refuse(self, generator: Generator, error: Exception) -> None:
        if generator.name not in self._refused:
            self._refused.add(generator.name)
            message = f"the state of {generator.name} cannot be read ({error})"
            self._context.gap(Gap(aspect=self.aspect, message=message, cell=self._seq))

    def _known(self, generator: Generator, state: Any) -> _Kept | None:
        """Return a state as it is kept, when nothing more is to be written for it."""
        known = self._last.get(generator.name)
        if known is None or known.state is state:
            return known
        stays, position = generator.parts(state)
        if position is None or stays != known.stays:
            return None
        known = self._last[generator.name] = _Kept(state, known.digest, known.stays, position)
        return known

    def _stored(self, generator: Generator, state: Any) -> _Kept | None:
        """Return a state as it is kept, writing the object only when what stays of it changed."""
        known = self._last.get(generator.name)
        stays, position = generator.parts(state)
        if known is not None and known.stays == stays:
            digest = known.digest
        else:
            try:
                data = generator.encode(stays)
            except Exception as error:  # a key of a library's that is gone by now
                self._refuse(generator, error)
                return None
            digest = self._context.objects.put_bytes(data, durable=False)
        stored = self._last[generator.name] = _Kept(state, digest, stays, position)
        return stored

    # -- replaying ------------------------------------------------------------------------------

    def _recorded(self, at: str) -> RandomState | None:
        replayed = self._context.replayed
        if replayed is None or (cell := replayed.cells.get(self._seq)) is None:
            return None
        return next((state for state in cell.random if state.at == at), None)

    def _restore(self, recorded: RandomState, found: Iterable[Generator]) -> None:
        for generator in found:
            if generator.name in recorded.states and not self._has(generator, recorded):
                self._put_back(generator, recorded)

    def _has(self, generator: Generator, recorded: RandomState) -> bool:
        """Return whether a generator is in the recorded state already."""
        known = self._last.get(generator.name)
        if known is None or known.digest != recorded.states[generator.name]:
            return False
        return any(
            (now := self._known(generator, state)) is not None
            and now.position == recorded.positions.get(generator.name)
            for _, state in self._take([generator])
        )

    def _put_back(self, generator: Generator, recorded: RandomState) -> None:
        try:
            data = self._context.objects.get_bytes(recorded.states[generator.name])
            generator.restore(data, recorded.positions.get(generator.name))
        except Exception as error:  # the record may be of another kind of generator than there is now
            message = f"the state of {generator.name} could not be put back ({error})"
            self._context.gap(Gap(aspect=self.aspect, message=message, cell=self._seq))

    # -- libraries that come later ----------------------------------------------------------------

    def _imported(self, module: str) -> None:
        """A library was imported inside a cell: its generator was born with a state of its own."""
        try:
            if os.getpid() == self._pid:
                self._enter_late(module)
            else:
                self._enter_in_child(module)
        except Exception as error:  # never into the user's import
            swallowed.pass_on(error)
            message = f"{module} could not be observed right after its import ({error})"
            self._context.gap(Gap(aspect=self.aspect, message=message, cell=self._seq))

    def _enter_in_child(self, module: str) -> None:
        # A child records nothing, so that the state it starts with must follow from the parent's root.
        self._entropy.patch_libraries()
        if module in generators.LATE:
            generators.reseed(module, int.from_bytes(self._entropy.draw(8), "little"))

    def _enter_late(self, module: str) -> None:
        self._watch_libraries()
        if module not in generators.LATE:
            return
        at = f"import {module}"
        recorded = self._recorded(at)
        if module == "polars":  # its state cannot be read: it is given another seed by chance, one that is known
            generators.reseed(module, int.from_bytes(self._entropy.draw(8), "little"))
        if recorded is not None:
            self._restore(recorded, generators.newborn(module))
        elif self._seed is not None:
            generators.seed_newborn(module, self._seed)
        self._enter(at, generators.newborn(module))

    def _enter(self, at: str, found: Iterable[Generator]) -> None:
        taken = self._take(found)
        self._began |= {generator.name: state for generator, state in taken}
        self._write(self._seq or None, at, taken, self._entropy.root, [])

    def _watch_libraries(self) -> None:
        """Patch what is loaded by now and was not yet."""
        self._entropy.patch_libraries()
        self._flags.watch_libraries()
        if not self._cuda_watched and (undo := generators_torch.when_cuda_starts(self._cuda_started)) is not None:
            self._cuda_watched = True
            self._undo.append(undo)

    def _cuda_started(self) -> None:
        """The generators of the GPUs were born, in the middle of a cell."""
        if os.getpid() != self._pid:
            return
        try:
            found = [generator for generator in generators.newborn("torch") if generator.name == "torch.cuda"]
            if (recorded := self._recorded("import torch.cuda")) is not None:
                self._restore(recorded, found)
            self._enter("import torch.cuda", found)
        except Exception as error:  # never into the user's call
            swallowed.pass_on(error)
            message = f"torch.cuda could not be observed when it started ({error})"
            self._context.gap(Gap(aspect=self.aspect, message=message, cell=self._seq))

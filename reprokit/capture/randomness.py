"""The randomness probe: the state of every generator before and after each cell.

It looks and does not touch: capturing never seeds and never changes what is drawn. In a replay it
puts the recorded states back. ``seed`` is the one verb that seeds, when the user asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from reprokit.capture import generators
from reprokit.capture.entropy import AfterImport, Entropy
from reprokit.capture.generators import Generator
from reprokit.capture.probe import Context, Patch
from reprokit.digest import derived
from reprokit.errors import ReprokitError
from reprokit.records import Gap, RandomState

__all__ = ["Randomness"]

_LATE = ("numpy.random", "torch")  # modules whose import makes a generator


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
        self._seq = 0
        self._seeded = 0  # cells since the seed was set: its draws do not depend on what ran before that
        self._entropy = Entropy()
        self._imports = AfterImport(_LATE, self._imported)
        self._last: dict[str, tuple[Any, str]] = {}  # generator → its state and the digest it is stored under
        self._refused: set[str] = set()  # generators that do not give their state
        self._pid = os.getpid()

    def start(self) -> Patch:
        """Patch the entry points of unseeded generators, and seed if it was asked for."""
        self._entropy.activate()
        self._imports.install()
        if self._seed is not None:
            generators.seed_all(self._seed)
        return Patch()

    def before_cell(self, seq: int) -> Patch:
        """Record all states and the root for this cell, or put the recorded ones back."""
        self._seq = seq
        self._seeded += 1
        recorded = self._recorded("start")
        self._entropy.restart(self._root(recorded))
        if recorded is not None:
            self._restore(recorded, generators.find(self._context.namespace()))
        return Patch(add={"random": [self._observe("start").to_dict()]})

    def after_cell(self, seq: int) -> Patch:
        """Record all states as the cell left them; those that changed are written in the background."""
        taken = self._take(generators.find(self._context.namespace()))
        if all(self._is_known(generator, state) for generator, state in taken):
            return Patch(add={"random": [self._record("end", taken).to_dict()]})
        self._context.later(
            lambda: self._context.emit(seq, Patch(add={"random": [self._record("end", taken).to_dict()]}))
        )
        return Patch()

    def stop(self) -> Patch:
        """Put the entry points back."""
        self._imports.remove()
        self._entropy.deactivate()
        return Patch()

    def seed(self, seed: int) -> list[str]:
        """Seed everything that is loaded, and whatever is imported later; return what was seeded."""
        self._seed, self._seeded = seed, 0
        self._entropy.restart(self._root(None))
        return generators.seed_all(seed)

    def _root(self, recorded: RandomState | None) -> str:
        if recorded is not None and recorded.entropy is not None:
            return recorded.entropy
        if self._seed is not None:
            return derived(str(self._seed), f"cell {self._seeded}", 16).hex()
        return os.urandom(16).hex()

    def _observe(self, at: str, newborn: Iterable[Generator] | None = None) -> RandomState:
        found = generators.find(self._context.namespace()) if newborn is None else newborn
        return self._record(at, self._take(found))

    def _record(self, at: str, taken: Iterable[tuple[Generator, Any]]) -> RandomState:
        states = {generator.name: self._stored(generator, state) for generator, state in taken}
        return RandomState(at=at, states=states, entropy=None if at == "end" else self._entropy.root)

    def _take(self, found: Iterable[Generator]) -> list[tuple[Generator, Any]]:
        """Return the generators that have a state, each with it as it is now."""
        taken = ((generator, self._state(generator)) for generator in found)
        return [(generator, state) for generator, state in taken if state is not None]

    def _state(self, generator: Generator) -> Any:
        try:
            return generator.get()
        except Exception as error:  # a class of the user's own may do anything when asked for its state
            if generator.name not in self._refused:
                self._refused.add(generator.name)
                message = f"the state of {generator.name} cannot be read ({error})"
                self._context.gap(Gap(aspect=self.aspect, message=message, cell=self._seq))
            return None

    def _is_known(self, generator: Generator, state: Any) -> bool:
        known = self._last.get(generator.name)
        return known is not None and bool(known[0] == state)

    def _stored(self, generator: Generator, state: Any) -> str:
        """Return the digest of a generator's state, writing the object only when it changed."""
        if not self._is_known(generator, state):
            digest = self._context.objects.put_bytes(generator.encode(state), durable=False)
            self._last[generator.name] = (state, digest)
        return self._last[generator.name][1]

    def _recorded(self, at: str) -> RandomState | None:
        replayed = self._context.replayed
        if replayed is None or (cell := replayed.cells.get(self._seq)) is None:
            return None
        return next((state for state in cell.random if state.at == at), None)

    def _restore(self, recorded: RandomState, found: Iterable[Generator]) -> None:
        for generator in found:
            if (digest := recorded.states.get(generator.name)) is not None:
                self._put_back(generator, digest)

    def _put_back(self, generator: Generator, digest: str) -> None:
        try:
            generator.restore(self._context.objects.get_bytes(digest))
        except (ReprokitError, OSError, KeyError, TypeError, ValueError) as error:
            message = f"the state of {generator.name} could not be put back ({error})"
            self._context.gap(Gap(aspect=self.aspect, message=message, cell=self._seq))

    def _imported(self, module: str) -> None:
        """A library was imported inside a cell: its generator was born with a state of its own."""
        try:
            if os.getpid() == self._pid:
                self._enter_late(module)
            else:
                self._enter_in_child(module)
        except Exception as error:  # never into the user's import
            message = f"{module} could not be observed right after its import ({error})"
            self._context.gap(Gap(aspect=self.aspect, message=message, cell=self._seq))

    def _enter_in_child(self, module: str) -> None:
        # A child records nothing, so that the state it starts with must follow from the parent's root.
        self._entropy.patch_numpy()
        generators.reseed(module)

    def _enter_late(self, module: str) -> None:
        self._entropy.patch_numpy()
        recorded = self._recorded(f"import {module}")
        if recorded is not None:
            self._restore(recorded, generators.newborn(module))
        elif self._seed is not None:
            generators.seed_newborn(module, self._seed)
        state = self._observe(f"import {module}", generators.newborn(module))
        self._context.emit(self._seq or None, Patch(add={"random": [state.to_dict()]}))

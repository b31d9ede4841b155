"""Tells, for each cell, of the random numbers it used that no replay can repeat, and of what helps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from reprokit.capture.randomness import generators_tensorflow, workers_random
from reprokit.capture.randomness.entropy import Entropy
from reprokit.capture.randomness.unrepeatable import Asked
from reprokit.capture.randomness.workers_random import Workers
from reprokit.records import Gap

__all__ = ["Flags"]

_KEY = "never needed where it is only a key or a name; for a result use a generator with a seed, such as `random`"
_TENSORFLOW = "call `%repro seed N` or `tf.random.set_seed(N)` first"
_TASKS = "give each task a seed of its own, as `numpy.random.SeedSequence(N).spawn(count)` makes them"
_CUPY = "call `%repro seed N` or `cupy.random.seed(N)` first"


class Flags:
    """Watches what cannot be repeated, and makes gaps of what a cell used of it.

    Args:
        entropy: where generators that are made without a seed get theirs.
        tell: records a gap.
    """

    #: Modules after whose import ``watch_libraries`` is to be called.
    modules = (workers_random.MODULE,)

    def __init__(self, entropy: Entropy, tell: Callable[[Gap], None]) -> None:
        self._entropy = entropy
        self._tell = tell
        self._asked = Asked()
        self._workers = Workers()
        self._tensorflow = False  # whether an operation drew without a seed
        self._tensorflow_watched = False
        self._undo: list[Callable[[], None]] = []
        self._once: set[str] = set()  # messages that one telling is enough of

    def watch(self) -> None:
        """Begin to notice."""
        self._asked.watch()
        self.watch_libraries()

    def unwatch(self) -> None:
        """Undo everything."""
        self._tensorflow_watched = False
        while self._undo:
            self._undo.pop()()
        self._workers.unwatch()
        self._asked.unwatch()

    def watch_libraries(self) -> None:
        """Watch the libraries that are loaded by now."""
        self._workers.watch()
        if not self._tensorflow_watched:
            self._watch_tensorflow()

    def _watch_tensorflow(self) -> None:
        undos = generators_tensorflow.watch(self._without_seed, self._entropy.draw)
        self._undo += undos
        self._tensorflow_watched = bool(undos)

    def begin(self) -> None:
        """A cell begins: what was used before it is not its own."""
        self._asked.names.clear()
        self._tensorflow = False
        self._workers.take()

    def end(self, seq: int) -> None:
        """Tell what the cell used."""
        for message, remedy in self._used():
            self._tell(Gap(aspect="randomness", message=message, remedy=remedy, cell=seq))

    def _without_seed(self) -> None:
        self._tensorflow = True

    def _used(self) -> Iterator[tuple[str, str]]:
        for name in self._asked.take():
            yield f"the cell used `{name}`: its value cannot be repeated", _KEY
        if self._tensorflow:
            yield "the cell drew from TensorFlow without a seed: it cannot be repeated", _TENSORFLOW
        for workers in self._workers.take():
            message = f"{workers} draw random numbers of their own: where a task has no seed, it cannot be repeated"
            yield from self._first(message, _TASKS)
        if len(self._entropy.shared) > 1:
            yield "generators without a seed were made in several threads of a pool: which made which is chance", _TASKS
        if "cupy.random" in sys.modules:
            yield from self._first("cupy's generators cannot be read", _CUPY)

    def _first(self, message: str, remedy: str) -> Iterator[tuple[str, str]]:
        if message not in self._once:
            self._once.add(message)
            yield message, remedy

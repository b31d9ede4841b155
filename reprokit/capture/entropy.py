"""Where generators that were created without a seed get their seed from.

``default_rng()``, ``RandomState()``, ``np.random.seed()``, ``random.Random()`` and ``random.seed()`` ask
the operating system for entropy. While a run is open they are given bytes derived from a random
root instead: as unpredictable as before, and repeatable because the root is recorded. ``uuid4``,
``secrets`` and ``os.urandom`` are never touched: what they return may be a key.
"""

from __future__ import annotations

import importlib.machinery
import os
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

from reprokit.digest import derived

__all__ = ["AfterImport", "Entropy"]


class Entropy:
    """Gives out derived entropy, and patches the places that ask for it while it is active.

    ``root`` (hexadecimal) may be changed at any time; the count of draws then starts again.
    """

    def __init__(self) -> None:
        self._root = os.urandom(16).hex()
        self._branch = ""
        self._draws = 0
        self._forks = 0
        self._active = False
        self._undo: list[Callable[[], None]] = []
        os.register_at_fork(before=self._before_fork, after_in_child=self._in_child)

    @property
    def root(self) -> str:
        """The root of the bytes given out now."""
        return self._root

    def restart(self, root: str) -> None:
        """Give out what follows from ``root`` from now on."""
        self._root, self._draws, self._forks = root, 0, 0

    def draw(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        self._draws += 1
        return derived(self._root, f"{self._branch}{self._draws}", size)

    def activate(self) -> None:
        """Patch the entry points of the libraries that are loaded."""
        self._active = True
        self._patch_python()
        self.patch_numpy()

    def deactivate(self) -> None:
        """Put the entry points back, unless somebody else replaced them meanwhile."""
        self._active = False
        while self._undo:
            self._undo.pop()()

    def patch_numpy(self) -> None:
        """Patch numpy's single source of seeds; call again after numpy was imported."""
        module = sys.modules.get("numpy.random.bit_generator")
        if module is not None and getattr(module.randbits, "__self__", None) is not self:
            self._replace(module, "randbits", self._randbits)

    def _randbits(self, bits: int) -> int:
        return int.from_bytes(self.draw((bits + 7) // 8), "little") >> (-bits % 8)

    def _patch_python(self) -> None:
        entropy = self
        original = random.Random.seed

        def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
            if a is None:
                a = int.from_bytes(entropy.draw(32), "little")
            original(self, a, version)

        seed.__doc__ = original.__doc__
        self._replace(random.Random, "seed", seed)
        if getattr(random.seed, "__self__", None) is random._inst:
            self._replace(random, "seed", random._inst.seed)

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        original = getattr(owner, name)
        setattr(owner, name, value)

        def undo() -> None:
            if getattr(owner, name) == value:
                setattr(owner, name, original)

        self._undo.append(undo)

    def _before_fork(self) -> None:
        self._forks += 1

    def _in_child(self) -> None:
        # Each child draws from its own branch: in the same order in a replay, and never twice the same.
        if self._active:
            self._branch += f"fork{self._forks}/"
            self._draws = self._forks = 0
            random.seed()  # as `random` itself just did in this child, from a source that cannot be repeated


class AfterImport:
    """Calls back right after one of the named modules was imported.

    A state that is read before a cell cannot hold a library that the cell itself imports first.
    """

    def __init__(self, names: Sequence[str], callback: Callable[[str], None]) -> None:
        self._names = frozenset(names)
        self._callback = callback

    def install(self) -> None:
        """Begin to watch imports."""
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Stop watching imports."""
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a watched module as the other finders would, and arrange for the call."""
        if name not in self._names:
            return None
        for finder in sys.meta_path:
            if finder is not self and (find := getattr(finder, "find_spec", None)) is not None:
                spec: importlib.machinery.ModuleSpec | None = find(name, path, target)
                if spec is not None:
                    self._arrange(spec)
                    return spec
        return None

    def _arrange(self, spec: importlib.machinery.ModuleSpec) -> None:
        loader: Any = spec.loader
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def exec_module(module: Any) -> None:
            del loader.exec_module  # the loader is as it was before the module runs
            execute(module)
            self._callback(spec.name)

        try:
            loader.exec_module = exec_module
        except AttributeError:  # a loader that cannot be changed: the next cell's start sees the module
            pass

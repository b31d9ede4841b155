"""Which random generators there are in this process, and how to read and set the state of each.

Libraries are only ever found in ``sys.modules``, never imported. A state travels as JSON, so that
a record can be read without running anything.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import compress, islice
from typing import Any

from reprokit.capture.randomness import (
    generators_jax,
    generators_numpy,
    generators_tensorflow,
    generators_torch,
    states,
)
from reprokit.capture.randomness.states import Generator

__all__ = ["LATE", "Census", "is_complete", "newborn", "reseed", "seed_all", "seed_newborn"]

_HEAP_TYPE = 1 << 9  # flag of a class that was made at run time
_AT_ONCE = 2_000  # variables that are looked at after each cell, at about 0.1 µs each

#: Modules whose import makes a generator.
LATE = ("numpy.random", "torch", "tensorflow", "polars")


class Census:
    """Finds the generators: the libraries' global ones, and the user's variables.

    It holds no reference to a value of the user's, only names.
    """

    def __init__(self, namespace: Callable[[], Mapping[str, Any]]) -> None:
        self._namespace = namespace
        self._inst = random._inst
        self._python = states.python("random", random._inst)
        self._globals: dict[str, tuple[Any, list[Generator]]] = {}  # module → what it was, and its generators
        self._names: list[str] = []  # variables that hold a generator, as of the last full look
        self._size = 0
        self._waited = sys.maxsize  # cells since that look; there was none
        self._kinds: tuple[type, ...] = ()
        self._learnt: tuple[Any, ...] = ()  # what was loaded when these were the classes
        self._plain: set[type] = set()  # classes built into the interpreter or a library that are no generator's

    def all(self) -> list[Generator]:
        """Return every generator that exists now.

        Where there are thousands of variables (IPython keeps one for each cell) a variable that was something else
        and became a generator is noticed some cells later: looking at each of them each time would be felt.
        """
        namespace = self._namespace()
        self._waited += 1
        if self._waited <= len(namespace) // _AT_ONCE:
            return self.again()
        self._waited = 0
        names, values = _copy(namespace)
        self._size = len(values)
        self._names = self._holding(names, values)
        del values
        return self._found(namespace, self._names)

    def again(self) -> list[Generator]:
        """Return the generators of the last full look that are still there, and those of variables added since.

        Between two cells nothing of the user's runs but threads and callbacks, so that looking at each
        variable again is left to the end of the next cell.
        """
        namespace = self._namespace()
        names = self._names
        if (added := len(namespace) - self._size) > 0:
            newest = _last(namespace, added)
            found = self._holding(newest, [namespace.get(name) for name in newest])
            names = [*names, *(name for name in found if name not in names)]
        return self._found(namespace, names)

    def _holding(self, names: list[str], values: list[Any]) -> list[str]:
        """Return the names whose value is a generator."""
        own = self._own(values)
        if not own:
            return []
        return [name for name in compress(names, map(own.__contains__, map(type, values))) if _is_own(name)]

    def _own(self, values: list[Any]) -> set[type]:
        """Return the classes among these that are a generator's.

        By the set of classes first: a long session has thousands of variables, and hardly ever a generator.
        Not isinstance(): it asks a proxy for its ``__class__``, and so runs code of the user's.
        """
        self._learn()
        found = _classes(values) - self._plain
        own = {kind for kind in found if issubclass(kind, self._kinds)}
        self._plain |= {kind for kind in found - own if not kind.__flags__ & _HEAP_TYPE}
        return own

    def _learn(self) -> None:
        loaded = (len(sys.modules), random.Random, sys.modules.get("numpy.random"), sys.modules.get("torch"))
        if loaded == self._learnt:
            return
        self._learnt = loaded
        kinds = (
            random.Random,
            *generators_numpy.kinds(),
            *generators_torch.kinds(),
            *generators_tensorflow.kinds(),
            *generators_jax.kinds(),
        )
        if kinds != self._kinds:
            self._kinds = kinds
            self._plain = set()

    def _found(self, namespace: Mapping[str, Any], names: list[str]) -> list[Generator]:
        found = self._global()
        for name in names:
            value = namespace.get(name)
            if issubclass(type(value), self._kinds):
                found.extend(_variable(f"variable {name}", value))
        return found

    def _global(self) -> list[Generator]:
        if self._inst is not random._inst:  # the module was loaded anew
            self._inst, self._python = random._inst, states.python("random", random._inst)
        found = [self._python]
        for name, make in _GLOBAL.items():
            module = sys.modules.get(name)
            if module is None:
                continue
            known = self._globals.get(name)
            if known is None or known[0] is not module:
                if not is_complete(module):
                    continue
                known = self._globals[name] = (module, list(make(module)))
            found += known[1]
        return found


def newborn(module: str) -> Iterator[Generator]:
    """Yield the generators of a module of ``LATE``, whose import has just run its code."""
    if (make := _GLOBAL.get(module)) is not None:
        yield from make(sys.modules[module])


_GLOBAL: dict[str, Callable[[Any], Iterator[Generator]]] = {
    "numpy.random": generators_numpy.of_library,
    "torch": generators_torch.of_library,
    "tensorflow": generators_tensorflow.of_library,
}

_SEEDERS: dict[str, Callable[[Any, int], object]] = {
    "random": lambda module, seed: module.seed(seed),
    "numpy.random": lambda module, seed: module.seed(seed % 2**32),
    "torch": lambda module, seed: module.manual_seed(seed % 2**64),  # CUDA, MPS and XPU too
    "tensorflow": lambda module, seed: module.random.set_seed(seed % 2**63),
    "polars": lambda module, seed: module.set_random_seed(seed % 2**64),
    "cupy": lambda module, seed: module.random.seed(seed % 2**32),
}


def seed_all(seed: int) -> list[str]:
    """Seed every library that is loaded and return the names of those seeded."""
    loaded = [name for name in _SEEDERS if (module := sys.modules.get(name)) is not None and is_complete(module)]
    for name in loaded:
        _SEEDERS[name](sys.modules[name], seed)
    return loaded


def seed_newborn(module: str, seed: int) -> None:
    """Seed one library whose import has just run its code."""
    _SEEDERS[module](sys.modules[module], seed)


def reseed(module: str, seed: int) -> None:
    """Seed a library whose import has just run its code, in place of the seed it gave itself."""
    if module == "numpy.random":
        sys.modules[module].__dict__["seed"]()  # from the patched source of seeds
    elif module == "torch":
        sys.modules[module].default_generator.manual_seed(seed)
    elif module == "polars":
        sys.modules[module].set_random_seed(seed)


def is_complete(module: Any) -> bool:
    """Return whether a module is imported completely."""
    return not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _copy(namespace: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    """Return names and values; each list is made at once, and a thread may add a variable in between."""
    while True:
        names, values = list(namespace), list(namespace.values())
        if len(names) == len(values):
            return names, values


def _classes(values: list[Any]) -> set[type]:
    """Return the classes of all values, without a call of a hash function of the user's."""
    for level in set(map(type, map(type, values))):
        if not _hashes_plainly(level):
            values[:] = [value if _hashes_plainly(type(type(value))) else None for value in values]
            break
    return set(map(type, values))


def _hashes_plainly(level: Any) -> bool:
    """Return whether classes of this class are hashed as classes are: by what they are, not by code."""
    hashed: object = level.__hash__
    return hashed is type.__hash__


def _is_own(name: str) -> bool:
    """Return whether a name is the user's, not one of IPython's for results (``_``, ``__``, ``_12``)."""
    return not name.startswith("_") or bool(name.strip("_0123456789"))


def _last(namespace: Mapping[str, Any], count: int) -> list[str]:
    """Return the names that were added last."""
    try:
        newest: Iterator[str] = vars(type(namespace))["__reversed__"](namespace)
        return list(islice(newest, count))
    except (KeyError, RuntimeError):  # no plain dictionary; changed by a thread
        return list(namespace)


def _variable(name: str, value: Any) -> Iterator[Generator]:
    if isinstance(value, random.Random):
        if not isinstance(value, random.SystemRandom):
            yield states.python(name, value)
        return
    for library in (generators_numpy, generators_torch, generators_tensorflow, generators_jax):
        if isinstance(value, library.kinds()):
            yield library.of_variable(name, value)
            return

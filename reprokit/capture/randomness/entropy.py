"""Where generators that were created without a seed get their seed from.

``default_rng()``, ``RandomState()``, ``np.random.seed()``, ``random.Random()`` and ``random.seed()`` ask
the operating system for entropy. While a run is open they are given bytes derived from a random
root instead: as unpredictable as before, and repeatable because the root is recorded. ``uuid4``,
``secrets`` and ``os.urandom`` are never touched: what they return may be a key.
"""

from __future__ import annotations

import importlib.machinery
import itertools
import os
import random
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from reprokit.capture import swallowed
from reprokit.capture.randomness.recode import divert, precede
from reprokit.capture.randomness.unrepeatable import is_of_the_user
from reprokit.capture.swallowed import guarded, keep, pass_on
from reprokit.digest import derived

__all__ = ["AfterImport", "Entropy"]

_urandom = os.urandom  # whatever the user's code puts in its place, they see no call of ours
_POOLS = ("concurrent.futures.thread", "multiprocessing.pool")  # modules whose threads take tasks as they come


class Entropy:
    """Gives out derived entropy, and patches the places that ask for it while it is active.

    ``root`` (hexadecimal) may be changed at any time; the count of draws then starts again. Threads draw from
    branches of their own, numbered in the order in which they are started: which of them comes first is chance.
    """

    def __init__(self) -> None:
        self._root = _urandom(16).hex()
        self._branch = ""
        self._draws = 0
        self._forks = itertools.count(1)
        self._threads: dict[str, int] = {}  # branch → threads that were started from it
        self._counting = threading.RLock()  # a handler may start a thread while one is started
        self._others = itertools.count()
        self._own = threading.local()  # in a thread: its branch, and what it drew from which root
        self._main = threading.get_ident()  # the thread that runs cells
        self._active = False
        self._undo: list[Callable[[], None]] = []
        self._places: weakref.WeakKeyDictionary[threading.Thread, tuple[str, bool]] = weakref.WeakKeyDictionary()
        self._torch: Any = None  # the module whose `seed` is diverted
        self._numpy: Any = None  # what numpy has in place of its own
        self.label = ""  # what tells threads of one cell from those of another
        self.shared: set[int] = set()  # threads of pools in which the user's code drew since the root was set
        before, after = guarded("randomness", self._before_fork), guarded("randomness", self._in_child)
        os.register_at_fork(before=before, after_in_child=after)

    @property
    def root(self) -> str:
        """The root of the bytes given out now."""
        return self._root

    def restart(self, root: str, label: str = "") -> None:
        """Give out what follows from ``root`` from now on, to the thread that says so first of all."""
        self._root, self._draws, self._forks, self._threads = root, 0, itertools.count(1), {}
        self._main, self.label = threading.get_ident(), label
        self.shared = set()

    def draw(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        if threading.get_ident() == self._main:
            self._draws += 1
            return derived(self._root, f"{self._branch}{self._draws}", size)
        return self._draw_in_thread(size)

    def _draw_in_thread(self, size: int) -> bytes:
        own = self._own
        if getattr(own, "root", None) != self._root:
            own.root, own.draws = self._root, 0
        own.draws += 1
        place, pooled = self._here()
        if pooled and _is_asked_by_the_user(sys._getframe(1)):
            self.shared.add(threading.get_ident())
        return derived(self._root, f"{self._branch}{place}{own.draws}", size)

    def _here(self) -> tuple[str, bool]:
        """Return the branch of this thread, and whether it takes tasks as they come."""
        own = self._own
        if not hasattr(own, "here"):
            try:
                own.here = self._places.get(threading.current_thread())
            except Exception:  # as above
                own.here = None
            own.here = own.here or (f"other {next(self._others)}/", False)
        here: tuple[str, bool] = own.here
        return here

    def activate(self) -> None:
        """Patch the entry points of the libraries that are loaded."""
        self._active = True
        self._patch_python()
        self._divert(threading.Thread.start, self._numbering)
        self.patch_libraries()

    def deactivate(self) -> None:
        """Put the entry points back, unless somebody else replaced them meanwhile."""
        self._active, self._torch, self._numpy = False, None, None
        while self._undo:
            self._undo.pop()()

    def patch_libraries(self) -> None:
        """Patch the sources of seeds of numpy and torch; call again after one was imported."""
        module = sys.modules.get("numpy.random.bit_generator")
        if module is not None and module.randbits is not self._numpy:
            self._numpy = guarded("randomness", self._randbits, module.randbits)
            self._replace(module, "randbits", self._numpy)
        torch = sys.modules.get("torch.random")
        if torch is not None and torch is not self._torch and hasattr(torch, "seed"):
            self._torch = torch
            self._divert(torch.seed, self._torch_seed)

    def _randbits(self, bits: int) -> int:
        return int.from_bytes(self.draw((bits + 7) // 8), "little") >> (-bits % 8)

    def _torch_seed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        draw = guarded("randomness", self._randbits)

        def seed() -> Any:  # as torch's own, which asks the operating system and then seeds every device
            value = draw(64)
            if value is None:
                return original()
            sys.modules["torch"].manual_seed(value)
            return value

        return seed

    def _numbering(self, original: Callable[..., Any]) -> Callable[..., Any]:
        number = guarded("randomness", self._number)

        def start(thread: threading.Thread) -> None:
            number(thread)
            original(thread)

        return start

    def _number(self, thread: threading.Thread) -> None:
        place = "" if threading.get_ident() == self._main else self._here()[0]
        with self._counting:
            number = self._threads[place] = self._threads.get(place, 0) + 1
        try:
            pooled = getattr(getattr(thread, "_target", None), "__module__", None) in _POOLS
            self._places[thread] = (f"{place or self.label}thread {number}/", pooled)
        except Exception as error:  # a thread class of the user's that cannot be hashed, or answers oddly
            pass_on(error)

    def _patch_python(self) -> None:
        undo = precede(random.Random.seed, "a", guarded("randomness", self._python_seed))
        if undo is None:  # no source to be had
            self._divert(random.Random.seed, self._seeding)
        else:
            self._undo.append(undo)

    def _python_seed(self) -> int:
        return int.from_bytes(self.draw(32), "little")

    def _seeding(self, original: Callable[..., Any]) -> Callable[..., Any]:
        draw = guarded("randomness", self._python_seed)

        def seed(generator: random.Random, a: Any, version: int) -> None:
            original(generator, draw() if a is None else a, version)

        return seed

    def _divert(self, function: Any, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        if (undo := divert(function, make)) is not None:
            self._undo.append(undo)

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        original = getattr(owner, name)
        setattr(owner, name, value)

        def undo() -> None:
            if getattr(owner, name) == value:
                setattr(owner, name, original)

        self._undo.append(undo)

    def _before_fork(self) -> None:
        self._own.fork = next(self._forks)

    def _in_child(self) -> None:
        # Each child draws from its own branch: in the same order in a replay, and never twice the same.
        if self._active:
            self._branch += f"fork{getattr(self._own, 'fork', 0)}/"
            self._draws, self._forks = 0, itertools.count(1)
            self._threads, self._counting = {}, threading.RLock()
            self._main = threading.get_ident()
            random.seed()  # as `random` itself just did in this child, from a source that cannot be repeated


def _is_asked_by_the_user(frame: FrameType | None) -> bool:
    """Return whether code of the user's own asked: libraries make generators that they seed right after."""
    while frame is not None and frame.f_code.co_filename in (__file__, swallowed.__file__, random.__file__):
        frame = frame.f_back
    return frame is not None and is_of_the_user(frame.f_code.co_filename)


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
        try:
            return self._found(name, path, target) if name in self._names else None
        except Exception as error:  # the finders behind are asked again, and may answer or raise
            keep("randomness", error)
            return None

    def _found(self, name: str, path: Sequence[str] | None, target: Any) -> importlib.machinery.ModuleSpec | None:
        for finder in self._behind():
            if (find := getattr(finder, "find_spec", None)) is not None:
                spec: importlib.machinery.ModuleSpec | None = find(name, path, target)
                if spec is not None:
                    self._arrange(spec)
                    return spec
        return None

    def _behind(self) -> list[Any]:
        """Return the finders that come after this one: another of its kind among them does the same in its turn."""
        finders = list(sys.meta_path)
        places = [place for place, finder in enumerate(finders) if finder is self]
        return finders[places[-1] + 1 :] if places else []

    def _arrange(self, spec: importlib.machinery.ModuleSpec) -> None:
        loader: Any = spec.loader
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        imported = guarded("randomness", self._callback)

        def exec_module(module: Any) -> None:
            vars(loader).pop("exec_module", None)  # the loader is as it was before the module runs
            execute(module)
            imported(spec.name)

        try:
            loader.exec_module = exec_module
        except AttributeError:  # a loader that cannot be changed: the next cell's start sees the module
            pass

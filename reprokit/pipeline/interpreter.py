"""What a step runs in: the present environment, another interpreter, or the locked environment of a run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reprokit.capture import launch
from reprokit.errors import UsageError
from reprokit.notebook.kernel import python_of
from reprokit.notebook.parent import Progress
from reprokit.pipeline.spec import Spec
from reprokit.records import Environment
from reprokit.store import origin
from reprokit.store.store import Store

__all__ = ["Interpreter", "choose", "of_kernels"]

_LOOK = (
    "import json, runpy; runpy.run_path({launch!r})['load_agent'](); "
    "from importlib.util import find_spec; from reprokit.capture.environment.environment import observe; "
    "print(json.dumps([find_spec('ipykernel') is not None, observe().to_dict()]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """What a step runs in.

    Attributes:
        python: the interpreter; None: the kernel's own.
        label: the lock that was asked for, as a part of the key; elsewhere what is installed says it.
        observe: returns what is installed there; None where the label says it. It is asked only when it counts.
        places: folders from which it imports, besides its own: those of editable packages.
        threads: thread limits, as the run had them whose environment it is.
    """

    python: Path | None
    label: str
    observe: Callable[[], Environment | None]
    places: tuple[Path, ...] = ()
    threads: dict[str, str | None] = field(default_factory=dict)


def choose(store: Store, spec: Spec, kernel: str | None, progress: Progress) -> Interpreter:
    """Return what a step runs in, built if need be.

    Args:
        store: holds the run whose environment is asked for.
        spec: the step.
        kernel: the kernel's name; None for a script.
        progress: told of what is built.

    Raises:
        UsageError: there is no such interpreter, kernel or run, or no kernel can be started in it.
        EnvironmentBuildError: the locked environment cannot be built.
    """
    if "run" in spec.environment:
        return _locked(store, spec.environment["run"], progress)
    if "python" in spec.environment:
        python = Path(spec.environment["python"])
        python = python if len(python.parts) == 1 else spec.folder / python
        return _other(python, python, needs_kernel=kernel is not None)
    python = Path(sys.executable) if kernel is None else python_of(kernel)
    started = python if kernel is None else None
    if python != Path(sys.executable):
        return _other(started, python, needs_kernel=True)
    return Interpreter(python=started, label="", observe=_present, places=tuple(_own_places()))


def of_kernels(names: Iterable[str]) -> Iterator[Environment]:
    """Yield what is installed where kernels of these names run, as far as that is another interpreter than this one.

    Raises:
        UsageError: there is no such kernel, or its interpreter does not work.
    """
    pythons = dict.fromkeys(python_of(name) for name in names)
    yield from (_observe(python, needs_kernel=True) for python in pythons if python != Path(sys.executable))


def _present() -> Environment:
    from reprokit.replay import environment

    return environment.current()


def _locked(store: Store, name: str, progress: Progress) -> Interpreter:
    from reprokit.capture.environment.machine import THREADS
    from reprokit.replay import environment, lock
    from reprokit.replay.process import THREAD_LIMITS, variables

    run = store.load(store.resolve(name))
    if run.environment is None:
        raise UsageError(f"run {run.id} has no environment", remedy="name a run that was captured in full")
    origin.require(store.layout, run)
    progress("building the environment", 0, 0)
    made = lock.of_run(store.layout, run, run.environment, store.objects)
    built = environment.build(made, store.objects, progress=lambda what: progress(what, 0, 0))
    names = {*THREADS, *THREAD_LIMITS}
    threads = {name: value for name, value in variables(store, run).items() if name in names}
    return Interpreter(python=built.python, label=f"lock {made.key}", observe=lambda: None, threads=threads)


def _other(started: Path | None, python: Path, *, needs_kernel: bool) -> Interpreter:
    observed = _observe(python, needs_kernel)
    places = []
    for distribution in observed.distributions:
        if distribution.origin == "editable" and (distribution.url or "").startswith("file://"):
            place = Path((distribution.url or "").removeprefix("file://"))
            places += [place, place / "src"]
    return Interpreter(python=started, label="", observe=lambda: observed, places=tuple(places))


def _own_places() -> Iterator[Path]:
    """Yield the folders on this interpreter's path, and those that its editable packages are found in."""
    yield from (Path(entry) for entry in sys.path if entry)
    for finder in sys.meta_path:
        mapping = getattr(sys.modules.get(getattr(finder, "__module__", "")), "MAPPING", None)
        if isinstance(mapping, dict):  # of an editable package without a folder on the path
            yield from (Path(place).parent for place in mapping.values() if isinstance(place, str))


def _observe(python: Path, needs_kernel: bool) -> Environment:
    code = _LOOK.format(launch=str(Path(launch.__file__).resolve()))
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False, cwd="/")
    except OSError as error:
        raise UsageError(f"there is no interpreter {python} ({error.strerror})", remedy="name a python") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise UsageError(f"{python} does not work ({last})", remedy="name a python of version 3.10 or later")
    has_kernel, found = json.loads(done.stdout.splitlines()[-1])
    if needs_kernel and not has_kernel:
        raise UsageError(f"{python} can start no kernel", remedy=f"`{python} -m pip install ipykernel`")
    return Environment.from_dict(found)

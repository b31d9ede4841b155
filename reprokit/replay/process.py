"""The process of a replay: the environment variables that make it compute as the recorded one did, or otherwise."""

from __future__ import annotations

import os
import secrets
from fnmatch import fnmatchcase

from reprokit.capture.environment import hash_secret
from reprokit.capture.environment.machine import THREADS
from reprokit.capture.redact import HIDDEN
from reprokit.records import Library, Run
from reprokit.replay.conditions import Conditions
from reprokit.store.store import Store

__all__ = ["THREAD_LIMITS", "variables"]

#: What numeric libraries take the number of their threads from.
THREAD_LIMITS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip

# A library by the beginning of its name, and the variable that it takes its limit from.
_LIMITED = {
    "libopenblas": "OPENBLAS_NUM_THREADS",
    "libscipy_openblas": "OPENBLAS_NUM_THREADS",
    "libmkl_rt": "MKL_NUM_THREADS",
    "libblis": "BLIS_NUM_THREADS",
    "libgomp": "OMP_NUM_THREADS",
    "libiomp": "OMP_NUM_THREADS",
    "libomp": "OMP_NUM_THREADS",
}
_AS_RECORDED = Conditions()


def variables(store: Store, run: Run, conditions: Conditions = _AS_RECORDED) -> dict[str, str | None]:
    """Return what to set, or with None to take away, for a process that repeats a run."""
    patterns = store.settings.variables
    changed: dict[str, str | None] = {
        name: None for name in os.environ if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    changed |= dict.fromkeys(THREADS)
    if run.config is not None:
        for key, value in run.config.values.items():
            if run.config.sources.get(key) == "environment" and value != HIDDEN:
                changed[key.removeprefix("env.")] = str(value)
    return changed | _threads(run, conditions.threads) | _hash_seed(run, conditions.hash_seed)


def _threads(run: Run, limit: int | None) -> dict[str, str | None]:
    """Return the limits: those given, those that were set, or on another number of processors those that held."""
    if limit is not None:
        return dict.fromkeys(THREAD_LIMITS, str(limit))
    if run.machine is None:
        return {}
    held = {} if run.machine.cores == _cores() else _limits(run.libraries)
    return {**held, **run.machine.threads}


def _cores() -> int:
    from reprokit.capture.environment.machine import observe

    return observe().cores


def _limits(libraries: tuple[Library, ...]) -> dict[str, str]:
    """Return the number of threads that each kind of library had when it was first seen, by its variable."""
    found: dict[str, str] = {}
    for library in libraries:
        variable = next((name for start, name in _LIMITED.items() if library.name.startswith(start)), None)
        threads = library.detail.get("threads")
        if variable is not None and isinstance(threads, int) and threads > 0:
            found.setdefault(variable, str(threads))
    return found


def _hash_seed(run: Run, seed: str | None) -> dict[str, str | None]:
    if seed is not None:
        return {"PYTHONHASHSEED": seed}
    if run.machine is None:
        return {}
    fixed = run.machine.hash_seed
    chosen = str(secrets.randbelow(2**32)) if fixed == "random" else fixed
    return {"PYTHONHASHSEED": chosen, **hash_secret.for_child(run.machine.hash_secret)}

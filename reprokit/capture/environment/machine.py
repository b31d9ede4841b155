"""The machine probe: the computer, and the process settings that change numbers."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from reprokit.capture.environment import hash_secret
from reprokit.records import Machine

__all__ = ["THREADS", "observe"]

# Limits that decide how a sum is split over threads, and so its last bits.
THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "OPENBLAS_CORETYPE", "MKL_CBWR", "POLARS_MAX_THREADS", "LOKY_MAX_CPU_COUNT",
)  # fmt: skip


def observe() -> Machine:
    """Return the machine as this process sees it.

    >>> observe().cores >= 1
    True
    """
    return Machine(
        system=platform.system(),
        release=platform.release(),
        architecture=platform.machine(),
        libc=" ".join(platform.libc_ver()).strip(),
        cpu=_cpu(),
        cores=_cores(),
        memory=_memory(),
        hash_seed=os.environ.get("PYTHONHASHSEED", "random"),
        hash_secret=hash_secret.current(),
        threads={name: os.environ[name] for name in THREADS if name in os.environ},
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None

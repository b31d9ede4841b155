"""The resources probe: processor time, memory and bytes of each cell and of the run, and what that costs.

Processor time and bytes are those of this process and of the children it has waited for, without what
reprokit's own background thread spends. Bytes are what went through read() and write() calls, from the
page cache too and through pipes: on Linux alone they can be had. Memory is the process's peak so far.
"""

from __future__ import annotations

import operator
import os
import resource
import sys
import threading
import time
from time import monotonic
from typing import Any, NamedTuple

from reprokit.capture.probe import Context, Patch
from reprokit.descriptor import Descriptor

__all__ = ["Usage", "gpu_memory"]

_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss
# A look at the byte counters costs as much as all the rest of this: what a cell as short as this one reads and
# writes is counted with the next longer one.
_SHORT_S = 0.002
_PEAKS = ("peak_memory", "gpu_memory")


class _Reading(NamedTuple):
    """Where the counters stand: ``at`` by the clock and ``cpu_s`` in seconds, the rest in bytes."""

    at: float
    cpu_s: float
    peak_memory: int
    read_bytes: int
    written_bytes: int


class Usage:
    """Measures what cells use."""

    aspect = "resources"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._price = context.settings.price_per_hour
        self._pid = os.getpid()
        self._clock: int | None = None  # processor time of the background thread
        self._counters: list[_Counter] = []  # of this process, then of the background thread
        self._began = monotonic()
        self._before: _Reading | None = None
        self._total: dict[str, Any] = {}

    def start(self) -> Patch | None:
        """Open the kernel's counters."""
        self._counters = [counter] if (counter := _Counter.of("/proc/self/io")) else []
        self._context.later(self._know_background)
        return None

    def _know_background(self) -> None:
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        own = _Counter.of(f"/proc/self/task/{threading.get_native_id()}/io") if self._counters else None
        if own is not None:
            self._counters.append(own)

    def before_cell(self, seq: int) -> Patch | None:
        """Note where the clocks stand; the bytes go on from the last look at them, as between two cells none pass."""
        self._before = self._now(self._before)
        return None

    def after_cell(self, seq: int) -> Patch | None:
        """Return what the cell used."""
        before = self._before
        if before is None or os.getpid() != self._pid:
            return None
        short = monotonic() - before.at < _SHORT_S
        now = self._before = self._now(before if short else None)
        used: dict[str, Any] = {"cpu_s": round(max(now.cpu_s - before.cpu_s, 0.0), 6), "peak_memory": now.peak_memory}
        if not short:
            used |= self._passed(before, now)
        if (gpu := gpu_memory()) is not None:
            used["gpu_memory"] = gpu
        self._add(used)
        if self._price is not None:
            used |= self._cost(now.at - before.at)
        return Patch(set={"resources": used})

    def _passed(self, before: _Reading, now: _Reading) -> dict[str, int]:
        if not self._counters:
            return {}
        read, written = now.read_bytes - before.read_bytes, now.written_bytes - before.written_bytes
        return {"read_bytes": max(read, 0), "written_bytes": max(written, 0)}

    def _add(self, used: dict[str, Any]) -> None:
        """Add a cell to the run: times and bytes add up, peaks do not."""
        total = self._total
        for name, amount in used.items():
            join = max if name in _PEAKS else operator.add
            total[name] = join(total[name], amount) if name in total else amount

    def stop(self) -> Patch | None:
        """Return what the run used, and close the counters."""
        counters, self._counters = self._counters, []
        for counter in counters:
            counter.close()
        if self._before is None:
            return None
        return Patch(set={"resources": {**self._total, **self._cost(monotonic() - self._began)}})

    def _cost(self, wall_s: float) -> dict[str, Any]:
        """Return the price of a time in seconds; the machine is paid for whether it computes or waits."""
        if self._price is None:
            return {}
        return {"cost": round(wall_s / 3600 * self._price, 6), "currency": self._context.settings.currency}

    def _now(self, bytes_of: _Reading | None = None) -> _Reading:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime - self._background_cpu()
        read, written = self._bytes() if bytes_of is None else (bytes_of.read_bytes, bytes_of.written_bytes)
        return _Reading(monotonic(), cpu, own.ru_maxrss * _UNIT, read, written)

    def _bytes(self) -> tuple[int, int]:
        read = written = 0
        for counter, sign in zip(self._counters, (1, -1), strict=False):
            counts = counter.counts()
            read += sign * counts[0]
            written += sign * counts[1]
        return read, written

    def _background_cpu(self) -> float:
        try:
            return 0.0 if self._clock is None else time.clock_gettime(self._clock)
        except OSError:  # the thread has ended
            self._clock = None
            return 0.0


class _Counter(Descriptor):
    """An open counter of the kernel's. It costs a fifth of opening it each time."""

    __slots__ = ()

    @classmethod
    def of(cls, path: str) -> _Counter | None:
        """Open a counter; None where the system has none."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        return cls(fd)

    def counts(self) -> tuple[int, int]:
        """Return the bytes read and written so far."""
        try:
            fields = os.pread(self.fd, 128, 0).split()
            return int(fields[1]), int(fields[3])
        except (OSError, ValueError, IndexError):  # the user's code has closed every file there is
            return 0, 0


def gpu_memory() -> int | None:
    """Return the bytes allocated on GPUs at most so far, as the library that the user has loaded knows it."""
    try:
        torch, nvml = sys.modules.get("torch"), sys.modules.get("pynvml")
        if torch is not None and torch.cuda.is_initialized():
            devices = range(torch.cuda.device_count())
            return sum(int(torch.cuda.max_memory_allocated(device)) for device in devices)
        return None if nvml is None else _held_on_gpus(nvml)
    except Exception:  # half imported, not initialised, a driver that refuses
        return None


def _held_on_gpus(nvml: Any) -> int | None:
    """Return the bytes this process holds on GPUs now; None when it uses none."""
    devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    processes = [process for device in devices for process in nvml.nvmlDeviceGetComputeRunningProcesses(device)]
    return sum(int(process.usedGpuMemory or 0) for process in processes if process.pid == os.getpid()) or None

"""What a replay runs under, imposed on the process from inside: the clock as it was recorded, and no network.

The native recorder does both, for this process and its children, in the build that a replay's kernel carries when
this is asked for. It goes through the C library, so that a program that makes its system calls itself is not held.
"""

from __future__ import annotations

import ctypes
import time as _time_module

from reprokit.capture import preload
from reprokit.capture.probe import Context, Patch
from reprokit.records import Gap

__all__ = ["Imposed", "imposed", "time"]

_real_time = _time_module.time  # as it is now: a user may replace it
_NANOSECONDS = 1_000_000_000

_shift = 0.0  # seconds that the clock is off


def time() -> float:
    """Return the real time in seconds after the epoch, whatever clock is imposed."""
    return _real_time() - _shift


def imposed(context: Context) -> tuple[Imposed, ...]:
    """Return the probe that imposes what a replay asks for; none where nothing is asked for."""
    replayed = context.replayed
    asks = replayed is not None and (replayed.clock, replayed.network) != ("real", "open")
    return (Imposed(context),) if asks else ()


class Imposed:
    """Sets the conditions: the network for the whole run, the clock anew for each cell.

    Between two cells the clock runs on as the last cell had it: what still runs then sees no great jump.
    """

    aspect = "machine"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._library: ctypes.PyDLL | None = None
        self._begun = False

    def start(self) -> Patch | None:
        """Wait for the first cell: the recorder has its shared memory then."""
        return None

    def before_cell(self, seq: int) -> Patch | None:
        """Close the network, and set the clock to the time at which the cell began when it was recorded."""
        replayed = self._context.replayed
        if not self._begun:
            self._begun = self._begin(closed=replayed is not None and replayed.network == "closed")
        cell = None if replayed is None or replayed.clock == "real" else replayed.cells.get(seq)
        if cell is not None and cell.started is not None:
            self._set(cell.started - time())
        return None

    def after_cell(self, seq: int) -> Patch | None:
        """Leave everything as it is."""
        return None

    def stop(self) -> Patch | None:
        """Give the process its clock and network back."""
        if not self._begun:
            self._refused()
        if self._library is not None:
            self._set(0.0)
            self._library.rk_network(0)
        return None

    def _begin(self, *, closed: bool) -> bool:
        """Return whether the conditions can be imposed by now: a cell that only starts a run comes too early."""
        if self._library is None and preload.has_conditions():
            self._library = ctypes.PyDLL(preload.loadable())
            self._library.rk_shift.argtypes = [ctypes.c_int64]
        return self._library is not None and bool(self._library.rk_network(closed))

    def _set(self, shift: float) -> None:
        global _shift
        if self._library is not None and self._library.rk_shift(int(shift * _NANOSECONDS)):
            _shift = shift

    def _refused(self) -> None:
        message = "clock and network were those of today: the recorder that imposes others could not be used"
        self._context.gap(Gap(aspect=self.aspect, message=message, remedy="`reprokit doctor` tells more", blocks=True))

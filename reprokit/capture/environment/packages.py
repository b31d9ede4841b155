"""The packages probe: ties each cell to the environment that it ran in, and has every new one locked.

A look at the token costs microseconds; only when it changed is there more to do, in the background.
"""

from __future__ import annotations

from collections.abc import Callable

from reprokit.capture.environment import environment
from reprokit.capture.probe import Context, Patch
from reprokit.records import Environment

__all__ = ["Packages"]


class Packages:
    """Names the environment of each cell.

    Args:
        context: what the session offers.
        lock: has an environment locked that was not seen before.
    """

    aspect = "environment"

    def __init__(self, context: Context, lock: Callable[[Environment], None]) -> None:
        self._context = context
        self._lock = lock
        self._token: environment.Token = ()
        self._fingerprint: str | None = None  # None until a change that the token showed was looked into
        self._observed: str | None = None  # the environment last listed, and its quick fingerprint then
        self._quick = ""
        self._told = False  # whether the open cell's line says what its environment is

    def start(self) -> Patch:
        """List what is installed, in the background."""
        self._token = environment.token()
        self._context.later(self._observe)
        return Patch()

    def before_cell(self, seq: int) -> Patch:
        """Name the environment, if nothing changed since it was listed."""
        token = environment.token()
        if token != self._token:
            self._token, self._fingerprint = token, None
            self._context.later(self._observe)
        self._told = self._fingerprint is not None
        return Patch(set={"environment": self._fingerprint} if self._told else {})

    def after_cell(self, seq: int) -> Patch:
        """Name the environment once it is known: work is done in the order in which it was handed over."""
        if not self._told:
            self._context.later(lambda: self._tell(seq))
        return Patch()

    def stop(self) -> Patch:
        """Nothing to undo."""
        return Patch()

    def _tell(self, seq: int) -> None:
        if self._observed is not None:
            self._context.emit(seq, Patch(set={"environment": self._observed}))

    def _observe(self) -> None:
        quick = environment.quick_fingerprint()
        if self._observed is None or quick != self._quick:  # else sys.path changed, say: nothing was installed
            observed = environment.observe()
            self._quick, self._observed = quick, observed.fingerprint
            self._context.emit(None, Patch(add={"environments": [observed.to_dict()]}))
            self._lock(observed)
        self._fingerprint = self._observed

"""The packages probe: ties each cell to the environment that it ran in, and has every new one locked.

Where the system tells of changes, the folders with packages are only looked at when it does. Only when the token
changed is there more to do, in the background.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from reprokit.capture.environment import environment
from reprokit.capture.files.folders import Folders
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
        self._path: list[str] = []  # of imports, when its folders were last watched
        self._folders: Folders | None = None
        self._fingerprint: str | None = None  # None until a change that the token showed was looked into
        self._observed: str | None = None  # the environment last listed, and its quick fingerprint then
        self._quick = ""
        self._told = False  # whether the open cell's line says what its environment is

    def start(self) -> Patch | None:
        """List what is installed, in the background."""
        self._watch()
        self._token = environment.token()
        self._context.later(self._observe)
        return None

    def before_cell(self, seq: int) -> Patch | None:
        """Name the environment, if nothing changed since it was listed."""
        if self._heard():
            token = environment.token()
            if token != self._token:
                self._token, self._fingerprint = token, None
                self._context.later(self._observe)
        self._told = self._fingerprint is not None
        return Patch(set={"environment": self._fingerprint}) if self._told else None

    def after_cell(self, seq: int) -> Patch | None:
        """Name the environment once it is known: work is done in the order in which it was handed over."""
        if not self._told:
            self._context.later(lambda: self._tell(seq))
        return None

    def stop(self) -> Patch | None:
        """Stop watching."""
        if self._folders is not None:
            self._folders.close()
        return None

    def _heard(self) -> bool:
        """Return whether there may have been a change since the last call."""
        if self._folders is None:
            return True
        changed = bool(self._folders.changes())
        if sys.path != self._path:
            self._watch()
            changed = True
        return changed

    def _watch(self) -> None:
        """Watch the folders that are on the path now, if the system can tell of all of them."""
        self._path = list(sys.path)
        try:
            folders = self._folders or Folders()
            self._folders = folders
            heard = all(folders.add(place) for place in environment.places())
        except OSError:
            heard = False
        if not heard and self._folders is not None:
            self._folders.close()
            self._folders = None

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

"""Who watches files in this run, beside Python's audit hook, and so how much is seen: the tier.

It begins and ends the recorder and the watch, and tells the tier in plain words, never better than it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from reprokit.capture.files.paths import SUFFIXES, Paths
from reprokit.capture.files.recorder import Recorder, why_not
from reprokit.capture.files.scan import Key, scan
from reprokit.capture.files.tap import Tap
from reprokit.capture.files.watch import Watch
from reprokit.records import Capture

__all__ = ["Observers"]

_SCANNED = 20_000  # files: beyond it a scan before and after each cell would be felt
_TIERS = ("basic", "watch", "complete")
_NOT_THE_USERS = (b"reprokit", b"resource_tracker", b"debugpy")
_NAMED = 3  # programs


class Observers:
    """The recorder, the watch and the scan, as far as this system and the user's choice have them.

    Args:
        paths: tells data from noise.
        skipped: folders that are not watched.
        connected: told of each address that a process connected to.
    """

    def __init__(self, paths: Paths, skipped: frozenset[str], connected: Callable[[str], None]) -> None:
        self._paths = paths
        self._skipped = skipped
        self._connected = connected
        self._most = os.environ.get("REPROKIT_TIER", "")
        self._why = "it was not begun"
        self._earlier = 0
        self._lost = 0
        self._opaque: dict[str, None] = {}
        self._overflowed = False
        self.tap: Tap | None = None
        self.watch: Watch | None = None
        self.scanning = False

    def begin(self, folder: Path) -> str:
        """Begin to watch, in the background thread; return what went wrong, if anything did.

        Args:
            folder: where the recorder keeps copies of bytes until they are hashed.
        """
        if self._most not in ("basic", "watch"):
            self._begin_recorder(folder)
        if self._most == "basic":
            self.scanning = True
            return ""
        try:
            self.watch = Watch(self._paths.project, self._skipped)
        except OSError as error:
            self.scanning = self.tap is None
            return f"the project's folders cannot be watched ({error.strerror or error})"
        return ""

    def _begin_recorder(self, folder: Path) -> None:
        self._earlier = _children()
        recorder = Recorder.begin(folder, self._paths.noise, SUFFIXES)
        if recorder is None:
            self._why = why_not()
            return
        try:
            recorder.quiet()
            self.tap = Tap(recorder, self._paths, self._connected)
        except BaseException:
            recorder.stop()
            raise

    @property
    def is_exact(self) -> bool:
        """Whether all that the user's processes do is seen: what only the watch sees is somebody else's."""
        preloaded = self.tap is not None and self.tap.recorder.mode == "preload"
        return preloaded and not (self._lost or self._opaque or self._earlier)

    def look_back(self) -> None:
        """Look whether the recorder overlooked anything since the last call."""
        if self.tap is not None:
            self._lost += self.tap.recorder.take_lost()
            if opaque := self.tap.recorder.opaque():
                self._opaque.update(dict.fromkeys(opaque))

    def has_overflowed(self) -> bool:
        """Return whether the watch, on which all hangs, lost events since the last call."""
        overflowed = self.watch is not None and self.watch.take_overflow() and self.tap is None
        self._overflowed = self._overflowed or overflowed
        return overflowed

    def scan(self) -> dict[str, Key] | None:
        """Return the state of all files of the project; None when they are too many."""
        found = scan(self._paths.project, self._skipped, _SCANNED)
        self._overflowed = self._overflowed or found is None
        return found

    @property
    def standing(self) -> tuple[object, ...]:
        """What ``capture`` hangs on, cheap to compare."""
        return self.tap, self.watch, self.scanning, self._lost, len(self._opaque), self._overflowed

    def capture(self) -> Capture:
        """Return the tier reached, and why not a better one."""
        tier = "complete" if self.is_exact else "watch" if self.watch is not None or self.tap is not None else "basic"
        reasons = tuple(self._reasons(tier))
        return Capture(tier=tier, complete=not reasons, reasons=reasons)

    def _reasons(self, tier: str) -> list[str]:
        reasons = []
        if tier == "basic":
            reasons.append("of what libraries and programs read, only files that they are told by name are seen")
        elif self.tap is None:
            reasons.append("outside the project only files that Python opens or that a cell names are seen")
        elif self.tap.recorder.mode != "preload":
            reasons.append("the kernel was started without the recorder: a library may have calls it does not see")
        if tier != "complete" and self.tap is None:
            chosen = f"REPROKIT_TIER is {self._most}" if self._most in _TIERS[:2] else f"no recorder: {self._why}"
            reasons.append(chosen)
        if self._earlier:
            what = "1 process was" if self._earlier == 1 else f"{self._earlier} processes were"
            reasons.append(f"{what} running before the run began, and what they do is not seen")
        if self._lost:
            reasons.append(f"{self._lost:,} events were lost: too many files were used at once")
        if self._opaque:
            names = ", ".join(list(self._opaque)[:_NAMED]) + (", …" if len(self._opaque) > _NAMED else "")
            reasons.append(f"programs that cannot be looked into were started: {names}")
        if self._overflowed and self.scanning:
            reasons.append(f"the project has more than {_SCANNED} files: written ones are not looked for")
        elif self._overflowed:
            reasons.append("so many files were used at once that some were not seen")
        return reasons

    def stop(self) -> None:
        """Stop watching."""
        tap, watch = self.tap, self.watch
        self.tap = self.watch = None
        try:
            if tap is not None:
                tap.recorder.stop()
        finally:
            if watch is not None:
                watch.stop()


def _children() -> int:
    """Return how many processes of the user's this one has started that still run."""
    found: set[bytes] = set()
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", "rb", buffering=0) as file:
                found.update(file.read().split())
    except OSError:  # another system, or a kernel that does not tell
        return 0
    return sum(_is_the_users(child.decode()) for child in found)


def _is_the_users(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            command = file.read()
    except OSError:
        return False
    return bool(command) and not any(name in command for name in _NOT_THE_USERS)

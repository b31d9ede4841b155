"""Whether the process that wrote a journal still lives: by host, boot and start time, never by age."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from reprokit.records import Process

__all__ = ["is_alive", "this_process"]


def this_process() -> Process:
    """Return the present process, named so that no later one can be mistaken for it."""
    pid = os.getpid()
    _, started = _look(pid)
    return Process(host=os.uname().nodename, boot=_boot(), pid=pid, started=started)


def is_alive(process: Process) -> bool | None:
    """Return whether a process lives; None when it is on another host, where it cannot be known.

    A zombie is dead: it holds a pid and will never write again.
    """
    if process.host != os.uname().nodename:
        return None
    if process.boot != _boot():
        return False
    state, started = _look(process.pid)
    if not state:
        return _answers(process.pid)
    return state not in "ZXx" and process.started in (0, started)


def _look(pid: int) -> tuple[str, int]:
    """Return a process's state letter and start time in ticks after boot; ("", 0) without such a file."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        fields = text[text.rindex(")") + 2 :].split()  # the name before may hold blanks and brackets
        return fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return "", 0


def _answers(pid: int) -> bool:
    """Ask the operating system; for macOS, and for a /proc that hides other users' processes."""
    if pid <= 0:  # these would mean groups of processes
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""

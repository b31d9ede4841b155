"""A step does not outlive whoever watches over it: when that is gone, it ends itself in good order.

The other end of a pipe is held by the process that started the step. However that process ends, also by SIGKILL, the
operating system closes its end, and the step ends as on SIGTERM: the kernel is interrupted and the record closed.
"""

from __future__ import annotations

import os
import signal
import threading

__all__ = ["VARIABLE", "watch"]

VARIABLE = "REPROKIT_LIFELINE"  # the pipe's descriptor, and after commas others that are to stay open as long


def watch() -> None:
    """Watch the lifeline that this process was started with, if it was; its kernel gets none of the descriptors."""
    told = os.environ.pop(VARIABLE, None)
    if told is None:
        return
    lifeline, *kept = map(int, told.split(","))
    for descriptor in (lifeline, *kept):
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_wait, args=(lifeline,), name="lifeline", daemon=True).start()


def _wait(lifeline: int) -> None:
    while os.read(lifeline, 1):  # nobody writes: this returns when the other end is closed
        pass
    os.kill(os.getpid(), signal.SIGTERM)

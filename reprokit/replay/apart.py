"""One replay in a process of its own, so that whatever happens to it happens to nobody else.

Both ends are here: the one that starts the process and reads its verdict, and the one that runs in it. They speak
over the standard streams: the order is one line of JSON, the answer one document, and what the replay prints goes
to its stderr. The input stays open for as long as the answer is wanted: when it ends, however the other side came
to its end, the replay interrupts itself and tidies up.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import reprokit
from reprokit.errors import ReprokitError, Unreplayable
from reprokit.records import Verdict
from reprokit.replay.comparison import Comparison
from reprokit.replay.conditions import Conditions

__all__ = ["Apart", "main", "unreplayable"]

_TIDY_S = 30.0  # what an interrupted replay gets to end its kernel and remove its workspace
_HOME = str(Path(reprokit.__file__).parents[1])
# Not `-m`, which would let the modules of the working directory hide others.
_CODE = "import sys; sys.path[:1] = []; {0!r} in sys.path or sys.path.append({0!r}); import {1}; {1}.main()"
_COMMAND = (sys.executable, "-c", _CODE.format(_HOME, __name__))


def unreplayable(run_id: str, *reasons: str) -> Verdict:
    """Return the verdict on a run that could not be repeated."""
    return Verdict(verdict="unreplayable", run=run_id, reasons=reasons)


class Apart:
    """A replay that runs in a process of its own.

    Args:
        project: a folder of the project whose store has the run.
        run_id: the run to repeat.
        conditions: what it is run under.
        comparison: how strict the comparison is.
        timeout: seconds that one cell may take.
        command: what is started.
    """

    def __init__(
        self,
        project: Path,
        run_id: str,
        *,
        conditions: Conditions,
        comparison: Comparison,
        timeout: int | None = None,
        command: tuple[str, ...] = _COMMAND,
    ) -> None:
        self.run_id = run_id
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `verdict`
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # Ctrl-C is passed on by us, once
        )
        order: dict[str, Any] = {"project": str(project), "run": run_id, "timeout": timeout}
        order |= {"conditions": conditions.to_dict(), "comparison": comparison.to_dict()}
        self._tell(json.dumps(order).encode() + b"\n")

    def verdict(self) -> Verdict:
        """Wait for the replay and return its verdict; a process that died is told as a reason."""
        assert self._process.stdout is not None
        with self._process.stdout as out:
            answer = out.read()
        status = self._process.wait()
        self.stop()
        with self._said as said:
            said.seek(0)
            last = said.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        try:
            return Verdict.from_dict(json.loads(answer))
        except (ValueError, TypeError, KeyError):
            return unreplayable(self.run_id, ": ".join([f"its process {_ending(status)}", *last]))

    def stop(self) -> None:
        """Let the replay interrupt itself, when it still runs; do not wait for it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:  # it died before it took its order
            pass

    def end(self, patience_s: float = _TIDY_S) -> None:
        """End the replay: it may tidy up for so long, and is then killed."""
        self.stop()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _tell(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:  # it is dead already, and its verdict will say so
            pass


def _ending(status: int) -> str:
    if status < 0:
        return f"was killed by signal {-status}"
    return f"ended with status {status}"


# -- in the process -------------------------------------------------------------------------------


def main() -> None:
    """Take an order from stdin, replay, and answer on stdout."""
    source, answer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # nobody types here, and nobody else may read the order
    os.dup2(2, 1)  # the answer stands alone
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may have been told to ignore it
    order = json.loads(_line(source))
    threading.Thread(target=_watch, args=(source,), daemon=True).start()
    try:
        verdict = _verdict(order)
    except KeyboardInterrupt:
        sys.exit(130)
    with open(answer, "w", encoding="utf-8") as out:
        json.dump(verdict.to_dict(), out)


def _line(source: int) -> bytes:
    line = b""
    while not line.endswith(b"\n") and (more := os.read(source, 65536)):
        line += more
    return line


def _watch(source: int) -> None:
    """Interrupt this process once nobody wants its answer any more."""
    while os.read(source, 1024):
        pass
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    signal.pthread_kill(main_thread, signal.SIGINT)


def _verdict(order: Mapping[str, Any]) -> Verdict:
    from reprokit.replay.execute import replay
    from reprokit.store.store import Store

    run_id = str(order["run"])
    try:
        store = Store.open(Path(order["project"]))
        result = replay(
            store,
            store.load(run_id),
            conditions=Conditions.from_dict(order["conditions"]),
            comparison=Comparison.from_dict(order["comparison"]),
            timeout=order["timeout"],
        )
        store.tag(result.replay, {"made-by": "check"})  # so that `gc` may remove it before its run
        return result.verdict
    except Unreplayable as error:
        return unreplayable(run_id, *(f"{why}: {fix}" if fix else why for why, fix in error.reasons))
    except (ReprokitError, OSError) as error:
        return unreplayable(run_id, str(error))

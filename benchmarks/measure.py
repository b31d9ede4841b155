"""What all benchmarks share: timing side by side, projects to measure in, kernels to talk to.

It knows clocks, git and kernels; it does not know what is measured.
"""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
NOTEBOOKS = ("explore", "messy", "train")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured: ``repeats`` of whole processes; ``quick`` shrinks the data, to try things out."""

    repeats: int = 5
    quick: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: ``met`` is None where there is no bar; ``peers`` tells what was compared."""

    what: str
    measured: str
    bar: str = ""
    met: bool | None = None
    peers: str = ""


def at_most(what: str, value: float, bar: float, unit: str, peers: str = "") -> Row:
    """Return a row for a value with an upper bar."""
    shown = f"{value:.2f}" if value < 10 else f"{value:.0f}"
    return Row(what=what, measured=f"{shown} {unit}", bar=f"≤ {bar:g} {unit}", met=value <= bar, peers=peers)


# -- numbers ----------------------------------------------------------------------------------------


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile: the value that one in a hundred exceeds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def noise(values: Sequence[float]) -> float:
    """Return how far the middle half of the values spreads, as a part of their median."""
    if len(values) < 4:
        return (max(values) - min(values)) / median(values)
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / median(values)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of measurements made next to each other: drift cancels in each."""
    return median([a / b for a, b in zip(ours, theirs, strict=True)])


def told(times: Mapping[str, Sequence[float]], unit: str = "s") -> str:
    """Return the medians in words: ``papermill 3.1 s ±2 %``, where ± is the spread of the middle half."""
    scale, digits = (1000, 1) if unit == "ms" else (1, 2)
    return ", ".join(
        f"{name} {median(values) * scale:.{digits}f} {unit} ±{noise(values) * 50:.0f} %"
        for name, values in times.items()
    )


# -- timing -----------------------------------------------------------------------------------------


def timed(action: Callable[[], Any]) -> float:
    """Return how long a call takes, in seconds."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def interleaved(
    actions: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    before: Callable[[], Any] = lambda: None,
    warmups: int = 1,
) -> dict[str, list[float]]:
    """Time several things in turn, there and back (ABBA), so that a machine that drifts favours none.

    Args:
        actions: name → what is timed.
        repeats: how often each is timed.
        before: called, untimed, before each timing.
        warmups: rounds that are not counted.

    Returns:
        Name → seconds, in the order of the rounds.
    """
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(-warmups, repeats):
        for name in list(actions)[:: 1 if number % 2 == 0 else -1]:
            before()
            taken = timed(actions[name])
            if number >= 0:
                times[name].append(taken)
    return times


def run(command: Sequence[str | Path], cwd: Path, **variables: str) -> None:
    """Run a process to its end, quietly.

    Raises:
        RuntimeError: it failed; holds what it said.
    """
    done = subprocess.run(
        list(command),
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).decode("utf-8", "replace")[-2000:]
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{said}")


def environment(**variables: str) -> dict[str, str]:
    """Return the variables of measured processes: no settings but ours, and no lock in the background.

    Modules are compiled once, as installers do, and not in each process.
    """
    dropped = ("REPROKIT_", "GIT_", "PYTHONDONTWRITEBYTECODE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, "REPROKIT_LOCK": "never", **_PLACES, **variables}


# -- places -----------------------------------------------------------------------------------------

_PLACES: dict[str, str] = {}  # set while a `workspace` is open


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Yield a folder that is gone afterwards; measured processes keep caches and IPython's history in it."""
    with tempfile.TemporaryDirectory(prefix="reprokit-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        _PLACES.update(REPROKIT_CACHE=str(folder / "cache"), IPYTHONDIR=str(folder / "ipython"))
        try:
            yield folder
        finally:
            _PLACES.clear()


def git(root: Path, *arguments: str) -> None:
    """Run git as an author of its own, without the user's configuration."""
    author = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0")
    run(["git", *author, *arguments], root, GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1")


def project(root: Path, files: int = 10) -> Path:
    """Make a git repository of small source files, a hundred in each folder, and commit it."""
    for number in range(files):
        path = root / f"package_{number // 100:03}" / f"module_{number:05}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"number = {number}\n" * 20)
    return _committed(root)


def notebook_project(root: Path) -> Path:
    """Make a git repository of the example notebooks and return the folder they are in."""
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns("out", ".*"))
    (root / ".gitignore").write_text("out/\n")
    _committed(root)
    return root / "notebooks"


def _committed(root: Path) -> Path:
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=start")
    git(root, "status")  # refreshes the index, as any work in the repository would
    return root


class Kernel:
    """A fresh Jupyter kernel in a folder, as a front end talks to it."""

    def __init__(self, cwd: Path, **variables: str) -> None:
        from jupyter_client.manager import start_new_kernel

        self._manager, self._client = start_new_kernel(
            kernel_name="python3",
            cwd=str(cwd),
            env=environment(**variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel()

    def cell(self, source: str) -> float:
        """Execute a cell and return the seconds until its front end has the reply and the kernel is idle.

        Raises:
            RuntimeError: the cell failed.
        """
        began = time.perf_counter()
        request = self._client.execute(source)
        reply = self._client.get_shell_msg(timeout=120)
        while not self._is_idle(self._client.get_iopub_msg(timeout=120), request):
            pass
        taken = time.perf_counter() - began
        if reply["content"]["status"] != "ok":
            content = reply["content"]
            raise RuntimeError(f"{source!r} failed: {content.get('ename')}: {content.get('evalue')}")
        return taken

    def value(self, expression: str) -> Any:
        """Return the value of an expression of literals in the kernel."""
        self._client.execute("", user_expressions={"value": expression}, store_history=False)
        shown = self._client.get_shell_msg(timeout=120)["content"]["user_expressions"]["value"]
        return ast.literal_eval(shown["data"]["text/plain"])

    def cpu(self) -> float:
        """Return the CPU time that the kernel has used so far, in all its threads, in seconds."""
        times = psutil.Process(self._manager.provisioner.pid).cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        """Return the kernel's resident memory in bytes."""
        return int(psutil.Process(self._manager.provisioner.pid).memory_info().rss)

    @staticmethod
    def _is_idle(message: Mapping[str, Any], request: str) -> bool:
        mine = message["parent_header"].get("msg_id") == request
        return bool(mine and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle")

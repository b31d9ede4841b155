"""The installers, run away from the environment this process is in, and what their logs mean.

Knows where uv is, which variables would mislead a tool, and how to read a log; it does not know what is
installed or why.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["find_uv", "has_pip", "held", "last_line", "run_tool", "unreachable"]

# What would bend exact pins, or make a tool look at another environment than it is told to.
_DROPPED = {
    "CONDA_PREFIX", "DYLD_INSERT_LIBRARIES", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV",
    "PIP_CONSTRAINT", "PIP_NO_BINARY", "PIP_ONLY_BINARY", "PIP_PREFIX", "PIP_PRE", "PIP_REQUIRE_VIRTUALENV",
    "PIP_REQUIREMENT", "PIP_TARGET", "PIP_USER",
    "UV_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_EXCLUDE_NEWER", "UV_NO_BINARY", "UV_OVERRIDE",
    "UV_PRERELEASE", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "UV_REQUIRE_HASHES", "UV_RESOLUTION",
}  # fmt: skip
_UNREACHABLE = re.compile(
    r"network (was disabled|connectivity is disabled)|error sending request|tcp connect|dns error|failed to fetch"
    r"|timed out|Max retries exceeded|Connection (refused|reset)|Temporary failure in name resolution"
    r"|NewConnectionError|ConnectTimeout|Could not resolve host",
    re.IGNORECASE,
)


def find_uv() -> str | None:
    """Return the path of uv: the one that came with reprokit, else the one on the PATH, else None."""
    if importlib.util.find_spec("uv") is not None:
        import uv

        with contextlib.suppress(FileNotFoundError):
            return os.fspath(uv.find_uv_bin())
    return shutil.which("uv")


def has_pip() -> bool:
    """Return whether this interpreter has pip."""
    return importlib.util.find_spec("pip") is not None


def run_tool(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run an installer, away from the environment this process is in; its output is returned as text.

    No interpreter is ever downloaded: that is for the user to say.
    """
    inherited = {key: value for key, value in os.environ.items() if key not in _DROPPED}
    own = {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    return subprocess.run(
        command,
        capture_output=True,
        check=False,
        cwd=cwd,
        encoding="utf-8",
        env={**inherited, **own, **(env or {})},
        errors="replace",
        input="" if stdin is None else stdin,
    )


def unreachable(log: str) -> bool:
    """Return whether an installer's log says that it could not reach its index."""
    return bool(_UNREACHABLE.search(log))


def last_line(log: str) -> str:
    """Return the line of an installer's log that says most: the innermost cause, or the last error.

    >>> last_line("Resolving\\nerror: Failed\\n  cause: hash mismatch\\n")
    'hash mismatch'
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    causes = [line.partition("cause: ")[2] for line in lines if line.startswith("cause: ")]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (causes[:1] or errors[:1] or lines[-1:] or ["no output"])[0]


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file: one process at a time; the system lets go of it when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)

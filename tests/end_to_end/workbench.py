"""A project under git, real kernels in it, and the command line as users have it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import start_new_kernel
from uv import find_uv_bin
from warm import Warm

from reprokit.records import Run
from reprokit.store.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCHER = REPOSITORY / "reprokit" / "capture" / "launch.py"
# The installer's cache of the user who runs the tests; inside a test HOME is an empty folder.
UV_CACHE = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")


class Bench:
    """A project under git, and what a user does in it."""

    def __init__(self, project: Path, cache: Path, warm: Warm | None = None) -> None:
        self.project = project
        self.cache = cache
        self._warm = warm

    @property
    def environ(self) -> dict[str, str]:
        """What the user's processes see."""
        return {**os.environ, "REPROKIT_CACHE": str(self.cache), "REPROKIT_LOCK": "never", "UV_CACHE_DIR": UV_CACHE}

    def reprokit(self, *arguments: str, code: int = 0, cwd: Path | None = None) -> str:
        """Run the command line and return what it printed."""
        run = self.cold if self._warm is None else self._warm.run
        done = run(arguments, cwd or self.project, self.environ)
        assert done.returncode == code, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback (most recent call last)" not in done.stderr, done.stderr
        return done.stdout

    @staticmethod
    def cold(arguments: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the command line as a shell does, in an interpreter that has imported nothing yet."""
        command = [sys.executable, "-m", "reprokit", *arguments]
        return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)

    def verdict(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Replay and return the verdict."""
        verdict: dict[str, Any] = json.loads(self.reprokit("replay", *arguments, "--json", code=code))
        return verdict

    def run_cells(self, sources: Sequence[str], cwd: Path | None = None, **variables: str) -> list[str]:
        """Execute cells in one kernel, as a front end does; return the errors, one entry a cell."""
        environ = {**self.environ, **variables}
        manager, client = start_new_kernel(kernel_name="python3", cwd=str(cwd or self.project), env=environ)
        try:
            replies = [client.execute_interactive(s, timeout=120, output_hook=lambda _: None) for s in sources]
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
        return [reply["content"].get("ename", "") for reply in replies]

    def notebook(self, name: str, *sources: str, kernelspec: bool = True) -> Path:
        """Write a notebook of these code cells; a cell that begins with ``#: parameters`` gets that tag."""
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        notebook = nbformat.v4.new_notebook(metadata=metadata if kernelspec else {})
        for source in sources:
            tags = ["parameters"] if source.startswith("#: parameters") else []
            notebook.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
        path = self.project / name
        nbformat.write(notebook, path)
        return path

    def latest(self) -> Run:
        """Return the newest run that is no replay."""
        store = Store.open(self.project)
        return store.load(store.resolve("latest"))

    def commit(self, message: str = "work") -> None:
        """Commit everything."""
        for command in (["add", "--all"], ["commit", "--quiet", "--message", message]):
            subprocess.run(["git", *command], cwd=self.project, check=True, capture_output=True)


def uv(*arguments: object) -> str:
    command = [find_uv_bin(), *map(str, arguments)]
    environ = {**os.environ, "UV_CACHE_DIR": UV_CACHE, "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def kernel_of(python: Path, folder: Path) -> None:
    """Make the kernel that `reprokit install` makes: reprokit itself is not in its environment."""
    folder.mkdir(parents=True)
    command = [str(python), str(LAUNCHER), "kernel", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "recorded", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))


def session(bench: Bench, kernel: str, sources: Sequence[str]) -> None:
    """Work in a notebook as a user does."""
    manager, client = start_new_kernel(kernel_name=kernel, cwd=str(bench.project), env=bench.environ)
    try:
        for source in sources:
            reply = client.execute_interactive(source, timeout=120, output_hook=lambda _: None)
            assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel()

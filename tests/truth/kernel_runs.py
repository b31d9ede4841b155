"""Runs the cells: in an ordinary kernel, with or without reprokit in it, and by ``reprokit run``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop
from known_cells import KnownCell

from reprokit.records import FileUse, Run
from reprokit.store.store import Store

__all__ = ["TIERS", "Place", "Recorded", "Use", "plain_kernel", "run_recorded", "sources_of"]

Use = tuple[str, str]  # a file's path in a record, and "read" or "write"

SETUP = "import os, sys\nimport numpy as np\nimport pandas as pd\nimport workers"
#: How each column of the table is reached: by ``reprokit run`` or in a session, and with which tier forced.
TIERS = {
    "complete": ("run", ""),
    "patched": ("session", ""),
    "watch": ("session", "watch"),
    "basic": ("session", "basic"),
}
_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a project, what lies outside of it, and a home."""

    root: Path

    @property
    def project(self) -> Path:
        """The project."""
        return self.root / "project"

    def copy(self, root: Path) -> Place:
        """Return the same files, links and all, in another folder."""
        root.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", str(self.root), str(root)], check=True)
        return Place(root)

    def environ(self, **variables: str) -> dict[str, str]:
        """Return the environment of what runs here."""
        dropped = ("REPROKIT_", "GIT_", "XDG_", "JPY_", "PYTHON", "LD_PRELOAD")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        (self.root / "tmp").mkdir(exist_ok=True)
        home = self.root / "home"
        own = {
            "HOME": str(home),
            "IPYTHONDIR": str(home / ".ipython"),
            "MPLCONFIGDIR": str(home / ".matplotlib"),
            "TMPDIR": str(self.root / "tmp"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "REPROKIT_LOCK": "never",
        }
        return {**kept, **own, **variables}


def make_place(root: Path) -> Place:
    """Make the files that the cells find, and a git repository that has some of them."""
    place = Place(root)
    root.mkdir()
    script = Path(__file__).with_name("material.py")
    done = subprocess.run(
        [sys.executable, str(script), str(root)], env=place.environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    author = ["-c", "user.name=A Tester", "-c", "user.email=tester@example.org"]
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "workers.py", "data/t.csv", "data/over.txt"],
        ["commit", "-q", "-m", "start"],
    ):
        subprocess.run(
            ["git", *author, *command], cwd=place.project, env=place.environ(), check=True, capture_output=True
        )
    return place


def sources_of(place: Place, cells: Sequence[KnownCell]) -> list[str]:
    """Return the code to run in a place: the imports first."""
    return [SETUP, *(cell.source.replace("@OUTSIDE@", str(place.root / "outside")) for cell in cells)]


class PlainKernel:
    """An ordinary kernel."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_SECONDS)

    def run(self, source: str) -> None:
        """Run a cell, which must not fail."""
        reply = self._client.execute_interactive(
            source, timeout=_SECONDS, allow_stdin=False, output_hook=lambda _: None
        )
        content = reply["content"]
        said = f"{content.get('ename')}: {content.get('evalue')}"
        assert content["status"] == "ok", f"this cell failed ({said}):\n{source}"

    def wait_for_background(self) -> None:
        """Wait until the run that is open has hashed and written what the cells so far used."""
        code = "(lambda run: run and run._session.catch_up())(__import__('reprokit').current_run())"
        reply = self._client.execute_interactive(code, silent=True, timeout=_SECONDS, output_hook=lambda _: None)
        assert reply["content"]["status"] == "ok"


@contextmanager
def plain_kernel(place: Place, prefix: Sequence[str] = (), **variables: str) -> Iterator[PlainKernel]:
    """Give a kernel that works in the project, started after the words of ``prefix``."""
    manager = KernelManager(kernel_name="python3")
    assert manager.kernel_spec is not None
    manager.kernel_spec.argv = [*prefix, sys.executable, *manager.kernel_spec.argv[1:]]
    with (place.root / "kernel.log").open("wb") as log:
        manager.start_kernel(cwd=str(place.project), env=place.environ(**variables), stdout=log, stderr=log)
    client = manager.client()
    try:
        yield PlainKernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
        manager.cleanup_resources()
        ensure_event_loop().close()  # this thread's, which nobody else closes


@dataclass(slots=True)
class Recorded:
    """What reprokit recorded of the cells.

    Attributes:
        tier: what the record says of itself.
        uses: of each cell, the files it names.
    """

    tier: str
    complete: bool
    reasons: tuple[str, ...]
    uses: list[dict[Use, FileUse]] = field(default_factory=list)


def run_recorded(place: Place, cells: Sequence[KnownCell], how: str, forced: str) -> Recorded:
    """Run the cells with reprokit watching and return what it recorded."""
    variables = {"REPROKIT_TIER": forced} if forced else {}
    sources = sources_of(place, cells)
    (_run_notebook if how == "run" else _run_session)(place, sources, variables)
    store = Store.open(place.project)
    run = store.load(store.resolve("latest"))
    assert run.status == "done", run.reason
    said = run.capture
    recorded = Recorded("none", False, ()) if said is None else Recorded(said.tier, said.complete, said.reasons)
    recorded.uses = list(_uses(store, run, sources))
    return recorded


def _run_notebook(place: Place, sources: Sequence[str], variables: dict[str, str]) -> None:
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": spec})
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(notebook, place.project / "cells.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "reprokit", "run", "cells.ipynb"],
        cwd=place.project,
        env=place.environ(**variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _run_session(place: Place, sources: Sequence[str], variables: dict[str, str]) -> None:
    with plain_kernel(place, **variables) as kernel:
        for source in ("%load_ext reprokit", "%repro start", *sources, "%repro stop"):
            kernel.run(source)
            if variables:  # a forced tier keeps no bytes that the next cell overwrites before they are hashed
                kernel.wait_for_background()


def _uses(store: Store, run: Run, sources: Sequence[str]) -> Iterator[dict[Use, FileUse]]:
    found = [cell for cell in run.cells if cell.observed]
    first = next(at for at, cell in enumerate(found) if cell.source.strip() == SETUP)
    found = found[first + 1 : first + len(sources)]
    assert len(found) == len(sources) - 1, f"{len(found)} cells were recorded"
    for cell in found:
        uses: dict[Use, FileUse] = {}
        for use in (*cell.reads, *cell.writes):
            for one in _opened(store, use):
                uses[one.path, use.access] = one
        yield uses


def _opened(store: Store, use: FileUse) -> list[FileUse]:
    """Return the files of a folder that is recorded as one dataset, or the file itself."""
    if not use.files:
        return [use]
    assert use.digest is not None
    return [FileUse.from_dict(one) for one in json.loads(store.objects.get_bytes(use.digest))]

"""A real Jupyter kernel in a real project, and the record that a session in it leaves."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import KernelManager

from reprokit.records import Cell, Run
from reprokit.store.store import Store

_SECONDS = 60.0


class Kernel:
    """A kernel that works in ``project``, and what its user sees."""

    def __init__(self, project: Path, environ: dict[str, str]) -> None:
        self.project = project
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(project), env=environ, stderr=subprocess.DEVNULL)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=_SECONDS)
        self.asked: list[tuple[str, bool]] = []

    def send(self, code: str, *, cell_id: str | None = None, answers: bool = False) -> str:
        """Ask for an execution and return the request's id."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": answers,
            "stop_on_error": False,
        }
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell_id} if cell_id else {})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def run(self, code: str, *, answers: Sequence[str] = (), cell_id: str | None = None) -> list[Any]:
        """Execute a cell and return its outputs as a front end shows them."""
        request = self.send(code, cell_id=cell_id, answers=bool(answers))
        for answer in answers:
            asked = self.client.get_stdin_msg(timeout=_SECONDS)["content"]
            self.asked.append((asked["prompt"], asked["password"]))
            self.client.input(answer)
        return self.outputs_of(request)

    def outputs_of(self, request: str) -> list[Any]:
        """Wait until the kernel is done with a request and return its outputs."""
        shown: list[Any] = []
        while True:
            message = self.client.get_iopub_msg(timeout=_SECONDS)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind in ("stream", "display_data", "execute_result", "error"):
                shown.append(nbformat.v4.output_from_msg(message))
        while self.client.get_shell_msg(timeout=_SECONDS)["parent_header"].get("msg_id") != request:
            pass
        return shown

    def complete(self, code: str) -> list[str]:
        """Return what the kernel offers at the end of ``code``, each as the whole line it would give."""
        message = self.client.session.msg("complete_request", {"code": code, "cursor_pos": len(code)})
        self.client.shell_channel.send(message)
        content = self.client.get_shell_msg(timeout=_SECONDS)["content"]
        return [code[: content["cursor_start"]] + match for match in content["matches"]]

    def wait_for_text(self, text: str) -> None:
        """Wait until the kernel has printed ``text``."""
        printed = ""
        while text not in printed:
            message = self.client.get_iopub_msg(timeout=_SECONDS)
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]

    def capture(self, *cells: str, name: str = "", start: str = "%repro start {name}") -> Run:
        """Run the cells between ``%repro start`` and ``%repro stop`` and return the record."""
        name = name or f"run{os.urandom(4).hex()}"
        self.run("%load_ext reprokit")
        self.run(start.format(name=name))
        for cell in cells:
            self.run(cell)
        self.run("%repro stop")
        return self.record(name)

    def store(self) -> Store:
        """Return the project's store."""
        return Store.open(self.project)

    def record(self, name: str = "latest") -> Run:
        """Return a run as it is recorded now."""
        store = self.store()
        return store.load(store.resolve(name))

    def stop(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


def observed(run: Run) -> list[Cell]:
    """Return the cells from the one that started the run; a shared kernel has a long past."""
    return [cell for cell in run.cells if cell.observed]


def outputs_of(store: Store, cell: Cell) -> list[dict[str, Any]]:
    """Return a cell's recorded outputs."""
    assert cell.outputs is not None
    outputs: list[dict[str, Any]] = json.loads(store.objects.get_bytes(cell.outputs))
    return outputs


def text(outputs: Sequence[Any]) -> str:
    """Return what the outputs show as plain text."""
    parts = []
    for output in outputs:
        if output["output_type"] == "stream":
            parts.append(output["text"])
        elif output["output_type"] == "error":
            parts.append("\n".join(output["traceback"]))
        else:
            parts.append(output["data"].get("text/plain", ""))
    return "\n".join(parts)


def make_project(root: Path, environ: dict[str, str]) -> Path:
    """Make a git repository with one committed file."""
    root.mkdir()
    (root / "analysis.py").write_text("print('hello')\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *command], cwd=root, env=environ, check=True, capture_output=True)
    return root

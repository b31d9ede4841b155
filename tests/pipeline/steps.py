"""A project with notebooks and scripts, and steps performed in it: in this process, or in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from reprokit.pipeline.spec import Spec
from reprokit.records import Run
from reprokit.store.store import Store

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@dataclass(frozen=True)
class Workshop:
    """A project under git in which steps are performed."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> Workshop:
        root.mkdir()
        (root / "pyproject.toml").write_text('[tool.reprokit]\nlock = "never"\n')
        (root / ".gitignore").write_text("data/\nout/\n")
        (root / "data").mkdir()
        (root / "out").mkdir()
        for command in (["init", "-q"], ["add", "--all"], [*AUTHOR, "commit", "-q", "-m", "start"]):
            subprocess.run(["git", *command], cwd=root, check=True, capture_output=True)
        return cls(root)

    @property
    def store(self) -> Store:
        return Store.open(self.root)

    def notebook(self, name: str, *sources: str) -> str:
        """Write a notebook; a cell that begins with ``#: parameters`` gets that tag."""
        book = nbformat.v4.new_notebook(metadata=KERNEL)
        book.cells.append(nbformat.v4.new_markdown_cell("# Title"))
        for source in sources:
            tags = ["parameters"] if source.startswith("#: parameters") else []
            book.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
        nbformat.write(book, self.root / name)
        return name

    def write(self, name: str, text: str) -> str:
        (self.root / name).write_text(text)
        return name

    def spec(self, **fields: Any) -> Spec:
        return Spec.from_dict({"project": str(self.root), **fields})

    def step(self, document: dict[str, Any], **variables: str) -> subprocess.CompletedProcess[str]:
        """Perform a step in a process of its own, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "reprokit.step", "-"],
            input=json.dumps(document),
            cwd=self.root,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    @contextmanager
    def started(self, document: dict[str, Any], command: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
        """Start a step in a process of its own; it is killed in the end if it still runs."""
        (self.root / "spec.json").write_text(json.dumps(document))
        process = subprocess.Popen(
            [sys.executable, *(command or ["-m", "reprokit.step", "spec.json"])],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "result.json").read_text())
        return found

    def latest(self) -> Run:
        return self.store.load(self.store.resolve("latest"))


AUTHOR = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.org")


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; one that nobody has collected yet has."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"

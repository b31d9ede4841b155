"""A project with a sweep whose points are tried one by one, and the processes that are killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprokit.pipeline.sweep.claim import Point
from reprokit.pipeline.sweep.task import Task, variables_here
from reprokit.records import Run
from reprokit.store.store import Store

# A script that says that it runs, and waits as long as the file `hold` is there.
SLOW = """\
import os, sys, time
number = sys.argv[1]
with open(f'out/draft-{number}-{os.getpid()}', 'w') as file:
    file.write(f'{os.getpid()} {os.getppid()}')
os.replace(file.name, f'out/begun-{number}-{os.getpid()}')
while os.path.exists('hold'):
    time.sleep(0.02)
with open(f'out/result-{number}.txt', 'a') as file:
    file.write(number)
"""
QUICK = "import sys\nopen(f'out/{sys.argv[1]}.txt', 'a').write('x')\n"
_PATIENCE_S = 120


def until(what: Callable[[], Any], why: str = "it") -> Any:
    """Wait until something is so, and return what it is."""
    end = time.monotonic() + _PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < end, f"{why} did not come"
        time.sleep(0.02)
    return found


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; one that nobody has collected yet has."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


@dataclass
class Bench:
    """A project with a sweep."""

    root: Path
    book: Path
    count: int = 0
    variables: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def at(cls, root: Path) -> Bench:
        root.mkdir()
        (root / "pyproject.toml").write_text('[tool.reprokit]\nlock = "never"\n')
        (root / ".gitignore").write_text("out/\nhold\n")
        (root / "out").mkdir()
        (root / "slow.py").write_text(SLOW)
        (root / "quick.py").write_text(QUICK)
        author = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.org")
        for command in (["init", "-q"], ["add", "--all"], [*author, "commit", "-q", "-m", "start"]):
            subprocess.run(["git", *command], cwd=root, check=True, capture_output=True)
        store = Store.open(root)
        store.layout.create()
        book = store.layout.root / "sweeps" / "tried"
        (book / "points").mkdir(parents=True)
        (book / "sweep.json").write_text("{}")
        return cls(root, book, variables=variables_here(store.settings.variables))

    @property
    def store(self) -> Store:
        return Store.open(self.root)

    def task(self, script: str = "quick.py", **fields: Any) -> dict[str, Any]:
        """Return the task of a new point, which runs a script with the point's number."""
        self.count += 1
        spec = {"script": script, "arguments": [str(self.count)], "project": str(self.root), "inherit": ["*"]}
        known = {"sweep": "tried", "point": self.count, "book": str(self.book), "project": str(self.root)}
        made = Task.from_dict(
            {**known, "store": str(self.root / ".reprokit"), "variables": self.variables, "spec": spec, **fields}
        )
        return made.to_dict()

    def point(self, task: dict[str, Any]) -> Point:
        return Point(self.book / "points" / str(task["point"]))

    def runs(self, task: dict[str, Any]) -> list[Run]:
        """Return the runs of a point, oldest first."""
        runs = (self.store.load(name) for name in sorted(self.store.layout.run_names()))
        return [run for run in runs if run.point == task["point"]]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let slow scripts wait."""
        hold = self.root / "hold"
        hold.touch()
        try:
            yield
        finally:
            hold.unlink(missing_ok=True)

    def begun(self, task: dict[str, Any], times: int = 1) -> tuple[int, int]:
        """Wait until a slow script runs, for the so manieth time; return its process and the step's."""

        def look() -> list[Path]:
            found = sorted(
                (self.root / "out").glob(f"begun-{task['point']}-*"), key=lambda path: path.stat().st_mtime_ns
            )
            return found if len(found) >= times else []

        script, step = until(look, f"the script of point {task['point']}")[-1].read_text().split()
        return int(script), int(step)

    @contextmanager
    def process(self, code: str, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Run a program in a process (and group) of its own, which is killed in the end."""
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd="/",
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def kill(pid: int) -> None:
    """Kill a process, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid), f"the end of {pid}")


PLACE = """\
import json, sys
from reprokit.pipeline.sweep.place import place
print(json.dumps(place(json.loads(sys.argv[1]))))"""


def text(task: dict[str, Any]) -> str:
    return json.dumps(task)

"""Dask clusters whose processes are ours to kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from placing import until


@dataclass
class Cluster:
    """A scheduler and its workers, each a process that can be killed."""

    folder: Path
    processes: list[subprocess.Popen[bytes]]
    address: str = ""

    def start(self) -> None:
        file = self.folder / "scheduler.json"
        self.add(
            "dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)
        )
        told = until(lambda: file.exists() and file.read_text().endswith("}") and file.read_text(), "the scheduler")
        self.address = json.loads(told)["address"]

    def worker(
        self, *options: str, first: str = "", before: Sequence[str] = (), **variables: str
    ) -> subprocess.Popen[bytes]:
        common = ("--nthreads", "1", "--memory-limit", "0", "--no-nanny", "--no-dashboard")
        place = ("--local-directory", str(self.folder))
        return self.add("dask_worker", self.address, *common, *place, *options, first=first, before=before, **variables)

    def add(
        self, what: str, *arguments: str, first: str = "", before: Sequence[str] = (), **variables: str
    ) -> subprocess.Popen[bytes]:
        """Start a process of the cluster, which executes code first."""
        code = f"{first}\nimport sys\nfrom distributed.cli.{what} import main\nsys.exit(main())"
        command = [*before, sys.executable, "-W", "ignore", "-c", code, *arguments]
        environ = {**os.environ, **variables}
        with (self.folder / "log.txt").open("ab") as log:
            self.processes.append(
                subprocess.Popen(command, cwd="/", env=environ, stdout=log, stderr=log, start_new_session=True)
            )
        return self.processes[-1]


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    made = Cluster(folder, [])
    try:
        made.start()
        for _ in range(workers):
            made.worker()
        yield made
    finally:
        for process in made.processes:
            process.kill()
            process.wait()

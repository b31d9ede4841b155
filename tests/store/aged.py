"""A store of runs that are long over, with code snapshots, data, an environment's lock, pins and a replay."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from reprokit.capture.code import code
from reprokit.digest import canonical_json, hex_of
from reprokit.records import Cell, Environment, FileUse, Run
from reprokit.store.layout import new_run_id
from reprokit.store.liveness import this_process
from reprokit.store.store import Store

DAY = 86400.0


def age(path: Path, days: float) -> None:
    """Make a file, or all files below a folder, so many days old."""
    then = time.time() - days * DAY
    for one in (path, *path.rglob("*")) if path.is_dir() else (path,):
        os.utime(one, (then, then))


class Aged:
    """Writes runs as capture does, as if that had been long ago."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.store = Store.open(project)

    def environment(self, name: str, wheel: bytes) -> Environment:
        """Return an environment; its lock names a wheel that is kept."""
        self.store.layout.create()
        fingerprint = "sha256:" + hex_of(self.store.objects.put_bytes(b"")).replace("e", name)
        digest = self.store.objects.put_bytes(wheel)
        lock = {"fingerprint": fingerprint, "python": "3.12.1", "extras": [
            {"name": "own", "version": "1", "kind": "wheel", "origin": "local", "digest": digest, "filename": "own.whl"}
        ]}  # fmt: skip
        path = self.store.layout.locks / f"{hex_of(fingerprint)}.json"
        path.write_bytes(canonical_json(lock))
        age(path, 400)
        return Environment(
            fingerprint=fingerprint, python="3.12.1", implementation="cpython", executable="/x", prefix="/"
        )

    def run(
        self,
        days: float,
        *contents: bytes,
        folder: tuple[bytes, ...] = (),
        status: str = "done",
        replay_of: str | None = None,
        environment: Environment | None = None,
        snapshot: bool = False,
        tags: dict[str, str] | None = None,
    ) -> str:
        """Write a run that began so many days ago and read these contents; return its id."""
        began = time.time() - days * DAY
        run_id, journal = self.store.new_run(run_id=new_run_id(began))
        reads = [self._use(f"data/{number}.bin", data) for number, data in enumerate(contents)]
        if folder:
            members = [self._use(f"set/{number}.bin", data) for number, data in enumerate(folder)]
            listed = self.store.objects.put_bytes(canonical_json([use.to_dict() for use in members]))
            reads.append(FileUse(path="set/", access="read", digest=listed, stored="object", files=len(members)))
        outputs = self.store.objects.put_bytes(canonical_json([{"text": run_id}]))
        cell = Cell(seq=1, source="pass", status="done", reads=tuple(reads), outputs=outputs)
        run = Run(
            id=run_id,
            kind="session" if replay_of is None else "replay",
            replay_of=replay_of,
            started=began,
            status=status,
            root=str(self.project),
            tags=tags or {},
            environments=() if environment is None else (environment,),
            writers=(this_process(),),
        )
        said = {key: value for key, value in run.to_dict().items() if key not in ("id", "cells", "code", "pin")}
        if snapshot:
            state, gaps = code.snapshot(
                self.project,
                run_id,
                private=self.store.layout.code_git,
                store_large=lambda path: FileUse(path=str(path), access="read"),
                limit=10**9,
            )
            assert state is not None, gaps
            said["code"] = state.to_dict()
        journal.append({"set": said})
        journal.append({"cell": 1, "set": {k: v for k, v in cell.to_dict().items() if k != "seq"}})
        journal.close()
        self.old()
        return run_id

    def _use(self, path: str, data: bytes) -> FileUse:
        digest = self.store.objects.put_bytes(data)
        return FileUse(path=path, access="read", size=len(data), digest=digest, stored="object")

    def old(self) -> None:
        """Let all objects be as old as they can be."""
        age(self.store.layout.objects, 500)

    def refs(self) -> list[str]:
        """Return the refs of ours in the project's repository."""
        command = ["git", "for-each-ref", "--format=%(refname)", "refs/reprokit"]
        done = subprocess.run(command, cwd=self.project, capture_output=True, text=True, check=True)
        return [line.rpartition("/")[2] for line in done.stdout.split()]

    def names(self) -> set[str]:
        """Return the objects there are, by digest."""
        return {f"sha256:{path.parent.name}{path.name}" for path in self.store.layout.objects.glob("??/*")}


def digests(text: str) -> set[str]:
    """Return the names of removed objects in the output of ``gc --json``."""
    return {item["name"] for item in json.loads(text)["removed"] if item["kind"] == "object"}

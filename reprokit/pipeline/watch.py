"""Runs again what is out of date: stages by ``dvc repro``, pinned runs as steps, each in a process of its own.

It knows how these are started; what is out of date, ``stale`` says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from reprokit.pipeline.dvc import nearest
from reprokit.pipeline.spec import Spec, encode
from reprokit.pipeline.stale import Digests, Item, look
from reprokit.store.store import Store

__all__ = ["Watch"]


class Watch:
    """Looks again and again, and runs what is out of date; what failed is not tried again before something changes.

    Args:
        store: holds the runs.
        words: names of pins and stages; all by default.
        older_than: see ``stale.look``.
        tell: told of each thing that is run, in one line.
    """

    def __init__(
        self, store: Store, words: Sequence[str], older_than: float | None, tell: Callable[[str], None]
    ) -> None:
        self._store = store
        self._words = words
        self._older_than = older_than
        self._tell = tell
        self._digests = Digests()
        self._tried: dict[tuple[str, str], Item] = {}

    def once(self) -> tuple[Item, ...]:
        """Look, run what is out of date and was not tried as it is, and return what was found before."""
        items = look(self._store, self._words, older_than=self._older_than, digests=self._digests)
        due = [item for item in items if item.reasons and self._tried.get((item.kind, item.name)) != item]
        self._tried |= {(item.kind, item.name): item for item in due}
        stages = [item.name for item in due if item.kind == "stage"]
        for item in due:
            self._tell(f"{item.name}: {'; '.join(reason.text for reason in item.reasons)}")
        if stages:
            self._repro(stages, forced=[item.name for item in due if item.kind == "stage" and _is_unseen(item)])
        for item in due:
            if item.kind == "pin" and item.pinned is not None:
                self._run(item)
        return items

    def _repro(self, stages: Sequence[str], forced: Sequence[str]) -> None:
        project = self._store.layout.project
        folder = (nearest(project) or project / "dvc.yaml").parent
        for name in forced:
            self._start(f"dvc repro --force {name}", folder, ["-m", "dvc", "repro", "--single-item", "--force", name])
        self._start(f"dvc repro {' '.join(stages)}", folder, ["-m", "dvc", "repro", *stages])

    def _run(self, item: Item) -> None:
        spec = encode(Spec(run=item.pinned, name=item.name))
        self._start(f"run {item.name} again", self._store.layout.project, ["-m", "reprokit.step", spec])

    def _start(self, what: str, folder: Path, arguments: Sequence[str]) -> None:
        own = str(Path(sys.executable).parent)
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), own])  # where `reprokit` is when none is active
        environ = {**os.environ, "PATH": path}
        code = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environ, stdout=sys.stderr, check=False
        ).returncode
        self._tell(f"{what}: {'done' if code == 0 else f'failed ({code})'}")


def _is_unseen(item: Item) -> bool:
    """Return whether a stage is out of date for a reason that DVC does not see: it knows neither age nor packages."""
    return any(reason.cause in ("age", "environment") for reason in item.reasons)

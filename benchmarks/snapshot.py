"""The snapshot of a dirty repository against ``git status`` of the same tree."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import (
    Options,
    Row,
    at_most,
    environment,
    git,
    interleaved,
    paired_ratio,
    project,
    told,
    workspace,
)

from reprokit.capture.code import code
from reprokit.store.layout import new_run_id


def rows(options: Options) -> Iterator[Row]:
    """Measure and yield rows."""
    count = 1000 if options.quick else 10_000
    with workspace() as folder:
        root = project(folder / "project", count)
        editor = _Editor(root)
        editor.edit()
        git(root, "add", editor.staged)
        status = ["git", "status", "--porcelain"]
        actions: dict[str, Callable[[], object]] = {
            "git status": lambda: subprocess.run(status, cwd=root, env=environment(), check=True, capture_output=True),
            "snapshot": lambda: _snapshot(root),
        }
        what = f"snapshot of a dirty tree of {count:,} files"
        for when, before in (("as the last one", lambda: None), ("100 files edited since", editor.edit)):
            times = interleaved(actions, max(options.repeats, 10), before=before)
            ratio = paired_ratio(times["snapshot"], times["git status"])
            yield at_most(f"{what}, {when}", ratio, 2, "×", told(times, "ms"))


class _Editor:
    """Keeps a tree dirty: 100 tracked files changed, 20 removed, one staged, 100 untracked."""

    def __init__(self, root: Path) -> None:
        paths = sorted(root.glob("package_*/*.py"))
        self._changed, self._removed = paths[::10][:100], paths[5::50][:20]
        self._new = [root / f"new_{number}.py" for number in range(100)]
        self._count = itertools.count()
        self.staged = str(self._changed[0])

    def edit(self) -> None:
        """Write the changed and the new files with contents that no snapshot has seen."""
        text = f"edit = {next(self._count)}\n"
        for path in (*self._changed, *self._new):
            path.write_text(f"{path.name!r}\n{text}")
        for path in self._removed:
            path.unlink(missing_ok=True)


def _snapshot(root: Path) -> None:
    def never(path: Path) -> None:
        raise RuntimeError(f"{path} is not large")

    state, gaps = code.snapshot(
        root, new_run_id(), private=root / ".reprokit" / "code.git", store_large=never, limit=5 * 10**6
    )
    if state is None or gaps:
        raise RuntimeError(f"the snapshot is not whole: {gaps}")

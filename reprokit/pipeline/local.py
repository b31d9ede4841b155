"""Which modules of the project the cells of a run import, seen from the folders that they look in.

``imports`` finds them; this module knows where a run's code looks first, folders that it puts on ``sys.path`` as
plain texts among them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from reprokit.pipeline.imports import local_code
from reprokit.records import Run

__all__ = ["modules"]

_ADDED = re.compile(
    r"^[ \t]*sys\.path\.(?:append|insert)\((?:\d+, *)?(?P<quote>[\"'])(?P<folder>.*?)(?P=quote)\).*$", re.M
)


def modules(run: Run) -> tuple[str, ...]:
    """Return the files of the project's modules that a run imports, and those that they import, from its root."""
    root, cwd = Path(run.root), Path(run.cwd or run.root)
    sources = list(_sources(run, root))
    added = [cwd / found["folder"] for source in sources for found in _ADDED.finditer(source)]
    folders = [cwd, root, root / "src", *(folder.resolve() for folder in added)]
    if run.script is not None:
        folders.insert(0, (root / run.script).parent)
    found = local_code([_ADDED.sub("", source) for source in sources], folders, root)
    paths = (Path(os.path.relpath(path, root)).as_posix() for path in found)
    return tuple(sorted({path for path in paths if not path.startswith("../")} - {run.script or ""}))


def _sources(run: Run, root: Path) -> Iterator[str]:
    yield from (cell.source for cell in run.cells if not cell.source.startswith(("%load_ext reprokit", "%repro")))
    if run.script is not None and (root / run.script).is_file():
        yield (root / run.script).read_text("utf-8", "replace")

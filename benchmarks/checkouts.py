"""Checkouts of public repositories: which notebooks lie in one, and copies of it to run them in.

It knows folders and git; it does not know what is done with a notebook.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

__all__ = ["copied", "has_code", "notebooks"]


def notebooks(folder: Path) -> list[Path]:
    """Return the notebooks below a folder, relative to it."""
    found = (path.relative_to(folder) for path in folder.rglob("*.ipynb"))
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def has_code(path: Path) -> bool:
    """Return whether there is anything to run in a notebook; of one in an old format, it is taken to be so."""
    cells = json.loads(path.read_bytes()).get("cells")
    return cells is None or any(cell["cell_type"] == "code" and "".join(cell["source"]).strip() for cell in cells)


def copied(folder: Path, place: Path) -> Path:
    """Make ``place`` a fresh copy of a checkout, without the runs recorded in it, and return it."""
    shutil.rmtree(place, ignore_errors=True)
    if (folder / ".git").is_dir():  # quicker than to copy its objects, and nothing is left of what ran there before
        clone = ["git", "clone", "--quiet", "--shared", str(folder.resolve()), str(place)]
        if subprocess.run(clone, capture_output=True, check=False).returncode == 0:
            return place
        shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place, symlinks=True, ignore=shutil.ignore_patterns(".reprokit"))
    return place

"""What an executed notebook displayed and wrote, and how closely several executions of it agree.

Executions are compared cell by cell, at the closest view at which those that nothing was changed in agree: what they
do not have in common (a draw, a time, the order of threads) is the notebook's own doing, all else must be the same.
It knows outputs and files; it does not know how a notebook is executed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["VIEWS", "Shown", "closest", "displayed", "files", "written"]

Shown: TypeAlias = tuple[tuple[str, str], ...]  # of one cell: what kind of output, and what it says

# What no two processes have in common: addresses, durations, how often they were taken, temporary files, the date.
_PASSING = re.compile(
    r"0x[0-9a-f]{6,}|\d+(\.\d+)? ?(ns|[µμu]s|ms|s|min)\b|[\d,]+ loops?\b|/tmp/\S+"
    r"|\b\d{4}-\d\d-\d\d[ T][\d:.]+|ipykernel_\d+|\x1b\[[\d;]*m"
)
_NUMBER = re.compile(r"[-+]?(\d[\d,_]*\.?\d*|\.\d+)(e[-+]?\d+)?|\b(nan|inf)\b", re.IGNORECASE)
_LAYOUT = re.compile(r"[\s\-=]+")  # as wide as the numbers are
_LEFT_OUT = frozenset({".git", ".reprokit", "__pycache__", ".ipynb_checkpoints"})


def displayed(outputs: Sequence[Any], root: str) -> Shown:
    """Return what a cell displayed in a project at ``root``, as a front end shows it.

    Messages of one stream that follow each other are one: how its text is cut is a matter of time.
    """
    parts: list[tuple[str, str]] = []
    for kind, text in _parts(outputs):
        if kind.startswith("std") and parts and parts[-1][0] == kind:
            parts[-1] = (kind, parts[-1][1] + text)
        else:
            parts.append((kind, text))
    return tuple((kind, _PASSING.sub("…", text.replace(root, "ROOT"))) for kind, text in parts)


def _parts(outputs: Sequence[Any]) -> Iterator[tuple[str, str]]:
    for output in outputs:
        if output.output_type == "error":
            yield f"error {output.ename}", output.evalue
        elif output.output_type == "stream":
            yield output.name, output.text
        else:
            for mime, data in sorted(output.data.items()):
                yield mime, str(data) if mime.startswith("text/") else hashlib.sha256(str(data).encode()).hexdigest()


def _as_displayed(shown: Shown) -> object:
    return shown


def _numbers_apart(shown: Shown) -> object:
    return tuple((kind, _LAYOUT.sub("", _NUMBER.sub("#", text)) if _is_text(kind) else "") for kind, text in shown)


def _order_apart(shown: Shown) -> object:
    words = (f"{kind} {word}" for kind, text in shown if _is_text(kind) for word in _NUMBER.sub("#", text).split())
    return sorted(words), sorted({kind for kind, _ in shown})


def _text_apart(shown: Shown) -> object:
    return sorted({kind for kind, _ in shown})


def _is_text(kind: str) -> bool:
    return kind.startswith(("error", "std", "text/"))


# From the closest to the widest; at the last one there is nothing left to compare.
VIEWS: Mapping[str, Callable[[Shown], object]] = {
    "": _as_displayed,
    "numbers": _numbers_apart,
    "order": _order_apart,
    "text": _text_apart,
    "all": lambda shown: None,
}


def closest(executions: Sequence[Shown]) -> str:
    """Return the view at which all executions of a cell agree: the name of what they do not have in common."""
    return next(name for name, view in VIEWS.items() if len({repr(view(shown)) for shown in executions}) == 1)


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file of a project, those of version control and caches left out."""
    found = {}
    for folder, names, members in os.walk(root):
        names[:] = [name for name in names if name not in _LEFT_OUT]
        for member in members:
            path = Path(folder, member)
            status = path.lstat()
            found[str(path.relative_to(root))] = (status.st_size, status.st_mtime_ns)
    return found


def written(root: Path, before: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Return what has been made, changed or removed in a project since ``before``, and what is in it now."""
    after = files(root)
    changed = {name: _digest(root / name) for name in after if after[name] != before.get(name)}
    return {**changed, **{name: "removed" for name in before if name not in after}}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"

"""Lines of a cell that install packages: a replay has the environment that they made, and does not repeat them.

It knows how such lines are written in a notebook; what a program of the user's installs by itself it does not see.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["lines", "skip", "without"]

_TOOLS = r"(?:pip[\d.]*|conda|mamba|micromamba|pixi|poetry|apt(?:-get)?|(?:uv|pdm)(?:\s+pip)?)"
_PYTHON = r"(?:\{[^}]*\}|\$\S+|\S*python[\d.]*)\s+(?:-\S+\s+)*-m\s+"
_VERBS = r"(?:install|uninstall|update|upgrade|remove|add|sync|create)"
_COMMAND = rf"(?:sudo\s+)?(?:{_PYTHON})?{_TOOLS}\s+(?:-\S+\s+)*{_VERBS}\b"
_MAGIC = re.compile(rf"^(\s*)(?:%\s*|!{{1,2}}\s*(?:\S+=\S*\s+)*){_COMMAND}")
_SHELL = re.compile(rf"^(\s*)(?:\S+=\S*\s+)*{_COMMAND}")
_PYTHON_CELL = re.compile(r"^\s*%%(?:time|timeit|capture|prun)\b")
_SHELL_CELL = re.compile(r"^\s*%%(?:bash|sh|!|script\s+\S*sh)\b")


def lines(source: str) -> tuple[str, ...]:
    """Return the commands of a cell that install packages.

    >>> lines("import x\\n!pip install -q y\\n%conda install z")
    ('!pip install -q y', '%conda install z')
    >>> lines("!pip list")
    ()
    """
    return tuple(line.strip() for line, found in _looked_at(source) if found)


def without(source: str) -> str:
    r"""Return a cell in which these commands do nothing; all other lines keep their number.

    >>> without("if not there:\n    !pip install y\n")
    'if not there:\n    pass\n'
    """
    if not lines(source):
        return source
    nothing = ":" if _SHELL_CELL.match(source) else "pass"
    kept, continued = [], False
    for line, found in _looked_at(source):
        body = line.rstrip("\n")
        end = line[len(body) :]
        if found or continued:
            indent = body[: len(body) - len(body.lstrip())]
            kept.append(("" if continued else indent + nothing) + end)
            continued = body.endswith("\\")
        else:
            kept.append(line)
    return "".join(kept)


def skip(shell: Any) -> None:
    """Have a shell of IPython's leave such lines out of every cell that it runs."""
    shell.input_transformers_cleanup.insert(0, lambda rows: without("".join(rows)).splitlines(keepends=True))


def _looked_at(source: str) -> list[tuple[str, bool]]:
    """Return each line, and whether it is such a command and not text: in a string, or in a cell of another kind."""
    rows = source.splitlines(keepends=True)
    if _SHELL_CELL.match(source):
        return [(row, _SHELL.match(row) is not None) for row in rows]
    if source.lstrip().startswith("%%") and not _PYTHON_CELL.match(source):
        return [(row, False) for row in rows]
    found, quotes = [], 0
    for row in rows:
        found.append((row, quotes % 2 == 0 and _MAGIC.match(row) is not None))
        quotes += row.count('"""') + row.count("'''")
    return found

"""What a rule found, and the list of all rules with what they are about and how much they weigh."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["RULES", "Finding"]

# Code → severity and title. "info": reprokit takes care of it, or it only costs the reader's attention.
RULES = {
    "S101": ("warning", "cells were run in another order than they stand in"),
    "S102": ("info", "executions are missing: cells were run again, or deleted"),
    "S103": ("warning", "a name is used before the cell that defines it"),
    "S104": ("warning", "a name that no cell defines"),
    "S105": ("info", "a cell replaces what it reads: run twice, it gives something else"),
    "R201": ("info", "random numbers without a seed"),
    "R202": ("warning", "random numbers without a seed in worker processes"),
    "R203": ("warning", "randomness that cannot be repeated"),
    "P301": ("warning", "an absolute path"),
    "P302": ("warning", "a path that leads out of the project"),
    "P303": ("warning", "a file that is not there"),
    "P304": ("warning", "a change of the working directory"),
    "T401": ("warning", "the clock"),
    "N501": ("warning", "data from the network"),
    "N502": ("warning", "a download by a shell command"),
    "N503": ("warning", "an installation without versions"),
    "E601": ("warning", "an environment variable that must be set"),
    "E602": ("info", "a question to the user"),
    "E603": ("warning", "variables from another session"),
    "H701": ("warning", "the order of a set"),
    "H702": ("warning", "the order of a folder"),
    "M901": ("info", "no word on the kernel"),
    "M902": ("warning", "a cell that is no Python"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.

    Attributes:
        code: a key of ``RULES``.
        message: what was found.
        remedy: what to do about it.
        cell: the number of the code cell, counted from 1; 0 for the notebook as a whole.
        line: the line in the cell, or in the file for a script; 0 for the cell as a whole.
    """

    code: str
    message: str
    remedy: str
    cell: int = 0
    line: int = 0

    @property
    def severity(self) -> str:
        """Return "warning" or "info"."""
        return RULES[self.code][0]

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-ready values."""
        return {"severity": self.severity, **asdict(self)}

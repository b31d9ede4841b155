"""What comparing two contents needs to know, and what it gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reprokit.replay.comparison import Comparison

__all__ = ["BUDGET", "Comparer", "How", "Outcome", "Places", "TooLarge", "same"]

BUDGET = 256 * 10**6
"""Bytes that one content may unfold to (of an archive, an image, a compressed table): what is more is not read."""

Places = Mapping[str, str]  # what a run's own folders are called ("workspace", "cwd", …) → absolute path


class TooLarge(ValueError):
    """A content that unfolds to more than is safe to hold."""

    def __init__(self, what: str = "it") -> None:
        super().__init__(f"{what} unfolds to more than {BUDGET // 10**6} MB")


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How strict to be, where each run's own folders are, and how deep inside archives this is."""

    comparison: Comparison = field(default_factory=Comparison)
    here: Places = field(default_factory=dict)
    there: Places = field(default_factory=dict)
    depth: int = 0

    def deeper(self) -> How:
        """Return the same for what lies inside."""
        return dataclasses.replace(self, depth=self.depth + 1)

    def tolerance(self) -> str:
        """Return the name of the rule that lets numbers differ a little."""
        told = {"rtol": self.comparison.rtol, "atol": self.comparison.atol}
        return "numbers within " + ", ".join(f"{name} {value:g}" for name, value in told.items() if value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How two contents compare.

    ``rules`` are those under which they are the same; None when they are not. ``detail`` is the difference for
    a reader, of several lines; ``before`` and ``after`` are each content in few words.
    """

    rules: tuple[str, ...] | None = None
    detail: str = ""
    before: str = ""
    after: str = ""


Comparer = Callable[[bytes, bytes, How], Outcome]


def same(*rules: str) -> Outcome:
    """Return that two contents are the same under these rules."""
    return Outcome(rules=tuple(dict.fromkeys(rules)))

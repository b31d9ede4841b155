"""How strict a comparison is: whether the typed rules apply, and how far numbers may be apart.

Knows numbers; knows nothing of runs, files or what is compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from reprokit.errors import UsageError
from reprokit.records.base import Record

__all__ = ["Comparison"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Record):
    """What may differ between two results that count as the same.

    ``exact``: nothing may; no typed rule is used. ``rtol`` and ``atol`` say how far two numbers that are
    results may be apart: by ``atol + rtol × the larger of the two``. With both 0 they must be equal.

    >>> Comparison(rtol=0.01).close(100.0, 100.9), Comparison().close(100.0, 100.9)
    (True, False)
    """

    exact: bool = False
    rtol: float = 0.0
    atol: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} is {value}", remedy="give a number of at least 0, such as 1e-6")
        if self.exact and self.tolerant:
            raise UsageError("a comparison cannot be exact and tolerant at once", remedy="leave out one of them")

    @property
    def tolerant(self) -> bool:
        """Whether numbers that are results may differ at all."""
        return self.rtol > 0 or self.atol > 0

    def close(self, left: float, right: float) -> bool:
        """Return whether two numbers count as the same: symmetric, and NaN equals NaN."""
        if left == right or (math.isnan(left) and math.isnan(right)):
            return True
        if not (math.isfinite(left) and math.isfinite(right)):
            return False
        return self.tolerant and abs(left - right) <= self.atol + self.rtol * max(abs(left), abs(right))

"""What a replay is run under: the factors that can be those of the record, or others.

It knows their names, values and defaults; it does not know how any of them is brought about. ``explain`` changes
them one at a time, the command line by its options, and each replay's record says what it ran under.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from reprokit.errors import UsageError
from reprokit.records import Record

__all__ = ["Conditions"]

_CHOICES = {
    "environment": ("auto", "locked", "current"),
    "clock": ("real", "recorded"),
    "network": ("open", "closed"),
    "random": ("recorded", "fresh"),
    "data": ("recorded", "current"),
    "code": ("recorded", "current"),
}
_LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions(Record):
    """What a replay is run under; the defaults are those of the record.

    Attributes:
        environment: "locked" (rebuilt as it was recorded), "current" (that of this process), or "auto": the
            current one if it is the recorded one, else the locked.
        clock: "real", or "recorded": each cell begins at the time at which it was recorded.
        network: "open", or "closed": connections to other machines are refused, and noted for each cell.
        threads: limit for the threads of all numeric libraries; None as recorded.
        hash_seed: PYTHONHASHSEED, a number or "random"; None as recorded.
        random: "recorded", or "fresh": states are not put back, and what had no seed has none.
        data: "recorded", or "current": files as they are in the project today.
        code: "recorded", or "current": the project's code as it is today.
        packages: versions that replace the locked ones, by the name of the package.
        until: number of the last cell to run; None for all of them.
        offline: without network for building the environment.
        wheelhouse: folder, made by ``reprokit env --wheelhouse``, that packages are taken from; None: an index.

    >>> Conditions(threads=1).changed()
    {'threads': 1}
    """

    environment: str = "auto"
    clock: str = "real"
    network: str = "open"
    threads: int | None = None
    hash_seed: str | None = None
    random: str = "recorded"
    data: str = "recorded"
    code: str = "recorded"
    packages: dict[str, str] = field(default_factory=dict)
    until: int | None = None
    offline: bool = False
    wheelhouse: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no condition.

        Raises:
            UsageError: a value is none of those that are possible.
        """
        for problem in _problems(self):
            raise UsageError(problem, remedy="see `reprokit replay --help`")

    def changed(self) -> dict[str, object]:
        """Return the conditions that are not the default ones, by name."""
        plain = Conditions()
        return {name: getattr(self, name) for name in _names() if getattr(self, name) != getattr(plain, name)}


def _names() -> list[str]:
    return [one.name for one in fields(Conditions)]


def _problems(conditions: Conditions) -> Iterator[str]:
    for name, choices in _CHOICES.items():
        value = getattr(conditions, name)
        if value not in choices:
            yield f"{name} cannot be {value!r}: it is one of {', '.join(choices)}"
    for name in ("threads", "until"):
        value = getattr(conditions, name)
        if value is not None and value < 1:
            yield f"{name} cannot be {value}: it is 1 or more"
    seed = conditions.hash_seed
    if seed not in (None, "random") and not (seed.isdecimal() and int(seed) <= _LARGEST_SEED):
        yield f"hash_seed cannot be {seed!r}: it is 0 to {_LARGEST_SEED}, or random"
    if conditions.packages and conditions.environment == "current":
        yield "versions of packages cannot be replaced in the current environment"

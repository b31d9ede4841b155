"""What upkeep finds in a store: things that can go, and things that are damaged."""

from __future__ import annotations

from dataclasses import dataclass

from reprokit.records.base import Record

__all__ = ["Damage", "Removable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removable(Record):
    """Something that nobody needs any more.

    ``kind`` is "run", "object", "draft" (what a killed writer left), "lock", "marks", "environment", "workspace",
    "sockets", "order" or "ref". ``name`` is a run id, a digest, a ref or a path, ``size`` is in bytes, ``why`` says why
    it can go, and ``place`` is the git directory of a ref.
    """

    kind: str
    name: str
    size: int = 0
    why: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage(Record):
    """Something in a store that is not as it was written.

    ``kind`` is "journal", "object-missing", "object-corrupt", "lock", "snapshot", "ref" or "index". ``where`` is a
    path, a digest or a ref; ``runs`` are the runs that need it. ``repaired`` says what was done about it; when it is
    empty, ``remedy`` says what to do.
    """

    kind: str
    where: str
    message: str
    remedy: str = ""
    runs: tuple[str, ...] = ()
    repaired: str = ""

"""The words for what a cell does, and for what calling one of its functions does."""

from __future__ import annotations

from dataclasses import dataclass

from reprokit.replay.extract.known import Level

__all__ = ["Act", "Carried"]


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that a cell does.

    ``kind`` is one of

    - "read": reads ``name``.
    - "change": changes what ``name`` stands for, by ``how`` (a method; "" for an assignment into it).
    - "share": what ``name`` stands for may hold, from now on, what the names in ``parts`` stand for.
    - "pass": calls ``name`` (whose last part is ``how``) with what the names in ``parts`` stand for.
    - "bind": binds ``name``, with ``others`` at the same time, to something that may share ``parts``; ``how`` is ""
      when it certainly does, "branch", "loop", or "import FULL NAME".
    - "delete": takes ``name`` away.
    - "set": changes a setting, told in ``how``.
    - "unseen": binds names that cannot be seen.
    - "seed": seeds generators.
    - "fixed": what ``name`` stands for can never change.
    - "unseeded": ``name`` is a generator that was made without a seed.
    - "folder": makes a folder.
    - "text": ``name`` stands in a text that is run.
    - "last": reads what was displayed last. "counts": reads a result by its number, ``name`` (0: any).
    - "use" and "offer": needs, or brings, what ``name`` says (a magic's extension, reprokit's run).
    """

    kind: str
    name: str = ""
    level: Level = Level.SURE
    how: str = ""
    parts: tuple[tuple[str, Level], ...] = ()
    carried: Carried | None = None
    discarded: bool = False
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Carried:
    """What happens when a function is called: names it reads, changes and binds; whether it changes arguments."""

    reads: frozenset[str] = frozenset()
    acts: tuple[Act, ...] = ()
    parameters: Level | None = None

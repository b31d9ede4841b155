"""Which run a user means: an id, a unique prefix, ``latest~2``, ``yesterday``, a name, ``NOTEBOOK@latest``.

Knows the words and the calendar; it does not know where runs are kept: it asks a ``Catalog``.
"""

from __future__ import annotations

import posixpath
import re
from datetime import datetime, time, timedelta, timezone, tzinfo
from typing import Protocol

from reprokit.errors import AmbiguousRun, RunNotFound

__all__ = ["Catalog", "previous_day", "resolve"]

_MOMENT = re.compile(r"(?:(?P<notebook>.+)@)?(?:(?P<yesterday>yesterday)|latest(?:~(?P<back>\d{1,9}))?)", re.DOTALL)


class Catalog(Protocol):
    """What is asked of an index of runs."""

    def has(self, run_id: str) -> bool:
        """Return whether there is a run of this id."""

    def with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Return the first ids that begin with ``prefix``, sorted."""

    def named(self, name: str) -> str | None:
        """Return the newest run of this name that is not a replay: a replay has the name of what it repeats."""

    def newest(
        self, back: int = 0, *, notebook: str | None = None, between: tuple[float, float] | None = None
    ) -> str | None:
        """Return the newest run that is not a replay, or the one ``back`` before it.

        Args:
            back: how many to pass over.
            notebook: the end of the notebook's path, with or without ``.ipynb``.
            between: only runs that started in [from, until), in seconds after the epoch.
        """


def resolve(name: str, catalog: Catalog, now: datetime | None = None) -> str:
    """Return the id of the run that ``name`` means.

    Args:
        name: what the user wrote.
        catalog: the runs there are.
        now: the present, for ``yesterday``; see ``previous_day``.

    Raises:
        RunNotFound: there is none.
        AmbiguousRun: it is the beginning of several ids.
    """
    if not name or catalog.has(name):
        return name or _not_found(name)
    if moment := _MOMENT.fullmatch(name):
        return _at(moment, catalog, now) or catalog.named(name) or _not_found(name)
    candidates = catalog.with_prefix(name, 100)
    if len(candidates) == 1:
        return candidates[0]
    if (named := catalog.named(name)) is not None:
        return named
    if candidates:
        raise AmbiguousRun(name, candidates)
    return _not_found(name)


def previous_day(now: datetime | None = None) -> tuple[float, float]:
    """Return when the previous local calendar day began and ended, in seconds after the epoch.

    Midnights are counted by the zone's own rules, so days of 23 and 25 hours are whole.

    Args:
        now: the present by default. A named zone (``zoneinfo``) is kept; a bare or fixed-offset time
            is taken to the zone of this computer, since an offset alone knows no summer time.

    >>> from zoneinfo import ZoneInfo
    >>> begin, end = previous_day(datetime(2024, 4, 1, 9, tzinfo=ZoneInfo("Europe/Paris")))
    >>> (end - begin) / 3600
    23.0
    """
    now = datetime.now() if now is None else now
    zone: tzinfo | None = now.tzinfo
    if isinstance(zone, timezone):
        now, zone = now.astimezone().replace(tzinfo=None), None
    midnights = (datetime.combine(now.date() - timedelta(days=back), time.min, zone) for back in (1, 0))
    begin, end = (midnight.timestamp() for midnight in midnights)
    return begin, end


def _at(moment: re.Match[str], catalog: Catalog, now: datetime | None) -> str | None:
    notebook = moment["notebook"]
    if notebook is not None:
        notebook = posixpath.normpath(notebook)
    between = previous_day(now) if moment["yesterday"] else None
    return catalog.newest(int(moment["back"] or 0), notebook=notebook, between=between)


def _not_found(name: str) -> str:
    raise RunNotFound(name)

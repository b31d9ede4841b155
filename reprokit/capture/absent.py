"""Stands in for a probe that could not be made: it observes nothing, and has no answer to whatever it is asked."""

from __future__ import annotations

from typing import Any

__all__ = ["Absent"]


class Absent:
    """A probe of an aspect of which nothing is observed.

    >>> absent = Absent("files")
    >>> absent.before_cell(3), absent.content("data.csv"), absent.aspect
    (None, None, 'files')
    """

    def __init__(self, aspect: str) -> None:
        self.aspect = aspect

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **options: None

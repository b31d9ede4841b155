"""The run as its user holds it: what ``with reprokit.run() as run`` gives, and ``reprokit.current_run()``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprokit.capture.session import Session
from reprokit.records import Run

__all__ = ["ActiveRun"]


class ActiveRun:
    """A run that is open: says things about it that nobody can observe."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def id(self) -> str:
        """The run's id."""
        return self._session.run_id

    def param(self, **params: Any) -> None:
        """Record parameters: ``run.param(lr=0.1)``."""
        self._session.say(params=params)

    def tag(self, **tags: str) -> None:
        """Record tags: ``run.tag(team="pricing")``."""
        self._session.say(tags={key: str(value) for key, value in tags.items()})

    def metric(self, **metrics: Any) -> None:
        """Record results worth comparing: ``run.metric(auc=0.93)``."""
        for key, value in metrics.items():
            self._session.metric(key, _plain(value))

    def note(self, text: str) -> None:
        """Add a note."""
        self._session.note(text)

    def assume(self, text: str, holds: Any = None) -> None:
        """Record an assumption; with ``holds`` it was checked, and a replay checks it again."""
        self._session.assume(text, None if holds is None else bool(holds))

    def artifact(self, path: str | os.PathLike[str]) -> str | None:
        """Keep a file as a result of the run and return its digest."""
        return self._session.artifact(Path(path)).digest

    def seed(self, seed: int) -> None:
        """Seed everything, now and for libraries imported later."""
        self._session.seed(seed)

    def config(self, path: str | os.PathLike[str]) -> None:
        """Record a configuration file by key."""
        self._session.add_config(Path(path))

    def record(self) -> Run:
        """Return what is recorded so far."""
        return self._session.run()


def plain_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as values that a record can hold."""
    return {key: _plain(value) for key, value in params.items()}


def _plain(value: Any) -> Any:
    """Return a library's scalar (numpy, torch) as Python's own; what is no JSON value as its ``repr``."""
    if hasattr(value, "item") and getattr(value, "ndim", None) in (0, None):
        value = value.item()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)

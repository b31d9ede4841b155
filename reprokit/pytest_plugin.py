"""Pinned runs as tests: pytest replays each, and one that does not give the same fails with the verdict.

It does nothing unless it is asked to: by ``--reprokit``, or by ``reprokit = true`` in pytest's configuration, which
holds for whole test runs and not for those of a few files or tests that are named. It knows pytest; which runs there
are and how they are replayed it asks of ``replay.check``, imported only then.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from reprokit.records import Verdict
    from reprokit.replay.check import Item
    from reprokit.store.store import Store

__all__ = ["PinnedRun", "PinnedRuns", "pytest_addoption", "pytest_collection_modifyitems"]

_NAME = "reprokit"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--reprokit`` and the settings of the same names."""
    group = parser.getgroup(_NAME, "pinned runs (reprokit)")
    group.addoption("--reprokit", action="store_true", help="Replay the pinned runs of this project as tests.")
    parser.addini(_NAME, "Replay the pinned runs whenever all tests are run.", type="bool", default=False)
    parser.addini(
        "reprokit_options",
        "Options of `reprokit check` that hold for these replays: --no-network --rtol 1e-6",
        default="",
    )


@pytest.hookimpl(tryfirst=True)  # before -k and --deselect choose among the items
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for each pinned run."""
    if not _is_wanted(config):
        return
    from reprokit.errors import ReprokitError

    pinned = PinnedRuns.from_parent(session, name=_NAME, nodeid=_NAME)
    try:
        found = list(pinned.collect())
    except ReprokitError as error:
        raise pytest.UsageError(f"reprokit: {error}") from error
    if not found and config.getoption("--reprokit"):  # a build that lost its runs does not pass unseen
        raise pytest.UsageError(f"reprokit: no run is pinned in {config.rootpath}: `reprokit pin RUN` pins one")
    items.extend(found)


def _is_wanted(config: pytest.Config) -> bool:
    if config.getoption("--reprokit"):
        return True
    return bool(config.getini(_NAME)) and config.args_source is not pytest.Config.ArgsSource.ARGS


class PinnedRuns(pytest.Collector):
    """The pinned runs of the project that pytest was started for."""

    def collect(self) -> Iterable[PinnedRun]:
        """Return a test for each pinned run, oldest first."""
        from reprokit.cli.check import parse
        from reprokit.replay.check import pinned
        from reprokit.store.store import Store

        store = Store.open(self.config.rootpath)
        given = parse(shlex.split(self.config.getini("reprokit_options")), store.settings)
        return [PinnedRun.from_parent(self, name=one.name, store=store, item=one, given=given) for one in pinned(store)]


class PinnedRun(pytest.Item):
    """The test that a pinned run, replayed, gives the same."""

    def __init__(self, *, store: Store, item: Item, given: dict[str, Any], **others: Any) -> None:
        super().__init__(**others)
        self._given = given
        self._runs = store
        self._pinned = item

    def runtest(self) -> None:
        """Replay the run in a process of its own.

        Raises:
            NotTheSame: it diverged, or could not be replayed.
        """
        from reprokit.replay.check import check

        (checked,) = check(self._runs, [self._pinned], **self._given)
        if checked.verdict.verdict not in ("identical", "equivalent"):
            raise NotTheSame(checked.verdict)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the verdict in words, in place of a traceback."""
        if not isinstance(excinfo.value, NotTheSame):
            return super().repr_failure(excinfo, style)
        from reprokit.views.verdict import verdict_text

        return f"run {self._pinned.run}\n{verdict_text(excinfo.value.verdict)}"

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return what the headings of reports say."""
        return self.config.rootpath, None, f"{_NAME}::{self.name}"


class NotTheSame(Exception):
    """A pinned run did not give the same again, or could not be replayed."""

    def __init__(self, verdict: Verdict) -> None:
        from reprokit.views.verdict import verdict_headline

        super().__init__(verdict_headline(verdict))  # what short summaries show
        self.verdict = verdict

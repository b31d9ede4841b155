"""Every way to name a run."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from reprokit.errors import AmbiguousRun, RunNotFound
from reprokit.store.layout import new_run_id
from reprokit.store.names import previous_day
from reprokit.store.store import Store

PARIS = ZoneInfo("Europe/Paris")


def _add(store: Store, when: datetime, **fields: Any) -> str:
    run_id, journal = store.new_run(run_id=new_run_id(when.timestamp()))
    journal.append({"set": {"started": when.timestamp(), "status": "done", **fields}})
    journal.close()
    return run_id


@pytest.fixture
def store(project: Path) -> Store:
    """An empty store."""
    return Store.open(project)


def test_ids_and_prefixes(store: Store) -> None:
    first = _add(store, datetime(2025, 1, 2, tzinfo=PARIS))
    second = _add(store, datetime(2025, 3, 4, 12, tzinfo=PARIS))
    assert store.resolve(first) == first
    assert store.resolve("20250304") == second
    with pytest.raises(AmbiguousRun) as caught:
        store.resolve("2025")
    assert caught.value.candidates == (first, second)
    for name in ("2024", "", "%", "20250304~", "../x", "\udc80"):
        with pytest.raises(RunNotFound):
            store.resolve(name)


def test_latest_counts_back_and_passes_over_replays(store: Store) -> None:
    days = [_add(store, datetime(2025, 1, day, tzinfo=PARIS), name="again") for day in (3, 1, 2)]
    replay = _add(store, datetime(2025, 1, 9, tzinfo=PARIS), kind="replay", replay_of=days[0], name="again")
    assert store.resolve("latest") == days[0]
    assert [store.resolve(f"latest~{back}") for back in (0, 1, 2)] == [days[0], days[2], days[1]]
    assert store.resolve(replay) == store.resolve(replay[:11]) == replay
    assert store.resolve("again") == days[0]  # a replay has the name of what it repeats
    with pytest.raises(RunNotFound):
        store.resolve("latest~3")


def test_a_name_means_its_newest_run_and_yields_to_no_ambiguous_prefix(store: Store) -> None:
    _add(store, datetime(2025, 1, 1, 12, tzinfo=PARIS), name="base")
    newest = _add(store, datetime(2025, 1, 2, tzinfo=PARIS), name="base")
    odd = _add(store, datetime(2024, 1, 2, tzinfo=PARIS), name="2025")
    surrogate = _add(store, datetime(2024, 1, 3, tzinfo=PARIS), name="na\udc80me")
    assert store.resolve("base") == newest
    assert store.resolve("2025") == odd
    assert store.resolve("na\udc80me") == surrogate


def test_yesterday_is_the_local_day_before_even_when_the_clock_was_changed(store: Store) -> None:
    early = _add(store, datetime(2024, 3, 31, 0, 5, tzinfo=PARIS))  # the day has 23 hours
    late = _add(store, datetime(2024, 3, 31, 23, 55, tzinfo=PARIS))
    today = _add(store, datetime(2024, 4, 1, 0, 5, tzinfo=PARIS))
    _add(store, datetime(2024, 3, 31, 23, 56, tzinfo=PARIS), kind="replay", replay_of=early)
    assert store.resolve("yesterday", datetime(2024, 4, 1, 0, 6, tzinfo=PARIS)) == late
    assert store.resolve("yesterday", datetime(2024, 4, 1, 23, 59, tzinfo=PARIS)) == late
    assert store.resolve("yesterday", datetime(2024, 4, 2, 0, 1, tzinfo=PARIS)) == today
    for other in (datetime(2024, 3, 31, 23, 59, tzinfo=PARIS), datetime(2024, 4, 3, 1, tzinfo=PARIS)):
        with pytest.raises(RunNotFound):
            store.resolve("yesterday", other)


def test_days_of_23_and_25_hours_are_whole() -> None:
    for now, hours in (
        (datetime(2024, 4, 1, tzinfo=PARIS), 23),
        (datetime(2024, 10, 28, 23, tzinfo=PARIS), 25),
    ):
        begin, end = previous_day(now)
        assert (end - begin) / 3600 == hours


def test_a_fixed_offset_is_taken_to_the_local_calendar() -> None:
    bare = datetime(2025, 6, 15, 12)
    aware = bare.astimezone().astimezone(timezone(timedelta(hours=3)))
    assert previous_day(bare) == previous_day(aware)


def test_yesterday_of_one_notebook(store: Store) -> None:
    now = datetime(2025, 1, 3, 9, tzinfo=PARIS)
    train = _add(store, datetime(2025, 1, 2, 9, tzinfo=PARIS), notebook="nb/train.ipynb")
    later = _add(store, datetime(2025, 1, 2, 10, tzinfo=PARIS), notebook="nb/other_train.ipynb")
    today = _add(store, datetime(2025, 1, 3, 8, tzinfo=PARIS), notebook="nb/train.ipynb")
    for name in ("nb/train.ipynb", "train.ipynb", "train", "./nb/train.ipynb"):
        assert store.resolve(f"{name}@yesterday", now) == train
        assert store.resolve(f"{name}@latest") == today
        assert store.resolve(f"{name}@latest~1") == train
    assert store.resolve("yesterday", now) == later
    with pytest.raises(RunNotFound):
        store.resolve("rain@latest")

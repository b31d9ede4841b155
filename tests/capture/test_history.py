"""What a run knows of its files stays small, and is never believed beyond what was seen."""

from __future__ import annotations

from reprokit.capture.files.history import History
from reprokit.capture.files.uses import Debt


def state(number: int) -> tuple[int, int, int, int, int]:
    return (1, number, 10, 1000 + number, 1000 + number)


def test_what_the_run_wrote_is_its_own_until_it_changes() -> None:
    history = History()
    history.wrote("/a", Debt("/a", state(1)))
    assert history.is_product("/a", state(1))
    assert not history.is_product("/a", state(2))
    assert not history.is_product("/b", state(1))
    assert history.is_foreign("/a")  # it is not what the code snapshot holds


def test_what_others_changed_is_not_known_any_more() -> None:
    history = History()
    debt = Debt("/a", state(1))
    history.saw("/a", debt)
    assert history.last("/a") is debt
    assert not history.is_foreign("/a")
    history.changed_by_others(["/a"])
    assert history.last("/a") is None
    assert history.is_foreign("/a")


def test_a_run_that_never_ends_forgets_and_knows_it() -> None:
    history = History()
    for number in range(300_000):
        history.saw(f"/{number}", Debt(f"/{number}", state(number)))
    assert len(history._states) <= 10_000
    assert len(history._foreign) <= 200_000
    assert history.last("/299999") is not None
    assert history.last("/0") is None
    assert history.is_foreign("/0")  # nothing is claimed of what was forgotten

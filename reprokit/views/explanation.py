"""An explanation as text: the cause, what shows it, and every experiment that was made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reprokit.records import Experiment, Explanation

__all__ = ["explanation_text"]

_HOW = {
    "restored": "with {factor}, the replay is the same",
    "settled": "replays differ from one another, and with {factor} they do not",
    "refused": "without {factor}, the cell does something else",
    "repeated": "the same replay gives another result each time, and no factor holds it still",
    "evidence": "no experiment shows it: it is what the two records make likely",
}

_UNKNOWN = (
    "it is the same each time it is repeated, and nothing that was recorded tells why it is not as it was; "
    "what the session held or found that no cell made, or something of the machine"
)


def explanation_text(explanation: Explanation) -> str:
    """Return an explanation as lines to read.

    >>> print(explanation_text(Explanation(run="20260503-140211-abcd2345")))
    The replay is the same: there is nothing to explain.
    """
    return "\n".join(_lines(explanation))


def _lines(explanation: Explanation) -> Iterator[str]:
    if explanation.cell is None:
        yield "The replay is the same: there is nothing to explain."
        return
    yield f"diverged at cell {explanation.cell}: {explanation.difference}"
    how = _HOW[explanation.how].format(factor=explanation.factor) if explanation.how else _UNKNOWN
    yield f"cause        {explanation.cause}: {how}"
    if explanation.packages:
        verb = "explains" if len(explanation.packages) == 1 else "together explain"
        yield f"             {', '.join(explanation.packages)} {verb} it"
    if explanation.stable is not None:
        again = "the same once more" if explanation.stable else "another result each time"
        yield f"repeated     {again}"
    yield "experiments"
    yield from (f"  {_experiment(one)}" for one in explanation.experiments)
    if not explanation.complete:
        yield "There was no time for more: `reprokit explain --resume` goes on from here."


def _experiment(one: Experiment) -> str:
    changed = ", ".join(f"{name} {_brief(value)}" for name, value in one.changed.items()) or "as recorded"
    again = ", once more" if one.again else ""
    where = f" at cell {one.cell}" if one.cell else ""
    why = f" ({one.difference})" if one.outcome == "failed" else ""
    return f"{changed}{again}: {one.outcome}{where}{why}, {one.seconds:.1f} s"


def _brief(value: Any) -> str:
    return (
        ", ".join(f"{name} {version or 'left out'}" for name, version in value.items())
        if isinstance(value, dict)
        else str(value)
    )

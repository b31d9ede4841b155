"""Checks between the steps of a pipeline: metrics, assumptions, and tables against those of a pinned run.

A gate that does not hold is a value with its reason. A metric, or a table, that is not there holds no gate.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reprokit.errors import StoreError, UsageError
from reprokit.pipeline.tables import Limits, differences, is_table
from reprokit.records import FileUse, Record, Run
from reprokit.replay.contents import reader
from reprokit.replay.finding import Read
from reprokit.store.objects import Objects

__all__ = ["Gate", "Gates", "Threshold", "judge", "metrics_of", "parse_threshold", "read_gates"]

_LARGEST = 1_000_000  # bytes of a file of metrics
_NAME = r"(?P<name>[^\s<>=!](?:[^<>=!]*[^\s<>=!])?)"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_FIXED = re.compile(rf"^\s*{_NAME}\s*(?P<sign>>=|<=|==|>|<)\s*(?P<number>{_NUMBER})\s*$")
_RELATIVE = re.compile(
    rf"^\s*(?P<name>.+?)\s+not\s+worse\s+than\s+pinned(?:\s*(?P<sign>[-+])\s*(?P<room>{_NUMBER})\s*(?P<percent>%?))?\s*$"
)
_SIGNS = {
    ">=": lambda one, other: one >= other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    "<": lambda one, other: one < other,
    "==": lambda one, other: one == other,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate(Record):
    """One check: ``kind`` is "run", "metric", "assumption" or "table"; ``text`` says what was found."""

    kind: str
    name: str
    holds: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A metric and what it must reach: a number, or what the pinned run has, less (or more) some room.

    With ``sign`` "-" (the default) more is better and the metric may be less by ``room``; with "+" less is better.
    """

    name: str
    text: str
    sign: str
    number: float | None = None
    room: float = 0.0
    is_share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What is checked.

    Attributes:
        metrics: thresholds.
        against: the pinned run that is compared with, as a user names it.
        limits: what is allowed of tables.
        outputs: also the tables that the run wrote are compared.
        tables: tables are compared at all.
    """

    metrics: tuple[Threshold, ...] = ()
    against: str | None = None
    limits: Limits = field(default_factory=Limits)
    outputs: bool = False
    tables: bool = True


def parse_threshold(text: str) -> Threshold:
    """Return the threshold that a text says.

    Raises:
        UsageError: it says none.

    >>> parse_threshold("accuracy >= 0.9").number
    0.9
    >>> parse_threshold("loss not worse than pinned + 5 %").sign
    '+'
    """
    if match := _FIXED.match(text):
        return Threshold(name=match["name"], text=text.strip(), sign=match["sign"], number=float(match["number"]))
    if match := _RELATIVE.match(text):
        room = float(match["room"] or 0)
        share = bool(match["percent"])
        return Threshold(
            name=match["name"],
            text=" ".join(text.split()),
            sign=match["sign"] or "-",
            room=room / 100 if share else room,
            is_share=share,
        )
    remedy = "write 'accuracy >= 0.9' or 'accuracy not worse than pinned - 0.01'"
    raise UsageError(f"{text!r} is no threshold of a metric", remedy=remedy)


def read_gates(path: Path) -> Gates:
    """Read gates from a YAML file that names some of the fields of ``Gates`` and ``Limits``.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as YAML ({' '.join(str(error).split())})", remedy="mend it") from error
    kinds: dict[str, Any] = {
        "against": str, "metrics": list, "outputs": bool, "tables": bool,
        "missing": (int, float), "drift": (int, float), "range": (int, float), "ignore": list,
    }  # fmt: skip
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no mapping", remedy=f"it may have {', '.join(kinds)}")
    for key, value in content.items():
        if key not in kinds or not isinstance(value, kinds[key]):
            raise UsageError(f"{key!r} in {path} is not understood", remedy=f"it may have {', '.join(kinds)}")
    limits = {key: float(content[key]) for key in ("missing", "drift", "range") if key in content}
    return Gates(
        metrics=tuple(parse_threshold(str(text)) for text in content.get("metrics", ())),
        against=content.get("against"),
        limits=Limits(**limits, ignore=frozenset(map(str, content.get("ignore", ())))),
        outputs=content.get("outputs", False),
        tables=content.get("tables", True),
    )


def judge(objects: Objects, run: Run, pinned: Run | None, gates: Gates) -> tuple[Gate, ...]:
    """Return each gate of a run and whether it holds.

    Args:
        objects: the store's.
        run: the run in question.
        pinned: what it is compared with; None: nothing.
        gates: what is checked.

    Raises:
        UsageError: a gate needs a pinned run, and there is none.
    """
    read = reader(objects, run, *([pinned] if pinned is not None else []))
    found = [Gate(kind="run", name=run.id, holds=False, text=f"it is {run.status}")] if run.status != "done" else []
    found += _assumptions(run)
    found += _metrics(run, pinned, gates.metrics, read)
    if pinned is not None and gates.tables:
        found += _tables(run, pinned, gates, read)
    return tuple(found)


def _assumptions(run: Run) -> Iterator[Gate]:
    for one in run.assumptions:
        if one.holds is not None:
            text = "holds" if one.holds else f"does not hold{f' (cell {one.cell})' if one.cell else ''}"
            yield Gate(kind="assumption", name=one.text, holds=one.holds, text=text)


# -- metrics --------------------------------------------------------------------------------------


def metrics_of(run: Run, read: Read) -> dict[str, float]:
    """Return a run's metrics by name: those that it told, and the numbers in the JSON files that it wrote.

    A number inside is named ``by_species.Adelie``; one that several files have, also ``out/a.json:accuracy``.
    """
    found: dict[str, float] = {}
    for use in _last_writes(run):
        for name, value in _numbers_in(use, read):
            found[f"{use.path}:{name}"] = value
            found.setdefault(name, value)
    told = {one.key: one.value for one in run.metrics if _is_number(one.value)}
    return found | told


def _last_writes(run: Run) -> list[FileUse]:
    return list({use.path: use for cell in run.cells for use in cell.writes if use.digest is not None}.values())


def _numbers_in(use: FileUse, read: Read) -> Iterator[tuple[str, float]]:
    if not use.path.endswith(".json") or use.digest is None or (use.size or 0) > _LARGEST:
        return
    try:
        content = json.loads(read(use.digest))
    except (StoreError, ValueError):
        return
    if isinstance(content, dict):
        yield from _flat(content)


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        elif _is_number(value):
            yield f"{before}{key}", float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _metrics(run: Run, pinned: Run | None, wanted: Sequence[Threshold], read: Read) -> Iterator[Gate]:
    if not wanted:
        return
    have = metrics_of(run, read)
    before = metrics_of(pinned, read) if pinned is not None else None
    for one in wanted:
        holds, text = _reached(one, have, before)
        yield Gate(kind="metric", name=one.text, holds=holds, text=text)


def _reached(one: Threshold, have: Mapping[str, float], before: Mapping[str, float] | None) -> tuple[bool, str]:
    if one.name not in have:
        names = ", ".join(name for name in have if ":" not in name) or "none"
        return False, f"the run has no metric {one.name} (it has: {names})"
    value = have[one.name]
    if one.number is not None:
        return not math.isnan(value) and _SIGNS[one.sign](value, one.number), f"{one.name} is {value:g}"
    if before is None:
        raise UsageError(f"{one.text!r} needs a pinned run", remedy="name it with --against; `reprokit pin` lists them")
    if one.name not in before:
        return False, f"the pinned run has no metric {one.name}"
    room = one.room * abs(before[one.name]) if one.is_share else one.room
    holds = value >= before[one.name] - room if one.sign == "-" else value <= before[one.name] + room
    return holds, f"{one.name} is {value:g}, pinned {before[one.name]:g}"


# -- tables ---------------------------------------------------------------------------------------


def _tables(run: Run, pinned: Run, gates: Gates, read: Read) -> Iterator[Gate]:
    theirs = _used(pinned, outputs=gates.outputs)
    for path, use in _used(run, outputs=gates.outputs).items():
        if path in theirs:
            texts = _compared(path, theirs[path], use, gates.limits, read)
            yield Gate(kind="table", name=path, holds=not texts, text="; ".join(texts) or "as in the pinned run")


def _used(run: Run, *, outputs: bool) -> dict[str, FileUse]:
    """Return the tables that a run read, and perhaps those that it wrote, by path."""
    found = {use.path: use for cell in run.cells for use in cell.reads if not use.own and is_table(use.path)}
    if outputs:
        found |= {use.path: use for use in _last_writes(run) if is_table(use.path)}
    return dict(sorted(found.items()))


def _compared(path: str, pinned: FileUse, now: FileUse, limits: Limits, read: Read) -> list[str]:
    if pinned.digest == now.digest and now.digest is not None:
        return []
    try:
        return differences(path, read(pinned.digest or ""), read(now.digest or ""), limits)
    except StoreError as error:
        return [f"cannot be compared: {error.message}"]
    except UsageError as error:
        return [str(error)]

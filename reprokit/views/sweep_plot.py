"""A sweep as pictures: a metric against each parameter, in one page or picture that loads nothing. Pure.

It is given the values of ``sweep show --json``. A parameter of numbers has an axis of numbers, logarithmic where they
go over two powers of ten; any other has a place for each value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from reprokit.views import page
from reprokit.views.plain import clip, plain, value
from reprokit.views.sweep import counted, point_words

__all__ = ["plot_page", "plot_svg"]

_WIDTH, _HEIGHT = 360, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 28, 46
_TICKS = 5
_DECADES = 2
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#444}.t{font-weight:600;fill:#222}line{stroke:#ddd}"
    "circle{fill:#1f77b4;fill-opacity:.65}.b{fill:#d62728;fill-opacity:1}"
)

Points = Sequence[Mapping[str, Any]]


def plot_page(document: Mapping[str, Any], metric: str) -> str:
    """Return a page of its own with the pictures and the table of all points."""
    title = f"sweep {document['name'] or document['id']}"
    head = f"{title}: {metric}, {counted(document['counts'])}"
    heads = ["point", *_names(document["points"]), metric, "status", "run"]
    body = page.page(
        [
            f'<div class="rk-head">{page.text(head)}</div>',
            plot_svg(document, metric),
            page.rows(heads, [_row(point, heads[1:-3], metric) for point in document["points"]]),
        ]
    )
    return page.document(title, body)


def plot_svg(document: Mapping[str, Any], metric: str) -> str:
    """Return one picture with a part for each parameter that takes more than one value."""
    points = [point for point in document["points"] if _number(point["metrics"].get(metric)) is not None]
    names = [name for name in _names(points) if len({repr(point["params"].get(name)) for point in points}) > 1]
    best = (document.get("best") or {}).get("point")
    across = min(len(names), 3) or 1
    down = math.ceil(len(names) / across) or 1
    parts = [
        f'<g transform="translate({_WIDTH * (at % across)} {_HEIGHT * (at // across)})">'
        f"{_part(points, name, metric, best)}</g>"
        for at, name in enumerate(names)
    ]
    if not parts:
        parts = [f'<text x="20" y="40">{_text(f"no parameter to show {metric} against")}</text>']
    size = f'width="{_WIDTH * across}" height="{_HEIGHT * down}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>{"".join(parts)}</svg>'


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where values lie, from 0 to 1, and what is written where."""

    places: dict[str, float]
    ticks: tuple[tuple[float, str], ...]


def _part(points: Points, name: str, metric: str, best: int | None) -> str:
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    across = _axis([point["params"].get(name) for point in points])
    up = _axis([point["metrics"][metric] for point in points])
    drawn = [f'<text class="t" x="{_LEFT}" y="16">{_text(metric)} and {_text(name)}</text>']
    for place, words in across.ticks:
        x = _LEFT + place * wide
        drawn.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + high}"/>')
        drawn.append(f'<text x="{x:.1f}" y="{_TOP + high + 16}" text-anchor="middle">{_text(words)}</text>')
    for place, words in up.ticks:
        y = _TOP + (1 - place) * high
        drawn.append(f'<line x1="{_LEFT}" x2="{_LEFT + wide}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_text(words)}</text>')
    for point in sorted(points, key=lambda point: point["number"] == best):  # the best is drawn over the others
        x = _LEFT + across.places[repr(point["params"].get(name))] * wide
        y = _TOP + (1 - up.places[repr(point["metrics"][metric])]) * high
        said = f"point {point['number']}: {point_words(point)}, {plain(metric)}={value(point['metrics'][metric])}"
        mark = ' class="b" r="6"' if point["number"] == best else ' r="4"'
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}"{mark}><title>{escape(said)}</title></circle>')
    drawn.append(f'<text x="{_LEFT + wide / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{_text(name)}</text>')
    return "".join(drawn)


def _axis(values: Sequence[Any]) -> _Axis:
    numbers = [number for item in values if (number := _number(item)) is not None]
    if len(numbers) < len(values):
        return _kinds(values)
    low, high = min(numbers), max(numbers)
    is_log = low > 0 and math.log10(high) - math.log10(low) >= _DECADES
    scale = math.log10 if is_log else float
    begin, end = scale(low), scale(high)
    if begin == end:
        begin, end = begin - 0.5, end + 0.5
    margin = (end - begin) * 0.05
    begin, end = begin - margin, end + margin
    marks = _decades(begin, end) if is_log else _steps(begin, end)
    ticks = tuple(((scale(mark) - begin) / (end - begin), value(mark)) for mark in marks)
    return _Axis({repr(item): (scale(float(item)) - begin) / (end - begin) for item in values}, ticks)


def _kinds(values: Sequence[Any]) -> _Axis:
    kinds = list(dict.fromkeys(repr(item) for item in values))
    named = {repr(item): "(default)" if item is None else value(item) for item in values}
    places = {kind: (at + 0.5) / len(kinds) for at, kind in enumerate(kinds)}
    every = math.ceil(len(kinds) / 6)
    return _Axis(places, tuple((places[kind], clip(named[kind], 12)) for kind in kinds[::every]))


def _steps(begin: float, end: float) -> list[float]:
    """Return round numbers between two."""
    raw = (end - begin) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= raw)
    return [number * step for number in range(math.ceil(begin / step), math.floor(end / step) + 1)]


def _decades(begin: float, end: float) -> list[float]:
    powers = range(math.ceil(begin), math.floor(end) + 1)
    return [10.0**power for power in powers][:: max(len(powers) // _TICKS, 1)]


def _names(points: Points) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point["params"]))


def _row(point: Mapping[str, Any], params: Sequence[str], metric: str) -> list[str]:
    cells = [value(point["params"][name]) if name in point["params"] else "" for name in params]
    found = point["metrics"].get(metric)
    shown = "" if found is None else value(found)
    return [str(point["number"]), *cells, shown, point["status"], point["run"] or ""]


def _number(item: Any) -> float | None:
    if isinstance(item, bool) or not isinstance(item, (int, float)) or not math.isfinite(item):
        return None
    return float(item)


def _text(item: object) -> str:
    return escape(clip(plain(item), 40))

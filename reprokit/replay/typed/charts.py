"""Random and counted ids in charts of plotly, Vega and Bokeh, renamed wherever a chart keeps ids and nowhere else.

A chart's data may hold the same words as its ids: only the places in which the format keeps ids are touched.
"""

from __future__ import annotations

import re

__all__ = ["UUID", "rename_chart_ids"]

UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_QUOTE = r"\\*[\"']"  # in a chart inside a script inside JSON quotes are escaped

# Bokeh counts its models ("p1001"; since its third version) or gives them UUIDs.
_BOKEH = re.compile(r"root_ids|docs_json|bokehjs")
_MODEL = rf"p\d{{4,}}|{UUID}"
_BOKEH_IDS = re.compile(
    rf"(?P<start>{_QUOTE}id{_QUOTE}:\s*{_QUOTE}|\bdata-root-id={_QUOTE}|{_QUOTE}docid{_QUOTE}:\s*{_QUOTE}"
    rf"|{_QUOTE}roots{_QUOTE}:\s*\{{\s*{_QUOTE}|{_QUOTE}root_ids{_QUOTE}:\s*\[\s*{_QUOTE})"
    rf"(?P<id>{_MODEL})(?={_QUOTE})"
)
# Of several roots, all but the first; only between a root's quotes.
_MORE_ROOTS = re.compile(rf"(?P<start><chart id \d+>{_QUOTE}\s*,\s*{_QUOTE})(?P<id>{_MODEL})(?={_QUOTE}\s*[,\]])")
# plotly's traces of a widget, and Altair's data sets, which are named by a digest of what they hold.
_PLOTLY = re.compile(r"[Pp]lotly|layout")
_UID = re.compile(rf"(?P<start>{_QUOTE}uid{_QUOTE}:\s*{_QUOTE})(?P<id>{UUID})(?={_QUOTE})")
_DATASET = re.compile(
    rf"(?P<start>{_QUOTE}name{_QUOTE}:\s*{_QUOTE}|{_QUOTE}datasets{_QUOTE}:\s*\{{\s*{_QUOTE}|[\]}}],\s*{_QUOTE})"
    rf"(?P<id>data-[0-9a-f]{{32}})(?={_QUOTE})"
)

_CHARTS = (
    (_PLOTLY, (_UID,)),
    (re.compile("datasets"), (_DATASET,)),
    (_BOKEH, (_BOKEH_IDS, _MORE_ROOTS)),
)  # the sign that a text holds such a chart, and where its ids are


def rename_chart_ids(text: str) -> str:
    """Return a text with the ids of charts numbered in order of appearance.

    >>> rename_chart_ids('{"layout": {}, "data": [{"uid": "2f1b7c0e-58a4-4b5e-9d8e-0123456789ab", "y": [1, 2]}]}')
    '{"layout": {}, "data": [{"uid": "<chart id 1>", "y": [1, 2]}]}'
    """
    names: dict[str, str] = {}
    for sign, patterns in _CHARTS:
        for pattern in patterns if sign.search(text) else ():
            text = pattern.sub(lambda match: match["start"] + _named(match["id"], names), text)
    return text


def _named(found: str, names: dict[str, str]) -> str:
    return names.setdefault(found, f"<chart id {len(names) + 1}>")

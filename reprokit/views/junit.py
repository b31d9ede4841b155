"""Several runs that were replayed, as the JUnit XML that Jenkins, GitLab and other CI systems read. Pure.

One suite, one test case for each run: a divergence is a failure, a run that could not be replayed an error.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import datetime, timezone

from reprokit.records import Checked, Verdict
from reprokit.views.verdict import verdict_headline, verdict_text

__all__ = ["junit"]

_SUITE = "reprokit"
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0
_KINDS = {"diverged": "failure", "unreplayable": "error"}


def junit(results: Sequence[Checked], *, started: float) -> bytes:
    """Return the verdicts as a document.

    Args:
        results: the verdicts, in the order of the test cases.
        started: when the first replay began, in seconds after the epoch.
    """
    kinds = [_KINDS.get(one.verdict.verdict) for one in results]
    counts = {
        "tests": str(len(results)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": "0",
        "time": _seconds(sum(one.seconds for one in results)),
    }
    top = ET.Element("testsuites", {"name": _SUITE, **counts})
    moment = datetime.fromtimestamp(started, timezone.utc).replace(tzinfo=None).isoformat(timespec="seconds")
    suite = ET.SubElement(top, "testsuite", {"name": _SUITE, **counts, "timestamp": moment})
    for one in results:
        _case(suite, one)
    ET.indent(top)
    return bytes(ET.tostring(top, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(suite: ET.Element, one: Checked) -> None:
    verdict = one.verdict
    named = {"classname": _SUITE, "name": _legal(one.name), "time": _seconds(one.seconds)}
    case = ET.SubElement(suite, "testcase", named)
    text = _legal(f"run {verdict.run}\n{verdict_text(verdict)}\n")
    kind = _KINDS.get(verdict.verdict)
    if kind is not None:
        why = {"type": _legal(_type(verdict)), "message": _legal(verdict_headline(verdict))}
        ET.SubElement(case, kind, why).text = text
    ET.SubElement(case, "system-out").text = text


def _type(verdict: Verdict) -> str:
    """Return what CI systems group failures by: the likely cause."""
    return verdict.first_divergence.cause if verdict.first_divergence else verdict.verdict


def _seconds(duration: float) -> str:
    return f"{duration:.3f}"


def _legal(text: str) -> str:
    """Return text that XML can hold; other characters are spelt out.

    >>> print(_legal("bell" + chr(7)))
    bell\\x07
    """
    return _ILLEGAL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)

"""Text that is the same but for what a repetition cannot repeat and nobody computes with.

A rule rewrites that: addresses, durations, random ids, places. Two texts are equivalent when they are equal
after the rules, and the names of the rules that were needed are told. No rule touches a number that is a
result, except within the tolerance that was asked for: context decides, never size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from reprokit.replay.typed.charts import UUID, rename_chart_ids
from reprokit.replay.typed.numbers import changed_numbers, close_texts
from reprokit.replay.typed.outcome import How, Outcome, Places
from reprokit.replay.typed.shown import first_change, line_diff, unlike_lines

__all__ = ["SPAN", "Rule", "anywhere", "compare_text", "essence", "same_text", "seen_past", "text_of", "told"]


class Rule(NamedTuple):
    """One way of seeing past a difference: ``rewrite(text, places)`` gives what is left to compare."""

    name: str
    rewrite: Callable[[str, Places], str]


_NUMBER = r"(?<!\d)\d+(?:\.\d+)?(?:e[+-]?\d+)?"  # only from its first digit: linear in long digit runs
SPAN = rf"{_NUMBER}\s?(?:ns|us|µs|μs|ms|s|min|h|d)\b(?:\s{_NUMBER}\s?(?:ms|s|min|h)\b){{0,3}}"
_IN_PATH = r"[^\s\"'<>():]"
_CLOCK = r"(?:\d+:)?\d+:\d\d"
_TEMP = r"(?:/private)?/(?:tmp|var/tmp|var/folders/[\w+]+/[\w+]+/T)/"


def _substitute(*patterns: tuple[str, str]) -> Callable[[str, Places], str]:
    """Return a rewrite that replaces each regular expression in turn."""
    compiled = [(re.compile(pattern), with_) for pattern, with_ in patterns]

    def rewrite(text: str, places: Places) -> str:
        for pattern, with_ in compiled:
            text = pattern.sub(with_, text)
        return text

    return rewrite


def _workspace(text: str, places: Places) -> str:
    """Name the run's own folders, the deepest first, as absolute paths and as ``~/…``."""
    for name, path in sorted(places.items(), key=lambda item: (-len(item[1]), item[0])):
        for spelling in _spellings(path):
            text = re.sub(rf"(?<![\w.\-]){re.escape(spelling)}(?![\w\-]|\.\w)", f"<{name}>", text)
    return text


def _spellings(path: str) -> Iterable[str]:
    path = path.rstrip("/")
    if len(path) < 2:  # "" and "/" would match everywhere
        return
    yield path
    home = re.match(r"(?:/home/[^/]+|/Users/[^/]+|/root)(?=/)", path)
    if home:
        yield "~" + path[home.end() :]


# A word that must be in the text, and what it stands in: looking for a word is many times faster.
_TIMED = tuple(
    (sign, re.compile(pattern), with_)
    for sign, pattern, with_ in (
        ("CPU times", rf"CPU times: user {SPAN}, sys: {SPAN}, total: {SPAN}", "CPU times: <durations>"),
        ("Wall time", rf"Wall time: {SPAN}", "Wall time: <duration>"),
        (
            "per loop",
            rf"{SPAN} ± {SPAN} per loop \(mean ± std\. dev\. of \d+ runs?, [\d,]+ loops? each\)",
            "<timeit>",
        ),
        ("best of", rf"(?<!\d)\d+ loops?, best of \d+: {SPAN} per loop", "<timeit>"),
        # IPython prints this line only when the timings happened to scatter.
        ("slowest run", r"The slowest run took [\d.]+ times longer than the fastest\.[^\n]*\n", ""),
        # tqdm; a postfix such as ", loss=0.31" is a result and stays.
        ("[", rf"\[{_CLOCK}(?:<(?:\?|{_CLOCK}))?,\s*(?:\?|{_NUMBER})[A-Za-z ]*/[A-Za-z]+", "[<progress>"),
        ("s/", rf"\b{_NUMBER}s {_NUMBER}(?:us|ms|s)/(?:step|epoch|sample)\b", "<progress>"),  # Keras
        ("ETA", r"\bETA: [\d:]+s?(?=[\s\x08])", "ETA: <duration>"),
        ("elapsed", rf"(\| elapsed:\s+){SPAN}", r"\1<duration>"),  # joblib
        ("total time", rf"(\btotal time=\s*){SPAN}", r"\1<duration>"),  # scikit-learn
    )
)


def _durations(text: str, places: Places) -> str:
    for sign, pattern, with_ in _TIMED:
        text = pattern.sub(with_, text) if sign in text else text
    return text


_PROGRESS = re.compile(r"\d%\||\[\d+:\d\d|━|\d/step")


def _last_progress(text: str, places: Places) -> str:
    """Drop states of a progress display that a carriage return overwrote: how many there were is timing."""
    return "\n".join(_shown(line) if "\r" in line else line for line in text.split("\n"))


def _shown(line: str) -> str:
    *overwritten, last = line.split("\r")
    return "\r".join([*(state for state in overwritten if not _PROGRESS.search(state)), last])


def _object_ids(text: str, places: Places) -> str:
    """Mask what ``id()`` returned where it is called an id, and only in the range of heap addresses."""

    def mask(match: re.Match[str]) -> str:
        return match[1] + ("<id>" if 0x7F0000000000 <= int(match[2]) <= 0x7FFFFFFFFFFF else match[2])

    return re.sub(r"(?i)(\bid\b[\s=:(]{1,3})(\d{15})\b", mask, text)


_ID_PLACES = re.compile(r"""\b(?:id|data-root-id)=\\?["']([^"'\\]+)|\\?"docid\\?":\s*\\?"([^"\\]+)""")
_HTML_ID = re.compile(rf"(T_[0-9a-f]{{5}})(?:_|$)|([\w-]*?(?:{UUID}|[0-9a-f]{{32}}))$")
_SVG_ID = re.compile(r"((?:[a-z]|image|glyph)[0-9a-f]{10})$")


def _rename_ids(text: str, random_id: re.Pattern[str]) -> str:
    """Number the random ids that elements declare, in order of appearance, wherever they are used."""
    found: dict[str, str] = {}
    for match in _ID_PLACES.finditer(text):
        if stem := random_id.match(match[1] or match[2]):
            found.setdefault(stem[stem.lastindex or 1], f"<id {len(found) + 1}>")
    names = "|".join(re.escape(name) for name in sorted(found, key=len, reverse=True)) or "(?!)"
    return re.sub(rf"(?<![0-9A-Za-z])(?:{names})(?![0-9A-Za-z])", lambda m: found[m[0]], text)


_TEXT = (
    Rule("ansi colours", _substitute((r"\x1b\[[0-9;]*m", ""))),
    Rule("workspace path", _workspace),
    # From the start of a path only: linear in long words.
    Rule("interpreter path", _substitute((rf"(?<!{_IN_PATH}){_IN_PATH}+(?=/lib/python\d\.\d+/)", "<python>"))),
    Rule(
        "temporary paths",
        _substitute(
            (_TEMP + r"ipykernel_\d+(?:/\d+\.py\b)?", "<kernel file>"),
            (_TEMP + r"(?:tmp[a-z0-9_]{8}|joblib_memmapping_folder_\w+)(?![a-z0-9_])", "<temporary>"),
        ),
    ),
    Rule(
        "memory addresses",
        _substitute((r"\bat 0x[0-9a-fA-F]{9,16}\b", "at <address>"), (r"\b0x7f[0-9a-f]{10}\b", "<address>")),
    ),
    Rule("object ids", _object_ids),
    Rule("process ids", _substitute((r"(?i)\b(pid|process id)\b([\s=:(]{1,4})\d{1,7}\b", r"\1\2<pid>"))),
    Rule(
        "cell numbers",
        _substitute((r"\b(Cell|Input) In ?\[\d+\]", r"\1 In"), (r"<ipython-input-\d+-\w+>", "<input>")),
    ),
    Rule("durations", _durations),
    Rule("progress", _last_progress),
)
_HTML_IDS = Rule("html ids", lambda text, places: _rename_ids(text, _HTML_ID))
_CHARTS = (Rule("chart ids", lambda text, places: rename_chart_ids(text)),)
_STRICT = How()
_SHOWN = 10**6  # characters; a longer text is not shown as a difference line by line
_KINDS: dict[str, tuple[Rule, ...]] = {
    "text": _TEXT,
    "html": (*_TEXT, _HTML_IDS, *_CHARTS),
    "svg": (
        *_TEXT,
        Rule("svg date", _substitute((r"<dc:date>[^<]*</dc:date>", "<dc:date/>"))),
        Rule("svg ids", lambda text, places: _rename_ids(text, _SVG_ID)),
    ),
    "xml": _TEXT,
    "widget": (*_TEXT, Rule("widget ids", _substitute((r'"model_id": ?"[0-9a-f]{32}"', '"model_id"')))),
}


_KINDS["json"] = (*_TEXT, *_KINDS["widget"][-1:], *_CHARTS)


def same_text(left: str, right: str, kind: str = "text", how: How = _STRICT) -> tuple[str, ...] | None:
    """Return the names of the rules under which two texts are the same.

    Args:
        left: text of one run, whose folders are ``how.here``.
        right: text of the other run, whose folders are ``how.there``.
        kind: "text", "html", "svg", "widget" or "json".
        how: how far numbers may be apart.

    Returns:
        () when they are equal, the fewest rules that make them so, or None when they differ.

    >>> same_text("<Model at 0x7f10a2b3c4d0>", "<Model at 0x7f9912345678>")
    ('memory addresses',)
    >>> same_text("0.912", "0.905") is None
    True
    """
    if left == right:
        return ()
    rules = _KINDS[kind]
    if kind == "text":
        left, right = unlike_lines(left, right)
    needed = _fewest(rules, lambda chosen: _pair(left, right, chosen, how, str.__eq__))
    if needed is not None or not how.comparison.tolerant:
        return needed

    def close(one: str, other: str) -> bool:
        return close_texts(one, other, how.comparison)

    needed = _fewest(rules, lambda chosen: _pair(left, right, chosen, how, close))
    return None if needed is None else (*needed, how.tolerance())


def _pair(left: str, right: str, chosen: Iterable[Rule], how: How, alike: Callable[[str, str], bool]) -> bool:
    return alike(_rewritten(left, chosen, how.here), _rewritten(right, chosen, how.there))


def _fewest(rules: tuple[Rule, ...], enough: Callable[[Sequence[Rule]], bool]) -> tuple[str, ...] | None:
    """Return the names of the rules without which it is not enough; None when all together are not."""
    needed: Sequence[Rule] = rules
    if not enough(needed):
        return None
    for rule in rules:
        fewer = [other for other in needed if other is not rule]
        needed = fewer if enough(fewer) else needed
    return tuple(rule.name for rule in needed)


def compare_text(left: bytes, right: bytes, how: How, kind: str = "text") -> Outcome:
    """Compare two contents as text of a kind; what is no UTF-8 differs."""
    try:
        ours, theirs = text_of(left), text_of(right)
    except UnicodeDecodeError:
        return Outcome(detail="compared by bytes: it is not UTF-8")
    used = same_text(ours, theirs, kind, how)
    return Outcome(rules=used) if used is not None else told(*essence(ours, theirs, kind, how))


def essence(left: str, right: str, kind: str | None, how: How) -> tuple[str, str]:
    """Return two texts that differ without what the rules see past, so that it is not shown as the difference.

    >>> essence("<A at 0x7f10a2b3c4d0> 1", "<A at 0x7f9912345678> 2", "text", How())
    ('<A at <address>> 1', '<A at <address>> 2')
    """
    rules = () if how.comparison.exact or max(len(left), len(right)) > _SHOWN else _KINDS.get(kind or "", ())
    ours, theirs = _rewritten(left, rules, how.here), _rewritten(right, rules, how.there)
    return (ours, theirs) if ours != theirs else (left, right)


def text_of(content: bytes) -> str:
    """Return a content as text, with half characters (as outputs may hold) kept.

    Raises:
        UnicodeDecodeError: it is no UTF-8.
    """
    return content.decode("utf-8", "surrogatepass")


def told(left: str, right: str) -> Outcome:
    """Return that two texts differ: their first line that does, and how it goes on."""
    before, after = first_change(left, right)
    detail = ""
    if max(len(left), len(right)) <= _SHOWN:
        detail = changed_numbers(left, right) or line_diff(left, right)
    return Outcome(before=before, after=after, detail=detail)


def _rewritten(text: str, chosen: Iterable[Rule], places: Places) -> str:
    for rule in chosen:
        text = rule.rewrite(text, places)
    return text


def seen_past(text: str, places: Places) -> str:
    """Return what is left of a text when all rules for text have rewritten it."""
    return _rewritten(text, _TEXT, places)


def anywhere(path: str, places: Places) -> str:
    """Return what a path is called in any workspace and any process, so that two runs' paths can be paired.

    >>> anywhere("/tmp/tmpab12cd34/part.csv", {})
    '<temporary>/part.csv'
    """
    return _rewritten(path, _TEXT[1:4], places)

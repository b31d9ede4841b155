"""When two texts or files that are not equal are still the same result, and by which rule.

A rule rewrites what a repetition cannot repeat and nobody computes with: addresses, durations, random
ids, places. Two values are equivalent when they are equal after the rules, and the names of the rules
that were needed are told. No rule touches a number that is a result: context decides, never size.
Also how outputs are taken apart for this, and how a difference is shown in few words.
Pure: knows text, bytes and nbformat outputs; knows nothing of runs, cells or the store.
"""

from __future__ import annotations

import base64
import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

__all__ = [
    "FILE_KINDS",
    "Part",
    "Places",
    "Rule",
    "anywhere",
    "clip",
    "decoded",
    "file_kind",
    "first_change",
    "line_diff",
    "looks_like_clock",
    "looks_like_token",
    "output_list",
    "output_parts",
    "picture",
    "reordered",
    "same_bytes",
    "same_text",
    "untangled",
]

Places = Mapping[str, str]  # what a run's own folders are called ("workspace", "cwd", …) → absolute path


class Rule(NamedTuple):
    """One way of seeing past a difference: ``rewrite(text, places)`` gives what is left to compare."""

    name: str
    rewrite: Callable[[str, Places], str]


_NUMBER = r"(?<!\d)\d+(?:\.\d+)?(?:e[+-]?\d+)?"  # only from its first digit: linear in long digit runs
_SPAN = rf"{_NUMBER}\s?(?:ns|us|µs|μs|ms|s|min|h|d)\b(?:\s{_NUMBER}\s?(?:ms|s|min|h)\b){{0,3}}"
_IN_PATH = r"[^\s\"'<>():]"
_CLOCK = r"(?:\d+:)?\d+:\d\d"
_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
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


_DURATIONS = _substitute(
    (rf"CPU times: user {_SPAN}, sys: {_SPAN}, total: {_SPAN}", "CPU times: <durations>"),
    (rf"Wall time: {_SPAN}", "Wall time: <duration>"),
    (rf"{_SPAN} ± {_SPAN} per loop \(mean ± std\. dev\. of \d+ runs?, [\d,]+ loops? each\)", "<timeit>"),
    (rf"(?<!\d)\d+ loops?, best of \d+: {_SPAN} per loop", "<timeit>"),
    # IPython prints this line only when the timings happened to scatter.
    (r"The slowest run took [\d.]+ times longer than the fastest\.[^\n]*\n", ""),
    # tqdm; a postfix such as ", loss=0.31" is a result and stays.
    (rf"\[{_CLOCK}(?:<(?:\?|{_CLOCK}))?,\s*(?:\?|{_NUMBER})[A-Za-z ]*/[A-Za-z]+", "[<progress>"),
    (rf"\b{_NUMBER}s {_NUMBER}(?:us|ms|s)/(?:step|epoch|sample)\b", "<progress>"),  # Keras
    (r"\bETA: [\d:]+s?(?=[\s\x08])", "ETA: <duration>"),
    (rf"(\| elapsed:\s+){_SPAN}", r"\1<duration>"),  # joblib
    (rf"(\btotal time=\s*){_SPAN}", r"\1<duration>"),  # scikit-learn
)
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
_HTML_ID = re.compile(rf"(T_[0-9a-f]{{5}})(?:_|$)|([\w-]*?(?:{_UUID}|[0-9a-f]{{32}}))$")
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
    Rule(
        "cell numbers",
        _substitute((r"\b(Cell|Input) In ?\[\d+\]", r"\1 In"), (r"<ipython-input-\d+-\w+>", "<input>")),
    ),
    Rule("durations", _DURATIONS),
    Rule("progress", _last_progress),
)
_KINDS: dict[str, tuple[Rule, ...]] = {
    "text": _TEXT,
    "html": (*_TEXT, Rule("html ids", lambda text, places: _rename_ids(text, _HTML_ID))),
    "svg": (
        *_TEXT,
        Rule("svg date", _substitute((r"<dc:date>[^<]*</dc:date>", "<dc:date/>"))),
        Rule("svg ids", lambda text, places: _rename_ids(text, _SVG_ID)),
    ),
    "widget": (*_TEXT, Rule("widget ids", _substitute((r'"model_id": ?"[0-9a-f]{32}"', '"model_id"')))),
}


def same_text(
    left: str, right: str, kind: str = "text", here: Places | None = None, there: Places | None = None
) -> tuple[str, ...] | None:
    """Return the names of the rules under which two texts are the same.

    Args:
        left: text of one run, whose folders are ``here``.
        right: text of the other run, whose folders are ``there``.
        kind: "text", "html", "svg" or "widget".

    Returns:
        () when they are equal, the fewest rules that make them so, or None when they differ.

    >>> same_text("<Model at 0x7f10a2b3c4d0>", "<Model at 0x7f9912345678>")
    ('memory addresses',)
    >>> same_text("0.912", "0.905") is None
    True
    """
    if left == right:
        return ()
    ours, theirs = here or {}, there or {}

    def equal_under(chosen: Iterable[Rule]) -> bool:
        return _rewritten(left, chosen, ours) == _rewritten(right, chosen, theirs)

    needed = list(_KINDS[kind])
    if not equal_under(needed):
        return None
    for rule in _KINDS[kind]:
        fewer = [other for other in needed if other is not rule]
        needed = fewer if equal_under(fewer) else needed
    return tuple(rule.name for rule in needed)


def _rewritten(text: str, chosen: Iterable[Rule], places: Places) -> str:
    for rule in chosen:
        text = rule.rewrite(text, places)
    return text


def anywhere(path: str, places: Places) -> str:
    """Return what a path is called in any workspace and any process, so that two runs' paths can be paired.

    >>> anywhere("/tmp/tmpab12cd34/part.csv", {})
    '<temporary>/part.csv'
    """
    return _rewritten(path, _TEXT[1:4], places)


FILE_KINDS = {  # file suffix → whose rules apply to the content; others are compared by their bytes
    **dict.fromkeys((".txt", ".json", ".csv", ".tsv", ".md", ".log", ".ipynb"), "text"),
    ".html": "html",
    ".htm": "html",
    ".svg": "svg",
    ".png": "png",
    ".pdf": "pdf",
    ".gz": "gzip",
}


def file_kind(path: str) -> str | None:
    """Return the kind of content a path's suffix promises, or None when no rule knows it.

    >>> file_kind("figures/loss.svg"), file_kind("model.pkl")
    ('svg', None)
    """
    return FILE_KINDS.get(PurePosixPath(path).suffix.lower())


def same_bytes(
    left: bytes, right: bytes, kind: str, here: Places | None = None, there: Places | None = None
) -> tuple[str, ...] | None:
    """Return the names of the rules under which two files' contents are the same; see ``same_text``."""
    if left == right:
        return ()
    if kind in _BINARY:
        name, view = _BINARY[kind]
        ours = view(left)
        return (name,) if ours is not None and ours == view(right) else None
    try:
        return same_text(left.decode(), right.decode(), kind, here, there)
    except UnicodeDecodeError:
        return None


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return the (type, content) chunks of a PNG, or None when it is not a whole one."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks if at == len(data) else None


def _png_image(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
    """Return all that makes the picture: every chunk but texts and times, the pixel stream joined."""
    if (chunks := _png_chunks(data)) is None:
        return None
    kept = [chunk for chunk in chunks if chunk[0] not in (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"IDAT")]
    return kept, b"".join(content for kind, content in chunks if kind == b"IDAT")


def picture(data: bytes) -> str:
    """Return a PNG's size in pixels and bytes, or of other bytes how many they are."""
    chunks = _png_chunks(data)
    if not chunks or chunks[0][0] != b"IHDR":
        return f"{len(data):,} bytes"
    width, height = (int.from_bytes(chunks[0][1][at : at + 4], "big") for at in (0, 4))
    return f"{width}×{height} pixels, {len(data):,} bytes"


def _pdf_undated(data: bytes) -> bytes | None:
    if not data.startswith(b"%PDF-"):
        return None
    return re.sub(rb"/(?:CreationDate|ModDate)\s*\(D:[^)]*\)", b"/Date", data)


def _gzip_undated(data: bytes) -> bytes | None:
    """Return a gzip stream without the time at which its first member was compressed (bytes 4 to 8)."""
    return data[:4] + data[8:] if data.startswith(b"\x1f\x8b") else None


_BINARY: dict[str, tuple[str, Callable[[bytes], object]]] = {
    "png": ("png metadata", _png_image),
    "pdf": ("pdf date", _pdf_undated),
    "gzip": ("gzip date", _gzip_undated),
}


_TIMES = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\b\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?: ?[AP]M)?\b"
    r"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b"
    r"|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* +\d{1,2}\b"
    r"|\bdatetime\.(?:datetime|date|time)\([\d, ]+\)"
    rf"|\b1[5-9]\d{{8}}(?:\.\d+)?\b|{_SPAN}"
)
_TOKENS = re.compile(rf"{_UUID}|\b[0-9a-f]{{16,}}\b|'?b'[^'\n]{{8,}}'")


def looks_like_clock(left: str, right: str) -> bool:
    """Return whether two texts differ only in dates, times and durations.

    >>> looks_like_clock("at 2026-05-03 14:02:11", "at 2026-05-04 09:00:00")
    True
    """
    return left != right and _TIMES.sub("<t>", left) == _TIMES.sub("<t>", right)


def looks_like_token(left: str, right: str) -> bool:
    """Return whether two texts differ only in UUIDs and other random tokens."""
    return left != right and _TOKENS.sub("<t>", left) == _TOKENS.sub("<t>", right)


def reordered(left: str, right: str) -> bool:
    """Return whether two texts hold the same words in another order.

    >>> reordered("{'b', 'a'}", "{'a', 'b'}")
    True
    """
    return left != right and Counter(_words(left)) == Counter(_words(right))


def _words(text: str) -> list[str]:
    return re.findall(r"[\w.+\-]+|[^\w\s]", text)


Part = tuple[str | None, str]  # one content of an output: whose rules apply (None: equal or not), and the text


def output_list(stored: bytes) -> list[dict[str, Any]]:
    """Return a cell's outputs without what no repetition keeps: counts, and how streams were cut.

    Raises:
        ValueError: the bytes are not a JSON list of outputs.
    """
    loaded = json.loads(stored)
    if not isinstance(loaded, list) or not all(isinstance(output, dict) for output in loaded):
        raise ValueError("not a list of outputs")
    outputs: list[dict[str, Any]] = []
    for output in map(_essential, loaded):
        last = outputs[-1] if outputs else {}
        if _stream(output) is not None and _stream(output) == _stream(last):
            outputs[-1] = {**last, "text": str(last.get("text", "")) + str(output.get("text", ""))}
        else:
            outputs.append(output)
    return outputs


def _stream(output: Mapping[str, Any]) -> str | None:
    return str(output.get("name")) if output.get("output_type") == "stream" else None


def _essential(output: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in output.items() if key not in ("execution_count", "transient")}
    if not kept.get("metadata"):
        kept.pop("metadata", None)
    if "text" in kept:
        kept["text"] = _joined(kept["text"])
    if isinstance(kept.get("data"), dict):
        kept["data"] = {mime: _joined(value) for mime, value in kept["data"].items()}
    return kept


def _joined(value: Any) -> Any:
    """Return a notebook's multi-line string as one string; other values as they are."""
    return "".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


def untangled(outputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the outputs with stdout and stderr that follow each other set apart: the two race."""
    result: list[dict[str, Any]] = []
    block: dict[str, dict[str, Any]] = {}
    for output in [*outputs, {}]:
        name = _stream(output)
        if name is not None:
            text = str(block.get(name, {}).get("text", "")) + str(output.get("text", ""))
            block[name] = {**output, "text": text}
            continue
        result += [block[name] for name in sorted(block, reverse=True)] + ([output] if output else [])
        block = {}
    return result


def output_parts(output: dict[str, Any]) -> dict[str, Part]:
    """Return an output's contents by label: a stream's name, "error", or MIME types."""
    kind = str(output.get("output_type"))
    if kind == "stream":
        return {str(output.get("name")): ("text", str(output.get("text", "")))}
    if kind == "error":
        lines = [f"{output.get('ename')}: {output.get('evalue')}", *map(str, output.get("traceback") or ())]
        return {"error": ("text", "\n".join(lines))}
    data = output.get("data")
    if not isinstance(data, dict):
        return {kind: ("text", _as_json(output))}
    parts: dict[str, Part] = {
        mime: (_mime_kind(mime), value if isinstance(value, str) else _as_json(value))
        for mime, value in sorted(data.items())
    }
    rest = {key: value for key, value in output.items() if key not in ("data", "output_type")}
    return {**parts, "kind": (None, kind), "metadata": ("text", _as_json(rest))}


def _mime_kind(mime: str) -> str | None:
    if mime in ("image/png", "application/pdf"):
        return mime.rpartition("/")[2]
    if mime == "image/svg+xml":
        return "svg"
    if mime == "application/vnd.jupyter.widget-view+json":
        return "widget"
    if mime in ("text/html", "application/javascript"):
        return "html"
    return None if mime.startswith(("image/", "audio/", "video/")) else "text"


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)


def decoded(text: str) -> bytes:
    """Return base64 as bytes, and what is not base64 as the bytes of its characters."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return text.encode("utf-8", "surrogatepass")


_LINES, _WIDTH = 40, 60  # lines of a diff, characters of a short text


def clip(text: str, around: int = 0, width: int = _WIDTH) -> str:
    """Return at most ``width`` characters of a text, among them the one at ``around``.

    >>> clip("accuracy: 0.912", width=9)
    'accuracy…'
    """
    if len(text) <= width:
        return text
    start = max(0, min(around - width // 3, len(text) - width + 1))
    shown = text[start + 1 : start + width] if start else text[: width - 1]
    return ("…" if start else "") + shown + ("…" if start + width < len(text) or not start else "")


def first_change(left: str, right: str) -> tuple[str, str]:
    """Return the first line that differs in two texts, from both, short.

    >>> first_change("fit\\nscore 0.912", "fit\\nscore 0.905")
    ('score 0.912', 'score 0.905')
    """
    ours, theirs = left.splitlines(), right.splitlines()
    line = _common(ours, theirs)
    mine, yours = "".join(ours[line : line + 1]), "".join(theirs[line : line + 1])
    at = _common(mine, yours)
    return clip(mine.strip(), at), clip(yours.strip(), at)


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Return how many leading items two sequences share."""
    unlike = (at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(unlike, min(len(left), len(right)))


def line_diff(left: str, right: str) -> str:
    """Return a unified diff of two texts from where they part, at most 40 lines; "" for single lines."""
    ours, theirs = left.splitlines(), right.splitlines()
    if max(len(ours), len(theirs)) <= 1 and max(len(left), len(right)) <= _WIDTH:
        return ""
    # difflib is quadratic: a window after the first change is enough to show what happened.
    start = max(0, _common(ours, theirs) - 3)
    window = slice(start, start + 10 * _LINES)
    lines = list(difflib.unified_diff(ours[window], theirs[window], lineterm=""))[2:]
    hunks = [re.sub(r"^@@ -(\d+).*", lambda m: f"@@ line {start + int(m[1])} @@", line) for line in lines[:_LINES]]
    more = [f"… {len(lines) - _LINES} more lines"] if len(lines) > _LINES else []
    return "\n".join([*(clip(line, width=200) for line in hunks), *more])

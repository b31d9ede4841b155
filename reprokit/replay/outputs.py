"""How the outputs of two executions of a cell differ: taken apart into contents, each compared by its kind.

Knows nbformat outputs, and of cells only that they have such.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from reprokit.errors import StoreError
from reprokit.records import Cell
from reprokit.replay.finding import Context, Finding, brief, changed, told
from reprokit.replay.typed.kinds import mime_kind
from reprokit.replay.typed.shown import clip
from reprokit.replay.typed.text import seen_past

__all__ = ["Part", "compare_outputs", "decoded", "output_list", "output_parts", "untangled"]

Outputs = Sequence[dict[str, Any]]
Part = tuple[str | None, str]  # one content of an output: its kind (None: equal or not), and the text

_IN_BASE64 = ("png", "jpeg", "pdf")


def compare_outputs(left: Cell, right: Cell, context: Context) -> list[Finding]:
    """Return what is not equal in the outputs of two executions of a cell."""
    if left.outputs == right.outputs:
        return []
    sides = (left.outputs, right.outputs)
    try:
        ours, theirs = (output_list(context.read(side)) if side else [] for side in sides)
    except (StoreError, ValueError) as error:
        why = error.message if isinstance(error, StoreError) else "an object is not a list of outputs"
        before, after = (brief(side) if side else "none" for side in sides)
        return [told("output", "outputs", before, after, f"the outputs cannot be compared: {why}")]
    found = _each_output(ours, theirs, context)
    if not context.exact and any(finding.diverges for finding in found):
        found = _reordered(ours, theirs, context) or _not_installed_again(left, right, ours, theirs, context) or found
    return [_with_objects(finding, tuple(side for side in sides if side)) for finding in found]


def _reordered(ours: Outputs, theirs: Outputs, context: Context) -> list[Finding]:
    """Return how the outputs compare with stdout and stderr set apart; [] when that does not make them the same."""
    apart = _each_output(untangled(ours), untangled(theirs), context)
    if any(finding.diverges for finding in apart):
        return []
    return [*apart, Finding(diverges=False, rules=("stream order",))]


def _not_installed_again(left: Cell, right: Cell, ours: Outputs, theirs: Outputs, context: Context) -> list[Finding]:
    """Return how the outputs compare where a replay did not repeat what installed packages.

    All that the replay printed must have been printed before, in that order; what the installer printed is
    then what is more in the record.
    """
    if not (left.skipped or right.skipped):
        return []
    (printed, mine), (reprinted, yours) = _printed(ours), _printed(theirs)
    lines = [seen_past(text, places).splitlines() for text, places in _sides(printed, reprinted, context)]
    fewer, more = lines if left.skipped else reversed(lines)
    rest = iter(more)
    if not all(line in rest for line in fewer):
        return []
    others = _each_output(mine, yours, context)
    if any(finding.diverges for finding in others):
        return []
    return [*others, Finding(diverges=False, rules=("packages are not installed again",))]


def _sides(left: str, right: str, context: Context) -> list[tuple[str, Any]]:
    return [(left, context.how.here), (right, context.how.there)]


def _printed(outputs: Outputs) -> tuple[str, Outputs]:
    """Return all that was printed, and the other outputs."""
    texts = [str(output.get("text", "")) for output in outputs if _stream(output) is not None]
    return "".join(texts), [output for output in outputs if _stream(output) is None]


def _with_objects(finding: Finding, objects: tuple[str, ...]) -> Finding:
    if finding.difference is None or len(objects) < 2:
        return finding
    return dataclasses.replace(finding, difference=dataclasses.replace(finding.difference, objects=objects))


def _each_output(ours: Outputs, theirs: Outputs, context: Context) -> list[Finding]:
    found: list[Finding] = []
    for number, (left, right) in enumerate(zip_longest(ours, theirs), start=1):
        mine, yours = (output_parts(side) if side else {} for side in (left, right))
        for label in [*mine, *(label for label in yours if label not in mine)]:
            found += _part(f"output {number} ({label})", mine.get(label), yours.get(label), context)
    return found


def _part(where: str, left: Part | None, right: Part | None, context: Context) -> list[Finding]:
    if left == right:
        return []
    if left is None or right is None:
        before, after = (clip(part[1]) if part else "absent" for part in (left, right))
        return [told("output", where, before, after)]
    kind, packed = left[0], left[0] in _IN_BASE64
    ours, theirs = (decoded(part[1]) if packed else part[1].encode("utf-8", "surrogatepass") for part in (left, right))
    outcome = context.contrast(ours, theirs, kind)
    if outcome.rules is not None:
        return [Finding(diverges=False, rules=outcome.rules)]
    if packed:
        before, after = outcome.before or f"{len(ours):,} bytes", outcome.after or f"{len(theirs):,} bytes"
        return [told("output", where, before, after, outcome.detail)]
    found = changed("output", where, *context.essence(left[1], right[1], kind))
    detail = outcome.detail or (found.difference.detail if found.difference else "")
    assert found.difference is not None
    return [dataclasses.replace(found, difference=dataclasses.replace(found.difference, detail=detail))]


def output_list(stored: bytes) -> list[dict[str, Any]]:
    """Return a cell's outputs without what no repetition keeps: counts, and how streams were cut.

    Raises:
        ValueError: the bytes are not a JSON list of outputs.
    """
    try:
        loaded = json.loads(stored)
    except RecursionError as error:
        raise ValueError("outputs that are nested too deep") from error
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
        mime: (mime_kind(mime), value if isinstance(value, str) else _as_json(value))
        for mime, value in sorted(data.items())
    }
    rest = {key: value for key, value in output.items() if key not in ("data", "output_type")}
    return {**parts, "kind": (None, kind), "metadata": ("json", _as_json(rest))}


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)


def decoded(text: str) -> bytes:
    """Return base64 as bytes, and what is not base64 as the bytes of its characters."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return text.encode("utf-8", "surrogatepass")

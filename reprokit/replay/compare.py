"""How two runs differ: one pure function serves replay, diff, check and explain.

Cells are paired in order, each pair is compared aspect by aspect, and the first pair that diverged is
given its most likely cause (``causes``). Knows runs, and how to read an object
through the function it is given; knows nothing of stores, workspaces or how the verdict is shown.
What makes unequal contents equivalent is in ``rules``.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from reprokit.digest import PREFIX, canonical_json
from reprokit.errors import StoreError
from reprokit.records import (
    Cell,
    CellVerdict,
    Difference,
    Environment,
    FileUse,
    FileVerdict,
    Run,
    Verdict,
)
from reprokit.replay import folders, rules
from reprokit.replay.causes import Finding, Pair, Scene, config_of, states_of, with_cause
from reprokit.replay.fetched import compare_remote

__all__ = ["compare"]

WHOLE_RUN = 0
"""``CellVerdict.cell`` of what belongs to the run and to no cell."""

_READABLE = 64 * 10**6  # bytes; a larger file is compared by its digest alone
_NAMED = 3  # files of a folder that differ
_SHOWN = 10**6  # bytes; a longer file is not shown as a difference line by line

Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """What every comparison needs: the objects, how strict to be, and each run's own folders."""

    read: Read
    exact: bool
    here: rules.Places
    there: rules.Places

    def same(self, left: bytes | str, right: bytes | str, kind: str | None) -> tuple[str, ...] | None:
        """Return the rules that make two contents the same, or None."""
        if left == right:
            return ()
        if self.exact or kind is None:
            return None
        if isinstance(left, str) and isinstance(right, str):
            return rules.same_text(left, right, kind, self.here, self.there)
        assert isinstance(left, bytes)
        assert isinstance(right, bytes)
        return rules.same_bytes(left, right, kind, self.here, self.there)


def _told(what: str, where: str, before: str, after: str, detail: str = "", *, diverges: bool = True) -> Finding:
    difference = Difference(what=what, where=where, before=before, after=after, detail=detail)
    return Finding(difference=difference, diverges=diverges)


def _changed(what: str, where: str, left: str, right: str) -> Finding:
    """Return that a text differs: its first line that does, and how it goes on."""
    told = _told(what, where, *rules.first_change(left, right), rules.line_diff(left, right))
    return dataclasses.replace(told, texts=(left, right))


def compare(a: Run, b: Run, read: Read, *, exact: bool = False) -> Verdict:
    """Return how ``b`` compares with ``a``, the first cell that diverged, and the most likely cause.

    Args:
        a: the run.
        b: its replay, or another run.
        read: returns the bytes of an object by its digest; may raise ``StoreError``.
        exact: without the typed rules: whatever is not equal has diverged.

    Returns:
        A verdict. What it lists under cell 0 belongs to the run as a whole.

    >>> run = Run(id="20260503-140211-abcd2345", cells=(Cell(seq=1, source="1 + 1", status="done"),))
    >>> compare(run, run, lambda digest: b"").verdict
    'identical'
    """
    context = _Context(read=read, exact=exact, here=_places(a), there=_places(b))
    pairs = _align(a.cells, b.cells)
    findings, files = _all_findings(a, b, pairs, context)
    cells = [_verdict(_number(pairs, index), found) for index, found in sorted(findings.items())]
    environment = _environment(a.environment, b.environment)
    verdict = Verdict(
        verdict=_worst(cell.verdict for cell in cells),
        run=a.id,
        replay=b.id,
        cells=tuple(cells),
        files=tuple(files),
        environment=environment,
        rules=tuple(sorted({rule for cell in cells for rule in cell.rules})),
    )
    first = next((index for index, cell in enumerate(cells) if cell.verdict == "diverged"), None)
    if first is None:
        return verdict
    scene = Scene(a=a, b=b, pairs=pairs[: first + 1], findings=findings[first], environment=environment)
    return with_cause(verdict, first, scene)


def _all_findings(
    a: Run, b: Run, pairs: Sequence[Pair], context: _Context
) -> tuple[dict[int, list[Finding]], list[FileVerdict]]:
    """Return what was found by position in ``pairs``; the position after the last is the run as a whole."""
    findings: dict[int, list[Finding]] = {}
    files: list[FileVerdict] = []
    for index, pair in enumerate(pairs):
        findings[index], used = _cell(pair, pairs[index - 1] if index else None, b, context)
        files += used
    position = {left.seq: index for index, (left, _) in enumerate(pairs) if left}
    whole, artifacts = _whole(a, b, context)
    for cell, finding in whole:
        findings.setdefault(position.get(cell, len(pairs)), []).append(finding)
    return findings, files + artifacts


def _places(run: Run) -> dict[str, str]:
    places = {"workspace": run.root}
    if run.cwd and run.cwd != run.root:
        places["cwd"] = run.cwd
    if run.environment:
        places["environment"] = run.environment.prefix
    return places


def _number(pairs: Sequence[Pair], index: int) -> int:
    if index == len(pairs):
        return WHOLE_RUN
    cell = pairs[index][0] or pairs[index][1]
    return cell.seq if cell else WHOLE_RUN


def _align(ours: Sequence[Cell], theirs: Sequence[Cell]) -> list[Pair]:
    """Pair cells k-th with k-th when their sources agree (a replay); else align them by source."""
    sources = [cell.source for cell in ours], [cell.source for cell in theirs]
    if all(left == right for left, right in zip(*sources, strict=False)):
        return list(zip_longest(ours, theirs))
    pairs: list[Pair] = []
    matcher = difflib.SequenceMatcher(None, *sources, autojunk=False)
    for _, i, i_end, j, j_end in matcher.get_opcodes():
        pairs += zip_longest(ours[i:i_end], theirs[j:j_end])
    return pairs


def _verdict(number: int, findings: Sequence[Finding]) -> CellVerdict:
    used = sorted({rule for finding in findings for rule in finding.rules})
    diverged = any(finding.diverges for finding in findings)
    return CellVerdict(
        cell=number,
        verdict="diverged" if diverged else "equivalent" if used else "identical",
        rules=tuple(used),
        differences=tuple(finding.difference for finding in findings if finding.difference),
    )


def _worst(verdicts: Iterable[str]) -> str:
    found = set(verdicts)
    return next((verdict for verdict in ("diverged", "equivalent") if verdict in found), "identical")


# --- one pair of cells -------------------------------------------------------------------------------


def _cell(pair: Pair, previous: Pair | None, b: Run, context: _Context) -> tuple[list[Finding], list[FileVerdict]]:
    left, right = pair
    if left is None or right is None:
        return [_unpaired(left, right, b)], []
    found = [] if left.source == right.source else [_changed("source", "source", left.source, right.source)]
    if not (left.observed and right.observed):
        return found, []  # it ran before the run began: its source is all there is
    found += _status(left, right, context)
    reads, read_verdicts = _files(left.reads, right.reads, left.seq, context)
    writes, write_verdicts = _files(left.writes, right.writes, left.seq, context)
    remote = compare_remote(left.remote, right.remote)
    found += [*reads, *remote, *_outputs(left.outputs, right.outputs, context), *writes]
    found += _random(left, right, previous)
    return found, [*read_verdicts, *write_verdicts]


def _unpaired(left: Cell | None, right: Cell | None, b: Run) -> Finding:
    cell = left or right
    line = rules.clip((cell.source.strip().splitlines() or [""])[0]) if cell else ""
    if left:
        return _told("missing", "cell", line, b.reason or "not run")
    return _told("extra", "cell", "not run", line)


def _status(left: Cell, right: Cell, context: _Context) -> Iterator[Finding]:
    before, after = left.error or "", right.error or ""
    if left.status != right.status:
        yield _told("status", "status", _ending(left), _ending(right))
    elif before != after:
        used = context.same(before, after, "text")
        yield Finding(diverges=False, rules=used) if used else _changed("status", "error", before, after)


def _ending(cell: Cell) -> str:
    return f"{cell.status} ({rules.clip(cell.error)})" if cell.error else cell.status


def _random(left: Cell, right: Cell, previous: Pair | None) -> Iterator[Finding]:
    """Tell where generators part: told, but alone no divergence, for nothing need have used them."""
    ours, theirs = states_of(left), states_of(right)
    last = (states_of(previous[0]), states_of(previous[1])) if previous else ({}, {})
    for key in sorted(ours.keys() & theirs.keys()):
        at, generator = key
        if ours[key] == theirs[key]:
            continue
        end, start = ("end", generator), ("start", generator)
        # A difference that only lasts since an earlier point is not told again.
        carried = last[0].get(end) != last[1].get(end) if at == "start" else ours.get(start) != theirs.get(start)
        if not carried:
            before, after = _brief(ours[key]), _brief(theirs[key])
            yield _told("random", f"{generator} at {at}", before, after, diverges=False)


def _brief(digest: str) -> str:
    return digest.removeprefix(PREFIX)[:12]


# --- files -------------------------------------------------------------------------------------------


def _files(
    ours: Sequence[FileUse], theirs: Sequence[FileUse], cell: int, context: _Context
) -> tuple[list[Finding], list[FileVerdict]]:
    """Compare what two cells read, or what they wrote, path by path."""
    ours, theirs = folders.levelled(ours, theirs, context.read)
    mine, yours = _by_path(ours, context, context.here), _by_path(theirs, context, context.there)
    found, verdicts = [], []
    for key in sorted(mine.keys() | yours.keys()):
        for left, right in zip_longest(mine.get(key, ()), yours.get(key, ())):
            finding = _file(left, right, context)
            verdicts.append(_file_verdict(left, right, cell, finding))
            found += [finding] if finding else []
    return found, verdicts


def _file_verdict(left: FileUse | None, right: FileUse | None, cell: int, finding: Finding | None) -> FileVerdict:
    use = left or right
    assert use is not None
    return FileVerdict(
        path=use.path,
        access=use.access,
        cell=cell,
        verdict="identical" if finding is None else "diverged" if finding.diverges else "equivalent",
        before=left.digest if left else None,
        after=right.digest if right else None,
    )


def _by_path(uses: Sequence[FileUse], context: _Context, places: rules.Places) -> dict[str, list[FileUse]]:
    """Group uses by path; outside exact mode, by what the path is in any workspace and any process."""
    grouped: dict[str, list[FileUse]] = defaultdict(list)
    for use in uses:
        grouped[use.path if context.exact else rules.anywhere(use.path, places)].append(use)
    return grouped


def _file(left: FileUse | None, right: FileUse | None, context: _Context) -> Finding | None:
    if left is None or right is None:
        return _unpaired_file(left, right)
    moved = context.same(left.path, right.path, "text") or ()
    if left.digest == right.digest and (left.digest or (left.size, left.state) == (right.size, right.state)):
        return Finding(diverges=False, rules=moved) if moved else None
    if left.files and right.files:
        return _dataset(left, right, context)
    contents, note = _contents(left, right, context)
    kind = rules.file_kind(left.path)
    used = context.same(*contents, kind) if contents else None
    if used is not None:
        return Finding(diverges=False, rules=(*used, *moved))
    texts = _as_texts(contents) if kind in ("text", "html", "svg") else None
    detail = note or (rules.line_diff(*texts) if texts else "")
    told = _told(left.access, left.path, _file_brief(left), _file_brief(right), detail)
    return dataclasses.replace(told, texts=texts)


def _dataset(left: FileUse, right: FileUse, context: _Context) -> Finding | None:
    """Compare two folders of very many files: those that differ are counted, and the first ones named."""
    pairs = folders.changed(left, right, context.read)
    before, after = _file_brief(left), _file_brief(right)
    if pairs is None:
        return _told(left.access, left.path, before, after, "which files differ cannot be told")
    found = [(one or other, _file(one, other, context)) for one, other in pairs]
    differing = [use.path for use, finding in found if use and finding and finding.diverges]
    used = tuple(sorted({rule for _, finding in found if finding for rule in finding.rules}))
    if not differing:
        return Finding(diverges=False, rules=used) if used else None
    names = ", ".join(differing[:_NAMED]) + (", …" if len(differing) > _NAMED else "")
    detail = f"{len(differing):,} of {max(left.files, right.files):,} files differ: {names}"
    return _told(left.access, left.path, before, after, detail)


def _unpaired_file(left: FileUse | None, right: FileUse | None) -> Finding:
    """A write only one run made is a divergence; a read is not: caches and order change what is read."""
    use = left or right
    assert use is not None
    before, after = (_file_brief(side) if side else "absent" for side in (left, right))
    told = _told(use.access, use.path, before, after)
    if use.access == "read":
        return dataclasses.replace(told, diverges=False, rules=("read set",))
    return told


def _contents(left: FileUse, right: FileUse, context: _Context) -> tuple[tuple[bytes, bytes] | None, str]:
    """Return both contents, or None and why they were not read, where a rule could use them."""
    if rules.file_kind(left.path) is None or left.digest is None or right.digest is None:
        return None, ""
    if max(left.size or 0, right.size or 0) > _READABLE:
        return None, ""
    try:
        return (context.read(left.digest), context.read(right.digest)), ""
    except StoreError as error:
        return None, f"the contents cannot be compared: {error.message}"


def _as_texts(contents: tuple[bytes, bytes] | None) -> tuple[str, str] | None:
    if contents is None or max(map(len, contents)) > _SHOWN:
        return None
    return contents[0].decode(errors="replace"), contents[1].decode(errors="replace")


def _file_brief(use: FileUse) -> str:
    size = "size unknown" if use.size is None else f"{use.size:,} bytes"
    size = f"{use.files:,} files, {size}" if use.files else size
    return f"{size}, {_brief(use.digest) if use.digest else use.state}"


# --- outputs -----------------------------------------------------------------------------------------


def _outputs(left: str | None, right: str | None, context: _Context) -> list[Finding]:
    if left == right:
        return []
    try:
        ours, theirs = (rules.output_list(context.read(side)) if side else [] for side in (left, right))
    except (StoreError, ValueError) as error:
        why = error.message if isinstance(error, StoreError) else "an object is not a list of outputs"
        before, after = (_brief(side) if side else "none" for side in (left, right))
        return [_told("output", "outputs", before, after, f"the outputs cannot be compared: {why}")]
    found = _each_output(ours, theirs, context)
    if context.exact or not any(finding.diverges for finding in found):
        return found
    apart = _each_output(rules.untangled(ours), rules.untangled(theirs), context)
    if any(finding.diverges for finding in apart):
        return found
    return [*apart, Finding(diverges=False, rules=("stream order",))]


def _each_output(ours: Sequence[Any], theirs: Sequence[Any], context: _Context) -> list[Finding]:
    found: list[Finding] = []
    for number, (left, right) in enumerate(zip_longest(ours, theirs), start=1):
        mine, yours = (rules.output_parts(side) if side else {} for side in (left, right))
        for label in [*mine, *(label for label in yours if label not in mine)]:
            found += _part(f"output {number} ({label})", mine.get(label), yours.get(label), context)
    return found


def _part(where: str, left: rules.Part | None, right: rules.Part | None, context: _Context) -> list[Finding]:
    if left == right:
        return []
    if left is None or right is None:
        before, after = (rules.clip(part[1]) if part else "absent" for part in (left, right))
        return [_told("output", where, before, after)]
    kind, ours, theirs = left[0], left[1], right[1]
    if kind in ("png", "pdf"):
        images = rules.decoded(ours), rules.decoded(theirs)
        used = context.same(*images, kind)
        found = _told("output", where, *map(rules.picture, images))
    else:
        used = context.same(ours, theirs, kind)
        found = _changed("output", where, ours, theirs)
    return [found] if used is None else [Finding(diverges=False, rules=used)]


# --- the run as a whole ------------------------------------------------------------------------------


def _whole(a: Run, b: Run, context: _Context) -> tuple[list[tuple[int, Finding]], list[FileVerdict]]:
    """Compare what belongs to a run; each finding comes with the cell it was recorded in, or 0."""
    files, verdicts = _files(a.artifacts, b.artifacts, WHOLE_RUN, context)
    found = [(WHOLE_RUN, finding) for finding in files]
    for what in ("metric", "assumption"):
        found += _series(what, _recorded(a, what), _recorded(b, what), context)
    found += _series("param", _items(a.params), _items(b.params), context)
    # Configuration names the folders and the hash seed, which a replay sets anew: told, no divergence.
    for cell, finding in _series("config", _items(config_of(a)), _items(config_of(b)), context):
        found.append((cell, dataclasses.replace(finding, diverges=False, rules=())))
    if a.status != b.status:  # a session whose kernel ended is replayed to its end: told, no divergence
        found.append((WHOLE_RUN, _told("status", "run", a.status, b.status, diverges=False)))
    return found, verdicts


Item = tuple[str, Any, int | None]


def _recorded(run: Run, what: str) -> list[Item]:
    if what == "metric":
        return [(metric.key, metric.value, metric.cell) for metric in run.metrics]
    return [(assumption.text, assumption.holds, assumption.cell) for assumption in run.assumptions]


def _items(values: dict[str, Any]) -> list[Item]:
    return [(key, value, None) for key, value in values.items()]


def _series(what: str, ours: Sequence[Item], theirs: Sequence[Item], context: _Context) -> list[tuple[int, Finding]]:
    """Compare values by key, the k-th of a key with the k-th."""
    found: list[tuple[int, Finding]] = []
    for key in sorted({item[0] for item in (*ours, *theirs)}):
        sides = ([item for item in side if item[0] == key] for side in (ours, theirs))
        for left, right in zip_longest(*sides):
            finding = _value(what, left, right, context)
            found += [((left and left[2]) or WHOLE_RUN, finding)] if finding else []
    return found


def _value(what: str, left: Item | None, right: Item | None, context: _Context) -> Finding | None:
    before, after = (canonical_json(side[1]).decode() if side else "absent" for side in (left, right))
    if before == after:
        return None
    # Only text may be seen past; a number in a metric or a parameter is a result.
    if left and right and isinstance(left[1], str) and isinstance(right[1], str):
        used = context.same(left[1], right[1], "text")
        if used is not None:
            return Finding(diverges=False, rules=used)
    item = left or right
    return _told(what, item[0] if item else "", *rules.first_change(before, after))


def _environment(ours: Environment | None, theirs: Environment | None) -> tuple[str, ...]:
    """Return one line for each package, and Python, whose version differs."""
    if ours is None or theirs is None:
        return ()
    mine, yours = _versions(ours), _versions(theirs)
    return tuple(
        f"{name} {mine.get(name, 'absent')} → {yours.get(name, 'absent')}"
        for name in sorted(mine.keys() | yours.keys())
        if mine.get(name) != yours.get(name)
    )


def _versions(environment: Environment) -> dict[str, str]:
    versions = {"python": environment.python}
    for dist in environment.distributions:
        if dist.name == "reprokit":  # it watches the run and is no part of it
            continue
        # The same version can be built from different sources. Of one from the index, that it was changed by hand
        # is found out late and not in every run: not to know it is no difference.
        built = dist.commit or (_brief(dist.content) if dist.content and dist.origin != "index" else "")
        name = re.sub(r"[-_.]+", "-", dist.name).lower()
        versions[name] = f"{dist.version} ({built})" if built else dist.version
    return versions

"""How what belongs to a whole run differs: artifacts, metrics, assumptions, parameters, configuration, packages."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from reprokit.digest import canonical_json
from reprokit.records import Environment, FileVerdict, Run
from reprokit.replay.files import compare_files
from reprokit.replay.finding import Context, Finding, brief, told
from reprokit.replay.typed.shown import first_change

__all__ = ["WHOLE_RUN", "compare_environments", "compare_whole", "config_of"]

WHOLE_RUN = 0
"""``CellVerdict.cell`` of what belongs to the run and to no cell."""


def compare_whole(a: Run, b: Run, context: Context) -> tuple[list[tuple[int, Finding]], list[FileVerdict]]:
    """Compare what belongs to a run; each finding comes with the cell it was recorded in, or 0."""
    files, verdicts = compare_files(a.artifacts, b.artifacts, WHOLE_RUN, context)
    found = [(WHOLE_RUN, finding) for finding in files]
    for what in ("metric", "assumption"):
        found += _series(what, _recorded(a, what), _recorded(b, what), context)
    found += _series("param", _items(a.params), _items(b.params), context)
    # Configuration names the folders and the hash seed, which a replay sets anew: told, no divergence.
    for cell, finding in _series("config", _items(config_of(a)), _items(config_of(b)), context):
        found.append((cell, dataclasses.replace(finding, diverges=False, rules=())))
    if a.status != b.status:  # a session whose kernel ended is replayed to its end: told, no divergence
        found.append((WHOLE_RUN, told("status", "run", a.status, b.status, diverges=False)))
    return found, verdicts


Item = tuple[str, Any, int | None]


def _recorded(run: Run, what: str) -> list[Item]:
    if what == "metric":
        return [(metric.key, metric.value, metric.cell) for metric in run.metrics]
    return [(assumption.text, assumption.holds, assumption.cell) for assumption in run.assumptions]


def _items(values: dict[str, Any]) -> list[Item]:
    return [(key, value, None) for key, value in values.items()]


def _series(what: str, ours: Sequence[Item], theirs: Sequence[Item], context: Context) -> list[tuple[int, Finding]]:
    """Compare values by key, the k-th of a key with the k-th."""
    found: list[tuple[int, Finding]] = []
    for key in sorted({item[0] for item in (*ours, *theirs)}):
        sides = ([item for item in side if item[0] == key] for side in (ours, theirs))
        for left, right in zip_longest(*sides):
            finding = _value(what, left, right, context)
            found += [((left and left[2]) or WHOLE_RUN, finding)] if finding else []
    return found


def _value(what: str, left: Item | None, right: Item | None, context: Context) -> Finding | None:
    before, after = (canonical_json(side[1]).decode() if side else "absent" for side in (left, right))
    if before == after:
        return None
    # Only text may be seen past; a number in a metric or a parameter is a result.
    if left and right and isinstance(left[1], str) and isinstance(right[1], str):
        used = context.same_text(left[1], right[1])
        if used is not None:
            return Finding(diverges=False, rules=used)
    if what == "metric" and left and right and _close(left[1], right[1], context):
        return Finding(diverges=False, rules=(context.how.tolerance(),))
    item = left or right
    return told(what, item[0] if item else "", *first_change(before, after))


def _close(left: Any, right: Any, context: Context) -> bool:
    """Return whether two metrics are numbers within the tolerance, at least one of them with a fraction."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (left, right))
    fraction = isinstance(left, float) or isinstance(right, float)
    return numbers and fraction and context.how.comparison.tolerant and context.how.comparison.close(left, right)


def compare_environments(ours: Environment | None, theirs: Environment | None) -> tuple[str, ...]:
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
        built = dist.commit or (brief(dist.content) if dist.content and dist.origin != "index" else "")
        name = re.sub(r"[-_.]+", "-", dist.name).lower()
        versions[name] = f"{dist.version} ({built})" if built else dist.version
    return versions


def config_of(run: Run) -> dict[str, Any]:
    """Return the configuration, by key."""
    return run.config.values if run.config else {}

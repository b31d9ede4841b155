"""The most likely cause of a divergence, from the evidence in both records.

Knows runs and what the comparison found up to there; knows nothing of stores, of contents that were not
found to differ, or of how the pairs of cells were made. What differs merely somewhere (a package, a file of code,
a generator) is blamed only where the cell that diverged follows from what uses it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from reprokit.records import Cell, CodeState, Difference, Divergence, Run
from reprokit.replay.finding import Finding, Pair, states_of
from reprokit.replay.lineage import Entry, Lineage, Link, Sources
from reprokit.replay.suspects import (
    CODE,
    POOLS,
    Grounds,
    Suspect,
    changed_imports,
    hashes_vary,
    imports_others,
    is_closed,
    nearest,
    processors_differ,
    threads_differ,
)
from reprokit.replay.typed.likeness import looks_like_clock, looks_like_token, reordered
from reprokit.replay.whole import config_of

__all__ = ["Scene", "cause_of", "divergence", "origin_of"]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known where two runs diverge: the pairs up to there, and what was found in the last.

    ``cell`` is what the last is called, 0 when it is the run as a whole. ``code`` are the project's files that
    differ, None when only the snapshots as a whole can be compared. ``sources`` are those of all cells.
    """

    a: Run
    b: Run
    pairs: Sequence[Pair]
    findings: Sequence[Finding]
    environment: tuple[str, ...]
    cell: int
    code: tuple[str, ...] | None = None
    sources: Sources

    @cached_property
    def line(self) -> Lineage:
        """The statements that the cell which diverged follows from."""
        return self.sources.lineage(len(self.pairs) - 1) if self.cell else Lineage()

    @cached_property
    def suspect(self) -> Suspect | None:
        """The nearest of them that asks for what may differ."""
        grounds = Grounds(a=self.a, b=self.b, pairs=self.pairs, environment=self.environment, changed=self.changed_code)
        return nearest(grounds, self.line)

    @property
    def changed_code(self) -> tuple[str, ...] | None:
        """The project's files of code that differ; a notebook is told by its cells."""
        if self.code is None:
            return None
        return tuple(path for path in self.code if PurePosixPath(path).suffix in CODE)

    def changed(self, *whats: str) -> list[Difference]:
        """Return the diverging differences of these kinds."""
        found = [finding.difference for finding in self.findings if finding.diverges and finding.difference]
        return [difference for difference in found if difference.what in whats]

    def cells(self) -> list[Cell]:
        """Return both runs' cells up to the divergence."""
        return [cell for pair in self.pairs for cell in pair if cell]

    def texts(self, alike: Callable[[str, str], bool]) -> bool:
        """Return whether all the contents that diverged are alike in this way."""
        texts = [finding.texts for finding in self.findings if finding.diverges and finding.texts]
        return bool(texts) and all(alike(*pair) for pair in texts)

    def error(self) -> str:
        """Return how the cell ended in the second run, if it did not in the first."""
        left, right = _last(self)
        failed = left and right and right.error and left.error != right.error
        return (right.error or "") if right and failed else ""


# -- inputs ----------------------------------------------------------------------------------------------


def _inputs_changed(scene: Scene) -> set[str]:
    """Return the causes that files, and data from elsewhere, stand for which differ and are not the run's own."""
    paths = {difference.where for difference in scene.changed("read")}
    return {_kind(path, scene) for path in paths - _own(scene)} if paths else set()


def _inputs_missed(scene: Scene) -> set[str]:
    """Return the same of what one run alone read."""
    found = [one.difference for one in scene.findings if one.difference and one.difference.what == "read"]
    paths = {one.where for one in found if "absent" in (one.before, one.after)}
    paths = {path for path in paths if not path.startswith(_SYSTEM) and "://" not in path}
    return {_kind(path, scene) for path in paths - _own(scene)} if paths else set()


def _own(scene: Scene) -> set[str]:
    own = {use.path for cell in scene.cells() for use in cell.reads if use.own}
    return own | {use.path for pair in scene.pairs[:-1] for cell in pair if cell for use in cell.writes}


def _kind(path: str, scene: Scene) -> str:
    if PurePosixPath(path).suffix in (*CODE, ".ipynb"):
        return "code"
    if path.startswith(("http://", "https://", "ftp://")):
        return "network"
    configs = [run.config.sources.values() for run in (scene.a, scene.b) if run.config]
    return "config" if any(path in sources for sources in configs) else "data"


_SYSTEM = ("/proc/", "/sys/", "/dev/")


def _are_parameters(scene: Scene) -> bool:
    """Return whether all that differs in the cells' sources are values of the run's parameters."""
    changed = {
        key for key in scene.a.params.keys() | scene.b.params.keys() if _param(scene.a, key) != _param(scene.b, key)
    }
    ours, theirs = (_assigned(cell.source if cell else "") for cell in _last(scene))
    if ours is None or theirs is None or not changed:
        return False
    return {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)} <= changed


def _param(run: Run, key: str) -> object:
    return run.params.get(key, _param)


def _assigned(source: str) -> dict[str, str] | None:
    """Return the values that a cell of nothing but assignments gives to names; None when it does more."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = {}
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if not isinstance(node, ast.Assign) or not isinstance(target, ast.Name):
            return None
        found[target.id] = ast.dump(node.value)
    return found


def _trees_differ(scene: Scene) -> bool:
    """Return whether the project's code differs, its submodules' among it, as far as both snapshots tell."""
    if scene.changed_code is not None:
        return bool(scene.changed_code)
    a, b = scene.a.code, scene.b.code
    return bool(a and b and _trees(a) != _trees(b))


def _trees(code: CodeState) -> tuple[str, ...]:
    return (code.tree, *(tree for module in code.submodules for tree in _trees(module)))


# -- generators --------------------------------------------------------------------------------------------


def _last(scene: Scene) -> Pair:
    return scene.pairs[-1] if scene.pairs else (None, None)


def _parted(scene: Scene) -> set[str]:
    """Return the generators with whose state the cell that diverged did not begin alike."""
    ours, theirs = (states_of(cell) for cell in _last(scene))
    return {key[1] for key in ours.keys() & theirs.keys() if key[0] != "end" and ours[key] != theirs[key]}


def _drawn_apart(scene: Scene) -> set[str]:
    """Return those of them that were drawn from up to there, and that the cell did not seed."""
    ours, theirs = (states_of(cell) for cell in _last(scene))
    ends = {name for at, name in ours.keys() & theirs.keys() if at == "end"}
    seeded = {name for name in ends if ours["end", name] == theirs["end", name]}
    apart = _parted(scene) - seeded
    return apart & {name for cell in scene.cells() for name in _drawn(cell)} if apart else set()


def _drawn(cell: Cell) -> set[str]:
    """Return the generators whose state the cell changed."""
    seen: dict[str, set[str]] = {}
    for (_, name), digest in states_of(cell).items():
        seen.setdefault(name, set()).add(digest)
    return {name for name, digests in seen.items() if len(digests) > 1}


def _perhaps_random(scene: Scene) -> bool:
    """Return whether a generator was in another state, and nothing shows that it was not used."""
    ours, theirs = (states_of(cell) for cell in _last(scene))
    ended = {name for at, name in ours.keys() & theirs.keys() if at == "end"}
    drawn = {name for cell in _last(scene) if cell for name in _drawn(cell)}
    return bool(_parted(scene) - (ended - drawn)) or _seeded_otherwise(scene)


def _seeded_otherwise(scene: Scene) -> bool:
    """Return whether generators that the cell made had other seeds."""
    ours, theirs = (
        {state.entropy for state in cell.random if state.entropy} if cell else set() for cell in _last(scene)
    )
    return ours != theirs and bool(ours or theirs)


# -- the evidence, and what it amounts to ---------------------------------------------------------------


def _refused(scene: Scene) -> bool:
    """Return whether the second run had no network and the cell wanted it."""
    _, right = _last(scene)
    return scene.b.conditions.get("network") == "closed" and bool(right and right.network)


def _name_unknown(scene: Scene) -> bool:
    """Return whether the second run failed for a name that no cell makes."""
    match = re.match(r"NameError: name '(\w+)' is not defined", scene.error())
    return bool(match and match[1] in scene.line.free)


def _module_gone(scene: Scene) -> str:
    """Return the name of the module, if an import failed in the second run for want of it."""
    match = re.match(r"ModuleNotFoundError: No module named '(\w+)", scene.error())
    return match[1] if match else ""


def _in_the_order_of_workers(scene: Scene) -> bool:
    return scene.texts(reordered) and any(_starts_workers(link) for link in scene.line.links)


def _starts_workers(link: Link) -> bool:
    return not link.statement.imports and bool(re.search(POOLS, link.statement.text))


def _unseen(scene: Scene) -> bool:
    """Return whether the cell follows from one that was not observed, or was entered in its midst."""
    inside = any(cell.entered != "start" for cell in scene.cells())
    behind = {link.position for link in scene.line.links if not link.statement.carrier}
    return inside or any(not cell.observed for at in behind for cell in scene.pairs[at] if cell)


def _other_versions(scene: Scene) -> bool:
    """Return whether Python or a package has another version; of one that only one run had, its import would tell."""
    return any("absent" not in line for line in scene.environment) and imports_others(scene.line)


Evidence = tuple[tuple[str, Callable[[Scene], bool]], ...]

_CERTAIN: Evidence = (
    # What is certain first, then what the difference itself shows.
    ("config", lambda s: bool(s.changed("source", "extra")) and _are_parameters(s)),
    ("code", lambda s: bool(s.changed("source", "extra")) or "code" in _inputs_changed(s)),
    ("data", lambda s: "data" in _inputs_changed(s)),
    ("config", lambda s: bool(s.changed("param")) or "config" in _inputs_changed(s)),
    ("network", lambda s: _refused(s) or "network" in _inputs_changed(s)),
    ("hidden-state", _name_unknown),
    ("environment", lambda s: _module_gone(s).lower() in changed_imports(s.environment)),
    ("parallelism", _in_the_order_of_workers),
    ("hash-order", lambda s: hashes_vary(s.a, s.b) and s.texts(reordered)),
    ("config", lambda s: s.texts(looks_like_clock) and s.suspect is not None and s.suspect.cause == "config"),
    ("time", lambda s: s.texts(looks_like_clock)),
    ("randomness", lambda s: s.texts(looks_like_token) or bool(_drawn_apart(s))),
)
_POSSIBLE: Evidence = (
    # What was merely different, and may have been used: here nothing that the cell follows from tells.
    ("hidden-state", lambda s: is_closed(s.line)),
    ("data", lambda s: "data" in _inputs_missed(s)),
    ("config", lambda s: "config" in _inputs_missed(s)),
    ("config", lambda s: s.a.params != s.b.params),
    ("environment", lambda s: _other_versions(s) or bool(s.environment and _module_gone(s))),
    ("network", lambda s: any(cell.network for cell in s.cells())),
    # A changed tree may be a helper module that the cell imports, but what is no code changes it too. It goes
    # before generators that merely differ, as they do in any two processes, and before what the machines were.
    ("code", _trees_differ),
    ("randomness", _perhaps_random),
    ("parallelism", lambda s: threads_differ(s.a, s.b) and imports_others(s.line)),
    ("hardware", lambda s: processors_differ(s.a, s.b) and imports_others(s.line)),
    ("hidden-state", _unseen),
    ("config", lambda s: config_of(s.a) != config_of(s.b)),
)


def cause_of(scene: Scene) -> str:
    """Return the most likely cause of the divergence in the last pair."""
    certain = next((name for name, shows in _CERTAIN if shows(scene)), None)
    if certain is not None or scene.suspect is not None:
        return certain or (scene.suspect.cause if scene.suspect else "")
    return next((name for name, shows in _POSSIBLE if shows(scene)), "nondeterminism")


def origin_of(scene: Scene) -> Entry | None:
    """Return where the cause came in, if that can be told."""
    cause, links = cause_of(scene), scene.line.links
    if cause == "parallelism" and (link := next(filter(_starts_workers, links), None)) is not None:
        return _entry(scene, link)
    if scene.suspect is not None and scene.suspect.cause == cause:
        return _entry(scene, scene.suspect.link)
    apart = _drawn_apart(scene) if cause == "randomness" else set()
    drawn = [_entry(scene, link) for link in links if apart & _drawn_at(scene, link)]
    if drawn:
        return next((entry for entry in drawn if entry.names), drawn[0])
    return None if scene.changed("source", "extra", "missing", "read") else Entry(None, _values_used(scene))


def _entry(scene: Scene, link: Link | None) -> Entry:
    """Return what differs when it came in by a statement, or by a name that no cell made."""
    if link is None:
        return Entry(None, frozenset(scene.line.free))
    one = link.statement
    handed = [other.statement for other in scene.line.links if other.statement.made & one.used]
    changed = {name for other in handed if other.carrier and not other.imports for name in other.changed}
    # A module is not changed by what is called in its name.
    return Entry(link, one.made | ((one.changed | changed) & scene.line.made))


def _values_used(scene: Scene) -> frozenset[str]:
    """Return the values of earlier cells that a cell uses: one of them may be what differs."""
    carried = {name for link in scene.line.links if link.statement.carrier for name in link.statement.made}
    needed = {name for link in scene.line.links if not link.depth for name in link.statement.needed}
    return frozenset(needed & scene.line.made - carried)


def _drawn_at(scene: Scene, link: Link) -> set[str]:
    if link.statement.plain:
        return set()
    return {name for cell in scene.pairs[link.position] if cell for name in _drawn(cell)}


_LEADS = {"code": ("source", "extra", "read"), "data": ("read",), "config": ("param", "read")}


def divergence(scene: Scene) -> Divergence:
    """Return the divergence in the last pair: where it is, its cause, and the difference that goes with that."""
    cause = cause_of(scene)
    everything = [finding.difference for finding in scene.findings if finding.diverges and finding.difference]
    lead = (scene.changed(*_LEADS.get(cause, ())) or everything)[0]
    return Divergence(cell=scene.cell, cause=cause, difference=_line(lead))


def _line(difference: Difference) -> str:
    """Return a difference in one line."""
    if difference.what == "missing":
        return f"the cell was not run ({difference.after})"
    if difference.what == "extra":
        return "the cell was run in addition"
    if difference.what in ("read", "write"):
        verb = "written" if difference.what == "write" else "read"
        if difference.after == "absent":
            return f"{difference.where} was not {verb}"
        if difference.before == "absent":
            return f"{difference.where} was {verb} in addition"
        return f"{difference.where} changed"
    plain = difference.what in ("output", "status", "source")
    named = difference.where if plain else f"{difference.what} {difference.where}"
    return f"{named}: {difference.before} → {difference.after}"

"""The most likely cause of a divergence, from the evidence in both records.

Knows runs and what the comparison found up to there; knows nothing of stores, of contents that were not
found to differ, or of how the pairs of cells were made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from reprokit.records import Cell, CodeState, Difference, Divergence, Run
from reprokit.replay.finding import Finding, Pair, states_of
from reprokit.replay.typed.likeness import looks_like_clock, looks_like_token, reordered
from reprokit.replay.whole import config_of

__all__ = ["CLOCKS", "TOKENS_FROM", "Scene", "cause_of", "divergence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is known where two runs diverge: the pairs up to there, and what was found in the last.

    ``cell`` is what the last is called, 0 when it is the run as a whole.
    """

    a: Run
    b: Run
    pairs: Sequence[Pair]
    findings: Sequence[Finding]
    environment: tuple[str, ...]
    cell: int

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

    def machine(self, *fields: str) -> bool:
        """Return whether both machines are known and differ in one of these fields."""
        a, b = self.a.machine, self.b.machine
        return bool(a and b and any(getattr(a, field) != getattr(b, field) for field in fields))

    def uses(self, pattern: str) -> bool:
        """Return whether the source of the diverging cell matches."""
        return any(cell and re.search(pattern, cell.source) for pair in self.pairs[-1:] for cell in pair)


def _inputs_changed(scene: Scene) -> set[str]:
    """Return the causes that files stand for which differ and which the run did not write itself."""
    own = {use.path for cell in scene.cells() for use in cell.reads if use.own}
    own |= {use.path for pair in scene.pairs[:-1] for cell in pair if cell for use in cell.writes}
    paths = {difference.where for difference in scene.changed("read")} - own
    configs = set(scene.a.config.sources.values()) if scene.a.config else set()
    return {
        "code" if PurePosixPath(path).suffix in _CODE else "config" if path in configs else "data" for path in paths
    }


def _hashes_vary(scene: Scene) -> bool:
    seeds = [run.machine.hash_secret or run.machine.hash_seed for run in (scene.a, scene.b) if run.machine]
    return "random" in seeds or len(set(seeds)) > 1


def _last(scene: Scene) -> Pair:
    return scene.pairs[-1] if scene.pairs else (None, None)


def _parted(scene: Scene) -> set[str]:
    """Return the generators with whose state the cell that diverged did not begin alike."""
    ours, theirs = (states_of(cell) for cell in _last(scene))
    return {key[1] for key in ours.keys() & theirs.keys() if key[0] != "end" and ours[key] != theirs[key]}


def _drawn_apart(scene: Scene) -> bool:
    """Return whether one of those was drawn from up to there, and the cell did not seed it."""
    ours, theirs = (states_of(cell) for cell in _last(scene))
    ends = {name for at, name in ours.keys() & theirs.keys() if at == "end"}
    seeded = {name for name in ends if ours["end", name] == theirs["end", name]}
    return bool((_parted(scene) - seeded) & {name for cell in scene.cells() for name in _drawn(cell)})


def _drawn(cell: Cell) -> set[str]:
    """Return the generators whose state the cell changed."""
    seen: dict[str, set[str]] = {}
    for (_, name), digest in states_of(cell).items():
        seen.setdefault(name, set()).add(digest)
    return {name for name, digests in seen.items() if len(digests) > 1}


def _unseeded(scene: Scene) -> bool:
    """Return whether generators that are made in the cell would have had other seeds, or none known."""
    ours, theirs = (
        {state.entropy for state in cell.random if state.entropy} if cell else set() for cell in _last(scene)
    )
    return ours != theirs or (not ours and scene.uses(_UNSEEDED))


def _perhaps_random(scene: Scene) -> bool:
    """Return whether anything of randomness was different, though nothing shows that it was used."""
    told = any(finding.difference and finding.difference.what == "random" for finding in scene.findings)
    return told or bool(_parted(scene)) or _unseeded(scene)


def _trees_differ(scene: Scene) -> bool:
    """Return whether the snapshots of the project, its submodules among them, are both known and differ."""
    a, b = scene.a.code, scene.b.code
    return bool(a and b and _trees(a) != _trees(b))


def _trees(code: CodeState) -> tuple[str, ...]:
    return (code.tree, *(tree for module in code.submodules for tree in _trees(module)))


def _refused(scene: Scene) -> bool:
    """Return whether the second run had no network and the cell wanted it."""
    _, right = _last(scene)
    return scene.b.conditions.get("network") == "closed" and bool(right and right.network)


_CODE = (".py", ".pyi", ".pyx", ".so", ".ipynb", ".R", ".jl", ".sh")
TOKENS_FROM = r"\buuid[14]?\b|\bsecrets\b|\burandom\b|SystemRandom"
_UNSEEDED = r"(?:default_rng|RandomState|SeedSequence|Random)\(\)"
CLOCKS = r"\btime\.\w*time|perf_counter|monotonic\(|\.(?:now|utcnow|today)\("

_EVIDENCE: tuple[tuple[str, Callable[[Scene], bool]], ...] = (
    # What is certain first, then what the difference itself shows, then what was merely different.
    ("code", lambda s: bool(s.changed("source", "extra")) or "code" in _inputs_changed(s)),
    ("data", lambda s: "data" in _inputs_changed(s)),
    ("config", lambda s: s.a.params != s.b.params or "config" in _inputs_changed(s)),
    ("network", _refused),
    ("hash-order", lambda s: _hashes_vary(s) and s.texts(reordered)),
    ("time", lambda s: s.texts(looks_like_clock)),
    ("randomness", lambda s: s.texts(looks_like_token) or _drawn_apart(s)),
    ("environment", lambda s: bool(s.environment)),
    ("randomness", lambda s: s.uses(TOKENS_FROM)),
    ("network", lambda s: any(cell.network for cell in s.cells())),
    ("time", lambda s: s.uses(CLOCKS)),
    ("randomness", lambda s: s.uses(_UNSEEDED) and _unseeded(s)),
    # A changed tree may be a helper module that the cell imports, but a saved notebook or a result changes it
    # too: packages that differ and what the cell's own source shows go first. It goes before generators that
    # merely differ, as they do in any two processes, and before what the machines were.
    ("code", _trees_differ),
    ("randomness", _perhaps_random),
    ("parallelism", lambda s: s.machine("threads")),
    ("hardware", lambda s: s.machine("architecture", "cpu")),
    ("hidden-state", lambda s: any(not cell.observed or cell.entered != "start" for cell in s.cells())),
    ("config", lambda s: config_of(s.a) != config_of(s.b)),
)
_LEADS = {"code": ("source", "extra", "read"), "data": ("read",), "config": ("param", "read")}


def cause_of(scene: Scene) -> str:
    """Return the most likely cause of the divergence in the last pair."""
    return next((name for name, shows in _EVIDENCE if shows(scene)), "nondeterminism")


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

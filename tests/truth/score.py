"""What a record says of the cells, held against the truth: misses, false uses and wrong digests. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ground import EMPTY, Truth, name_of
from kernel_runs import Recorded
from known_cells import KnownCell

from reprokit.records import FileUse

__all__ = ["Count", "Fault", "Score", "judge"]

Digests = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a record.

    ``what`` is "missed", "false" (recorded, and it did not happen) or "digest" (of other bytes than those used).
    """

    what: str
    library: str
    cell: str
    access: str
    file: str
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.what:6} {self.access:5} {self.file}{detail}: {self.library}: {self.cell}"


@dataclass(slots=True)
class Count:
    """How many uses there were, were found, and were made up, by "read" and "write"."""

    true: dict[str, int] = field(default_factory=lambda: {"read": 0, "write": 0})
    found: dict[str, int] = field(default_factory=lambda: {"read": 0, "write": 0})
    false: dict[str, int] = field(default_factory=lambda: {"read": 0, "write": 0})
    exact: int = 0  # found, and with the digest of the bytes that were used

    def add(self, other: Count) -> None:
        """Count these too."""
        for mine, others in ((self.true, other.true), (self.found, other.found), (self.false, other.false)):
            for access, number in others.items():
                mine[access] += number
        self.exact += other.exact

    def recall(self, *accesses: str) -> float | None:
        """Return the share of what happened that was found; None when nothing happened."""
        return _share(self._sum(self.found, accesses), self._sum(self.true, accesses))

    def precision(self) -> float | None:
        """Return the share of what was recorded that happened; None when nothing was recorded."""
        found = self._sum(self.found, ())
        return _share(found, found + self._sum(self.false, ()))

    def digests(self) -> float | None:
        """Return the share of what was found that has the digest of the bytes that were used."""
        return _share(self.exact, self._sum(self.found, ()))

    @staticmethod
    def _sum(counted: Mapping[str, int], accesses: Sequence[str]) -> int:
        return sum(counted[access] for access in accesses or ("read", "write"))


@dataclass(slots=True)
class Score:
    """How well one tier did.

    Attributes:
        said: what the record says of its own completeness.
        by_cell: the uses it names, by what the truth calls their files.
        libraries: the counts of each library, in the order of the cells.
        faults: each single thing that is wrong.
    """

    said: Recorded
    by_cell: list[dict[tuple[str, str], FileUse]]
    libraries: dict[str, Count] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    @property
    def total(self) -> Count:
        """All libraries together."""
        total = Count()
        for count in self.libraries.values():
            total.add(count)
        return total


def judge(cells: Sequence[KnownCell], truths: Sequence[Truth], recorded: Recorded, root: Path, left: Digests) -> Score:
    """Hold a record against the truth.

    Args:
        cells: what ran.
        truths: what each cell did when nobody watched.
        recorded: what was recorded of another run of the same cells.
        root: the folder in which that run happened.
        left: the digests of the files which that run left.
    """
    score = Score(recorded, [_by_name(uses, root) for uses in recorded.uses])
    for at, (cell, truth, uses) in enumerate(zip(cells, truths, score.by_cell, strict=True)):
        count, faults = _judge_cell(cell, truth, uses)
        wrong = list(_wrong_digests(cell, truth, uses, _lasting(truths, at, left)))
        # A wrong digest of what the cell read back of its own is a fault, and no use of the truth.
        count.exact = sum(count.found.values()) - sum((f.file, f.access) not in truth.harmless for f in wrong)
        score.libraries.setdefault(cell.library, Count()).add(count)
        score.faults += [*faults, *wrong]
    return score


def _by_name(uses: Mapping[tuple[str, str], FileUse], root: Path) -> dict[tuple[str, str], FileUse]:
    """Return the uses by what the truth calls their files, whichever link they were recorded under."""
    return {(name_of(str(root / "project" / path), root), access): use for (path, access), use in uses.items()}


def _judge_cell(cell: KnownCell, truth: Truth, uses: Iterable[tuple[str, str]]) -> tuple[Count, list[Fault]]:
    happened = {(name, "read") for name in truth.reads} | {(name, "write") for name in truth.writes}
    named = set(uses)
    count = Count()
    faults = []
    for name, access in sorted(happened):
        count.true[access] += 1
        count.found[access] += (name, access) in named
        if (name, access) not in named:
            faults.append(Fault("missed", cell.library, cell.name, access, name))
    for name, access in sorted(named - happened - truth.harmless):
        count.false[access] += 1
        faults.append(Fault("false", cell.library, cell.name, access, name))
    return count, faults


def _lasting(truths: Sequence[Truth], at: int, left: Digests) -> Digests:
    """Return the digests of what no cell after this one wrote to: it lies there as this cell found or left it.

    Some formats hold the time, so that no two runs write the same bytes.
    """
    later = {name for truth in truths[at + 1 :] for name in truth.writes}
    return {name: digest for name, digest in left.items() if name not in later}


def _wrong_digests(
    cell: KnownCell, truth: Truth, uses: Mapping[tuple[str, str], FileUse], lasting: Digests
) -> Iterator[Fault]:
    """Yield the uses whose digest is not that of the bytes."""
    for (name, access), use in uses.items():
        if access == "read" and name in truth.reads:
            allowed = {truth.reads[name], None if name in truth.writes else lasting.get(name)}
        elif name in truth.writes and (access == "write" or (name, access) in truth.harmless):
            allowed = {truth.writes[name], lasting.get(name), EMPTY if access == "read" else None}
        else:
            continue
        if use.digest not in allowed - {None}:
            yield Fault("digest", cell.library, cell.name, access, name, f"{use.state}, {use.digest}")


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None

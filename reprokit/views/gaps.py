"""What stands in the way of a replay, said once for all the cells it concerns, with what to do; and what was secured.

Pure: a run's record becomes ``Told`` values, which text and HTML show alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from reprokit.records import FileUse, Gap, Run
from reprokit.records.replayable import blocking, is_settled, kept_digests, unkept
from reprokit.views.plain import count, hexes, indent, plain, size, spans

__all__ = ["Told", "as_it_is", "good_to_know", "html", "lines", "preventing", "sections", "secured", "verdict_words"]

_EACH = 8  # files told one by one


@dataclass(frozen=True, slots=True)
class Told:
    """One thing to say: where (``cells`` are ``Cell.seq``), what, and what to do about it."""

    what: str
    remedy: str = ""
    cells: tuple[int, ...] = ()
    done: bool = False
    files: int = 1

    @property
    def line(self) -> str:
        """Return place and message in one line."""
        mark = "✓ " if self.done else ""
        where = f"cell{'s' if len(self.cells) > 1 else ''} {spans(self.cells)}: " if self.cells else ""
        return f"{mark}{where}{plain(self.what)}"


def sections(run: Run) -> list[tuple[str, list[Told]]]:
    """Return everything there is to say by heading, what matters most first."""
    return [
        ("", preventing(run)),
        ("These files must stay as they are", as_it_is(run)),
        ("Good to know", good_to_know(run)),
        ("Secured", secured(run)),
    ]


def still_open(run: Run) -> list[Told]:
    """Return everything that is not settled, what prevents a replay first."""
    return [*preventing(run), *as_it_is(run), *good_to_know(run)]


def preventing(run: Run) -> list[Told]:
    """Return what prevents an exact replay."""
    lost = [
        Told(f"{use.path} {_STATES.get(use.state, use.state)}", "run the cell again to its end", tuple(cells))
        for use, cells in unkept(run).values()
        if use.state != "stable" and not any(gap.blocks and _is_about(gap, use.path) for gap in run.gaps)
    ]
    return _grouped(blocking(run)) + lost


_STATES = {
    "unstable": "changed while in use",
    "missing": "was gone before it could be hashed",
    "pending": "was not hashed yet",
}


def as_it_is(run: Run) -> list[Told]:
    """Return the files whose bytes are not kept: a replay uses them where they are, while they are the same."""
    files = {path: entry for path, entry in unkept(run).items() if entry[0].state == "stable"}
    if len(files) > _EACH:
        sizes = sum(use.size or 0 for use, _ in files.values())
        named = ", ".join(list(files)[:2])
        cells = tuple(sorted({seq for _, cells in files.values() for seq in cells}))
        what = f"{len(files):,} files ({size(sizes)}) are not kept: {named} and {len(files) - 2:,} more"
        remedy = "`%repro data FOLDER --store`, or track them with DVC"
        return [Told(what, remedy, cells, files=len(files)), *_outside(run)]
    return [_unkept(run, use, cells) for use, cells in files.values()] + _outside(run)


def _unkept(run: Run, use: FileUse, cells: Sequence[int]) -> Told:
    about = [gap for gap in run.gaps if _is_about(gap, use.path) and not gap.blocks]
    if about:
        gap = next((gap for gap in about if gap.cell is not None), about[0])
        return Told(gap.message, gap.remedy, tuple(cells), files=use.files or 1)
    what = f"{use.path} ({size(use.size)}) is not kept: only its digest is"
    return Told(what, f"`%repro data {use.path} --store`, or track it with DVC", tuple(cells), files=use.files or 1)


def _is_about(gap: Gap, path: str) -> bool:
    return gap.path == path or gap.message.startswith(f"{path} ")


def _outside(run: Run) -> list[Told]:
    """Return, as one thing, the files outside the project: a replay never writes there."""
    lost = unkept(run)
    reads = [(use, cell.seq) for cell in run.cells for use in cell.reads if not use.own and use.path not in lost]
    outside = [(use.path, seq) for use, seq in reads if use.path.startswith("/")]
    paths = sorted({path for path, _ in outside})
    if not paths:
        return []
    named = ", ".join(paths[:2]) + (f" and {len(paths) - 2:,} more" if len(paths) > 2 else "")
    where = "lies" if len(paths) == 1 else "lie"
    cells = tuple(sorted({seq for _, seq in outside}))
    remedy = "copy what you want restored into the project"
    return [Told(f"{named} {where} outside the project: a replay reads it there", remedy, cells, files=len(paths))]


def good_to_know(run: Run) -> list[Told]:
    """Return the other open gaps."""
    kept, shown = kept_digests(run), unkept(run)
    gaps = (gap for gap in run.gaps if not gap.blocks and not is_settled(gap, kept))
    return _grouped(gap for gap in gaps if not any(_is_about(gap, path) for path in shown))


def secured(run: Run) -> list[Told]:
    """Return what would have prevented a replay, had it not been taken care of."""
    kept = kept_digests(run)
    groups: dict[str, set[int]] = {}
    for gap in run.gaps:
        if is_settled(gap, kept):
            said = f"{gap.message}: {gap.settled}" if gap.settled else f"{gap.path} is stored as {hexes(gap.digest)}"
            groups.setdefault(said, set()).update([] if gap.cell is None else [gap.cell])
    return [Told(what, "", tuple(sorted(cells)), done=True) for what, cells in groups.items()]


def _grouped(gaps: Iterable[Gap]) -> list[Told]:
    """Say once what holds for many cells."""
    groups: dict[tuple[str, str], set[int]] = {}
    for gap in gaps:
        groups.setdefault((gap.message, gap.remedy), set()).update([] if gap.cell is None else [gap.cell])
    return [Told(what, remedy, tuple(sorted(cells))) for (what, remedy), cells in groups.items()]


def verdict_words(run: Run) -> str:
    """Return whether the run would replay; never more than the capture tier can have seen."""
    reasons, files = preventing(run), as_it_is(run)
    if reasons:
        return f"Not exactly: {len(reasons)} thing{' prevents' if len(reasons) == 1 else 's prevent'} it."
    if not run.cells:
        return "Nothing has run yet."
    words = ["Yes"]
    if run.capture and not run.capture.complete:
        words.append("as far as it could be observed")
    if files:
        number = sum(one.files for one in files)
        stay = "stays as it is" if number == 1 else "stay as they are"
        words.append(f"as long as {count(number, 'file')} {stay}")
    return ", ".join(words) + "."


def lines(told: Sequence[Told], limit: int | None = None) -> list[str]:
    """Return each thing on a line, and under it what to do about it; at most ``limit`` things."""
    shown = told if limit is None else told[:limit]
    found: list[str] = []
    for one in shown:
        found.append(one.line if one.done else f"- {one.line}")
        found += indent([f"→ {plain(one.remedy)}"] if one.remedy else [])
    return [*found, f"… and {len(told) - len(shown)} more (`reprokit show`)"] if len(shown) < len(told) else found


def html(told: Sequence[Told]) -> str:
    """Return things as a list, each with its remedy."""
    items = []
    for one in told:
        remedy = f'<div class="rk-dim">→ {escape(plain(one.remedy))}</div>' if one.remedy else ""
        items.append(f"<li>{escape(one.line)}{remedy}</li>")
    return f"<ul>{''.join(items)}</ul>"

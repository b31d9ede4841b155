"""The cells that make a result, as text: which, why each of them, what shows it; and the heading of their notebook."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from reprokit.records import Run, Verdict
from reprokit.records.extraction import Extraction, KeptCell, Reason
from reprokit.views.plain import clip, count, plain

__all__ = ["extraction_text", "heading"]

_WIDTH = 48
_REASONS = 4


def extraction_text(extraction: Extraction, *, verbose: bool = False) -> str:
    """Return what was found, as lines to read.

    Args:
        extraction: what to tell.
        verbose: whether each attempt is told.

    >>> print(extraction_text(Extraction(run="20260503-140211-abcd2345", wanted=("model.pkl",), verdict="planned")))
    model.pkl: 0 of 0 cells would be run
    """
    return "\n".join(_lines(extraction, verbose))


def _lines(extraction: Extraction, verbose: bool) -> Iterator[str]:
    yield _headline(extraction)
    if extraction.verdict == "different" and extraction.comparison and extraction.comparison.first_divergence:
        yield f"  most likely cause: {plain(extraction.comparison.first_divergence.cause)}"
    if extraction.verdict == "certified":
        yield f"  {_plainly(extraction)}"
    known = extraction.verdict in ("certified", "planned")
    if extraction.cells:
        yield "cells" if known else "cells that it rests on, as far as is known"
    numbers = [len(str(cell.cell)) for cell in extraction.cells]
    for cell in extraction.cells:
        yield from _cell(cell, max(numbers), tried=extraction.minimal)
    yield from _tried(extraction, verbose)
    if extraction.notebook:
        yield f"written      {plain(extraction.notebook)}"


def _headline(extraction: Extraction) -> str:
    wanted, cells = _wanted(extraction), f"{len(extraction.cells)} of {count(extraction.total, 'cell')}"
    if extraction.verdict == "planned":
        return f"{wanted}: {cells} would be run"
    if extraction.verdict == "certified":
        return f"certified: {wanted} {_same(extraction.comparison)}, {cells}"
    if extraction.verdict == "unreplayable":
        reasons = extraction.comparison.reasons if extraction.comparison else ()
        return f"not certified: the run is unreplayable: {'; '.join(map(plain, reasons))}"
    tried = "not even when all cells up to it run" if extraction.complete else "and there was no time to run more cells"
    return f"not certified: {wanted} is not the same, {tried}: {_difference(extraction)}"


def _wanted(extraction: Extraction) -> str:
    return ", ".join(map(plain, extraction.wanted))


def _same(verdict: Verdict | None) -> str:
    if verdict is None or verdict.verdict == "identical":
        return "identical"
    return f"equivalent (allowing for {', '.join(map(plain, verdict.rules))})"


def _difference(extraction: Extraction) -> str:
    last = next((one.difference for one in reversed(extraction.attempts) if one.difference), "")
    first = extraction.comparison.first_divergence if extraction.comparison else None
    where = f"cell {first.cell} diverges: {first.difference}" if first and first.cell else last
    return plain(clip(where, 300))


def _plainly(extraction: Extraction) -> str:
    if extraction.plain:
        return "these cells alone give the same in a plain Jupyter"
    unseeded = _unseeded(extraction)
    if extraction.plain is False:
        return f"in a plain Jupyter it differs{unseeded}: a replay puts the recorded states back"
    return f"whether a plain Jupyter gives the same was not tried{_may_differ(extraction)}"


def _unseeded(extraction: Extraction) -> str:
    return f", for {', '.join(map(plain, extraction.unseeded))} had no seed" if extraction.unseeded else ""


def _may_differ(extraction: Extraction) -> str:
    names = ", ".join(map(plain, extraction.unseeded))
    return f" ({names} had no seed, so it may not)" if names else ""


def _cell(cell: KeptCell, width: int, *, tried: bool) -> Iterator[str]:
    raises = f" (raises {plain(clip(cell.raises, 60))})" if cell.raises else ""
    yield f"  {cell.cell:>{width}}  {plain(clip(cell.title, _WIDTH))}{raises}"
    told = [*(f"makes {plain(words)}" if "parameters" not in words else plain(words) for words in cell.makes)]
    told += [_reason(reason, tried=tried) for reason in cell.reasons]
    for words in told[:_REASONS]:
        yield f"  {'':>{width}}    {words}"
    if len(told) > _REASONS:
        yield f"  {'':>{width}}    and {len(told) - _REASONS} more"


def _reason(reason: Reason, *, tried: bool) -> str:
    doubt = "" if reason.certain else " (without it, the result differs)" if tried else " (perhaps)"
    return f"{plain(clip(reason.what, 90))}, used by cell {reason.by}{doubt}"


def _tried(extraction: Extraction, verbose: bool) -> Iterator[str]:
    if not extraction.attempts:
        return
    took = sum(one.seconds for one in extraction.attempts)
    end = ""
    if extraction.verdict == "certified":
        end = "; no other cell can be left out" if extraction.minimal else "; no time to try to leave out more"
    yield f"tried        {count(len(extraction.attempts), 'run')} in {took:.0f} s{end}"
    for one in extraction.attempts if verbose else ():
        how = " with nothing put back" if one.plain else ""
        told = f": {plain(clip(one.difference, 100))}" if one.difference else ""
        yield f"  {count(len(one.cells), 'cell')}{how}, {one.seconds:.1f} s: {one.outcome}{told}"


# -- the notebook's first cell -------------------------------------------------------------------


def heading(extraction: Extraction, run: Run) -> str:
    """Return the Markdown that tells where a notebook comes from, with nothing in it of the machine."""
    return "\n\n".join(part for part in _parts(extraction, run) if part)


def _parts(extraction: Extraction, run: Run) -> Iterator[str]:
    wanted = ", ".join(_code(one) for one in extraction.wanted)
    name = f" ({_code(run.name)})" if run.name else ""
    day = f" of {datetime.fromtimestamp(run.started):%d %B %Y}" if run.started else ""
    yield f"# {wanted}"
    yield (
        f"The {len(extraction.cells)} of {count(extraction.total, 'executed cell')} that make {wanted} in run "
        f"`{run.id}`{name}{day}, as they were executed and in the order in which they ran."
    )
    yield _certificate(extraction, wanted)
    for cell in extraction.cells:
        if cell.raises:
            yield f"Cell {cell.cell} raises an error, as it did: what it does before is needed."
    yield _around(run)


def _certificate(extraction: Extraction, wanted: str) -> str:
    if extraction.verdict != "certified":
        return "**Not certified**: when they were run by themselves, they did not give the same."
    verb = "was" if len(extraction.wanted) == 1 else "were"
    said = f"Certified: they were run by themselves, and {wanted} {verb} {_same(extraction.comparison)}"
    said += f" (replay `{extraction.replay}`). " if extraction.replay else ". "
    if extraction.plain:
        return (
            said + "Nothing was put back for that, so a plain Jupyter gives the same with the same data and packages."
        )
    for_what = _unseeded(extraction)
    if extraction.plain is False:
        return (
            said + f"In a plain Jupyter the result differs{for_what}; `reprokit replay` puts the recorded states back."
        )
    return f"{said}Whether a plain Jupyter gives the same was not tried{_may_differ(extraction)}."


def _around(run: Run) -> str:
    inside = run.cwd.removeprefix(run.root).strip("/") if run.root and run.cwd.startswith(run.root) else ""
    place = f" It is meant to run in the folder `{inside}` of the project." if inside else ""
    return f"Its packages: `reprokit env {run.id}`. Its data and code: `reprokit replay {run.id} --to FOLDER`.{place}"


def _code(text: str) -> str:
    return f"`{plain(text).replace('`', chr(39))}`"

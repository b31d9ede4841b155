"""Checks one notebook: reads it, asks every rule, and leaves out what comments in it ask to pass over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reprokit.lint import files, outside, randomness, state, unordered
from reprokit.lint.calls import Calls
from reprokit.lint.finding import Finding
from reprokit.lint.names import names_of
from reprokit.lint.source import Document, read
from reprokit.views.plain import count

__all__ = ["check"]


def check(path: Path, root: Path) -> list[Finding]:
    """Return what would keep a notebook or script from being repeated, in the order of its cells.

    Args:
        path: a .ipynb or .py file.
        root: the project root: what lies outside of it is not there on another machine.

    Raises:
        UsageError: the file cannot be read, or is not Python.
    """
    document = read(path)
    found = list(_all(document, root.resolve()))
    blocks = {block.number: block for block in document.blocks}
    kept = {one: None for one in found if not (one.cell and blocks[one.cell].ignores(one.code, one.line))}
    return sorted(kept, key=lambda one: (one.cell, one.line, one.code))


def _all(document: Document, root: Path) -> Iterator[Finding]:
    calls = Calls(document.blocks)
    yield from _metadata(document)
    yield from state.findings(document, [names_of(block) for block in document.blocks])
    yield from randomness.findings(calls)
    yield from files.findings(document, calls, root)
    yield from outside.findings(document, calls)
    yield from unordered.findings(calls)


def _metadata(document: Document) -> Iterator[Finding]:
    if not document.has_kernel:
        message = "the notebook does not say which kernel it is for"
        yield Finding(code="M901", message=message, remedy="open it in Jupyter and save it")
    broken = [block for block in document.blocks if block.tree is None]
    if broken:
        more = f" (and {count(len(broken) - 1, 'more cell')})" if len(broken) > 1 else ""
        yield Finding(
            code="M902",
            message=f"this is no Python: {broken[0].problem}{more}",
            remedy="mend the cell, or make it text",
            cell=broken[0].number,
        )

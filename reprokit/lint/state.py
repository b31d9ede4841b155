"""Rules on the order of cells: what a run from top to bottom would miss."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence

from reprokit.lint.finding import Finding
from reprokit.lint.names import Names
from reprokit.lint.source import Block, Document

__all__ = ["findings"]

# What IPython, Jupyter and hosted notebooks put into the namespace.
_GIVEN = frozenset(dir(builtins)) | frozenset(
    (
        "__name__", "__doc__", "__file__", "__builtins__", "__annotations__", "__path__", "__package__", "get_ipython",
        "display", "In", "Out", "exit", "quit", "_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh",
        "_exit_code",
        "spark", "sc", "sqlContext", "dbutils", "displayHTML", "__vsc_ipynb_file__", "reload", "WindowsError",
    )
)  # fmt: skip


def findings(document: Document, names: Sequence[Names]) -> Iterator[Finding]:
    """Yield what is wrong with the order of a document's cells."""
    if document.is_notebook:
        yield from _counts(document.blocks)
    yield from _undefined(document.blocks, names)
    yield from _replacing(document.blocks, names)


def _counts(blocks: Sequence[Block]) -> Iterator[Finding]:
    run = [block for block in blocks if block.count is not None and block.text.strip()]
    counts = [block.count or 0 for block in run]
    back = next((at for at in range(1, len(run)) if counts[at] <= counts[at - 1]), None)
    if back is not None:
        number = sum(counts[at] <= counts[at - 1] for at in range(1, len(run)))
        more = f", and {number - 1} more such places" if number > 1 else ""
        yield Finding(
            code="S101",
            message=f"this cell was run as [{counts[back]}], the one above it as [{counts[back - 1]}]{more}",
            remedy="restart the kernel and run all cells; `reprokit replay` repeats the order that was",
            cell=run[back].number,
        )
        return
    missing = (counts or [0])[-1] - sum(block.count is not None for block in blocks)
    if missing > 0:
        yield Finding(
            code="S102",
            message=f"{missing} of {counts[-1]} executions are not in the notebook: cells were run again, or deleted",
            remedy="restart the kernel and run all cells",
        )


def _undefined(blocks: Sequence[Block], names: Sequence[Names]) -> Iterator[Finding]:
    everything = {name for block, one in zip(blocks, names, strict=True) if not block.local for name in one.made}
    defined = set(_GIVEN)
    star = any(one.star for one in names)
    for block, one in zip(blocks, names, strict=True):
        here = set(defined)
        for event, name, line in one.events:
            if event == "store":
                here.add(name)
            elif name not in here and not _is_history(name):
                here.add(name)
                defined.add(name)  # told once
                if name in everything - one.made and not star:
                    yield _early(name, block, blocks, names, line)
                elif name not in everything and not star:
                    yield _nowhere(name, block, line)
        for name, line in one.deferred.items():
            if name not in everything | here and not star and not _is_history(name):
                defined.add(name)
                yield _nowhere(name, block, line)
        defined |= one.made if not block.local else set()


def _is_history(name: str) -> bool:
    return name.startswith("_") and name.lstrip("_i").isdigit()


def _early(name: str, block: Block, blocks: Sequence[Block], names: Sequence[Names], line: int) -> Finding:
    later = next(other for other, one in zip(blocks, names, strict=True) if name in one.made and other is not block)
    return Finding(
        code="S103",
        message=f"{name} is used here, and cell {later.number} below defines it",
        remedy="move the definition up",
        cell=block.number,
        line=line,
    )


def _nowhere(name: str, block: Block, line: int) -> Finding:
    return Finding(
        code="S104",
        message=f"{name} is used, and no cell defines it",
        remedy="bring back the cell that did, or mend the name",
        cell=block.number,
        line=line,
    )


def _replacing(blocks: Sequence[Block], names: Sequence[Names]) -> Iterator[Finding]:
    """Yield cells that make a name anew from what it was: they cannot be run twice."""
    known: set[str] = set()
    for block, one in zip(blocks, names, strict=True):
        read: dict[str, int] = {}
        made: set[str] = set()
        for event, name, line in one.events:
            if event == "load":
                read.setdefault(name, line)
                continue
            if name in known - made - one.loops - one.imported and read.get(name) == line:
                yield Finding(
                    code="S105",
                    message=f"{name} becomes something else here each time the cell is run",
                    remedy="give the result a name of its own",
                    cell=block.number,
                    line=line,
                )
            made.add(name)
        known |= one.made if not block.local else set()

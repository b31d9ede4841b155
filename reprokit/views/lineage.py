"""A lineage as a tree of lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reprokit.records.lineage import Lineage, Maker, Origin, Output, Reader
from reprokit.views.plain import count, hexes, plain, when

__all__ = ["lineage_text"]


def lineage_text(found: Lineage) -> str:
    """Return where something came from, back to the sources, and where it went."""
    lines = [plain(found.of)]
    if found.note:
        lines.append(f"  {plain(found.note)}")
    for origin in found.origins:
        lines += ["", *_origin(origin)]
    if found.readers:
        lines += ["", "read by", *_tree([*_more(found.more), *(_reader(reader) for reader in found.readers)])]
    return "\n".join(lines)


def _origin(origin: Origin) -> list[str]:
    head = f"{plain(origin.path)}  {hexes(origin.digest)}"
    if origin.maker is None:
        return [f"{head}  a source: no run made it"]
    return [head, *_tree([_maker(origin.maker, origin.others)])]


def _maker(maker: Maker, others: int) -> list[str]:
    also = f"; {count(others, 'earlier run')} made the same" if others else ""
    head = f"made by {_run(maker.run, maker.name, maker.started)}, cell {maker.cell}{also}"
    if maker.seen:
        return [f"{head}  (told above)"]
    return [head, *_tree([_origin(one) for one in maker.inputs])]


def _reader(reader: Reader) -> list[str]:
    head = f"{_run(reader.run, reader.name, reader.started)} as {plain(reader.path)}"
    if reader.seen:
        return [f"{head}  (told above)"]
    return [head, *_tree([_output(one) for one in reader.outputs])]


def _more(number: int) -> list[list[str]]:
    return [[f"{count(number, 'earlier run')} more"]] if number else []


def _output(output: Output) -> list[str]:
    branches = [*_more(output.more), *(_reader(one) for one in output.readers)]
    return [f"{plain(output.path)}  {hexes(output.digest)}", *_tree(branches)]


def _run(run_id: str, name: str | None, started: float) -> str:
    return f"{run_id}{f' {plain(name)}' if name else ''} ({when(started)})"


def _tree(branches: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield blocks of lines as the branches of a tree."""
    for number, (first, *rest) in enumerate(branches, 1):
        last = number == len(branches)
        yield ("└─ " if last else "├─ ") + first
        yield from (("   " if last else "│  ") + line for line in rest)

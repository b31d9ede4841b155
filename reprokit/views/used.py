"""The words for what a run used: time, memory, bytes, money, and data from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from reprokit.records import Cell, RemoteUse, Resources, Run
from reprokit.views.plain import count, plain, seconds, size

__all__ = ["remote_row", "remote_words", "resource_words", "resources_of"]


def resources_of(run: Run) -> Resources | None:
    """Return what a run used; of one that was cut off, what its cells had used until then."""
    if run.resources is not None:
        return run.resources
    cells = [cell.resources for cell in run.cells if cell.resources is not None]
    if not cells:
        return None
    return Resources(
        cpu_s=sum(used.cpu_s or 0.0 for used in cells),
        peak_memory=max(used.peak_memory or 0 for used in cells) or None,
        read_bytes=_added([used.read_bytes for used in cells]),
        written_bytes=_added([used.written_bytes for used in cells]),
        gpu_memory=max((used.gpu_memory or 0 for used in cells), default=0) or None,
        cost=_added_cost([used.cost for used in cells]),
        currency=next((used.currency for used in cells if used.currency), None),
    )


def _added(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _added_cost(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


def resource_words(used: Resources | None) -> str:
    """Return resources in one line.

    >>> resource_words(Resources(cpu_s=3.2, peak_memory=250_000_000, cost=0.016, currency="EUR"))
    '3.2 s of processor time, 250.0 MB of memory at most, 0.02 EUR'
    """
    if used is None:
        return ""
    words = [f"{seconds(used.cpu_s)} of processor time"] if used.cpu_s is not None else []
    words += [f"{size(used.peak_memory)} of memory at most"] if used.peak_memory else []
    words += [f"{size(used.gpu_memory)} on GPUs"] if used.gpu_memory else []
    words += [f"{size(used.read_bytes)} read"] if used.read_bytes is not None else []
    words += [f"{size(used.written_bytes)} written"] if used.written_bytes is not None else []
    words += [_money(used.cost, used.currency or "")] if used.cost is not None else []
    return ", ".join(words)


def _money(cost: float, currency: str) -> str:
    amount = f"{cost:.2f}" if cost >= 0.01 or cost == 0 else f"{cost:.2g}"
    return f"{amount} {plain(currency)}".rstrip()


def remote_words(cells: Sequence[Cell]) -> str:
    """Return how much came from other machines, and how much of it cannot be named again.

    >>> use = RemoteUse(kind="http", access="read", url="https://example.org/a.csv")
    >>> remote_words([Cell(seq=1, source="", remote=(use,))])
    '1 read from 1 host, 1 without a version'
    """
    uses = [use for cell in cells for use in cell.remote]
    reads = [use for use in uses if use.access == "read"]
    hosts = {_host(use) for use in reads}
    loose = sum(use.version is None and use.stored == "none" for use in reads)
    words = [f"{count(len(reads), 'read')} from {count(len(hosts), 'host')}"] if reads else []
    words += [f"{loose:,} without a version"] if loose else []
    words += [count(len(uses) - len(reads), "write")] if len(reads) < len(uses) else []
    return ", ".join(words)


def _host(use: RemoteUse) -> str:
    try:
        return urlsplit(use.url).hostname or use.url.partition("/")[0]
    except ValueError:  # an address that is none
        return use.url


def remote_row(use: RemoteUse) -> list[str]:
    """Return address, size or rows, version, and where the contents are kept."""
    amount = f"{use.rows:,} rows" if use.rows is not None else size(use.size) if use.size is not None else ""
    kept = "kept" if use.stored != "none" else "not kept"
    what = f"{use.url}: {' '.join(use.query.split())}" if use.query else use.url
    return [use.access, plain(what), amount, plain(use.version or "no version"), kept]

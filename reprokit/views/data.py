"""What is known of one data file of a run, in words."""

from __future__ import annotations

from reprokit.records import FileUse, Run
from reprokit.views.plain import hexes, indent, plain, size, spans

__all__ = ["data_text"]

_KEPT = {
    "git": "in the snapshot of the code",
    "object": "in the store",
    "none": "no, only its digest: a replay uses the file as it lies there, while it is the same",
}
_VERBS = {"read": "read", "write": "written"}


def data_text(run: Run, path: str, kept: FileUse | None = None) -> str:
    """Return what a run knows of a file, each version of it that cells used; ``kept`` was stored just now."""
    versions: dict[str | None, list[tuple[int, FileUse]]] = {}
    for cell in run.cells:
        for use in (*cell.reads, *cell.writes):
            if use.path == path:
                versions.setdefault(use.digest, []).append((cell.seq, use))
    lines = [plain(path)]
    for digest, uses in versions.items():
        lines += ["", *indent(_version(digest, uses))] if len(versions) > 1 else indent(_version(digest, uses))
    if kept is not None:
        lines.append(f"✓ stored, {size(kept.size)}, {hexes(kept.digest)}")
        if versions and kept.digest not in versions:
            lines.append("  it is another version than the cells used: run them again")
    elif not versions:
        lines.append("  no cell of this run has used it")
    elif any(use.stored == "none" for uses in versions.values() for _, use in uses):
        lines.append(f"→ `%repro data {plain(path)} --store` keeps its bytes")
    return "\n".join(lines)


def _version(digest: str | None, uses: list[tuple[int, FileUse]]) -> list[str]:
    _, last = uses[-1]
    by = {access: [seq for seq, use in uses if use.access == access] for access in _VERBS}
    cells = [f"{_VERBS[access]} by cell {spans(found)}" for access, found in by.items() if found]
    files = f", {last.files:,} files" if last.files else ""
    state = "" if last.state == "stable" else f", {plain(last.state)}"
    return [
        f"size   {size(last.size)}{files}",
        f"sha256 {hexes(digest) or 'not known'}{state}",
        f"used   {'; '.join(cells)}",
        f"kept   {_KEPT.get(last.stored, plain(last.stored))}",
    ]

"""What upkeep found and did, as text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reprokit.records.upkeep import Damage, Removable
from reprokit.views.plain import count, plain, size, table

__all__ = ["damages_text", "removed_text"]

_MANY = ("object", "draft", "marks", "order", "ref")  # told by their number
_SHOWN = 5  # runs named for one damage


def removed_text(items: Sequence[Removable], kept: Sequence[Removable] = (), *, planned: bool = False) -> str:
    """Return what was removed, or would be: things of which there are many by their number."""
    if not items and not kept:
        return "nothing would be removed" if planned else "nothing to remove"
    rows = [[item.kind, plain(item.name), size(item.size), plain(item.why)] for item in items if item.kind not in _MANY]
    for kind in _MANY:
        some = [item for item in items if item.kind == kind]
        if some:
            why = " or ".join(dict.fromkeys(item.why for item in some))
            rows.append([kind, f"{len(some):,}", size(sum(item.size for item in some)), why])
    lines = table(rows, right=[2])
    lines += [
        f"kept: {item.kind} {plain(item.name)} is wanted again, or in use" for item in kept if item.kind != "object"
    ]
    total = size(sum(item.size for item in items))
    return "\n".join([*lines, f"{'would free' if planned else 'freed'} {total}"])


def damages_text(found: Sequence[Damage], looked_at: dict[str, int]) -> str:
    """Return what is damaged, with what to do about each."""
    what = ", ".join(count(number, noun) for noun, number in looked_at.items())
    lines = [f"looked at {what}"]
    for damage in found:
        lines.append(f"{damage.kind}  {plain(damage.where)}")
        lines.append(f"  {plain(damage.message)}")
        if damage.runs:
            more = f" and {len(damage.runs) - _SHOWN} more" if len(damage.runs) > _SHOWN else ""
            lines.append(f"  needed by {', '.join(map(plain, damage.runs[:_SHOWN]))}{more}")
        lines.append(f"  repaired: {plain(damage.repaired)}" if damage.repaired else f"  {plain(damage.remedy)}")
    left = sum(not damage.repaired for damage in found)
    lines.append("the store is sound" if not left else f"{left} damaged")
    return "\n".join(lines)

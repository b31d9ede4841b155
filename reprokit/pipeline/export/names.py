"""Names as a target allows them: converted the same way each time, and refused where two become one.

It knows the rules of names; it does not know which target has which.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection, Iterable, Mapping

from reprokit.errors import UsageError

__all__ = ["dns_label", "identifier", "require_plain", "unique"]

_LONGEST = 63  # of a DNS label


def dns_label(name: str) -> str:
    """Return a name as a DNS-1123 label: small letters, digits and ``-``, not at the ends, 63 at most.

    >>> dns_label("01_Train.final"), dns_label("_")
    ('01-train-final', 'step')
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:_LONGEST].strip("-") or "step"


def identifier(name: str, reserved: Collection[str] = ()) -> str:
    """Return a name as a Python identifier that is neither a keyword nor one of ``reserved``.

    >>> identifier("01-train"), identifier("import"), identifier("flow", ["flow"])
    ('step_01_train', 'step_import', 'step_flow')
    """
    word = re.sub(r"\W+", "_", name, flags=re.ASCII)
    taken = keyword.iskeyword(word) or keyword.issoftkeyword(word) or word in reserved
    return f"step_{word}" if taken or not word[:1].isalpha() else word


def unique(names: Iterable[str], convert: Callable[[str], str], target: str) -> Mapping[str, str]:
    """Return each name as ``target`` allows it.

    Raises:
        UsageError: two names become the same.

    >>> unique(["Fit", "plot"], dns_label, "argo")
    {'Fit': 'fit', 'plot': 'plot'}
    """
    found: dict[str, str] = {}
    for name in names:
        converted = convert(name)
        other = next((one for one, its in found.items() if its == converted), None)
        if other is not None:
            problem = f"{target} cannot tell {other!r} and {name!r} apart: both would be {converted!r}"
            raise UsageError(problem, remedy="give one of these stages another name")
        found[name] = converted
    return found


def require_plain(paths: Iterable[str], forbidden: str, target: str) -> None:
    """Refuse paths with characters that mean something else to ``target``.

    Args:
        paths: the paths that it has to name.
        forbidden: a regular expression of what must not be in them.
        target: its name.

    Raises:
        UsageError: one of the paths has such a character.
    """
    for path in paths:
        found = re.search(forbidden, path)
        if found is not None:
            problem = f"{target} cannot name the file {path!r}: {found[0]!r} means something else to it"
            raise UsageError(problem, remedy="rename the file, or export to another target")

"""Which variables of earlier cells a cell uses, and which it makes or only closes, read from its source alone."""

from __future__ import annotations

import ast
import re
from functools import lru_cache

__all__ = ["names_read", "names_used"]

_MAGIC = re.compile(r"\s*(?:[!%?]|[\w, ]+=\s*[!%])")
_LONG = 100_000  # characters: beyond it nothing is concluded


def names_used(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names that a cell takes as they were before it, and those that it gives a value.

    Lines for other programs are left out; of what is no Python nothing is concluded.

    >>> used, made = names_used("h = File('x')\\nwith h[0] as f: rows = f + old[1]")
    >>> sorted(used), sorted(made)
    (['File', 'old'], ['f', 'h', 'rows'])
    """
    names = _names(source)
    return frozenset(names.used | names.closed), frozenset(names.made)


def names_read(source: str) -> frozenset[str]:
    """Return the names that a cell takes as they were before it, and does more with than to close them.

    >>> sorted(names_read("f.close()\\ng.read(); g.close()"))
    ['g']
    """
    return frozenset(_names(source).used)


@lru_cache(maxsize=2)
def _names(source: str) -> _Names:
    if source.startswith("%%"):
        source = source.partition("\n")[2]
    plain = "\n".join(line for line in source.split("\n") if not _MAGIC.match(line))
    names = _Names()
    try:
        names.visit(ast.parse(plain if len(plain) < _LONG else ""))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    return names


class _Names(ast.NodeVisitor):
    """Follows a program in the order in which it runs."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.made: set[str] = set()
        self.closed: set[str] = set()

    def visit_Call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="close"), args=[], keywords=[]):
                self.closed |= {name} - self.made
            case _:
                self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.made.add(node.id)
        elif node.id not in self.made:
            self.used.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        for part in (node.value, *node.targets):
            self.visit(part)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name) and node.target.id not in self.made:
            self.used.add(node.target.id)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        for part in (node.iter, node.target, *node.body, *node.orelse):
            self.visit(part)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.visit(node.iter)  # what it gives a value is its own
        for part in node.ifs:
            self.visit(part)

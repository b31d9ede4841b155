"""What each statement of a cell does with names, what it imports and calls: read off its source, never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from reprokit.lint.names import names_of
from reprokit.lint.source import Block, parse

__all__ = ["Statement", "statements"]

_CARRIERS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


@dataclass(frozen=True, slots=True)
class Statement:
    """What one statement does with names.

    ``used`` it reads, also in functions that it makes; ``needed`` of them it reads before it binds them itself;
    ``made`` it binds, ``certain`` of them whenever it runs to its end; ``changed`` are objects it may change in place.
    A ``plain`` one calls nothing: what it binds follows from what it reads. A ``carrier`` imports or defines: it does
    nothing until what it made is used.

    ``text`` is its source, with magics as the calls that they are; of what is no Python as it stands, which is not
    ``understood``. ``imports`` are dotted names of modules, and of what may be one; ``calls`` what it calls, dotted,
    beginning with "." for a method of a value; ``sets`` whether it makes a set; ``opaque`` whether it may make names
    that cannot be seen.
    """

    used: frozenset[str]
    needed: frozenset[str]
    made: frozenset[str]
    certain: frozenset[str]
    changed: frozenset[str]
    plain: bool
    carrier: bool
    text: str
    imports: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    sets: bool = False
    opaque: bool = False
    understood: bool = True


@lru_cache(maxsize=4_096)
def statements(source: str) -> tuple[Statement, ...]:
    """Return what each statement of a cell does; of one that is no Python, all words as used.

    >>> [sorted(one.made) for one in statements("import numpy as np\\nx = np.ones(3)")]
    [['np'], ['x']]
    """
    block = Block(1, source)
    parse(block)
    if block.tree is None:
        words = frozenset(re.findall(r"[^\W\d]\w*", source))
        none: frozenset[str] = frozenset()
        return (Statement(words, words, none, none, none, False, False, source, opaque=True, understood=False),)
    opaque = names_of(block).star
    return tuple(_statement(node, opaque) for node in block.tree.body)


def _statement(node: ast.stmt, opaque: bool) -> Statement:
    names = names_of(Block(1, "", tree=ast.Module(body=[node], type_ignores=[])))
    nodes = list(ast.walk(node))
    used = {name for what, name, _ in names.events if what == "load"} | names.deferred.keys() | set(_expanded(node))
    first = {name: what for what, name, _ in reversed(names.events)}
    carrier = isinstance(node, _CARRIERS)
    calls = frozenset(_dotted(inner.func) for inner in nodes if isinstance(inner, ast.Call))
    awaits = any(isinstance(inner, ast.Await) for inner in nodes)
    return Statement(
        used=frozenset(used),
        needed=frozenset(name for name in used if first.get(name) != "store"),
        made=frozenset(names.made),
        certain=_certain(node) & frozenset(names.made),
        changed=frozenset(_changed(node)),
        plain=carrier or not (calls or awaits),
        carrier=carrier,
        text=ast.unparse(node),
        imports=frozenset(name for inner in nodes for name in _imports(inner)),
        calls=calls,
        sets=any(isinstance(inner, (ast.Set, ast.SetComp)) for inner in nodes) or not calls.isdisjoint(_SETS),
        opaque=opaque or names.star,
    )


def _certain(node: ast.stmt) -> frozenset[str]:
    """Return the names that a statement binds whichever way it takes, as far as that is plain to see."""
    if isinstance(node, ast.If):
        return _all_certain(node.body) & _all_certain(node.orelse)
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return _targets(item.optional_vars for item in node.items) | _all_certain(node.body)
    if isinstance(node, ast.Try):
        through = _all_certain([*node.body, *node.orelse])
        return _all_certain(node.finalbody) | through.intersection(*(_all_certain(one.body) for one in node.handlers))
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return frozenset((node.name,))
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return frozenset(alias.asname or alias.name.partition(".")[0] for alias in node.names)
    if isinstance(node, ast.Assign):
        return _targets(node.targets)
    if isinstance(node, (ast.AugAssign, ast.AnnAssign)) and node.value is not None:
        return _targets([node.target])
    return frozenset()


def _all_certain(body: Iterable[ast.stmt]) -> frozenset[str]:
    return frozenset(name for node in body for name in _certain(node))


def _targets(nodes: Iterable[ast.expr | None]) -> frozenset[str]:
    inner = (one for node in nodes if node is not None for one in ast.walk(node))
    return frozenset(one.id for one in inner if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))


_SETS = frozenset(("set", "frozenset"))


def _dotted(node: ast.expr) -> str:
    """Return a function as it is called, such as "time.time"; of a method of a value ".method"."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        start = f"{node.module}." if node.module else ""
        yield from (node.module,) if node.module else ()
        yield from (start + alias.name for alias in node.names)


def _expanded(node: ast.stmt) -> Iterator[str]:
    """Yield the names that IPython puts into a command: ``$x`` and ``{x}``."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and ast.unparse(inner.func).startswith("get_ipython()."):
            for one in inner.args:
                text = one.value if isinstance(one, ast.Constant) and isinstance(one.value, str) else ""
                for dollar, braces in re.findall(r"\$([^\W\d]\w*)|\{([^{}]+)\}", text):
                    yield from [dollar] if dollar else re.findall(r"[^\W\d]\w*", braces)


# Functions that change what they are given, by the end of their names.
_CHANGING = frozenset((
    "copyto", "fill_diagonal", "heapify", "heappush", "heappop", "insort", "insort_left", "insort_right", "place",
    "put", "putmask", "setattr", "shuffle",
))  # fmt: skip


def _changed(node: ast.stmt) -> Iterator[str]:
    """Yield the names of objects that a statement may change in place: ``x[0] = …``, ``x.y = …``, ``x.fit(…)``."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and _dotted(inner.func).rpartition(".")[2] in _CHANGING:
            yield from (one.id for one in inner.args[:1] if isinstance(one, ast.Name))
        target = None
        if isinstance(inner, (ast.Subscript, ast.Attribute)) and not isinstance(inner.ctx, ast.Load):
            target = inner.value
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            target = inner.func.value
        while isinstance(target, (ast.Subscript, ast.Attribute)):
            target = target.value
        if isinstance(target, ast.Name):
            yield target.id

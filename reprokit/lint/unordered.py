"""Rules on orders that are another one in each process or on each machine: of sets, and of folders."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from reprokit.lint.calls import Call, Calls
from reprokit.lint.finding import Finding

__all__ = ["findings"]


def findings(calls: Calls) -> Iterator[Finding]:
    """Yield where such an order becomes a list, a text, or the order of a loop."""
    sorts = _sorted_names(calls)
    for call in calls.all:
        yield from _set_order(call)
        yield from _folder_order(call, calls, sorts)
    for block in calls.blocks:
        for node in block.nodes:
            yield from _loops_over_set(node, block.number)


def _is_set(node: ast.AST) -> bool:
    """Return whether an expression is a set, of something else than numbers written out."""
    if isinstance(node, ast.Set):
        return not all(isinstance(item, ast.Constant) and isinstance(item.value, (int, float)) for item in node.elts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitAnd, ast.Sub)):
        return _is_set(node.left)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitOr, ast.BitXor)):
        return _is_set(node.left) or _is_set(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset"):
        return bool(node.args) and not _counts_numbers(node.args[0])
    return isinstance(node, ast.SetComp)


def _counts_numbers(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "range"


def _set_order(call: Call) -> Iterator[Finding]:
    ordering = call.name in ("list", "tuple", "enumerate", "numpy.array", "zip") or call.method == "join"
    if not ordering or not call.node.args or not _is_set(call.node.args[0]):
        return
    if isinstance(call.parent, ast.Call) and getattr(call.parent.func, "id", "") in (
        "sorted",
        "len",
        "set",
        "sum",
        "min",
        "max",
    ):
        return
    yield _unordered(call.block.number, call.line)


def _loops_over_set(node: ast.AST, cell: int) -> Iterator[Finding]:
    if isinstance(node, (ast.For, ast.AsyncFor)) and _is_set(node.iter):
        yield _unordered(cell, node.lineno)
    if isinstance(node, (ast.ListComp, ast.DictComp)) and _is_set(node.generators[0].iter):
        yield _unordered(cell, node.lineno)


_LISTINGS = frozenset(("os.listdir", "os.scandir", "glob.glob", "glob.iglob"))
_ORDERLESS = frozenset(("sorted", "len", "set", "sum", "min", "max", "any", "all", "natsorted", "Counter", "frozenset"))


def _sorted_names(calls: Calls) -> frozenset[str]:
    """Return the variables that are sorted, or only counted, somewhere."""
    found = set()
    for call in calls.all:
        if call.name in _ORDERLESS or call.method in _ORDERLESS:
            found |= {
                node.id for argument in call.node.args for node in ast.walk(argument) if isinstance(node, ast.Name)
            }
        if call.method == "sort" and isinstance(call.node.func, ast.Attribute):
            found |= {node.id for node in ast.walk(call.node.func.value) if isinstance(node, ast.Name)}
    return frozenset(found)


def _folder_order(call: Call, calls: Calls, sorts: frozenset[str]) -> Iterator[Finding]:
    """Yield a listing whose order is used: taken by number, walked through, or given a name that nobody sorts."""
    if call.name not in _LISTINGS and not (call.method == "iterdir" and not call.name):
        return
    parent = call.parent
    if isinstance(parent, ast.comprehension):  # what counts is what becomes of the list that it makes
        made = calls.parents.get(id(parent))
        parent = calls.parents.get(id(made), parent)
        if isinstance(made, ast.SetComp) or _is_orderless(parent):
            return
        loops = not isinstance(parent, ast.Assign)
    else:
        loops = isinstance(parent, (ast.For, ast.Subscript))
    named = isinstance(parent, ast.Assign) and all(
        isinstance(target, ast.Name) and target.id not in sorts for target in parent.targets
    )
    if (loops or named) and not _names_one(call):
        yield Finding(
            code="H702",
            message="the order in which a folder's files come is another one on another machine",
            remedy="sort them: sorted(…)",
            cell=call.block.number,
            line=call.line,
        )


def _is_orderless(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in _ORDERLESS


def _names_one(call: Call) -> bool:
    """Return whether a pattern looks for one file by its whole name, in whatever folder."""
    texts = [node.value for argument in call.node.args for node in ast.walk(argument) if isinstance(node, ast.Constant)]
    last = str(texts[-1]).rpartition("/")[2] if texts and call.method == "glob" else "*"
    return not set(last) & set("*?[")


def _unordered(cell: int, line: int) -> Finding:
    return Finding(
        code="H701",
        message="the order of a set is another one in each process, where texts are in it",
        remedy="sort it: sorted(…)",
        cell=cell,
        line=line,
    )

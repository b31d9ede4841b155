"""Which names each cell reads and makes, at once and when its functions are called."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from reprokit.lint.source import Block

__all__ = ["Names", "names_of"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(slots=True)
class Names:
    """What a cell does with global names.

    Attributes:
        events: ("load" | "store", name, line) in the order in which they happen.
        deferred: name → line of what its functions read when they are called.
        made: every name it may make, those of ``global`` statements included.
        star: whether it makes names that cannot be seen (``import *``, ``%run``, ``exec``).
        loops: names that loops and ``with`` make, which nobody expects to last.
        imported: names that imports make.
    """

    events: list[tuple[str, str, int]] = field(default_factory=list)
    deferred: dict[str, int] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    star: bool = False
    loops: set[str] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)


def names_of(block: Block) -> Names:
    """Return what a cell does with names."""
    visitor = _Visitor()
    if block.tree is not None:
        visitor.visit(block.tree)
    found = visitor.names
    found.star = found.star or block.opaque or any(magic.name in _STARS for magic in block.magics)
    for magic in block.magics:
        found.made |= _made_by(magic.name, magic.line)
    return found


_STARS = frozenset(
    ("run", "pylab", "store", "load", "loadpy", "autoreload_names", "rehashx", "cython", "R", "rpull", "sql")
)


def _made_by(name: str, line: str) -> set[str]:
    words = line.split()
    if name in ("bash", "sh", "script"):
        return {following for word, following in pairwise(words) if word in ("--out", "--err")}
    return set()


class _Visitor(ast.NodeVisitor):
    """Walks a cell in the order in which it runs."""

    def __init__(self) -> None:
        self.names = Names()
        self._bound: list[set[str]] = []  # of the functions and comprehensions around
        self._deferred = 0
        self._guarded = 0  # inside a try that expects a NameError
        self._classes: list[set[str] | None] = []

    # -- reading and making names ---------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._load(node.id, node.lineno)
        elif isinstance(node.ctx, ast.Store):
            self._store(node.id, node.lineno)

    def _load(self, name: str, line: int) -> None:
        if self._guarded or any(name in bound for bound in self._bound):
            return
        if self._classes and self._classes[-1] is not None and name in self._classes[-1]:
            return
        if name in ("exec", "globals", "locals", "vars"):
            self.names.star = self.names.star or name != "vars"
        if self._deferred:
            self.names.deferred.setdefault(name, line)
        else:
            self.names.events.append(("load", name, line))

    def _store(self, name: str, line: int) -> None:
        if self._bound and name in self._bound[-1]:
            return
        if self._classes and self._classes[-1] is not None:
            self._classes[-1].add(name)
            return
        if not self._deferred:
            self.names.events.append(("store", name, line))
        self.names.made.add(name)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self.names.imported.add(name)
            self._store(name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.names.star = True
            else:
                self.names.imported.add(alias.asname or alias.name)
                self._store(alias.asname or alias.name, node.lineno)

    # -- the order in which things happen -------------------------------------------------------

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._load(node.target.id, node.lineno)
        self.visit(node.value)
        self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        inner, self._bound = self._bound, []  # it makes a name outside of the comprehension
        if self._deferred:
            self._bound = inner
        self.visit(node.target)
        self._bound = inner

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.visit(node.target)
        self.names.loops |= set(_targets(node.target))
        self._visit_all([*node.body, *node.orelse])

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self.visit_For(node)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self.visit(item.optional_vars)
                self.names.loops |= set(_targets(item.optional_vars))
        self._visit_all(node.body)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        self.visit_With(node)

    def visit_Try(self, node: ast.Try) -> None:
        guards = any(_expects_name_error(handler.type) for handler in node.handlers)
        self._guarded += guards
        self._visit_all(node.body)
        self._guarded -= guards
        for handler in node.handlers:
            if handler.type is not None:
                self.visit(handler.type)
            if handler.name:
                self._store(handler.name, handler.lineno)
                self.names.loops.add(handler.name)
            self._visit_all(handler.body)
        self._visit_all([*node.orelse, *node.finalbody])

    def visit_TryStar(self, node: Any) -> None:
        self.visit_Try(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self.generic_visit(node)
        if node.name:
            self._store(node.name, node.lineno)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self._store(node.name, node.lineno)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.generic_visit(node)
        if node.rest:
            self._store(node.rest, node.lineno)

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    # -- scopes ---------------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.decorator_list)
        self._defaults(node.args)
        self._store(node.name, node.lineno)
        self._function(node, node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._defaults(node.args)
        self._function(node, [node.body])

    def _defaults(self, arguments: ast.arguments) -> None:
        self._visit_all([value for value in (*arguments.defaults, *arguments.kw_defaults) if value is not None])

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, body: Iterable[ast.AST]) -> None:
        body = list(body)
        arguments = node.args
        parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        bound = {argument.arg for argument in parameters if argument is not None} | set(_bindings(body))
        bound |= {parameter.name for parameter in getattr(node, "type_params", ())}
        outer = {name for inner in _own(body) if isinstance(inner, ast.Global) for name in inner.names}
        self.names.made |= outer
        classes, self._classes = self._classes, []
        self._bound.append(bound - outer | ({"__class__"} if classes else set()))
        self._deferred += 1
        self._visit_all(body)
        self._deferred -= 1
        self._bound.pop()
        self._classes = classes

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)])
        self._classes.append({"__module__", "__qualname__"})
        kinds = {parameter.name for parameter in getattr(node, "type_params", ())}
        bound, self._bound = self._bound, [*self._bound, kinds]
        self._visit_all(node.body)
        self._bound = bound
        self._classes.pop()
        self._store(node.name, node.lineno)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.visit(node.generators[0].iter)
        self._bound.append({name for generator in node.generators for name in _targets(generator.target)})
        self._classes.append(None)
        for number, generator in enumerate(node.generators):
            self._visit_all([*([] if number == 0 else [generator.iter]), *generator.ifs])
        self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self._classes.pop()
        self._bound.pop()

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node)


def _targets(node: ast.AST) -> Iterator[str]:
    yield from (
        inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
    )


def _own(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body without those of the functions and classes inside it."""
    for node in body:
        yield node
        if isinstance(node, _COMPREHENSIONS):  # names made by := belong to the function
            yield from (inner for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
        elif not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield from _own(ast.iter_child_nodes(node))


def _bindings(body: Iterable[ast.AST]) -> Iterator[str]:
    for node in _own(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.NamedExpr) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest


def _expects_name_error(kind: ast.AST | None) -> bool:
    if kind is None:
        return True
    names = {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)}
    return not names.isdisjoint(("NameError", "Exception", "BaseException", "ImportError", "ModuleNotFoundError"))

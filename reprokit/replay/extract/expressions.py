"""What expressions do to the objects that names stand for: change them, share them, hand them on.

It knows syntax trees of one statement at a time; names alone say what a method or a function is likely to do.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from reprokit.replay.extract import known
from reprokit.replay.extract.acts import Act, Carried
from reprokit.replay.extract.known import Level

__all__ = [
    "called_name",
    "carried_by",
    "changes",
    "is_fixed",
    "is_history",
    "is_one_value",
    "is_unseeded",
    "root_of",
    "shares_of",
    "walk",
    "what_is_read",
]

_GENERATORS = frozenset(("default_rng", "RandomState", "Random", "Generator", "SystemRandom"))


# -- what is changed -----------------------------------------------------------------------------


def changes(node: ast.AST) -> list[Act]:
    """Return what a statement does to what names stand for, not counting what its functions would do later."""
    acts: list[Act] = []
    for inner in walk(node):
        if isinstance(inner, (ast.Attribute, ast.Subscript)) and isinstance(inner.ctx, (ast.Store, ast.Del)):
            if root := root_of(inner):
                acts.append(Act("change", root, Level.SURE))
        elif isinstance(inner, ast.Assign):
            acts += _holds(inner)
        elif isinstance(inner, ast.Call):
            acts += _call(inner, discarded=isinstance(node, ast.Expr) and inner is _value(node))
    return acts


def _holds(node: ast.Assign) -> Iterator[Act]:
    """Yield what is put into objects: ``a[0] = b``."""
    parts = tuple((name, max(level, Level.LIKELY)) for name, level in shares_of(node.value))
    for target in node.targets:
        for inner in ast.walk(target):
            if isinstance(inner, (ast.Attribute, ast.Subscript)) and (root := root_of(inner)) and parts:
                yield Act("share", root, parts=parts)


def _call(node: ast.Call, *, discarded: bool) -> Iterator[Act]:
    called = called_name(node)
    inplace = any(
        keyword.arg == "inplace" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
        for keyword in node.keywords
    )
    arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
    given = {root: None for argument in arguments for root in _roots(argument)}
    receiver = root_of(node.func) if isinstance(node.func, ast.Attribute) else None
    if receiver:
        level = known.by_method(called, discarded=discarded, inplace=inplace)
        if level is not None:
            if _is_through_call(node.func):
                level = max(level, Level.LIKELY)
            yield Act("change", receiver, level, called, discarded=discarded)
            if given:
                held = tuple((root, known.holds(called)) for root in given)
                yield Act("share", receiver, parts=held)
    level = known.by_argument(called)
    if isinstance(node.func, ast.Name):
        parts = tuple((root, level) for root in given) if level is not None else ()
        yield Act("pass", node.func.id, how=called, parts=parts, discarded=discarded)
    elif level is not None:
        yield from (Act("change", root, level, "__argument__") for root in given if root != receiver)


def carried_by(node: ast.AST, deferred: set[str]) -> Carried | None:
    """Return what the functions in a statement do when they are called; None when it has none."""
    functions = [
        inner
        for inner in ast.walk(node)
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef))
    ]
    if not functions:
        return None
    acts: list[Act] = []
    parameters: list[Level] = []
    for function in functions:
        if isinstance(function, ast.ClassDef):
            continue
        given = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
        body = [ast.Expr(function.body)] if isinstance(function, ast.Lambda) else function.body
        for inner in _flat(body):
            for act in changes(inner):
                if act.kind == "change" and act.name in given and act.name not in ("self", "cls"):
                    parameters.append(act.level)
                elif act.kind == "pass" or act.name in deferred:
                    acts.append(act)
        acts += [Act("bind", name, Level.LIKELY) for name in _outer(function)]
        called = [called_name(call) for call in ast.walk(function) if isinstance(call, ast.Call)]
        acts += [Act("seed") for name in called if known.seeds(name)]
    return Carried(frozenset(deferred), tuple(dict.fromkeys(acts)), min(parameters, default=None))


def _flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements in a function's body that hold no others."""
    for statement in body:
        inner = [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)]
        handlers = [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.ExceptHandler)]
        inner += [child for handler in handlers for child in handler.body]
        if inner:
            yield from _flat(inner)
            yield from (ast.Expr(child) for child in ast.iter_child_nodes(statement) if isinstance(child, ast.expr))
        else:
            yield statement


def _outer(function: ast.AST) -> list[str]:
    return [name for inner in ast.walk(function) if isinstance(inner, ast.Global) for name in inner.names]


# -- expressions ---------------------------------------------------------------------------------


def shares_of(node: ast.expr) -> Iterator[tuple[str, Level]]:
    """Yield the names whose objects a value may be, be a part of, or hold."""
    if isinstance(node, ast.Name):
        yield node.id, Level.SURE
    elif isinstance(node, (ast.Attribute, ast.Subscript)):
        if root := root_of(node):
            yield root, Level.LIKELY
    elif isinstance(node, ast.Call):
        yield from _shares_of_call(node)
    elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
        yield from ((root, Level.LIKELY) for generator in node.generators for root in _roots(generator.iter))
    elif not isinstance(node, (ast.BinOp, ast.Compare, ast.Constant, ast.JoinedStr, ast.Lambda, ast.UnaryOp)):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from ((name, max(level, Level.LIKELY)) for name, level in shares_of(child))


def _shares_of_call(node: ast.Call) -> Iterator[tuple[str, Level]]:
    called = called_name(node)
    if called in ("copy", "deepcopy"):
        return
    held = Level.LIKELY if known.is_class(called) else Level.POSSIBLE
    if isinstance(node.func, ast.Attribute) and (root := root_of(node.func)):
        yield root, Level.LIKELY if known.takes_part(called) else Level.POSSIBLE
    elif isinstance(node.func, ast.Name):
        yield node.func.id, held
    for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
        yield from ((root, held) for root in _roots(argument))


def called_name(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def root_of(node: ast.AST) -> str | None:
    """Return the name that an expression starts from: ``a`` of ``a.b[0].c()``."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Await, ast.Starred)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_through_call(node: ast.AST) -> bool:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return isinstance(node, ast.Call)


def _roots(node: ast.expr) -> list[str]:
    """Return the names whose objects an argument may give away: not those that are only computed with."""
    return [name for name, level in shares_of(node) if level < Level.POSSIBLE]


def is_one_value(node: ast.stmt) -> bool:
    """Return whether all the names that a statement binds come from one value."""
    return isinstance(node, ast.Assign) and (len(node.targets) > 1 or not isinstance(node.value, (ast.Tuple, ast.List)))


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes that run with a statement, so not those of functions; of lambdas, which may be called at once."""
    yield node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    for child in ast.iter_child_nodes(node):
        yield from walk(child)


def _value(node: ast.AST) -> ast.AST | None:
    value = getattr(node, "value", None)
    return value.value if isinstance(value, ast.Await) else value


def is_history(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("Out", "In", "_oh", "_ih")


def is_fixed(node: ast.expr) -> bool:
    """Return whether a value is one that nothing can change: a number, a text."""
    if isinstance(node, ast.UnaryOp):
        return is_fixed(node.operand)
    if isinstance(node, ast.Tuple):
        return all(is_fixed(item) for item in node.elts)
    return isinstance(node, (ast.Constant, ast.JoinedStr))


def is_unseeded(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and called_name(node) in _GENERATORS and not node.args and not node.keywords


def what_is_read(target: ast.expr) -> ast.expr:
    """Return what is read when part of an object is deleted."""
    return target.value if isinstance(target, (ast.Attribute, ast.Subscript)) else target

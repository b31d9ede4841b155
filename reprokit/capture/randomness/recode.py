"""Changes what a Python function does without replacing it: whoever holds it, under whatever name, is served.

The function stays the same object with the same signature, documentation and source, and is pickled by its
name as before; only its ``__code__`` is another for a while.
"""

from __future__ import annotations

import ast
import inspect
import tokenize
import types
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["divert", "precede"]

_MARK = 7_640_891_576  # a constant of the compiled form that is exchanged for the function to call


def divert(function: Any, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None] | None:
    """Let every call of ``function`` go to ``make(original)``; return what undoes it, None when it cannot be done.

    >>> def double(value, *, by=2):
    ...     return value * by
    >>> held = double
    >>> undo = divert(double, lambda original: lambda *args, **kwargs: -original(*args, **kwargs))
    >>> held(4), inspect.signature(held)
    (-8, <Signature (value, *, by=2)>)
    >>> undo()
    >>> held(4)
    8
    """
    if not isinstance(function, types.FunctionType):
        return None
    before = function.__code__
    original = types.FunctionType(
        before, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    parameters, arguments = _parameters(before)
    source = f"def diverted({parameters}):\n    target = {_MARK}\n    return target({arguments})\n"
    return _exchange(function, _compiled(ast.parse(source).body[0], before, make(original)))


def precede(function: Any, parameter: str, give: Callable[[], Any]) -> Callable[[], None] | None:
    """Let ``function`` begin with ``parameter = give()`` where its caller gave None, and go on as it is written.

    There is no frame more than there was, so that what it raises looks as it always did.

    Returns:
        What undoes it; None when its source cannot be had, or it has no such parameter.
    """
    if not isinstance(function, types.FunctionType):
        return None
    before = function.__code__
    written = _written(before)
    if written is None or parameter not in before.co_varnames[: before.co_argcount]:
        return None
    given = ast.parse(f"if {parameter} is None:\n    {parameter} = ({_MARK}).give()").body[0]
    for node in ast.walk(given):
        if isinstance(node, (ast.stmt, ast.expr)):
            node.lineno = node.end_lineno = written.lineno
    at = 1 if ast.get_docstring(written) is not None else 0
    written.body.insert(at, given)
    return _exchange(function, _compiled(written, before, _Giver(give)))


class _Giver:
    """What stands in for the mark where it is called: a number that is called would be warned of."""

    __slots__ = ("give",)

    def __init__(self, give: Callable[[], Any]) -> None:
        self.give = give


def _written(code: types.CodeType) -> ast.FunctionDef | None:
    """Return what a function's file says it is, with its places in that file; None when that cannot be had."""
    try:
        with tokenize.open(code.co_filename) as stream:
            block = inspect.getblock(stream.readlines()[code.co_firstlineno - 1 :])
        within = "if 1:\n" if block[0][:1].isspace() else ""  # keeps the columns what they are
        (found,) = ast.parse(within + "".join(block)).body
    except (OSError, SyntaxError, ValueError, IndexError):
        return None
    if isinstance(found, ast.If):
        (found,) = found.body[:1]
    if not isinstance(found, ast.FunctionDef) or found.name != code.co_name:
        return None
    ast.increment_lineno(found, code.co_firstlineno - found.lineno)
    return found


def _exchange(function: types.FunctionType, after: types.CodeType | None) -> Callable[[], None] | None:
    before = function.__code__
    if after is None:
        return None
    function.__code__ = after

    def undo() -> None:
        if function.__code__ is after:
            function.__code__ = _last(before)
        else:
            _undone[id(after)] = after, before

    return undo


# What was undone while a later exchange lay over it, and what it had replaced: it goes when the later one does.
_undone: dict[int, tuple[types.CodeType, types.CodeType]] = {}


def _last(code: types.CodeType) -> types.CodeType:
    """Return the code, or where it was undone already, what it had replaced."""
    while id(code) in _undone:
        code = _undone.pop(id(code))[1]
    return code


def _compiled(written: ast.stmt, code: types.CodeType, target: Any) -> types.CodeType | None:
    """Return a function's code with the free variables and the name of ``code``; its marks are ``target``."""
    free = ", ".join(code.co_freevars)
    outer = ast.parse(f"def outer({free}):\n    def inner():\n        return {free or None}\n")
    around: Any = outer.body[0]
    held = around.body[0].body  # names the free variables, so that the function has them even if it uses none
    around.body = [written]
    if isinstance(written, ast.FunctionDef) and free:
        _after_the_end(written, held)
    compiled = compile(outer, code.co_filename, "exec", dont_inherit=True)
    inner = next((item for item in _within(compiled) if item.co_name == getattr(written, "name", "")), None)
    if inner is None or len(inner.co_freevars) != len(code.co_freevars):
        return None
    names: dict[str, Any] = {"co_qualname": code.co_qualname} if hasattr(code, "co_qualname") else {}
    return inner.replace(
        co_consts=tuple(target if item == _MARK else item for item in inner.co_consts),
        co_name=code.co_name,
        co_firstlineno=code.co_firstlineno,
        **names,
    )


def _after_the_end(written: ast.FunctionDef, statements: list[ast.stmt]) -> None:
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, (ast.stmt, ast.expr)):
                node.lineno = node.end_lineno = written.body[-1].lineno
    written.body += [ast.Return(value=None), *statements]
    ast.fix_missing_locations(written)


def _within(code: types.CodeType) -> Iterator[types.CodeType]:
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield item
            yield from _within(item)


def _parameters(code: types.CodeType) -> tuple[str, str]:
    """Return a parameter list as it stands in a definition, and as it stands in a call."""
    names, count = code.co_varnames, code.co_argcount
    plain, keyword = names[:count], names[count : count + code.co_kwonlyargcount]
    rest = list(names[count + code.co_kwonlyargcount :])
    star = rest.pop(0) if code.co_flags & inspect.CO_VARARGS else None
    double = rest.pop(0) if code.co_flags & inspect.CO_VARKEYWORDS else None
    define, call = list(plain), list(plain)
    if code.co_posonlyargcount:
        define.insert(code.co_posonlyargcount, "/")
    if star or keyword:
        define.append(f"*{star or ''}")
    if star:
        call.append(f"*{star}")
    define += keyword
    call += [f"{name}={name}" for name in keyword]
    if double:
        define.append(f"**{double}")
        call.append(f"**{double}")
    return ", ".join(define), ", ".join(call)

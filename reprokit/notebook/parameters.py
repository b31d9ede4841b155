"""The parameters that a notebook declares, read from the source of its cell tagged ``parameters``.

papermill reads that cell by regular expression and loses what is not one simple line; here it is parsed.
Nothing of it is run. This module knows nothing of values that a user gives, of kernels, papermill or runs.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import io
import json
import re
import tokenize
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from reprokit.errors import UsageError

__all__ = ["TAG", "Parameter", "declared", "has_parameters", "literal", "read_notebook"]

TAG = "parameters"

_GIVE_NOTEBOOK = "give an .ipynb file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter as its notebook declares it.

    Attributes:
        name: the variable.
        default: its value when that is a literal, else None.
        annotation: its annotation as written, or None.
        line: the line of the cell that sets it, from 1.
        expression: the source of its default; empty when it has none and must be given.
        made: what its default is made by when that is a call or an attribute, such as ``date`` or ``Path``.
        comment: what the cell says of it, behind it or in the lines just above.
    """

    name: str
    default: Any = None
    annotation: str | None = None
    line: int = 1
    expression: str = ""
    made: str | None = None
    comment: str = ""

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return not self.expression

    @property
    def kind(self) -> str:
        """Its type in words: the annotation, else what its default is; empty when that cannot be told."""
        if self.annotation is not None:
            return self.annotation
        if self.made is not None:
            return self.made
        return "" if self.default is None else type(self.default).__name__


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook of any format version, as version 4.

    Raises:
        UsageError: there is no such file, or it is not a notebook.
    """
    try:
        text = path.read_text("utf-8")
        data = json.loads(text)
    except FileNotFoundError as error:
        raise UsageError(f"there is no notebook {path}", remedy=_neighbours(path)) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})", remedy=_GIVE_NOTEBOOK) from error
    except ValueError as error:
        raise UsageError(f"{path} is not a notebook (it is not JSON)", remedy=_GIVE_NOTEBOOK) from error
    if not isinstance(data, dict) or not isinstance(data.get("nbformat"), int):
        raise UsageError(f"{path} is not a notebook (it has no nbformat)", remedy=_GIVE_NOTEBOOK)
    try:
        return _as_version_4(text)
    except Exception as error:  # nbformat raises whatever the odd structure makes it trip over
        problem = f"{path} is not a valid notebook ({type(error).__name__})"
        raise UsageError(problem, remedy="open it in Jupyter and save it again") from error


def _as_version_4(text: str) -> nbformat.NotebookNode:
    with warnings.catch_warnings():  # of missing cell ids: nothing here needs them
        warnings.simplefilter("ignore")
        notebook = nbformat.reads(text, as_version=4)
    for cell in notebook["cells"]:  # the rest of the schema is often bent by other tools, and does no harm
        cell["cell_type"], cell["source"], cell["metadata"]
    return notebook


def _neighbours(path: Path) -> str:
    """Return which notebooks there are in the folder where ``path`` is not."""
    folder = path.parent
    names = sorted(item.name for item in folder.glob("*.ipynb"))
    close = difflib.get_close_matches(f"{path.name.removesuffix('.ipynb')}.ipynb", names, n=1)
    if close:
        return f"did you mean {folder / close[0]}?"
    return f"{folder} has {', '.join(names[:4])}" if names else f"{folder} has no notebooks"


def declared(notebook: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the parameters that a notebook declares, by name, in the order of its cell.

    Only assignments at the top level of the first cell tagged ``parameters`` count.

    Args:
        notebook: a version 4 notebook.

    Raises:
        UsageError: that cell is not valid Python.

    >>> cell = {"cell_type": "code", "source": "lr: float = 0.1  # of Adam", "metadata": {"tags": ["parameters"]}}
    >>> lr = declared({"cells": [cell]})["lr"]
    >>> lr.default, lr.kind, lr.comment
    (0.1, 'float', 'of Adam')
    """
    source = _parameters_cell(notebook)
    if source is None:
        return {}
    tree, source = _parse(source)
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in tree.body:
        for parameter in _assigned(statement, _comment(statement, comments)):
            found[parameter.name] = parameter
    return found


def has_parameters(notebook: Mapping[str, Any]) -> bool:
    """Return whether a notebook has a cell tagged ``parameters``."""
    return _parameters_cell(notebook) is not None


def _parameters_cell(notebook: Mapping[str, Any]) -> str | None:
    for cell in notebook.get("cells", ()):
        if cell.get("cell_type") == "code" and TAG in cell.get("metadata", {}).get("tags", ()):
            source = cell["source"]
            return source if isinstance(source, str) else "".join(source)
    return None


def _parse(source: str) -> tuple[ast.Module, str]:
    """Parse a cell; its magics and shell lines, which set no parameter, become ``pass``."""
    try:
        return ast.parse(source), source
    except (SyntaxError, ValueError):
        plain = re.sub(r"^([ \t]*)[%!].*$", r"\1pass", source, flags=re.MULTILINE)
    try:
        return ast.parse(plain), plain
    except (SyntaxError, ValueError) as error:
        where = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        problem = f"the cell tagged {TAG!r} is not valid Python{where}"
        raise UsageError(problem, remedy="mend that cell") from error


def _comments(source: str) -> dict[int, tuple[str, bool]]:
    """Return each line's comment, and whether it stands alone."""
    found = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                alone = not token.line[: token.start[1]].strip()
                found[token.start[0]] = (token.string.lstrip("#").strip(), alone)
    except (tokenize.TokenError, SyntaxError):  # it was parsed: only what is left of a comment is lost
        pass
    return found


def _comment(statement: ast.stmt, comments: Mapping[int, tuple[str, bool]]) -> str:
    """Return what is said behind a statement, else in the lines of comment just above it."""
    last = statement.end_lineno or statement.lineno
    for line in (last, statement.lineno):
        text, alone = comments.get(line, ("", True))
        if text and not alone:
            return text
    above: list[str] = []
    line = statement.lineno - 1
    while line in comments and comments[line][1]:
        above.insert(0, comments[line][0])
        line -= 1
    return " ".join(above)


def _assigned(statement: ast.stmt, comment: str) -> Iterator[Parameter]:
    line = statement.lineno
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        note = ast.unparse(statement.annotation)
        yield _parameter(statement.target.id, statement.value, line, comment, annotation=note)
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            for name, value in _targets(target, statement.value):
                known = value if value is not None else ast.Constant(Ellipsis)
                yield _parameter(name, known, line, comment)


def _parameter(name: str, value: ast.expr | None, line: int, comment: str, annotation: str | None = None) -> Parameter:
    return Parameter(
        name=name,
        default=literal(value),
        annotation=annotation,
        line=line,
        expression="" if value is None else ast.unparse(value),
        made=_maker(value),
        comment=comment,
    )


def _targets(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield each name that an assignment sets, with the expression it gets where that is plain to see."""
    if isinstance(target, ast.Name):
        yield target.id, value
        return
    names = target.elts if isinstance(target, (ast.Tuple, ast.List)) else []
    parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
    plain = len(names) == len(parts) and not any(isinstance(item, ast.Starred) for item in [*names, *parts])
    for index, item in enumerate(names):
        name = item.value if isinstance(item, ast.Starred) else item
        if isinstance(name, ast.Name):
            yield name.id, parts[index] if plain else None


def _maker(node: ast.expr | None) -> str | None:
    """Return the last name of what is called for a value, or of the class whose attribute it is."""
    match node:
        case ast.Call(func=ast.Name(id="dict"), args=[]):
            return None
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name
        case ast.Attribute(value=ast.Name(id=name)) | ast.Attribute(value=ast.Attribute(attr=name)):
            return name
        case ast.JoinedStr():
            return "str"
    return None


def literal(node: ast.expr | None) -> Any:
    """Return the value that an expression spells out, also as ``dict(k=1)``; None when it does not."""
    match node:
        case None | ast.Constant(value=builtins.Ellipsis):
            return None
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {item.arg: literal(item.value) for item in keywords if item.arg is not None}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None

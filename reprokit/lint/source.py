"""Reads a notebook or a percent script into cells, and cells into syntax trees.

IPython's own syntax (magics, ``!shell``, ``?help``) becomes calls, as IPython itself would make of it.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from reprokit.errors import UsageError

__all__ = ["Block", "Document", "Magic", "read"]

_DEEP = 150  # levels of a syntax tree; Python's own limit is 1,000 calls, and unparsing takes four for each level
# Cell magics whose body is Python that runs in the notebook's own namespace.
_PYTHON = frozenset(
    ("time", "timeit", "capture", "prun", "memit", "mprun", "lprun", "repro", "wandb", "python", "python3")
)
_LOCAL = frozenset(("timeit", "python", "python3", "memit"))  # and leaves no names behind
_SHELL = frozenset(("bash", "sh", "script", "system", "sx", "!", "cmd"))
_INERT = frozenset(
    ("html", "HTML", "javascript", "js", "latex", "markdown", "svg", "SVG", "writefile", "file", "perl", "ruby", "css")
)
_CELL_MAGIC = re.compile(r"%%(?P<name>[\w!]+)[ \t]*(?P<line>.*)$")
_TIMED = re.compile(
    r"^(?P<indent>\s*)%(?:time|prun|timeit|memit)(?P<options>(?:\s+-\w+(?:\s+\d+)?)*)\s+(?P<code>[^-\s].*)$"
)
_SIMPLE = re.compile(r"^(?P<indent>\s*)(?P<to>[A-Za-z_]\w*\s*=\s*)?(?P<kind>%(?=[A-Za-z])|!(?=[^!=]))(?P<line>.*)$")
# What IPython takes for a magic even without its %.
_AUTO = re.compile(
    r"^(?:cd|ls|ll|pip|conda|pwd|mkdir|cp|mv|rm|cat|run|who|whos|matplotlib|pylab|load_ext|pinfo|time)\b(?!\s*[=(.,\[:])"
)
_MARK = re.compile(r"^#\s*%%(?P<rest>.*)$")
_IGNORE = re.compile(r"#\s*reprokit:\s*ignore(?:\[(?P<codes>[A-Z0-9, ]+)\])?")


@dataclass(frozen=True, slots=True)
class Magic:
    """One magic or shell command: ``name`` is "!" for the shell; ``line`` its words, ``body`` a cell magic's text."""

    name: str
    line: str
    at: int
    body: str = ""


@dataclass(slots=True)
class Block:
    """One code cell.

    Attributes:
        number: counted from 1 over the code cells.
        text: its source.
        offset: what to add to a line of the cell to have a line of the file.
        count: the execution count that was saved with it.
        tree: its syntax tree; None when it is no Python.
        problem: why it has no tree.
        opaque: whether it may define names that cannot be seen.
        local: whether the names it defines are gone after it.
        magics: its magics and shell commands.
        nodes: every node of its tree.
    """

    number: int
    text: str
    offset: int = 0
    count: int | None = None
    tree: ast.Module | None = None
    problem: str = ""
    opaque: bool = False
    local: bool = False
    magics: list[Magic] = field(default_factory=list)
    nodes: list[ast.AST] = field(default_factory=list)

    def ignores(self, code: str, line: int) -> bool:
        """Return whether a comment in the cell asks to pass over a finding."""
        lines = self.text.splitlines()
        at = line - self.offset
        wanted = [lines[0]] if lines and lines[0].lstrip().startswith("#") else []
        wanted += [lines[at - 1]] if 0 < at <= len(lines) else []
        found = [match for text in wanted if (match := _IGNORE.search(text))]
        return any(match["codes"] is None or code in match["codes"].replace(",", " ").split() for match in found)


@dataclass(frozen=True, slots=True)
class Document:
    """A notebook or a script: ``folder`` is where its relative paths begin, ``language`` None when it says none."""

    path: Path
    blocks: list[Block]
    is_notebook: bool
    has_kernel: bool

    @property
    def folder(self) -> Path:
        """Return the folder it lies in."""
        return self.path.resolve().parent


def read(path: Path) -> Document:
    """Read a notebook (.ipynb) or a script (.py, with cells after ``# %%``).

    Raises:
        UsageError: it cannot be read, or is not written in Python.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error})", remedy="name a notebook or a Python script") from error
    document = _script(path, text) if path.suffix == ".py" else _notebook(path, text)
    for block in document.blocks:
        parse(block)
    return document


def _notebook(path: Path, text: str) -> Document:
    try:
        content = json.loads(text)
        cells = (
            content["cells"] if "cells" in content else [c for sheet in content["worksheets"] for c in sheet["cells"]]
        )
        metadata = content.get("metadata") or {}
        blocks = list(_blocks(cells))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no notebook ({error!r})", remedy="name a .ipynb or a .py file") from error
    kernel = metadata.get("kernelspec") or {}
    language = (metadata.get("language_info") or {}).get("name") or kernel.get("language")
    if language and str(language).lower() not in ("python", "ipython", "sagemath"):
        raise UsageError(f"{path} is written in {language}", remedy="only Python notebooks can be checked")
    return Document(path, blocks, is_notebook=True, has_kernel=bool(kernel or language))


def _blocks(cells: list[dict[str, Any]]) -> Any:
    number = 0
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        source = cell["source"] if "source" in cell else cell["input"]  # the latter in notebooks of before 2014
        text = source if isinstance(source, str) else "".join(source)
        count = cell.get("execution_count", cell.get("prompt_number"))
        number += 1
        yield Block(number, text, count=count if isinstance(count, int) else None)


def _script(path: Path, text: str) -> Document:
    blocks: list[Block] = []
    lines = text.splitlines()
    marks = [at for at, line in enumerate(lines) if _MARK.match(line)]
    starts = marks if marks and marks[0] == 0 else [0, *marks]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        mark = _MARK.match(lines[start]) if lines else None
        part = "\n".join(lines[start:end])
        if (mark is None or "[markdown]" not in mark["rest"]) and part.strip():
            blocks.append(Block(len(blocks) + 1, part, offset=start))
    return Document(path, blocks, is_notebook=False, has_kernel=True)


# -- cells → trees --------------------------------------------------------------------------------


def parse(block: Block) -> None:
    """Fill in a cell's tree and its magics."""
    text = _without_cell_magics(block)
    if text is None:
        block.tree = ast.Module(body=[], type_ignores=[])
        return
    block.tree = _tree(text)
    if block.tree is None:
        text = "\n".join(_plain_line(line) for line in text.split("\n"))
        try:
            block.tree = _tree(_simply(text)) or _tree(_transformed(text)) or _tree(_transformed(_with_automagic(text)))
        except Exception as error:  # IPython's transformers raise what they like at text that is no Python
            block.problem = str(error)
    if block.tree is None:
        block.problem = block.problem or _problem(text)
        block.opaque = True
        return
    ast.increment_lineno(block.tree, block.offset)
    block.nodes = list(ast.walk(block.tree))
    block.magics += [magic for node in block.nodes if (magic := _magic(node)) is not None]


def _without_cell_magics(block: Block) -> str | None:
    """Return the cell's Python, with lines kept where they are; None when it has none."""
    lines = block.text.split("\n")
    for at, line in enumerate(lines):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _CELL_MAGIC.match(line)
        if match is None:
            return "\n".join(lines)
        block.magics.append(Magic(match["name"], match["line"], block.offset + at + 1, "\n".join(lines[at + 1 :])))
        if match["name"] not in _PYTHON:
            block.opaque = match["name"] not in _SHELL | _INERT
            return None
        block.local = block.local or match["name"] in _LOCAL
        lines[at] = ""
        if match["name"] == "capture" and match["line"] and not match["line"].startswith("-"):
            lines[at] = f"{match['line'].split()[0]} = None"
    return "\n".join(lines)


def _plain_line(line: str) -> str:
    """Return a line as what it runs: ``%time x = f()`` assigns x."""
    match = _TIMED.match(line)
    return f"{match['indent']}{match['code']}" if match and _tree(match["code"]) else line


def _with_automagic(text: str) -> str:
    return "\n".join(f"%{line}" if _AUTO.match(line) else line for line in text.split("\n"))


def _tree(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the text that is checked
            flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            tree: ast.Module = compile(text, "<cell>", "exec", flags)
            return None if _is_deep(tree) else tree
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_deep(tree: ast.AST) -> bool:
    """Return whether a tree has more levels than what follows it in calls may have: a sum of many terms has."""
    level = [tree]
    for _ in range(_DEEP):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


def _problem(text: str) -> str:
    try:
        return "it is nested too deep" if _is_deep(ast.parse(text)) else "it cannot be parsed"
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return getattr(error, "msg", None) or str(error)


def _simply(text: str) -> str:
    """Return the text with its plain magics as calls; importing IPython takes longer than all the rest."""
    return "\n".join(_SIMPLE.sub(_as_call, line) for line in text.split("\n"))


def _as_call(match: re.Match[str]) -> str:
    line = match["line"].rstrip()
    if line.endswith(("\\", "?")):
        return match[0]
    start = f"{match['indent']}{match['to'] or ''}get_ipython()."
    if match["kind"] == "!":
        return f"{start}{'getoutput' if match['to'] else 'system'}({line!r})"
    name, _, words = line.partition(" ")
    return f"{start}run_line_magic({name!r}, {words.strip()!r})"


def _transformed(text: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(_transformer().transform_cell(text))


@cache
def _transformer() -> Any:
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager()


def _magic(node: ast.AST) -> Magic | None:
    """Return the magic or shell command that a call stands for."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    if node.func.attr in ("system", "getoutput") and _is_shell(node.func.value) and node.args:
        return Magic("!", _text(node.args[0]), node.lineno)
    if node.func.attr in ("run_line_magic", "magic", "run_cell_magic") and _is_shell(node.func.value):
        words = [_text(argument) for argument in node.args]
        if node.func.attr == "magic" and words:
            words = [*words[0].lstrip("%").partition(" ")[::2]]
        return Magic(words[0], words[1], node.lineno, *words[2:3]) if len(words) > 1 else None
    return None


def _is_shell(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "get_ipython"


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
